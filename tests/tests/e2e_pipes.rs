//! Standard input and standard output as files.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::thread;

use kift_tests::files::{assert_holds, place, random};
use kift_tests::machine::{Ended, Running, command, kift};
use kift_tests::serving::Server;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Runs `kift` with `input` on its standard input.
fn kift_with(input: &[u8], args: &[&str]) -> Ended {
    let mut running = Running::start(command(args));
    let mut stdin = running.take_stdin();
    thread::scope(|scope| {
        // A client that has failed need not read it all.
        scope.spawn(move || stdin.write_all(input));
        running.end()
    })
}

#[test]
fn standard_input_of_any_length_becomes_a_file() {
    let server = Server::new();
    for len in [0, 1, 1024, 65_536, 100_001, (1 << 20) + 1] {
        let bytes = random(len, 1);
        let put = kift_with(&bytes, &["put", "--plain", "--json", "-", &server.at("in.bin")]);
        let object = put.objects().remove(0);
        assert_eq!(object["path"], "in.bin");
        assert_eq!(object["size"], len);
        assert_eq!(object["blake3"], blake3::hash(&bytes).to_hex().as_str());
        assert_holds(&server.file("in.bin"), &bytes);
    }
}

#[test]
fn standard_output_gets_the_bytes_and_nothing_else() {
    let server = Server::new();
    for len in [0, 1, 65_536, (1 << 20) + 1] {
        let bytes = random(len, 2);
        fs::write(server.file("out.bin"), &bytes).unwrap();
        for options in [&["--json", "-v"][..], &[]] {
            let remote = server.at("out.bin");
            let args = [&["get", "--plain"], options, &[&remote, "-"]].concat();
            let get = kift(args);
            assert!(get.status.success() && get.stdout == bytes, "{len}: {}", get.stderr);
        }
    }
}

#[test]
fn a_pipe_from_server_to_server() {
    let (from, to) = (Server::new(), Server::new());
    let bytes = random(3_000_000, 3);
    fs::write(from.file("a"), &bytes).unwrap();
    let (get, mut out) = Running::piping(command(["get", "--plain", &from.at("a"), "-"]));
    let mut put = Running::start(command(["put", "--plain", "-", &to.at("b")]));
    let mut into = put.take_stdin();
    std::io::copy(&mut out, &mut into).unwrap();
    drop(into);
    get.end().ok();
    put.end().ok();
    assert_holds(&to.file("b"), &bytes);
}

#[test]
fn a_fifo_is_sent_as_what_comes_out_of_it() {
    let (server, here) = (Server::new(), place());
    let fifo = here.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let bytes = random(300_000, 4);
    thread::scope(|scope| {
        scope.spawn(|| File::options().write(true).open(&fifo).unwrap().write_all(&bytes).unwrap());
        kift(["put", "--plain", fifo.to_str().unwrap(), &server.at("")]).ok();
    });
    assert_holds(&server.file("fifo"), &bytes);
}

#[test]
fn a_reader_that_goes_away_ends_the_fetching() {
    let server = Server::new();
    let bytes = random(8 << 20, 5);
    fs::write(server.file("big"), &bytes).unwrap();
    let (get, mut stdout) = Running::piping(command(["get", "--plain", &server.at("big"), "-"]));
    let mut first = [0; 1000];
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(first[..], bytes[..1000]);
    drop(stdout);
    get.end().fails(&["big: cannot write standard output", "Broken pipe"]);
}

#[test]
fn standard_input_needs_a_name() {
    let server = Server::new();
    fs::create_dir(server.file("dir")).unwrap();
    for target in ["", "dir/", "dir"] {
        let put = ["put", "--plain", "-", &server.at(target)];
        kift_with(b"x", &put).fails(&["standard input has no name"]);
        let put = ["put", "--plain", "-", &server.at(target), "--name", "given"];
        kift_with(b"x", &put).ok();
        let stored = server.file(target).join("given");
        assert_holds(&stored, b"x");
        fs::remove_file(stored).unwrap();
    }
    assert_eq!(server.names(), ["dir"]);
}

#[test]
fn a_file_gets_the_name_it_is_given() {
    let (server, here) = (Server::new(), place());
    let local = here.path().join("local");
    fs::write(&local, "it").unwrap();
    let local = local.to_str().unwrap();
    fs::create_dir(server.file("dir")).unwrap();
    kift(["put", "--plain", local, &server.at("as")]).ok();
    kift(["put", "--plain", local, &server.at("dir/as")]).ok();
    kift(["put", "--plain", local, &server.at("dir")]).ok();
    kift(["put", "--plain", "--name", "named", local, &server.at("dir/")]).ok();
    for stored in ["as", "dir/as", "dir/local", "dir/named"] {
        assert_holds(&server.file(stored), b"it");
    }
    let both = ["put", "--plain", "--name", "named", local, local, &server.at("dir/")];
    kift(both).fails(&["--name is for a single file"]);
    kift(["put", "--plain", "--name", "named", local, &server.at("as")])
        .fails(&["not a directory"]);
    kift(["put", "--plain", local, local, &server.at("new")])
        .fails(&["not a directory", "kift mkdir"]);
    kift(["put", "--plain", &server.at("as")]).fails(&["both needed"]);
    kift(["put", "--plain", local, &server.at("no/such/dir")]).fails(&["local", "no such"]);
    assert_eq!(server.names(), ["as", "dir"]);
}

#[test]
fn standard_output_takes_one_file() {
    let server = Server::new();
    fs::write(server.file("a"), "a").unwrap();
    fs::create_dir(server.file("dir")).unwrap();
    let two = kift(["get", "--plain", &server.at("a"), &server.at("a"), "-"]);
    two.fails(&["standard output takes one file"]);
    kift(["get", "--plain", "-r", &server.at("dir"), "-"])
        .fails(&["dir", "does not fit standard output"]);
}
