//! What a power cut leaves.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Contents, Disk, Node, Number, Operation, ROOT, write};
use crate::rng::Rng;

/// Bytes that a disk writes together, at least, and whole or not at all.
const SECTOR: usize = 512;

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Luck {
    /// It is lost.
    Bad,
    /// It is all there.
    Good,
    /// Some of it is there, which this number says.
    Any(u64),
}

/// A tree of files and directories after a power cut.
#[derive(Debug)]
pub struct Wreck(pub(super) BTreeMap<Number, Node>);

impl Disk {
    /// What a power cut after the first `operations` leaves.
    #[must_use]
    pub fn cut(&self, operations: usize, luck: Luck) -> Wreck {
        let state = self.state();
        let log = &state.log[..operations];
        let mut dice =
            Dice { luck, rng: Rng::new(if let Luck::Any(seed) = luck { seed } else { 0 }) };
        // What came of the attempts to make a node durable, in their order.
        let mut synced: BTreeMap<Number, Vec<(usize, bool)>> = BTreeMap::new();
        for (at, operation) in log.iter().enumerate() {
            let (node, is_done) = match operation {
                Operation::Sync { node } => (*node, true),
                Operation::Loss { node } => (*node, false),
                _ => continue,
            };
            synced.entry(node).or_default().push((at, is_done));
        }
        let mut wreck = Wreck(state.base.clone());
        for (at, operation) in log.iter().enumerate() {
            let is_durable = |node: Number| {
                let syncs = synced.get(&node).map_or(&[][..], Vec::as_slice);
                syncs[syncs.partition_point(|(sync, _)| *sync <= at)..]
                    .first()
                    .is_some_and(|(_, is_done)| *is_done)
            };
            wreck.apply(operation, is_durable, &mut dice);
        }
        wreck
    }
}

/// Decides what of that which was not synced is kept.
struct Dice {
    luck: Luck,
    rng: Rng,
}

impl Dice {
    fn keeps(&mut self) -> bool {
        match self.luck {
            Luck::Bad => false,
            Luck::Good => true,
            Luck::Any(_) => self.rng.chance(50),
        }
    }
}

impl Wreck {
    fn node(&mut self, number: Number) -> &mut Node {
        self.0.get_mut(&number).expect("made by what was done before")
    }

    fn data(&mut self, file: Number) -> &mut Vec<u8> {
        self.node(file).data_mut().expect("a file")
    }

    fn entries(&mut self, folder: Number) -> &mut BTreeMap<std::ffi::OsString, Number> {
        self.node(folder).entries_mut().expect("a directory")
    }

    fn apply(
        &mut self,
        operation: &Operation,
        is_durable: impl Fn(Number) -> bool,
        dice: &mut Dice,
    ) {
        match operation {
            Operation::Write { file, at, data } if is_durable(*file) => {
                write(self.data(*file), *at, data);
            }
            Operation::Write { file, at, data } => self.write_some(*file, *at, data, dice),
            Operation::Truncate { file, len } => {
                if is_durable(*file) || dice.keeps() {
                    self.data(*file).resize(*len, 0);
                }
            }
            Operation::SetModified { node, modified } => {
                if is_durable(*node) || dice.keeps() {
                    self.node(*node).modified = *modified;
                }
            }
            Operation::SetMode { node, mode } => {
                if is_durable(*node) || dice.keeps() {
                    self.node(*node).mode = *mode;
                }
            }
            Operation::Link { folder, name, node, is_folder, mode } => {
                let made = if *is_folder { Node::folder(*mode) } else { Node::file(*mode) };
                self.0.insert(*node, made);
                if is_durable(*folder) || dice.keeps() {
                    self.entries(*folder).insert(name.clone(), *node);
                }
            }
            Operation::Unlink { folder, name } => {
                if is_durable(*folder) || dice.keeps() {
                    self.entries(*folder).remove(name);
                }
            }
            // One change, which is as durable as the new name.
            Operation::Rename { from, to, node } => {
                if is_durable(to.0) || dice.keeps() {
                    if self.entries(from.0).get(&from.1) == Some(node) {
                        self.entries(from.0).remove(&from.1);
                    }
                    self.entries(to.0).insert(to.1.clone(), *node);
                }
            }
            Operation::Sync { .. } | Operation::Loss { .. } => {}
        }
    }

    /// A write that was not synced.
    fn write_some(&mut self, file: Number, at: usize, data: &[u8], dice: &mut Dice) {
        let is_torn = matches!(dice.luck, Luck::Any(_)) && dice.rng.chance(33);
        if !is_torn {
            if dice.keeps() {
                write(self.data(file), at, data);
            }
            return;
        }
        let (mut at, mut rest) = (at, data);
        while !rest.is_empty() {
            let (sector, more) = rest.split_at((SECTOR - at % SECTOR).min(rest.len()));
            if dice.keeps() {
                write(self.data(file), at, sector);
            }
            (at, rest) = (at + sector.len(), more);
        }
    }

    /// The files with their paths, those in directories of which `skips` says no.
    #[must_use]
    pub fn files(&self, skips: impl Fn(&str) -> bool) -> BTreeMap<String, &[u8]> {
        let mut files = BTreeMap::new();
        let mut folders = vec![(String::new(), ROOT)];
        while let Some((path, number)) = folders.pop() {
            for (name, number) in self.0[&number].entries().expect("a directory") {
                let path = format!("{path}{}", name.to_str().expect("UTF-8"));
                match &self.0[number].contents {
                    Contents::File(data) => _ = files.insert(path, data.as_slice()),
                    Contents::Folder(_) if skips(&path) => {}
                    Contents::Folder(_) => folders.push((path + "/", *number)),
                }
            }
        }
        files
    }

    /// Makes the tree in `place`, a directory that is empty.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn lay_out(&self, place: &Path) -> io::Result<()> {
        self.lay_out_folder(ROOT, place)
    }

    fn lay_out_folder(&self, number: Number, place: &Path) -> io::Result<()> {
        for (name, number) in self.0[&number].entries().expect("a directory") {
            let (path, node) = (place.join(name), &self.0[number]);
            match &node.contents {
                Contents::File(data) => {
                    fs::write(&path, data)?;
                    File::open(&path)?.set_modified(node.modified)?;
                }
                Contents::Folder(_) => {
                    fs::create_dir(&path)?;
                    self.lay_out_folder(*number, &path)?;
                }
            }
            fs::set_permissions(&path, Permissions::from_mode(node.mode.into()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn what_was_synced_is_there_and_the_rest_is_a_matter_of_luck() {
        let disk = Disk::default();
        let name = OsStr::new("f");
        let done = {
            let mut state = disk.state();
            let file = state.make(ROOT, name, Node::file(0o644)).unwrap();
            state.write(file, 0, &[1; 2000]).unwrap();
            state.sync(file).unwrap();
            state.sync(ROOT).unwrap();
            let done = state.log.len();
            state.write(file, 1000, &[2; 2000]).unwrap();
            state.rename((ROOT, name), (ROOT, OsStr::new("g")), true).unwrap();
            done
        };
        let whole = vec![1; 2000];
        let all = [vec![1; 1000], vec![2; 2000]].concat();
        let at = |operations, luck| {
            let wreck = disk.cut(operations, luck);
            wreck.files(|_| false).into_iter().map(|(name, data)| (name, data.to_vec())).collect()
        };
        let there = |name: &str, data: &Vec<u8>| BTreeMap::from([(name.to_owned(), data.clone())]);
        for luck in [Luck::Bad, Luck::Good, Luck::Any(3)] {
            assert_eq!(at(done, luck), there("f", &whole));
        }
        let end = disk.operations();
        assert_eq!(at(end, Luck::Bad), there("f", &whole));
        assert_eq!(at(end, Luck::Good), there("g", &all));
        let (mut renamed, mut torn) = (0, 0);
        for seed in 0..100 {
            let files: BTreeMap<_, Vec<u8>> = at(end, Luck::Any(seed));
            let (name, data) = files.first_key_value().unwrap();
            renamed += u32::from(name == "g");
            torn += u32::from(*data != whole && *data != all);
            assert_eq!(files.len(), 1);
            assert!(data[..1000] == whole[..1000]);
        }
        assert!((20..80).contains(&renamed) && torn > 20, "{renamed}, {torn}");
        // Before it had a name.
        assert!(at(1, Luck::Bad).is_empty());
        assert_eq!(at(2, Luck::Good), there("f", &whole));
    }
}
