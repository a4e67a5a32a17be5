//! What users may do, where, how much of it, and until when.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;

use kift_core::wire::{Answer, Ask, Code, Conflict, Put, Request, TransferId};
use kift_tests::asking::{EVIL, outcome, put, send};
use kift_tests::dial::Dial;
use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, names, random, write_random};
use kift_tests::machine::{Ended, Running, command};
use kift_tests::rng::Case;
use kift_tests::sealed::key;

const K: u64 = 1024;

fn stat(path: &str, digest: bool) -> Request<'_> {
    Request::Stat { path, digest }
}

fn get(path: &str) -> Request<'_> {
    Request::Get { path, first: 0, count: None }
}

fn list(path: &str) -> Request<'_> {
    Request::List { path, after: "" }
}

fn delete(path: &str) -> Request<'_> {
    Request::Delete { path }
}

fn rename<'a>(from: &'a str, to: &'a str) -> Request<'a> {
    Request::Rename { from, to, replace: true }
}

fn sized(path: &str, transfer: u8, size: Option<u64>) -> Request<'_> {
    let (transfer, conflict) = (TransferId([transfer; 16]), Conflict::Replace);
    Request::Put(Put { path, transfer, size, modified: None, conflict, ask: Ask::Time })
}

/// A time so many seconds from now, as options have it.
fn seconds_from_now(seconds: u32) -> String {
    let when = format!("+{seconds} seconds");
    let output = Command::new("date").args(["-u", "-d", &when, "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

/// A file of `len` bytes to be sent.
fn local(estate: &Estate, name: &str, len: u64) -> String {
    let file = estate.place().join(name);
    write_random(&file, len, 1);
    file.to_str().unwrap().to_owned()
}

/// Sends `len` bytes as the client `who`, without saying how many.
fn put_unsized(estate: &Estate, who: &str, path: &str, len: usize) -> Ended {
    let state = estate.state_of(who);
    let args = ["put", "-", &estate.at(path), "--state", state.to_str().unwrap()];
    let mut client = Running::start(command(args));
    // It may be refused before it has it all.
    let _ = client.take_stdin().write_all(&random(len, 1));
    client.end()
}

#[test]
fn each_right_lets_one_do_what_it_says_and_nothing_else() {
    const READ: u8 = 1;
    const WRITE: u8 = 2;
    const LIST: u8 = 4;
    const DELETE: u8 = 8;
    let sets = [
        ("ro", READ | LIST),
        ("rw", READ | LIST | WRITE | DELETE),
        ("read", READ),
        ("write", WRITE),
        ("list", LIST),
        ("delete", DELETE),
        ("admin", 0),
        ("write,list", WRITE | LIST),
        ("read,write", READ | WRITE),
        ("list,delete", LIST | DELETE),
        ("write,delete", WRITE | DELETE),
    ];
    let estate = Estate::new();
    let server = estate.server();
    for (at, (options, rights)) in sets.into_iter().enumerate() {
        // By the user's own options, and by those of a key.
        for (by, user, with_key) in [('u', options, "rw"), ('k', "rw", options)] {
            let _case = Case(format!("user {user}, key {with_key}"));
            let name = format!("{by}{at}");
            let home = server.file(&name);
            fs::create_dir(&home).unwrap();
            fs::create_dir(home.join("dir")).unwrap();
            fs::write(home.join("file"), "file").unwrap();
            estate.user(&name, &format!("{user},path={name}"), "");
            let key = key(2 * at as u8 + u8::from(by == 'k') + 1);
            estate.admit(&key, &name, with_key);
            let mut dial = Dial::sealed(server, &key);
            let mut expect = |request: &Request<'_>, needed: u8, otherwise: Code| {
                let _case = Case(format!("{request:?}"));
                let may = rights & needed == needed;
                let expected = if may { Ok(()) } else { Err(otherwise) };
                assert_eq!(outcome(&mut dial, request).map(|_| ()), expected);
            };
            // Whoever may fetch a file may ask about it.
            let to_stat = if rights & READ == 0 { LIST } else { READ };
            expect(&stat("file", false), to_stat, Code::Denied);
            expect(&stat("file", true), READ, Code::Denied);
            expect(&list(""), LIST, Code::Denied);
            expect(&list("dir"), LIST, Code::Denied);
            expect(&get("file"), READ, Code::Denied);
            expect(&Request::Space, 0, Code::Denied);
            expect(&Request::MakeDirectory { path: "new-dir" }, WRITE, Code::Denied);
            expect(&rename("dir", "other-dir"), WRITE | DELETE, Code::Denied);
            expect(&rename("file", "moved"), WRITE | DELETE, Code::Denied);
            expect(&rename("moved", "file"), WRITE | DELETE, Code::Denied);
            expect(&put("new", Ask::Now), WRITE, Code::Denied);
            expect(&put("new-too", Ask::Time), WRITE, Code::Denied);
            // Who may write and not delete may not write over anything.
            let otherwise = if rights & WRITE == 0 { Code::Denied } else { Code::Exists };
            expect(&put("file", Ask::Now), WRITE | DELETE, otherwise);
            let replaced = rights & (WRITE | DELETE) == WRITE | DELETE;
            assert_holds(&home.join("file"), if replaced { EVIL } else { b"file" });
            expect(&delete("file"), DELETE, Code::Denied);
            assert_eq!(home.join("file").exists(), rights & DELETE == 0);
            assert_eq!(home.join("new").exists(), rights & WRITE != 0);
        }
    }
    assert!(server.partials().is_empty());
}

#[test]
fn a_drop_box_takes_files_and_shows_none() {
    let estate = Estate::new();
    estate.user("box", "write,path=box", "");
    estate.authorize("who", "box", "write");
    let file = local(&estate, "file", 5 * K);
    let at = estate.at("");
    estate.kift("who", &["put", &file, &at]).ok();
    let denied = ["permission denied"];
    estate.kift("who", &["ls", &at]).fails(&denied);
    estate.kift("who", &["get", &estate.at("file"), "-"]).fails(&denied);
    estate.kift("who", &["rm", &estate.at("file")]).fails(&denied);
    estate.kift("who", &["mv", &estate.at("file"), "other"]).fails(&denied);
    let other = local(&estate, "other", K);
    let replace = ["put", "--name", "file", "--on-conflict", "replace", &other, &at];
    estate.kift("who", &replace).fails(&["file", "already exists"]);
    assert_holds(&estate.server().file("box/file"), &random(5 * K as usize, 1));
    estate.kift("who", &["put", "--on-conflict", "keep-both", "--name", "file", &other, &at]).ok();
    assert_eq!(names(&estate.server().file("box")), ["file", "file_1"]);
}

#[test]
fn homes_are_apart_and_within_one_another() {
    // Whose dial is which.
    const A: usize = 0;
    const AB: usize = 1;
    const A_B: usize = 2;
    const B: usize = 3;
    const A_THEN_B: usize = 4;
    let estate = Estate::new();
    let server = estate.server();
    for (n, home) in [(1, "a"), (2, "ab"), (3, "a/b"), (4, "b")] {
        let name = home.replace('/', "-");
        estate.user(&name, &format!("rw,path={home}"), "");
        estate.admit(&key(n), &name, "");
    }
    // A key's directory lies in its user's.
    estate.admit(&key(5), "a", "path=b");
    let mut dials = [1, 2, 3, 4, 5].map(|n| Dial::sealed(server, &key(n)));
    for (dial, path) in dials.iter_mut().zip(["secret", "ab", "deep", "b"]) {
        assert!(outcome(dial, &put(path, Ask::Now)).is_ok());
    }
    for path in ["a/secret", "a/b/deep", "ab/ab", "b/b"] {
        assert_holds(&server.file(path), EVIL);
    }
    // The one above sees what is below, and the other way round nothing.
    assert!(outcome(&mut dials[A], &get("b/deep")).is_ok());
    assert!(outcome(&mut dials[A_THEN_B], &get("deep")).is_ok());
    for (at, path, code) in [
        (A_B, "secret", Code::NotFound),
        (A_B, "../secret", Code::BadName),
        (A_THEN_B, "../secret", Code::BadName),
        (A_B, "a/secret", Code::NotFound),
        (B, "deep", Code::NotFound),
        (A, "../ab/ab", Code::BadName),
        (A, "/ab/ab", Code::BadName),
        (A, "ab/ab", Code::NotFound),
        (AB, "../a/secret", Code::BadName),
        (AB, "secret", Code::NotFound),
    ] {
        let _case = Case(path);
        let dial = &mut dials[at];
        assert_eq!(outcome(dial, &get(path)), Err(code));
        assert_eq!(outcome(dial, &delete(path)), Err(code));
        assert_eq!(outcome(dial, &rename(path, "mine")), Err(code));
    }
    // Nor does anything go out.
    for (to, code) in [
        ("../out", Code::BadName),
        ("../ab/out", Code::BadName),
        ("../ab", Code::BadName),
        ("/out", Code::BadName),
        ("..", Code::BadName),
        ("ab/out", Code::NotFound),
    ] {
        let _case = Case(to);
        assert_eq!(outcome(&mut dials[A], &rename("secret", to)), Err(code));
        assert_eq!(outcome(&mut dials[A], &put(to, Ask::Now)), Err(code));
        assert_eq!(outcome(&mut dials[A], &Request::MakeDirectory { path: to }), Err(code));
    }
    assert_eq!(server.names(), ["a", "ab", "b"]);
    assert_eq!(names(&server.file("a")), ["b", "secret"]);
    assert_eq!(names(&server.file("ab")), ["ab"]);

    // A home that is a link lets nobody in.
    std::os::unix::fs::symlink("a", server.file("link")).unwrap();
    estate.user("link", "rw,path=link", "");
    estate.admit(&key(6), "link", "");
    assert_eq!(Dial::sealed(server, &key(6)).closed(), Code::NotRegular);
}

#[test]
fn a_quota_cannot_be_outwitted() {
    let estate = Estate::new();
    estate.user("anna", "rw,path=a,quota=1M", "");
    estate.authorize("anna", "anna", "rw");
    estate.admit(&key(1), "anna", "");
    // Beside it, and with the beginning of a name in common.
    estate.user("ab", "rw,path=ab", "");
    estate.authorize("ab", "ab", "rw");
    let large = local(&estate, "large", 600 * K);
    let kift = |args: &[&str]| estate.kift("anna", args);
    let full = ["no space left"];
    let at = |path: &str| estate.at(path);
    estate.kift("ab", &["put", &large, &at("")]).ok();
    estate.kift("ab", &["put", "--name", "other", &large, &at("")]).ok();

    kift(&["put", &large, &at("one")]).ok();
    let put_two = || kift(&["put", &large, &at("two")]);
    put_two().fails(&full);
    put_unsized(&estate, "anna", "two", 600 << 10).fails(&full);
    // In place of what is there it is beside it first.
    kift(&["put", &large, &at("one")]).fails(&full);
    assert_holds(&estate.server().file("a/one"), &random(600 << 10, 1));

    // Renames win nothing, nor do directories.
    kift(&["mkdir", &at("dir")]).ok();
    kift(&["mv", &at("one"), "dir/one"]).ok();
    put_two().fails(&full);
    kift(&["mv", &at("dir"), "other"]).ok();
    put_two().fails(&full);
    kift(&["mv", &at("other/one"), "one"]).ok();
    put_two().fails(&full);
    kift(&["rm", &at("one")]).ok();
    put_two().ok();
    kift(&["put", &large, &at("one")]).fails(&full);

    // To delete is to have room once.
    let part = 300 * K;
    let mut dials = [1, 2].map(|_| Dial::sealed(estate.server(), &key(1)));
    let begin = |dial: &mut Dial, n: u8, size| {
        let path = ["p0", "p1", "p2"][usize::from(n)];
        let number = dial.request(&sized(path, n, Some(size)));
        dial.answer(number)
    };
    let [first, second] = &mut dials;
    assert!(matches!(begin(first, 1, part), Answer::Ready { .. }));
    assert_eq!(begin(second, 2, part), Answer::Failed(Code::NoSpace));
    kift(&["rm", &at("two")]).ok();
    assert!(matches!(begin(second, 2, part), Answer::Ready { .. }));
    kift(&["put", &large, &at("two")]).fails(&full);
    let df = kift(&["df", "--json", &at("")]).objects().remove(0);
    assert_eq!(df["total"].as_u64(), Some(K * K));
    assert!(df["free"].as_u64().unwrap() <= 424 * K, "{df}");
    // What was never sent is free again.
    drop(dials);
    kift_tests::machine::wait_until("both are dropped", || estate.server().partials().is_empty());
    kift(&["put", &large, &at("two")]).ok();

    // Empty files and directories are not for nothing.
    let mut dial = Dial::sealed(estate.server(), &key(1));
    let paths = (0..1100).map(|n| format!("d{n}"));
    let made = paths.map(|path| outcome(&mut dial, &Request::MakeDirectory { path: &path }));
    let made: Vec<_> = made.take_while(Result::is_ok).collect();
    assert!(made.len() < 425, "{}", made.len());
}

#[test]
fn the_largest_file_is_bounded() {
    let estate = Estate::new();
    estate.user("anna", "rw,largest=100K", "");
    estate.authorize("anna", "anna", "largest=50K");
    for (len, is_taken) in [(50 * K, true), (50 * K + 1, false), (100 * K, false)] {
        let file = local(&estate, "file", len);
        let sized = estate.kift("anna", &["put", &file, &estate.at("sized")]);
        let unsized_ = put_unsized(&estate, "anna", "unsized", len as usize);
        for ended in [sized, unsized_] {
            if is_taken {
                ended.ok();
            } else {
                ended.fails(&["file is too large"]);
            }
        }
    }
    for name in ["sized", "unsized"] {
        assert_holds(&estate.server().file(name), &random(50 << 10, 1));
    }
    assert!(estate.server().partials().is_empty());
}

#[test]
fn what_expires_ends_sessions_too() {
    let estate = Estate::new();
    let soon = format!("expires={}", seconds_from_now(10));
    for (name, options) in [("user", &*soon), ("key", "read"), ("stays", "read")] {
        estate.user(name, &format!("rw,{options}"), "");
    }
    let users = [("user", ""), ("key", &*soon), ("stays", "")];
    for (n, (user, options)) in users.into_iter().enumerate() {
        estate.admit(&key(n as u8 + 1), user, options);
    }
    let mut dials = [1, 2, 3].map(|n| {
        let mut dial = Dial::sealed(estate.server(), &key(n));
        assert!(outcome(&mut dial, &Request::Space).is_ok(), "{n}");
        dial
    });
    for dial in &mut dials[..2] {
        assert_eq!(dial.closed(), Code::Denied);
    }
    assert!(outcome(&mut dials[2], &Request::Space).is_ok());
    for n in [1, 2] {
        let mut again = Dial::sealed(estate.server(), &key(n));
        assert_eq!(outcome(&mut again, &Request::Space), Err(Code::LoginRequired), "a guest");
    }
}

#[test]
fn addresses_are_those_of_user_and_key() {
    let estate = Estate::new();
    estate.user("anna", "rw,from=127.9.0.0/16;127.8.0.1", "");
    estate.admit(&key(1), "anna", "");
    estate.admit(&key(2), "anna", "from=127.9.9.0/24");
    // Without anybody's password there are no guests: whom no line fits is not let in.
    let users = estate.state().join("users");
    let text = fs::read_to_string(&users).unwrap();
    let of_anna = text.lines().find(|line| line.starts_with("anna ")).unwrap();
    fs::write(&users, format!("{of_anna}\n")).unwrap();
    for (n, address, is_let_in) in [
        (1, [127, 9, 0, 1], true),
        (1, [127, 9, 255, 1], true),
        (1, [127, 8, 0, 1], true),
        (1, [127, 8, 0, 2], false),
        (1, [127, 10, 0, 1], false),
        (1, [127, 0, 0, 1], false),
        (2, [127, 9, 9, 1], true),
        (2, [127, 9, 8, 1], false),
        (2, [127, 8, 0, 1], false),
        (3, [127, 9, 9, 1], false),
    ] {
        let address = Ipv4Addr::from(address);
        let _case = Case(format!("key {n} from {address}"));
        let mut dial = Dial::sealed_from(address, estate.server(), &key(n));
        if is_let_in {
            assert!(outcome(&mut dial, &Request::Space).is_ok());
        } else {
            assert_eq!(dial.closed(), Code::Denied);
        }
    }
}

#[test]
fn two_uploads_to_one_name_are_two_whole_files_one_after_the_other() {
    let estate = Estate::new();
    estate.user("anna", "rw", "");
    estate.admit(&key(1), "anna", "");
    let mut dials = [1, 2].map(|_| Dial::sealed(estate.server(), &key(1)));
    let numbers = [0, 1].map(|at| {
        let number = dials[at].request(&sized("name", at as u8, Some(4)));
        assert!(matches!(dials[at].answer(number), Answer::Ready { .. }));
        number
    });
    send(&mut dials[1], numbers[1], b"1111");
    assert!(matches!(dials[1].answer(numbers[1]), Answer::Stored { size: 4, .. }));
    assert_holds(&estate.server().file("name"), b"1111");
    send(&mut dials[0], numbers[0], b"0000");
    assert!(matches!(dials[0].answer(numbers[0]), Answer::Stored { size: 4, .. }));
    assert_holds(&estate.server().file("name"), b"0000");
    assert!(estate.server().partials().is_empty());
}
