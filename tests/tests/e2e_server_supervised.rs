//! A server under systemd, or what does as that does: its socket, its notifications, its units.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use kift_tests::files::place;
use kift_tests::machine::{PATIENCE, Running, Signal, kift, program, skip};

/// Starts a plain server of `root` by a shell that does `first` in the same process.
fn supervised(first: &str, root: &Path, stdin: Stdio, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first} exec \"$@\" 3<&0 </dev/null"), "sh"]);
    command.arg(program()).args(["serve", "--plain", "--listen", "127.0.0.1:0"]).arg(root);
    command.env_remove("KIFT_LOG").env("KIFT_STATE", "/dev/null/kift").stdin(stdin);
    command.envs(variables.iter().copied());
    command
}

#[test]
fn it_serves_on_the_socket_that_it_is_given() {
    let root = place();
    fs::write(root.path().join("a"), "a").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("{}/a", listener.local_addr().unwrap());
    let first = "export LISTEN_PID=$$ LISTEN_FDS=1;";
    let stdin = Stdio::from(OwnedFd::from(listener));
    let mut command = supervised(first, root.path(), stdin, &[]);
    let log = root.path().join("log");
    let output = fs::File::create(&log).unwrap();
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = command.spawn().unwrap();
    // The socket listens already, so there is nothing to wait for.
    assert_eq!(kift(["get", "--plain", &at, "-"]).ok(), "a");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
}

#[test]
fn its_supervisor_is_told_how_it_is() {
    let (root, run) = (place(), place());
    let settings = run.path().join("server.toml");
    fs::write(&settings, "").unwrap();
    let path = run.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut told = [0; 4096];
        let n = socket.recv(&mut told).expect("a notification");
        String::from_utf8(told[..n].to_vec()).unwrap()
    };
    let until = |word: &str| while !told().lines().any(|line| line == word) {};
    let variables = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "200000"),
        ("KIFT_SERVE_CONFIG", settings.to_str().unwrap()),
    ];
    let server = Running::start(supervised("", root.path(), Stdio::piped(), &variables));
    assert_eq!(told(), "READY=1\n");
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    server.signal(Signal::HUP);
    until("RELOADING=1");
    until("READY=1");
    server.signal(Signal::TERM);
    until("STOPPING=1");
    server.end().ok();
}

#[test]
fn a_socket_that_is_none_is_refused() {
    let root = place();
    let first = "export LISTEN_PID=$$ LISTEN_FDS=1;";
    let server = Running::start(supervised(first, root.path(), Stdio::piped(), &[]));
    server.end().fails(&["LISTEN_FDS"]);
}

#[test]
fn the_units_are_sound() {
    let units = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/systemd"));
    let here = place();
    for name in ["kift.service", "kift.socket"] {
        let text = fs::read_to_string(units.join(name)).unwrap();
        let text = text.replace("/usr/local/bin/kift", program().to_str().unwrap());
        fs::write(here.path().join(name), text).unwrap();
    }
    let Ok(verified) = Command::new("systemd-analyze")
        .arg("verify")
        .args(["kift.service", "kift.socket"].map(|name| here.path().join(name)))
        .output()
    else {
        skip("the_units_are_sound", "needs systemd-analyze");
        return;
    };
    let told = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success(), "{told}");
    assert!(!told.contains("kift."), "{told}");
}
