//! The names on an SD card, in its directories: which are kept, and which are told.

use kift_core::storage::{Page, Store as _};
use kift_core::wire::{Code, Conflict, Path};
use kift_tests::card::{Card, Device, FAT16, FAT32, check, device, put};
use kift_tests::flash::{self, REQUEST, complete};

fn path(path: &str) -> Path<'_> {
    Path::new(path).unwrap()
}

#[test]
fn lists_in_byte_order_from_any_name_on_any_page() {
    let mut device = device(FAT16);
    flash::make_directory(&mut device.handle(0), "folder").unwrap();
    let mut names: Vec<_> =
        (0..50).map(|number| format!("{}.x{}", number * 7, number % 10)).collect();
    names.extend(["b", "aa", "Z", "~", "a.txt", "-", "B1.txt"].map(str::to_owned));
    for name in &names {
        put(&mut device, &format!("folder/{name}"), b"").unwrap();
    }
    names.sort();
    let longer_than_any = "a".repeat(200);
    let after = names.iter().map(String::as_str).chain(["", "A", "aaa", "zz", &longer_than_any]);
    for (after, page_len) in after.flat_map(|after| [30, 64, 1024].map(|len| (after, len))) {
        let entries = flash::list(&mut device.handle(0), "folder", after, page_len).unwrap();
        let found: Vec<String> = entries.into_iter().map(|(name, _)| name).collect();
        let expected: Vec<_> = names.iter().filter(|name| name.as_str() > after).collect();
        assert!(found.iter().eq(expected), "after {after}: {found:?}");
    }
    let refused = flash::list(&mut device.handle(0), "missing", "", 1024);
    assert_eq!(refused, Err(Code::NotFound));
    check(&mut device);
}

#[test]
fn keeps_both_under_the_next_free_suffix() {
    let mut device = device(FAT16);
    let mut keep = |name: &str| flash::put(&mut device.handle(0), name, b"x", Conflict::KeepBoth);
    assert_eq!([keep("a.txt"), keep("a.txt"), keep("a.txt")], [Ok(0), Ok(1), Ok(2)]);
    assert_eq!([keep("a_1.txt"), keep("A.TXT")], [Ok(1), Ok(3)]);
    assert_eq!([keep("longest8.txt"), keep("longest8.txt")], [Ok(0), Err(Code::NameTooLong)]);
    let names = ["A_3.TXT", "a.txt", "a_1.txt", "a_1_1.txt", "a_2.txt", "longest8.txt"];
    assert!(flash::tree(&mut device.handle(0)).unwrap().keys().eq(names));
    check(&mut device);
}

#[test]
fn names_have_their_limits() {
    let mut device = device(FAT32);
    assert_eq!(put(&mut device, "eight_ch.bin", b"x"), Ok(0));
    let port = &mut device.handle(0);
    for (name, code) in [
        ("nine_char.bin", Code::NameTooLong),
        ("a.long", Code::NameTooLong),
        ("ReadMe.txt", Code::BadName),
        ("a b", Code::BadName),
        ("a.b.c", Code::BadName),
        ("日本", Code::BadName),
        ("con.txt", Code::BadName),
        ("kift", Code::BadName),
        ("KIFT", Code::BadName),
    ] {
        let refused = [
            flash::put(port, name, b"x", Conflict::Replace).map(drop),
            flash::make_directory(port, name),
            flash::rename(port, "eight_ch.bin", name, true),
        ];
        assert_eq!(refused, [Err(code); 3], "{name}");
        let missing = [flash::stat(port, name).map(drop), flash::delete(port, name)];
        assert_eq!(missing, [Err(Code::NotFound); 2], "{name}");
    }
    assert_eq!(flash::stat(port, "KIFT/STATE.BIN"), Err(Code::NotFound));
    assert_eq!(flash::list(port, "KIFT", "", 1024), Err(Code::NotFound));
    assert_eq!(
        flash::put(port, "eight_ch.bin/x", b"x", Conflict::Replace),
        Err(Code::NotDirectory)
    );
    assert_eq!(flash::put(port, "missing/x", b"x", Conflict::Replace), Err(Code::NotFound));
    // They are found in any case, and have that of whoever wrote them last.
    assert_eq!(flash::get(port, "Eight_CH.Bin").unwrap(), b"x");
    flash::put(port, "EIGHT_CH.bin", b"y", Conflict::Replace).unwrap();
    assert_eq!(flash::put(port, "eight_ch.bin", b"z", Conflict::Refuse), Err(Code::Exists));
    assert!(flash::tree(port).unwrap().keys().eq(["EIGHT_CH.bin"]));
    flash::rename(port, "eight_ch.bin", "eight_ch.BIN", false).unwrap();
    assert!(flash::tree(port).unwrap().keys().eq(["eight_ch.BIN"]));
    let mut deep = "d".to_owned();
    for _ in 0..40 {
        flash::make_directory(port, &deep).unwrap();
        deep.push_str("/d");
    }
    check(&mut device);
}

/// A part of a long name, as a computer puts it before an entry with the name `short`.
fn long_part(number: u8, text: &str, short: &[u8; 11]) -> [u8; 32] {
    let mut part = [0xff; 32];
    let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    (part[0], part[11], part[12], part[13]) = (number, 0x0f, 0, sum);
    (part[26], part[27]) = (0, 0);
    let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
    for (at, unit) in places.zip(text.encode_utf16().chain([0])) {
        part[at..at + 2].copy_from_slice(&unit.to_le_bytes());
    }
    part
}

#[test]
fn what_a_computer_named_is_not_mangled() {
    let mut device = device(FAT16);
    for name in ["A_LONG~1.TXT", "README.TXT", "X~1.HTM", "PLAIN.TXT"] {
        put(&mut device, name, name.as_bytes()).unwrap();
    }
    let mut image = device.device().image();
    let root = image.windows(11).position(|name| name == b"A_LONG~1TXT").unwrap() / 512 * 512;
    let entries: Vec<[u8; 32]> =
        image[root..root + 512].chunks(32).map(|entry| entry.try_into().unwrap()).collect();
    let named = |name: &[u8; 11]| *entries.iter().find(|entry| entry.starts_with(name)).unwrap();
    let mut foreign = named(b"PLAIN   TXT");
    foreign[0] = 0x82;
    (foreign[26], foreign[27], foreign[28]) = (0, 0, 0);
    let made = [
        named(b"KIFT       "),
        long_part(0x42, "ame.txt", b"A_LONG~1TXT"),
        long_part(0x01, "a long name, n", b"A_LONG~1TXT"),
        named(b"A_LONG~1TXT"),
        long_part(0x41, "ReadMe.txt", b"README  TXT"),
        named(b"README  TXT"),
        long_part(0x41, "x.html", b"X~1     HTM"),
        named(b"X~1     HTM"),
        named(b"PLAIN   TXT"),
        foreign,
    ];
    for (at, entry) in (root..).step_by(32).zip(made) {
        image[at..at + 32].copy_from_slice(&entry);
    }
    let mut device = Device::mount(Card::new(&image)).unwrap();
    let port = &mut device.handle(0);
    let told: Vec<_> = flash::list(port, "", "", 1024).unwrap();
    assert!(told.iter().map(|(name, _)| name).eq(["PLAIN.TXT", "README.TXT"]), "{told:?}");
    complete(|| port.open_directory(REQUEST, path(""), "")).unwrap();
    let mut page = [0; 1024];
    let mut page = Page::new(&mut page);
    complete(|| port.read_directory(REQUEST, &mut page)).unwrap();
    assert_eq!(port.close_directory(REQUEST), 3, "left out");
    for hidden in ["A_LONG~1.TXT", "x~1.htm"] {
        assert_eq!(flash::stat(port, hidden).map(drop), Err(Code::NotFound));
        assert_eq!(flash::delete(port, hidden), Err(Code::NotFound));
        assert_eq!(flash::put(port, hidden, b"new", Conflict::Replace), Err(Code::Exists));
        assert_eq!(flash::rename(port, "PLAIN.TXT", hidden, true), Err(Code::Exists));
    }
    // A long name that only differs in case goes with the file.
    assert_eq!(flash::get(port, "readme.txt").unwrap(), b"README.TXT");
    flash::rename(port, "README.TXT", "other.txt", false).unwrap();
    flash::delete(port, "PLAIN.TXT").unwrap();
    assert_eq!(flash::get(port, "other.txt").unwrap(), b"README.TXT");
    let complaints = device.device().complaints();
    assert!(complaints.iter().all(|line| !line.contains("rphan")), "{complaints:?}");
}
