//! The tables of codes, limits, names and integers, and the rules of pipelining.

use std::collections::{BTreeMap, VecDeque};

use kift_core::session::{Config, RequestError, Requester, Side, Timeouts};
use kift_core::wire::{
    Answer, CHUNK, CONTROL_LEN_MAX, Code, FILE_SIZE_MAX, FRAME_LEN_MAX, HEADER_LEN, Header, Hello,
    Kind, NAME_LEN_MAX, PASSWORD_LEN_MAX, PATH_LEN_MAX, PREFIX_LEN, Path, Request, Role,
    SIGNAL_LEN_MAX, Signal, TRAILER_LEN_MAX, Timestamp, USER_LEN_MAX, suffixed,
};

use crate::document::{expand, numbered, rows};
use crate::frames::{encoded, plain};
use crate::messages::hello;
use crate::sessions::{Memory, drain, feed};

pub(crate) fn check_codes() {
    let mut documented = numbered("9");
    for &code in Code::ALL {
        let number = u8::from(code);
        assert_eq!(documented.remove(&number), Some(format!("{code:?}")), "{number}");
        assert_eq!(Code::from(number), code);
    }
    assert_eq!(documented, BTreeMap::new(), "codes that the source does not have");
}

/// The examples of integers: `0, 127 | varint | 00, 7f`.
pub(crate) fn check_integers() {
    let mut checked = 0;
    for row in rows("5.1") {
        let encode = |number: &str| match &*row[1] {
            "varint" => {
                let bytes = encoded(|buf| Signal::Credit(number.parse().unwrap()).encode(buf));
                Some(bytes[1..].to_vec())
            }
            "i64" => {
                let modified = Some(Timestamp(number.parse().unwrap()));
                let answer = Answer::Sending { size: 0, file_size: 0, modified };
                Some(encoded(|buf| answer.encode(buf))[4..].to_vec())
            }
            _ => None,
        };
        let Some(cell) = row.get(2) else { continue };
        for (number, hex) in row[0].split(", ").zip(cell.split(", ")) {
            let Some(bytes) = encode(number) else { continue };
            let is: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(is.join(" "), hex, "{number}");
            checked += 1;
        }
    }
    assert!(checked >= 10);
}

pub(crate) fn check_limits() {
    let default = Timeouts::DEFAULT;
    let mut known = BTreeMap::from([
        ("CHUNK", CHUNK as u64),
        ("STALL_LEN", default.stall_len.into()),
        ("FILE_SIZE_MAX", FILE_SIZE_MAX),
        ("PREFIX_LEN", PREFIX_LEN as u64),
        ("HEADER_LEN", HEADER_LEN as u64),
        ("TRAILER_LEN_MAX", TRAILER_LEN_MAX as u64),
        ("FRAME_LEN_MAX", FRAME_LEN_MAX as u64),
        ("CONTROL_LEN_MAX", CONTROL_LEN_MAX as u64),
        ("SIGNAL_LEN_MAX", SIGNAL_LEN_MAX as u64),
        ("PATH_LEN_MAX", PATH_LEN_MAX as u64),
        ("NAME_LEN_MAX", NAME_LEN_MAX as u64),
        ("USER_LEN_MAX", USER_LEN_MAX as u64),
        ("PASSWORD_LEN_MAX", PASSWORD_LEN_MAX as u64),
        ("handshake", default.handshake.as_secs()),
        ("stall", default.stall.as_secs()),
        ("idle", default.idle.as_secs()),
        ("linger", default.linger.as_secs()),
        ("working", default.working.as_secs()),
    ]);
    for row in rows("10") {
        if let Some(value) = known.remove(&*row[0]) {
            assert_eq!(
                row[1].trim_end_matches(" s").replace(' ', ""),
                value.to_string(),
                "{}",
                row[0]
            );
        }
    }
    assert!(known.is_empty(), "not in section 10: {known:?}");
}

pub(crate) fn check_names() {
    let (mut paths, mut suffixes) = (0, 0);
    for row in rows("6") {
        let cells: Vec<_> = row.iter().map(|cell| expand(cell)).collect();
        match &cells[..] {
            [path, verdict] if ["legal", "BadName", "NameTooLong"].contains(&&**verdict) => {
                let path = path.replace("(empty)", "").replace("\\0", "\0");
                let is =
                    Path::new(&path).map_or_else(|code| format!("{code:?}"), |_| "legal".into());
                assert_eq!(is, *verdict, "{path:?}");
                paths += 1;
            }
            [name, number, result] => {
                if let Ok(number) = number.parse() {
                    assert_eq!(suffixed(name, number).as_str(), result, "{name:?}");
                    suffixes += 1;
                }
            }
            _ => {}
        }
    }
    assert!(paths >= 10 && suffixes >= 10, "{paths} {suffixes}");
}

/// How many `Space` requests a requester sends before it has to wait, and how many behind a get.
pub(crate) fn check_pipelining() {
    let space = |requester: &mut Requester<Vec<u8>, 1024>| {
        let mut count = 0;
        while requester.request(&Request::Space).is_ok() {
            drain(requester, &mut Memory::default());
            count += 1;
        }
        assert_eq!(requester.request(&Request::Space), Err(RequestError::Later));
        count
    };
    let open = |ours: u32, theirs: u32| {
        let config =
            Config { reply_room: ours, requests_max: 1024, ..Config::small(Side::Dialler, 4) };
        let buffer = || vec![0; 200_000];
        let mut requester = Requester::<_, 1024>::new(buffer(), buffer(), &config).unwrap();
        let hello = Hello { reply_room: theirs, requests_max: 1024, ..hello(Role::Responder, 4) };
        let mut bytes = VecDeque::from(b"\x08\0\x01\0KIFT\x01\0\0\0".to_vec());
        bytes.extend(plain(Header::new(Kind::Hello, 0), &encoded(|buf| hello.encode(buf))));
        feed(&mut requester, &mut bytes);
        drain(&mut requester, &mut Memory::default());
        requester
    };
    let mut checked = 0;
    for row in rows("8.5") {
        let Ok(room) = row[0].parse::<u32>() else { continue };
        let outstanding: usize = row[1].parse().unwrap();
        assert_eq!(space(&mut open(room, 1 << 20)), outstanding, "answers in {room}");
        let mut behind = open(150_000, room);
        behind.request(&Request::Get { path: "a", first: 0, count: None }).unwrap();
        assert_eq!(space(&mut behind), row[2].parse().unwrap(), "requests in {room}");
        checked += 1;
    }
    assert!(checked >= 3);
}
