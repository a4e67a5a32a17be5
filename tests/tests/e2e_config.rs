//! Servers by names of the user's own, the environment, completions, the manual, and colours.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kift_tests::estate::Estate;
use kift_tests::files::{assert_holds, names, place};
use kift_tests::machine::{Ended, Running, command, kift};
use kift_tests::serving::Server;
use kift_tests::terminal::Terminal;
use serde_json::json;

/// A settings file with `text` in it, that its owner alone may write.
fn settings(place: &Path, text: &str) -> PathBuf {
    let file = place.join("config.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    file
}

/// Runs `kift` with a settings file and further variables.
fn with(file: &Path, variables: &[(&str, &str)], args: &[&str]) -> Ended {
    let mut command = command(args);
    command.env("KIFT_CONFIG", file).envs(variables.iter().copied());
    Running::start(command).end()
}

#[test]
fn a_server_that_has_a_name_is_reached_by_it() {
    let (estate, here) = (Estate::new(), place());
    estate.user("anna", "rw", "correct horse");
    let password = estate.secret("password", "correct horse");
    let (bench, local) = (Server::new(), here.path().join("a.bin"));
    fs::write(&local, "a").unwrap();
    let file = settings(
        here.path(),
        &format!(
            "[server.lab]\naddress = \"127.0.0.1:{}\"\nuser = \"anna\"\nserver_key = \"{}\"\n\
             password_file = \"{}\"\n[server.bench]\naddress = \"127.0.0.1:{}\"\nplain = true\n",
            estate.server().port(),
            estate.fingerprint(),
            password.display(),
            bench.port(),
        ),
    );
    let state = here.path().join("state");
    let local = local.to_str().unwrap();
    let run = |args: &[&str]| {
        let all = [args, &["--state", state.to_str().unwrap()]].concat();
        with(&file, &[], &all)
    };
    run(&["mkdir", "lab:/in"]).ok();
    run(&["put", local, "lab:/in/"]).ok();
    assert_holds(&estate.server().file("in/a.bin"), b"a");
    assert!(run(&["ls", "lab/in"]).ok().contains("a.bin"));
    run(&["put", local, "bench:"]).ok();
    assert_holds(&bench.file("a.bin"), b"a");
    run(&["get", "lab:/in/a.bin", here.path().join("back").to_str().unwrap()]).ok();
    assert_holds(&here.path().join("back"), b"a");
    run(&["shell", "lab", "-c", "cd in; stat a.bin"]).ok();
    run(&["rm", "lab:/in/none"]).fails(&["in/none: no such file"]);
    let shown = run(&["config"]).ok();
    for words in [&*format!("anna@127.0.0.1:{}", estate.server().port()), "lab ", "(plain)"] {
        assert!(shown.contains(words), "{shown}");
    }
    let objects = run(&["config", "--json"]).objects();
    assert_eq!((&objects[0]["name"], &objects[0]["plain"]), (&json!("bench"), &json!(true)));
    // The command line comes before the file.
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    run(&["ls", "lab:", "--server-key", other]).fails(&["not the one that --server-key names"]);
    run(&["ls", "bench:", "--server-key", other]).fails(&["--plain"]);
    run(&["ls", "--plain", "lab:"]).fails(&["leave --plain out"]);
}

#[test]
fn the_environment_comes_before_the_file() {
    let (estate, here) = (Estate::new(), place());
    estate.user("anna", "rw", "correct horse");
    let password = estate.secret("password", "correct horse");
    let wrong = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let text = format!(
        "[server.lab]\naddress = \"127.0.0.1:{}\"\nserver_key = \"{wrong}\"\nuser = \"nobody\"\n",
        estate.server().port()
    );
    let file = settings(here.path(), &text);
    let (state, key) = (here.path().join("state"), estate.fingerprint());
    let ls = ["ls", "lab:", "--state", state.to_str().unwrap()];
    let variables = [
        ("KIFT_SERVER_KEY", key.as_str()),
        ("KIFT_USER", "anna"),
        ("KIFT_PASSWORD_FILE", password.to_str().unwrap()),
    ];
    with(&file, &variables, &ls).ok();
    with(&file, &[], &ls).fails(&["not the one"]);
    with(&file, &[("KIFT_SERVER_KEY", "no key")], &ls).fails(&["KIFT_SERVER_KEY", "neither a key"]);
    with(&file, &[("KIFT_USER", "a/b")], &ls).fails(&["KIFT_USER", "no user's name"]);
}

#[test]
fn settings_that_are_wrong_are_named() {
    let here = place();
    let file = settings(here.path(), "[server.lab]\nadress = \"x\"\n");
    let ls = ["ls", "--plain", "lab:"];
    let told = with(&file, &[], &ls);
    told.fails(&["config.toml", "line 2", "unknown field `adress`", "kift config --example"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    with(&file, &[], &ls).fails(&["others than its owner may write", "chmod go-w"]);
    with(&here.path().join("none"), &[], &ls).fails(&["cannot read the settings in", "none"]);
    let example = with(&file, &[], &["config", "--example"]).ok();
    let file = settings(here.path(), &example);
    with(&file, &[], &["config"]).ok();
    // At its usual place it may be absent.
    let mut command = command(["config"]);
    command.env_remove("KIFT_CONFIG").env("XDG_CONFIG_HOME", here.path().join("config"));
    let told = Running::start(command).end().ok();
    assert!(told.contains("config/kift/config.toml"), "{told}");
}

/// The commands that `kift --help` shows.
fn commands() -> Vec<String> {
    let help = kift(["--help"]).ok();
    let (_, behind) = help.split_once("Commands:\n").unwrap();
    let lines = behind.lines().take_while(|line| !line.is_empty());
    let first = lines.filter_map(|line| line.split_whitespace().next());
    first.filter(|name| *name != "help").map(ToOwned::to_owned).collect()
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let here = place();
    assert!(commands().len() > 20, "{:?}", commands());
    for shell in ["bash", "zsh", "fish"] {
        let script = kift(["completions", shell]).ok();
        for name in commands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
        assert!(script.contains("on-conflict"), "{shell}");
    }
    let script = here.path().join("kift.bash");
    fs::write(&script, kift(["completions", "bash"]).ok()).unwrap();
    let complete = "source \"$0\"; COMP_WORDS=(kift pu); COMP_CWORD=1; _kift kift pu kift; echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash").args(["-c", complete]).arg(&script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "put", "{bash:?}");

    let pages = here.path().join("man");
    kift(["man", "--dir", pages.to_str().unwrap()]).ok();
    for name in commands() {
        let page = fs::read_to_string(pages.join(format!("kift-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    let page = kift(["man", "put"]).ok();
    assert!(page.contains("on\\-conflict"), "{page}");
    assert!(names(&pages).contains(&"kift-user-add.1".to_owned()));
    kift(["man", "frob"]).fails(&["there is no command \"frob\"", "kift --help"]);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    const RED: &str = "\x1b[31m";
    let screen = |variables: &[(&str, &str)]| {
        let line = ["rm", "--plain", "127.0.0.1:1/x"];
        let terminal = Terminal::with_variables(variables, line);
        let (_, screen) = terminal.end();
        assert!(screen.contains("kift:"), "{screen}");
        screen
    };
    assert!(screen(&[]).contains(RED));
    assert!(screen(&[("NO_COLOR", "")]).contains(RED), "what is empty is not set");
    for variables in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert!(!screen(&[variables]).contains('\x1b'), "{variables:?}");
    }
    assert!(!kift(["rm", "--plain", "127.0.0.1:1/x"]).stderr.contains('\x1b'));
}
