//! What the first program of everybody who sends files over sockets does, at a terminal: a file goes,
//! each end says its name and size, a bar shows how far it is, and in the end how long it took.

use std::fs;

use kift_tests::files::{assert_same, place, write_random};
use kift_tests::machine::wait_until;
use kift_tests::serving::Server;
use kift_tests::terminal::Terminal;

/// The number and its unit in `12.00 MiB`.
fn is_amount(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(number, unit)| {
        number.parse::<f64>().is_ok_and(|number| number > 0.0) && unit.ends_with('B')
    })
}

/// `1 file, 5.00 MiB in 0.10 s (50.00 MiB/s)`, what is behind `of` in it.
#[track_caller]
fn assert_timed(screen: &str, of: &str) {
    let (_, behind) = screen.split_once(of).expect("a summary");
    let (time, rate) = behind.split_once(" (").expect("a time");
    // `0.10 s`, or `1 minute` where the machine has much else to do.
    let number = time.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    assert!(number.is_some_and(|number| number >= 0.0), "{behind}");
    assert!(is_amount(rate.split_once("/s)").expect("a rate").0), "{behind}");
}

#[test]
fn name_size_and_answer_are_shown_at_both_ends() {
    let (server, here) = (Server::new(), place());
    let bytes = "first file\n";
    fs::write(here.path().join("hello.txt"), bytes).unwrap();
    let hash = blake3::hash(bytes.as_bytes()).to_hex();
    let at = server.at("");
    let mut put = Terminal::kift_in(here.path(), ["put", "-v", "--plain", "hello.txt", &at]);
    put.expect(&format!("stored \"hello.txt\", 11 bytes, blake3 {hash}"));
    put.expect("1 file, 11 B in ");
    assert!(put.end().0.success());

    let mut get =
        Terminal::kift_in(here.path(), ["get", "-v", "--plain", &server.at("hello.txt"), "back"]);
    get.expect(&format!("fetched \"back\", 11 bytes, blake3 {hash}"));
    get.expect("1 file, 11 B in ");
    let (status, screen) = get.end();
    assert!(status.success(), "{screen}");
    assert_timed(&screen, "1 file, 11 B in ");
    assert_same(&here.path().join("back"), &server.file("hello.txt"));

    // The server says the same.
    wait_until("it is logged", || server.log().matches("session ended").count() == 2);
    let log = server.log();
    for words in ["connected", "stored", "sent", "path=\"hello.txt\"", "bytes=11"] {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn a_large_file_goes_under_a_bar_and_is_timed() {
    const LEN: u64 = 64 << 20;
    let (server, here) = (Server::new(), place());
    write_random(&here.path().join("large"), LEN, 1);
    for args in [
        ["put", "--plain", "large", &server.at("")],
        ["get", "--plain", &server.at("large"), "back"],
    ] {
        let mut terminal = Terminal::kift_in(here.path(), args);
        terminal.expect(" of 64.00 MiB");
        terminal.expect("1 file, 64.00 MiB in ");
        let (status, screen) = terminal.end();
        assert!(status.success(), "{screen}");
        assert_timed(&screen, "1 file, 64.00 MiB in ");
        // How far it was, from step to step.
        let percents = screen.split(" %  ").filter_map(|before| before.rsplit(' ').next());
        let percents: Vec<u8> = percents.filter_map(|percent| percent.parse().ok()).collect();
        assert!(
            percents.is_sorted() && percents.last().is_some_and(|last| *last > 0),
            "{percents:?}"
        );
    }
    assert_same(&here.path().join("large"), &server.file("large"));
    assert_same(&here.path().join("large"), &here.path().join("back"));
}
