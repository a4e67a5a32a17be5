//! `kift-firmware-sim flash`: images while no device runs on them.

use std::borrow::ToOwned as _;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::string::String;
use std::vec::Vec;
use std::{format, println};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use kift_core::wire::Digest;

use super::args::{Flash, Role};
use super::shelf::Shelf;
use crate::board::factory;
use crate::board::nor::{Nor, Times};
use crate::disk::PeerRole;

pub(super) fn run(command: Flash) -> Result<()> {
    match command {
        Flash::Ls { image } => list(&image),
        Flash::Format { image, flash_size, no_seed } => format(&image, flash_size, !no_seed),
        Flash::Key { image } => show_keys(&image),
        Flash::Trust { image, key, role } => mount(&image)?.trust(&key, role.into()),
        Flash::Forget { image, key } => mount(&image)?.forget(&key),
        Flash::Add { image, file, name } => add(&image, &file, &name_for(&file, name)?),
        Flash::Cat { image, name } => cat(&image, &name),
        Flash::Verify { image } => verify(&image),
        Flash::Cut { image, file, name, operation, seed } => {
            let name = name_for(&file, name)?;
            let contents = read(&file)?;
            match operation {
                Some(nth) => cut(&image, &name, &contents, nth, seed),
                None => cut_everywhere(&image, &name, &contents, seed),
            }
        }
    }
}

/// What an image holds, looked at in a copy: a mount would count as a boot.
fn copy_of(image: &Path) -> Result<Shelf> {
    Shelf::mount(Nor::from_image(&cells_of(image)?, Times::NONE)).with_context(|| shown(image))
}

fn cells_of(image: &Path) -> Result<Vec<u8>> {
    Ok(Nor::open(image, Times::NONE)?.image().to_vec())
}

fn mount(image: &Path) -> Result<Shelf> {
    Shelf::mount(Nor::open(image, Times::NONE)?).with_context(|| shown(image))
}

fn shown(image: &Path) -> String {
    format!("the flash image {}", image.display())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn name_for(file: &Path, name: Option<String>) -> Result<String> {
    let own = || file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.or_else(own).ok_or_else(|| anyhow!("{} needs a name in flash", file.display()))
}

fn list(image: &Path) -> Result<()> {
    let mut shelf = copy_of(image)?;
    println!("{:>10}  {:>6}  {:<20}  {:<64}  name", "size", "blocks", "time", "BLAKE3");
    for (path, info) in shelf.items()? {
        match info {
            None => println!("{:>10}  {:>6}  {:<20}  {:<64}  {path}/", "-", "-", "-", "-"),
            Some(info) => {
                let time = info.modified.map_or("-".to_owned(), |time| utc(time.0));
                let (size, blocks, root) = (info.size, info.blocks, info.root);
                println!("{size:>10}  {blocks:>6}  {time:<20}  {root}  {path}");
            }
        }
    }
    let space = shelf.space()?;
    println!("{} of {} KiB free", space.free / 1024, space.total / 1024);
    let nor = Nor::open(image, Times::NONE)?;
    let erases: u64 = nor.wear().iter().map(|&erases| u64::from(erases)).sum();
    let most = nor.wear().iter().max().unwrap_or(&0);
    println!("{erases} blocks erased since it was made, one of them {most} times");
    Ok(())
}

/// `2026-11-21T04:14:00Z` of a number of nanoseconds since 1970.
fn utc(nanoseconds: i64) -> String {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's days-to-date, for years that begin in March.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn format(image: &Path, size: u32, with_seed: bool) -> Result<()> {
    let mut nor = match fs::metadata(image) {
        Ok(there) if there.len() > 0 => Nor::open(image, Times::NONE)?,
        _ => Nor::open_or_create(image, size, Times::NONE)?,
    };
    factory::format(&mut nor, with_seed).with_context(|| shown(image))
}

fn show_keys(image: &Path) -> Result<()> {
    let mut shelf = copy_of(image)?;
    let Some(own) = shelf.public_key()? else {
        bail!("{} has no key: it was formatted without a seed", shown(image));
    };
    println!("{own}\n{}", own.fingerprint());
    for (key, role) in shelf.peers()? {
        let role = match role {
            PeerRole::Client => "client",
            PeerRole::Server => "server",
            PeerRole::Both => "client and server",
        };
        println!("{key}  {}  {role}", key.fingerprint());
    }
    Ok(())
}

impl From<Role> for PeerRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Client => Self::Client,
            Role::Server => Self::Server,
            Role::Both => Self::Both,
        }
    }
}

fn add(image: &Path, file: &Path, name: &str) -> Result<()> {
    let contents = read(file)?;
    mount(image)?.put(name, &contents).with_context(|| format!("cannot store {name}"))
}

fn cat(image: &Path, name: &str) -> Result<()> {
    let mut shelf = copy_of(image)?;
    let mut out = io::stdout().lock();
    shelf
        .read(name, |bytes| out.write_all(bytes).map_err(Into::into))
        .with_context(|| format!("cannot read {name}"))
}

fn verify(image: &Path) -> Result<()> {
    let damaged = damaged(&mut copy_of(image)?)?;
    ensure!(damaged.is_empty(), "damaged: {}", damaged.join(", "));
    println!("every file has its BLAKE3");
    Ok(())
}

/// The files that cannot be read, or do not have their BLAKE3.
fn damaged(shelf: &mut Shelf) -> Result<Vec<String>> {
    let mut damaged = Vec::new();
    for (path, info) in shelf.items()? {
        let Some(info) = info else { continue };
        let mut hasher = blake3::Hasher::new();
        let read = shelf.read(&path, |bytes| {
            hasher.update(bytes);
            Ok(())
        });
        if read.is_err() || hasher.finalize().as_bytes() != &info.root.0 {
            damaged.push(path);
        }
    }
    Ok(damaged)
}

/// Cuts the power in the `nth` operation of a store into the image itself, and says what a mount
/// finds then.
fn cut(image: &Path, name: &str, contents: &[u8], nth: u64, seed: u64) -> Result<()> {
    let mut shelf = mount(image)?;
    let before = root_of(&mut shelf, name)?;
    shelf.nor().cut_after(nth, seed);
    if shelf.put(name, contents).is_ok() {
        println!("{name} took fewer than {nth} operations: it is stored");
        return Ok(());
    }
    drop(shelf);
    let found = check(&mut copy_of(image)?, name, contents, before)?;
    println!("cut in operation {nth}: {name} is {found}");
    Ok(())
}

/// Cuts the power in every operation of a store, each time in a copy of the image.
fn cut_everywhere(image: &Path, name: &str, contents: &[u8], seed: u64) -> Result<()> {
    let cells = cells_of(image)?;
    let before = root_of(&mut copy_of(image)?, name)?;
    let mut found = BTreeMap::new();
    for nth in 1.. {
        let mut shelf = Shelf::mount(Nor::from_image(&cells, Times::NONE))?;
        shelf.nor().cut_after(nth, seed);
        if shelf.put(name, contents).is_ok() {
            let found: Vec<_> = found.iter().map(|(what, n)| format!("{n} times {what}")).collect();
            println!("{} operations, {name} was {}", nth - 1, found.join(", "));
            return Ok(());
        }
        let nor = Nor::from_image(shelf.nor().image(), Times::NONE);
        let found_now = Shelf::mount(nor)
            .and_then(|mut shelf| check(&mut shelf, name, contents, before))
            .with_context(|| format!("after a cut in operation {nth}"))?;
        *found.entry(found_now).or_insert(0_u64) += 1;
    }
    Ok(())
}

/// What there is under a name of which a store was cut: anything but the file before or the file
/// after is an error, and so is any other file that is damaged.
fn check(
    shelf: &mut Shelf,
    name: &str,
    contents: &[u8],
    before: Option<Digest>,
) -> Result<&'static str> {
    let damaged = damaged(shelf)?;
    ensure!(damaged.is_empty(), "damaged: {}", damaged.join(", "));
    match root_of(shelf, name)? {
        found if found == before => Ok(if found.is_none() { "not there" } else { "the old one" }),
        Some(Digest(root)) if root == *blake3::hash(contents).as_bytes() => Ok("the new one"),
        _ => bail!("{name} is neither the old file nor the new one"),
    }
}

fn root_of(shelf: &mut Shelf, name: &str) -> Result<Option<Digest>> {
    Ok(shelf.items()?.remove(name).flatten().map(|info| info.root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_795_234_440_999_999_999), "2026-11-21T04:14:00Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59Z");
    }
}
