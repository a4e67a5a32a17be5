//! Transfers that are interrupted go on where they were: in the same command and in a later one, whichever
//! end was killed and wherever the line was cut.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;

use kift_tests::files::{assert_same, names, place, random, write_random};
use kift_tests::machine::{Ended, Running, Signal, command, kift, wait_until};
use kift_tests::proxy::{Fate, Proxy};
use kift_tests::rng::{Case, Rng};
use kift_tests::serving::{Serve, Server};
use kift_tests::stage::{Stage, Way};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// What is made durable at once at most, with what may be under way behind it.
const UNDER_WAY: u64 = 40 * MIB;

/// Bytes that a command says it has moved.
#[track_caller]
fn moved(ended: Ended) -> u64 {
    let objects = ended.objects();
    let summary = &objects.last().unwrap()["summary"];
    assert_eq!((&summary["files"], &summary["failed"]), (&Value::from(1), &Value::from(0)));
    summary["bytes"].as_u64().unwrap()
}

#[test]
fn an_upload_goes_on_in_a_later_command() {
    let mut stage = Stage::new("4");
    let len = 120 * MIB + 100;
    write_random(&stage.local("file"), len, 1);
    for killed in ["client", "server", "interrupted"] {
        let _case = Case(killed);
        let mut client = Running::start(stage.transfer(Way::Put, &["--on-conflict", "replace"]));
        wait_until("enough is there", || client.is_over() || stage.server.partial_len() > 80 * MIB);
        match killed {
            "client" => client.signal(Signal::KILL),
            "server" => stage.server.kill(),
            _ => client.signal(Signal::INT),
        }
        assert!(!client.end().status.success());
        if killed == "server" {
            stage.server.restart();
        } else {
            stage.server.wait_until_idle();
        }
        let ended = Running::start(stage.transfer(Way::Put, &["--on-conflict", "replace"])).end();
        assert!(ended.stderr.contains("\"file\" goes on behind the "), "{ended:?}");
        let moved = moved(ended);
        assert!(moved <= len - 80 * MIB + UNDER_WAY, "{killed}: {moved}");
        stage.assert_clean();
        fs::remove_file(stage.server.file("file")).unwrap();
    }
    assert_eq!(names(&stage.local("state/uploads")), [""; 0]);
}

#[test]
fn a_download_goes_on_in_a_later_command() {
    let mut stage = Stage::new("4");
    let len = 120 * MIB + 100;
    write_random(&stage.server.file("file"), len, 1);
    for killed in ["client", "server", "interrupted"] {
        let _case = Case(killed);
        let mut client = Running::start(stage.transfer(Way::Get, &[]));
        wait_until("enough is there", || client.is_over() || stage.came(Way::Get) > 80 * MIB);
        match killed {
            "client" => client.signal(Signal::KILL),
            "server" => stage.server.kill(),
            _ => client.signal(Signal::INT),
        }
        assert!(!client.end().status.success());
        assert!(!stage.local("file").exists());
        if killed == "server" {
            stage.server.restart();
        }
        let ended = Running::start(stage.transfer(Way::Get, &[])).end();
        assert!(ended.stderr.contains("\"file\" goes on behind the "), "{ended:?}");
        let moved = moved(ended);
        assert!(moved <= len - 80 * MIB + UNDER_WAY, "{killed}: {moved}");
        stage.assert_clean();
        fs::remove_file(stage.local("file")).unwrap();
    }
}

#[test]
fn one_command_survives_its_server() {
    for is_put in [true, false] {
        let mut stage = Stage::new("4");
        let len = 400 * MIB;
        let [from, to] = [stage.local("file"), stage.server.file("file")];
        write_random(if is_put { &from } else { &to }, len, 1);
        let line = if is_put {
            stage.transfer(Way::Put, &["--retry", "50"])
        } else {
            stage.transfer(Way::Get, &["--retry", "50"])
        };
        let mut client = Running::start(line);
        for step in 1..=5 {
            let there = |stage: &Stage| match is_put {
                true => stage.server.partial_len(),
                false => stage.came(Way::Get),
            };
            wait_until("it goes on", || client.is_over() || there(&stage) > step * 60 * MIB);
            stage.server.kill();
            stage.server.restart();
        }
        let ended = client.end();
        let lost = ended.stderr.matches("trying again in").count();
        assert!(lost >= 5, "{lost}: {ended:?}");
        let behind = ended.stderr.matches("goes on behind").count();
        assert!(behind >= 4, "{behind}: {ended:?}");
        assert_eq!(moved(ended), len, "each byte counts once");
        stage.assert_clean();
    }
}

/// One that went on behind what an earlier command left, and loses its server too.
#[test]
fn a_download_that_went_on_goes_on_again() {
    let mut stage = Stage::new("4");
    let len = 120 * MIB;
    write_random(&stage.server.file("file"), len, 1);
    interrupt(&stage, false);
    let mut client = Running::start(stage.transfer(Way::Get, &["--retry", "20"]));
    wait_until("it goes on", || client.is_over() || stage.came(Way::Get) > 80 * MIB);
    stage.server.kill();
    stage.server.restart();
    let ended = client.end();
    assert_eq!(ended.stderr.matches("goes on behind").count(), 2, "{ended:?}");
    assert!(moved(ended) <= len - 8 * MIB);
    stage.assert_clean();
}

/// The line is cut behind any record; the outcome is that of one upload, which is told once.
#[test]
fn one_command_survives_its_line() {
    for seed in 0..8 {
        let _case = Case(seed);
        let stage = Stage::new("4");
        fs::create_dir(stage.local("tree")).unwrap();
        for at in 0..20 {
            fs::write(stage.local(&format!("tree/{at}")), random(at * 10_000, at as u64)).unwrap();
        }
        let rng = Mutex::new((Rng::new(seed), 0));
        let proxy = Proxy::lay(
            stage.server.port(),
            Box::new(move |_, _, bytes| {
                let mut rng = rng.lock().unwrap();
                // Ten times: then it holds.
                let cut = rng.1 < 10 && rng.0.chance(4);
                rng.1 += u32::from(cut);
                let on = bytes[..if cut { rng.0.below(bytes.len() + 1) } else { 0 }].to_vec();
                cut.then(|| Fate { on, back: Vec::new(), cut })
            }),
        );
        let (there, fetched) = (proxy.at(""), proxy.at("tree"));
        let both = ["--plain", "-r", "--json", "--retry", "20"];
        let put = [&["put", "tree", &there, "--on-conflict", "keep-both"], &both[..]].concat();
        let ended = Running::start(stage.command(&put)).end();
        assert_eq!(ended.moved().len(), 20);
        let get = [&["get", &fetched, "back/"], &both[..]].concat();
        fs::create_dir(stage.local("back")).unwrap();
        let ended = Running::start(stage.command(&get)).end();
        assert_eq!(ended.moved().len(), 20);
        for dir in [stage.server.file("tree"), stage.local("back/tree")] {
            assert_eq!(names(&dir).len(), 20, "{:?}", names(&dir));
            (0..20).for_each(|at| {
                let name = at.to_string();
                assert_same(&dir.join(&name), &stage.local("tree").join(&name));
            });
        }
        let _ = proxy.end();
    }
}

#[test]
fn what_has_changed_begins_again_and_says_so() {
    let stage = Stage::new("4");
    let len = 40 * MIB;
    // The source of an upload has, in its time or only in its bytes.
    for touched in [true, false] {
        write_random(&stage.local("file"), len, 1);
        let modified = stage.local("file").metadata().unwrap().modified().unwrap();
        interrupt(&stage, true);
        write_random(&stage.local("file"), len, 2);
        if !touched {
            let file = fs::File::options().write(true).open(stage.local("file")).unwrap();
            file.set_modified(modified).unwrap();
        }
        let ended = Running::start(stage.transfer(Way::Put, &["--on-conflict", "replace"])).end();
        assert!(ended.stderr.contains("since, and begins again"), "{ended:?}");
        assert_eq!(moved(ended), len);
        stage.assert_clean();
    }
    // That of a download has, or has become shorter.
    for len in [len, 3 * MIB] {
        fs::remove_file(stage.local("file")).unwrap();
        write_random(&stage.server.file("file"), 40 * MIB, 3);
        interrupt(&stage, false);
        write_random(&stage.server.file("file"), len, 4);
        let ended = Running::start(stage.transfer(Way::Get, &[])).end();
        assert!(
            ended.stderr.contains("\"file\" has changed there since, and begins again"),
            "{ended:?}"
        );
        assert_eq!(moved(ended), len);
        stage.assert_clean();
    }
}

/// Interrupts a transfer of which enough is there.
fn interrupt(stage: &Stage, is_put: bool) {
    let line = if is_put {
        stage.transfer(Way::Put, &["--on-conflict", "replace"])
    } else {
        stage.transfer(Way::Get, &[])
    };
    let kept = stage.server.log().matches("kept an upload").count();
    let mut client = Running::start(line);
    wait_until("enough is there", || {
        client.is_over() || stage.server.partial_len().max(stage.came(Way::Get)) > 8 * MIB
    });
    client.signal(Signal::INT);
    assert!(!client.end().status.success());
    if is_put {
        wait_until("it is kept", || stage.server.log().matches("kept an upload").count() > kept);
    }
}

#[test]
fn partials_are_shown_and_forgotten() {
    let stage = Stage::new("4");
    write_random(&stage.local("file"), 40 * MIB, 1);
    let partials = |args: &[&str]| {
        let at = stage.server.at("");
        let line = [&["partials", "--plain", "--json", &at], args].concat();
        Running::start(stage.command(&line)).end()
    };
    assert_eq!(partials(&[]).objects(), [Value::Null; 0]);
    for discard in [true, false] {
        interrupt(&stage, true);
        let shown = partials(&[]).objects();
        assert_eq!(shown.len(), 1);
        assert_eq!((&shown[0]["path"], &shown[0]["size"]), (&"file".into(), &(40 * MIB).into()));
        let durable = shown[0]["durable"].as_u64().unwrap();
        assert!(durable >= 8 * MIB && durable % MIB == 0, "{durable}");
        assert_eq!(stage.server.names(), [""; 0], "no file yet");
        assert_eq!(stage.server.partials().len(), 1);
        partials(&["--discard", "0123"]).fails(&["no upload", "0123"]);
        let id = shown[0]["transfer"].as_str().unwrap();
        let how = if discard { vec!["--discard", id] } else { vec!["--discard-all"] };
        let mut discarded = partials(&how).objects();
        // Which is a little more by now.
        discarded[0]["age_s"] = shown[0]["age_s"].clone();
        assert_eq!(discarded, shown);
        assert_eq!(partials(&[]).objects(), [Value::Null; 0]);
        assert!(stage.server.partials().is_empty());
        fs::remove_dir_all(stage.local("state/uploads")).unwrap();
    }
}

/// Nobody goes on with what is another's, or sees it.
#[test]
fn partials_are_their_users() {
    let here = place();
    let state = here.path().join("server");
    let state_arg = state.to_str().unwrap().to_owned();
    for user in ["anna", "ben"] {
        fs::write(here.path().join(user), format!("{user} {user} {user}\n")).unwrap();
        fs::set_permissions(here.path().join(user), fs::Permissions::from_mode(0o600)).unwrap();
        let password = here.path().join(user);
        let add = [
            "user",
            "add",
            user,
            "--state",
            &state_arg,
            "--password-file",
            password.to_str().unwrap(),
        ];
        kift(add).ok();
    }
    let args = ["--window", "4"];
    let server = Server::start(Serve { state: Some(&state), args: &args, ..Serve::default() });
    let key = kift(["key", "fingerprint", "--state", &state_arg]).ok();
    write_random(&here.path().join("file"), 40 * MIB, 1);
    let line = |user: &str, args: &[&str]| {
        let mut line = command(args);
        line.env("KIFT_STATE", here.path().join("state")).current_dir(here.path());
        line.env("KIFT_SERVER_KEY", key.trim()).env("KIFT_USER", user);
        line.env("KIFT_PASSWORD_FILE", here.path().join(user));
        line
    };
    let mut client = Running::start(line("anna", &["put", "file", &server.at("")]));
    wait_until("enough is there", || client.is_over() || server.partial_len() > 8 * MIB);
    client.signal(Signal::KILL);
    assert!(client.end().was_killed());
    wait_until("it is kept", || server.log().contains("kept an upload"));
    let partials = |user| Running::start(line(user, &["partials", "--json", &server.at("")])).end();
    assert_eq!(partials("ben").objects().len(), 0);
    let shown = partials("anna").objects();
    assert_eq!(shown.len(), 1);
    let id = shown[0]["transfer"].as_str().unwrap();
    let discard = ["partials", "--discard", id, &server.at("")];
    Running::start(line("ben", &discard)).end().fails(&["no upload"]);
    let ended =
        Running::start(line("anna", &["put", "-v", "--json", "file", &server.at("")])).end();
    assert!(moved(ended) <= 33 * MIB);
    assert_same(&here.path().join("file"), &server.file("file"));
}

/// Whoever has given up is told why; what cannot be sent twice is not.
#[test]
fn some_things_cannot_go_on() {
    let mut stage = Stage::new("4");
    fs::write(stage.local("file"), "contents").unwrap();
    stage.server.kill();
    let ended = Running::start(stage.transfer(Way::Put, &["--retry", "2"])).end();
    assert_eq!(ended.stderr.matches("trying again in").count(), 2, "{ended:?}");
    ended.fails(&["cannot connect"]);
    stage.server.restart();
    // Standard input, once something was read of it.
    let at = stage.server.at("pipe");
    let mut client = Running::start(stage.command(&["put", "--plain", "--retry", "9", "-", &at]));
    let mut stdin = client.take_stdin();
    std::io::Write::write_all(&mut stdin, &random(100_000, 1)).unwrap();
    wait_until("it has begun", || stage.server.partial_len() > 0);
    stage.server.kill();
    stage.server.restart();
    drop(stdin);
    client.end().fails(&["standard input", "cannot be read again"]);
    assert_eq!(stage.server.names(), [""; 0]);
}

#[test]
fn two_at_a_time_do_not_meet() {
    let stage = Stage::new("4");
    write_random(&stage.server.file("file"), 20 * MIB, 1);
    let clients =
        [(); 3].map(|()| Running::start(stage.transfer(Way::Get, &["--on-conflict", "replace"])));
    for client in clients {
        assert_eq!(moved(client.end()), 20 * MIB);
    }
    stage.assert_clean();
    fs::remove_file(stage.server.file("file")).unwrap();
    let clients =
        [(); 3].map(|()| Running::start(stage.transfer(Way::Put, &["--on-conflict", "replace"])));
    for client in clients {
        assert_eq!(moved(client.end()), 20 * MIB);
    }
    stage.assert_clean();
}

/// A name that somebody else has laid a trap under.
#[test]
fn a_hidden_name_is_trusted_by_nobody() {
    let stage = Stage::new("4");
    write_random(&stage.server.file("file"), 40 * MIB, 1);
    let mut client = Running::start(stage.transfer(Way::Get, &[]));
    let mut hidden = None;
    wait_until("it has begun", || {
        hidden = names(stage.here.path()).into_iter().find(|name| name.ends_with(".part"));
        hidden.is_some() || client.is_over()
    });
    let _ = client.end();
    let hidden = hidden.expect("it was too quick");
    let victim = stage.local("victim");
    let lay = |f: &dyn Fn(&Path)| {
        fs::write(&victim, "precious").unwrap();
        f(&stage.local(&hidden));
        assert_eq!(
            moved(Running::start(stage.transfer(Way::Get, &["--on-conflict", "replace"])).end()),
            40 * MIB
        );
        assert_same(&stage.local("file"), &stage.server.file("file"));
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        fs::remove_file(stage.local(&hidden)).unwrap();
    };
    lay(&|path| std::os::unix::fs::symlink(&victim, path).unwrap());
    lay(&|path| fs::hard_link(&victim, path).unwrap());
}

/// Of what went over several links, what is there from the beginning on counts.
#[test]
fn what_went_over_links_goes_on_in_a_later_command() {
    let len = 160 * MIB + 100;
    for (way, killed) in Way::BOTH.into_iter().flat_map(|way| [(way, "client"), (way, "server")]) {
        let _case = Case(format!("{way:?}, {killed}"));
        let mut stage = Stage::new("4");
        write_random(&stage.source(way), len, 1);
        let mut client = Running::start(stage.transfer(way, &["--links", "2"]));
        wait_until("enough is there", || client.is_over() || stage.came(way) > 120 * MIB);
        match killed {
            "client" => client.signal(Signal::KILL),
            _ => stage.server.kill(),
        }
        assert!(!client.end().status.success());
        assert!(!stage.target(way).exists());
        if killed == "server" {
            stage.server.restart();
        } else if way == Way::Put {
            wait_until("it is kept", || stage.server.log().contains("kept an upload"));
        }
        let ended = Running::start(stage.transfer(way, &["--links", "2"])).end();
        assert!(ended.stderr.contains("\"file\" goes on behind the "), "{ended:?}");
        let moved = moved(ended);
        // Runs of 4 MiB, two at once on each link, are not in order, and one link may be slower.
        assert!(moved <= len - 120 * MIB + UNDER_WAY + 32 * MIB, "{moved}");
        stage.assert_clean();
    }
}

#[test]
fn one_command_with_links_survives_its_server() {
    for way in Way::BOTH {
        let mut stage = Stage::new("4");
        write_random(&stage.source(way), 200 * MIB, 1);
        let line = stage.transfer(way, &["--links", "2", "--retry", "50"]);
        let mut client = Running::start(line);
        for at in [60, 120] {
            wait_until("it is under way", || client.is_over() || stage.came(way) > at * MIB);
            assert!(!client.is_over());
            stage.server.kill();
            stage.server.restart();
        }
        let ended = client.end();
        assert!(ended.status.success(), "{ended:?}");
        stage.assert_clean();
    }
}
