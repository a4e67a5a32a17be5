//! Directories and contents for tests that deal in real files.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use tempfile::TempDir;

/// A directory of the test's own, in memory where there is such.
///
/// # Panics
/// Where none can be made.
#[must_use]
pub fn place() -> TempDir {
    place_in(Path::new("/dev/shm"))
        .or_else(|_| place_in(&std::env::temp_dir()))
        .expect("a directory")
}

/// A directory of the test's own in `parent`.
///
/// # Errors
/// The system's.
pub fn place_in(parent: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("kift-e2e-").tempdir_in(parent)
}

/// Bytes that are free where `path` is.
///
/// # Panics
/// Where the system does not say.
#[must_use]
pub fn room(path: &Path) -> u64 {
    let system = rustix::fs::statvfs(path).expect("a file system");
    system.f_bavail.saturating_mul(system.f_frsize)
}

/// The names in a directory, in order.
///
/// # Panics
/// Where it cannot be read.
#[must_use]
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// `len` bytes that belong to `seed`, made at the speed of a hash.
#[must_use]
pub fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream(seed).fill(&mut bytes);
    bytes
}

fn stream(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()
}

/// Writes a file of `len` bytes that belong to `seed`.
///
/// # Panics
/// Where it cannot be written.
pub fn write_random(path: &Path, len: u64, seed: u64) {
    let mut file = File::create(path).expect("a file");
    let (mut stream, mut left, mut buf) = (stream(seed), len, vec![0; 1 << 20]);
    while left > 0 {
        let part = &mut buf[..left.min(1 << 20) as usize];
        stream.fill(part);
        file.write_all(part).expect("room for a file");
        left -= part.len() as u64;
    }
}

/// The files are equal to the byte.
///
/// # Panics
/// Where they are not.
#[track_caller]
pub fn assert_same(a: &Path, b: &Path) {
    let open = |path: &Path| {
        File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let (mut left, mut right) = (open(a), open(b));
    let len = |file: &File| file.metadata().expect("metadata").len();
    assert_eq!(len(&left), len(&right), "sizes of {} and {}", a.display(), b.display());
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..len(&left)).step_by(1 << 20) {
        let n = (len(&left) - at).min(1 << 20) as usize;
        left.read_exact(&mut x[..n]).expect("read");
        right.read_exact(&mut y[..n]).expect("read");
        // Not `assert_eq`, which would print a megabyte.
        assert!(x[..n] == y[..n], "{} and {} differ after {at}", a.display(), b.display());
    }
}

/// The file holds these bytes.
///
/// # Panics
/// Where it does not.
#[track_caller]
pub fn assert_holds(path: &Path, bytes: &[u8]) {
    let found = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found.len(), bytes.len(), "size of {}", path.display());
    assert!(found == bytes, "{} differs", path.display());
}
