use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::thread;

use tempfile::TempDir;

use super::*;

/// A state in a directory of its own, which goes with it.
fn state() -> (TempDir, State) {
    let place = tempfile::tempdir().unwrap();
    let state = State::open(Some(&place.path().join("state"))).unwrap();
    (place, state)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let Err(error) = result else { panic!("not refused: {words:?}") };
    let shown = format!("{error:#}");
    for word in words {
        assert!(shown.contains(word), "no {word:?} in {shown}");
    }
}

#[test]
fn directories_are_made_for_their_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let deep = place.path().join("a/b");
    let state = State::open(Some(&deep)).unwrap();
    assert_eq!(state.path(), fs::canonicalize(&deep).unwrap());
    assert_eq!((mode(&deep), mode(&place.path().join("a"))), (0o700, 0o700));
    // One that others may read, and not write, is the user's own affair.
    set_mode(&deep, 0o755);
    State::open(Some(&deep)).unwrap();
    assert_eq!(mode(&deep), 0o755);
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let (_place, state) = state();
    for loose in [0o720, 0o702, 0o777, 0o1777] {
        set_mode(state.path(), loose);
        let shown = state.path().display().to_string();
        refused(State::open(Some(state.path())), &["chmod go-w", &shown]);
    }
}

#[test]
fn a_file_is_no_directory() {
    let (_place, state) = state();
    state.replace("file", "").unwrap();
    refused(State::open(Some(&state.file("file"))), &["is not a directory"]);
    refused(State::open(Some(&state.file("file/below"))), &["cannot make", "file/below"]);
}

#[test]
fn a_key_is_made_once() {
    let (_place, state) = state();
    assert!(state.key().unwrap().is_none());
    let (key, is_new) = state.key_or_new().unwrap();
    assert!(is_new);
    assert_eq!(mode(&state.file(KEY)), 0o600);
    let again = state.key_or_new().unwrap();
    assert_eq!((again.0.as_bytes(), again.1), (key.as_bytes(), false));
    assert_eq!(state.key().unwrap().unwrap().as_bytes(), key.as_bytes());

    refused(state.new_key(false), &["is there already", "--replace"]);
    let other = state.new_key(true).unwrap();
    assert_ne!(other.as_bytes(), key.as_bytes());
    assert_eq!(state.key().unwrap().unwrap().as_bytes(), other.as_bytes());
}

#[test]
fn of_many_at_once_one_makes_the_key() {
    let (_place, state) = state();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let state = state.clone();
            thread::spawn(move || state.key_or_new().unwrap())
        })
        .collect();
    let keys: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(keys.iter().filter(|(_, is_new)| *is_new).count(), 1);
    assert!(keys.iter().all(|(key, _)| key.as_bytes() == keys[0].0.as_bytes()));
}

#[test]
fn a_loose_key_is_refused_and_kept() {
    let (_place, state) = state();
    let (key, _) = state.key_or_new().unwrap();
    let file = state.file(KEY);
    for loose in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601] {
        set_mode(&file, loose);
        refused(state.key(), &[&format!("chmod 600 {}", file.display())]);
        refused(state.key_or_new(), &["chmod 600"]);
    }
    set_mode(&file, 0o400);
    assert_eq!(state.key().unwrap().unwrap().as_bytes(), key.as_bytes());
}

#[test]
fn a_damaged_key_is_refused_and_kept() {
    let (_place, state) = state();
    state.key_or_new().unwrap();
    let whole = state.read(KEY).unwrap().unwrap();
    let line = whole.lines().last().unwrap();
    let damaged = [
        String::new(),
        "# a comment\n".to_owned(),
        line[..42].to_owned(),
        format!("{line}{line}"),
        format!("{line}\n{line}"),
        format!("{line} {line}"),
        line.replace(|c: char| c.is_ascii_alphanumeric(), "!"),
        "\0".repeat(whole.len()),
    ];
    for text in damaged {
        state.replace(KEY, &text).unwrap();
        refused(state.key(), &["damaged", "kift key gen --replace"]);
        refused(state.key_or_new(), &["damaged"]);
        assert_eq!(*state.read(KEY).unwrap().unwrap(), text);
    }
    fs::write(state.file(KEY), [0xff; 44]).unwrap();
    refused(state.key(), &["cannot read"]);
    state.new_key(true).unwrap();
    assert!(state.key().unwrap().is_some());
}

#[test]
fn only_regular_files_are_read() {
    let (place, state) = state();
    let outside = place.path().join("outside");
    fs::write(&outside, "text").unwrap();
    set_mode(&outside, 0o600);
    symlink(&outside, state.file("users")).unwrap();
    refused(state.read("users"), &["is a link"]);
    fs::create_dir(state.file("token")).unwrap();
    refused(state.read("token"), &["not a regular file"]);
    let fifo = state.file("known_hosts");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    refused(state.read("known_hosts"), &["not a regular file"]);
}

#[test]
fn what_is_not_secret_may_be_read_and_not_written_by_others() {
    let (_place, state) = state();
    state.replace("authorized_keys", "x").unwrap();
    assert_eq!(mode(&state.file("authorized_keys")), 0o600);
    for (loose, is_fine) in [(0o644, true), (0o664, false), (0o646, false)] {
        set_mode(&state.file("authorized_keys"), loose);
        assert_eq!(state.read("authorized_keys").is_ok(), is_fine);
    }
    state.replace("users", "x").unwrap();
    set_mode(&state.file("users"), 0o644);
    refused(state.read("users"), &["chmod 600"]);
}

#[test]
fn too_large_a_file_is_refused() {
    let (_place, state) = state();
    state.replace("users", "").unwrap();
    let file = File::options().write(true).open(state.file("users")).unwrap();
    file.set_len(FILE_LEN_MAX + 1).unwrap();
    refused(state.read("users"), &["bytes"]);
}

#[test]
fn a_file_is_replaced_whole() {
    let (_place, state) = state();
    assert!(state.read("a").unwrap().is_none());
    // A power cut left this behind.
    fs::write(state.file("a.new"), "half of somethi").unwrap();
    state.replace("a", "one\n").unwrap();
    let before = File::open(state.file("a")).unwrap();
    state.replace("a", "two\n").unwrap();
    assert_eq!(state.read("a").unwrap().unwrap().as_str(), "two\n");
    // Who had it open still reads what it was.
    assert_eq!(io::read_to_string(before).unwrap(), "one\n");
    assert!(!state.file("a.new").exists());
}

#[test]
fn lines_that_come_at_once_are_all_there() {
    let (_place, state) = state();
    state.replace("a", "no newline").unwrap();
    thread::scope(|scope| {
        for n in 0..8 {
            let state = &state;
            scope.spawn(move || state.append("a", &format!("line {n}")).unwrap());
        }
    });
    let text = state.read("a").unwrap().unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let expected: Vec<String> = (0..8).map(|n| format!("line {n}")).collect();
    assert_eq!(lines[..8], expected);
    assert_eq!(lines[8..], ["no newline"]);
}

#[test]
fn another_users_files_are_refused() {
    // Only root can give files away.
    if !geteuid().is_root() {
        return;
    }
    let (_place, state) = state();
    state.key_or_new().unwrap();
    std::os::unix::fs::chown(state.file(KEY), Some(1), None).unwrap();
    refused(state.key(), &["belongs to user 1", "--state"]);
    std::os::unix::fs::chown(state.path(), Some(1), None).unwrap();
    refused(State::open(Some(state.path())), &["belongs to user 1"]);
}
