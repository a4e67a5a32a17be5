//! A device that dials a server: it sends its log and fetches an image. And one that asks for its
//! address.

use std::fs;
use std::process::Command;

use kift_tests::device::{Bench, IMAGE, assert_sound};
use kift_tests::files::{assert_same, random};
use kift_tests::machine::{Ended, Running, skip};

const MIB: usize = 1 << 20;

/// The peer: a server of a directory, until it is asked to end.
const SERVER: &str = "exec kift serve --plain --listen 192.168.69.1:5438 served";

fn bench(test: &str) -> Option<Bench> {
    let bench = Bench::new(test)?;
    fs::create_dir(bench.path("served")).unwrap();
    Some(bench)
}

#[test]
fn a_device_sends_its_log_and_fetches_an_image() {
    let Some(bench) = bench("a_device_sends_its_log_and_fetches_an_image") else { return };
    assert_sound(&bench.run("push --plain today.log 192.168.69.1/ --log 1M", SERVER));
    let log = bench.read("served/today.log");
    assert_eq!(log.len(), MIB);
    bench.assert_keeps("today.log", &log);

    let image = random(MIB, 1);
    bench.write("served/image", &image);
    assert_sound(&bench.run("fetch --plain 192.168.69.1:5438/image", SERVER));
    bench.assert_keeps("image", &image);
    assert_eq!(bench.sound_files(), ["image", "today.log"]);
}

#[test]
fn what_is_there_gives_way_and_names_can_be_chosen() {
    let Some(bench) = bench("what_is_there_gives_way_and_names_can_be_chosen") else { return };
    fs::create_dir(bench.path("served/dir")).unwrap();
    bench.write("served/dir/new", b"new");
    bench.write("local", b"old");
    bench.flash(&["format", "--flash-size", "256k", IMAGE]).ok();
    bench.flash(&["add", IMAGE, "local", "here"]).ok();
    assert_sound(&bench.run("fetch --plain 192.168.69.1/dir/new here", SERVER));
    bench.assert_keeps("here", b"new");
    assert_sound(&bench.run("push --plain here 192.168.69.1/dir/there", SERVER));
    assert_sound(&bench.run("push --plain here 192.168.69.1/dir/", SERVER));
    // Over IPv6, in the place of what is there.
    bench.flash(&["add", IMAGE, "local", "here"]).ok();
    let server = "exec kift serve --plain --listen [fd00:6b69::1]:5438 served";
    assert_sound(&bench.run("push --plain here [fd00:6b69::1]/dir/there", server));
    assert_eq!(bench.read("served/dir/there"), b"old");
    assert_eq!(bench.read("served/dir/here"), b"new");
}

#[test]
fn it_does_it_again_and_again() {
    let Some(bench) = bench("it_does_it_again_and_again") else { return };
    bench.write("served/image", &random(50_000, 2));
    let twice = "--flash-size 256k --every 100ms --times 3";
    let fetched = bench.run(&format!("fetch --plain 192.168.69.1/image {twice}"), SERVER);
    assert_sound(&fetched);
    assert_eq!(fetched.stderr.matches("device: fetched image: 50000 bytes").count(), 3);
    let sent = bench.run(&format!("push --plain image 192.168.69.1/back {twice}"), SERVER);
    assert_sound(&sent);
    assert_eq!(sent.stderr.matches("device: sent image: 50000 bytes").count(), 3);
    assert_same(&bench.path("served/image"), &bench.path("served/back"));
    assert_eq!(bench.sound_files(), ["image"]);
}

#[test]
fn a_server_that_is_not_up_yet_is_waited_for() {
    let Some(bench) = bench("a_server_that_is_not_up_yet_is_waited_for") else { return };
    // Once the device was refused. The system counts it in this network alone.
    let late = format!(
        r#"
        resets() {{ awk '/^Tcp:/ {{ sent = $15 }} END {{ print sent }}' /proc/net/snmp; }}
        until [ "$(resets)" -gt 0 ]; do sleep 0.01; done
        {SERVER}
        "#
    );
    let device = bench.run("push --plain log 192.168.69.1/ --log 10k --flash-size 256k", &late);
    assert_sound(&device);
    assert!(device.stderr.contains("trying again"), "{}", device.stderr);
    bench.assert_keeps("log", &bench.read("served/log"));
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let Some(bench) = bench("what_cannot_be_done_is_said_and_changes_nothing") else { return };
    bench.write("mine", b"mine");
    bench.write("served/big", &random(200_000, 3));
    bench.flash(&["format", "--flash-size", "128k", IMAGE]).ok();
    bench.flash(&["add", IMAGE, "mine"]).ok();
    let read_only = "exec kift serve --plain --read-only --listen 192.168.69.1:5438 served";
    bench.run("push --plain none 192.168.69.1/", SERVER).fails(&["on this device", "no such file"]);
    bench
        .run("fetch --plain 192.168.69.1/none", SERVER)
        .fails(&["the server says", "no such file"]);
    bench
        .run("push --plain mine 192.168.69.1/", read_only)
        .fails(&["the server says", "read-only"]);
    bench
        .run("fetch --plain 192.168.69.1/big mine", SERVER)
        .fails(&["on this device", "too large"]);
    bench
        .run("push --plain mine 192.168.69.1/", "exit 3")
        .fails(&["beside the device", "exit status: 3"]);
    assert_eq!(bench.sound_files(), ["mine"]);
    bench.assert_keeps("mine", b"mine");
}

/// Makes a TAP interface in a network namespace, with a DHCP server that knows one address, and runs
/// `script` there: a device that asks for its address finds somebody to ask.
fn with_dhcp(test: &str, script: &str) -> Option<(Bench, Ended)> {
    let bench = bench(test)?;
    if Command::new("dnsmasq").arg("--version").output().is_err() {
        skip(test, "needs dnsmasq");
        return None;
    }
    let script = format!(
        r#"
        set -eu
        ip tuntap add dev tap0 mode tap
        ip address add 192.168.69.1/24 dev tap0
        ip link set tap0 up
        trap 'kill $(cat dhcp.pid)' EXIT
        # It goes on in the background once it is ready.
        dnsmasq --conf-file=/dev/null --port=0 --user= --group= --interface=tap0 --no-ping \
            --dhcp-range=192.168.69.77,192.168.69.77 --dhcp-authoritative \
            --dhcp-leasefile="$PWD/leases" --pid-file="$PWD/dhcp.pid"
        {script}
        "#
    );
    let mut command = Command::new("unshare");
    let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    command.args([flags, "sh", "-c", &script]);
    bench.set_up(&mut command);
    let ended = Running::start(command).end();
    Some((bench, ended))
}

#[test]
fn a_device_that_dials_gets_its_address_by_dhcp() {
    let test = "a_device_that_dials_gets_its_address_by_dhcp";
    let line = "kift-firmware-sim push --plain log 192.168.69.1/ --tap tap0 --ip dhcp --log 10k";
    let script = format!("{line} --flash {IMAGE} -- {}", SERVER.trim_start_matches("exec "));
    let Some((bench, device)) = with_dhcp(test, &script) else { return };
    assert_sound(&device);
    bench.assert_keeps("log", &bench.read("served/log"));
    assert!(device.stderr.contains("connected peer=192.168.69.77"), "{}", device.stderr);
}

#[test]
fn a_device_that_serves_gets_its_address_by_dhcp() {
    let test = "a_device_that_serves_gets_its_address_by_dhcp";
    let line = "kift-firmware-sim serve --plain --tap tap0 --ip dhcp --log 10k";
    let peer = r#"
        [ "$KIFT_DEVICE" = 192.168.69.77:5438 ]
        kift get --plain "$KIFT_DEVICE/device.log"
    "#;
    let script = format!("{line} --flash {IMAGE} -- sh -euc '{peer}'");
    let Some((bench, device)) = with_dhcp(test, &script) else { return };
    assert_sound(&device);
    bench.assert_keeps("device.log", &bench.read("device.log"));
}
