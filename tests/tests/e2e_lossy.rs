//! A network that loses packets, and for a while all of them, between the real programs.

use std::fs;
use std::thread;
use std::time::Duration;

use kift_tests::files::{place, write_random};
use kift_tests::lossy::{Lossy, why_not};
use kift_tests::machine::{Ended, skip, wait_until};
use kift_tests::stage::Way;

const MIB: u64 = 1 << 20;

#[track_caller]
fn succeeds(ended: Ended) -> Ended {
    assert!(ended.status.success(), "{ended:?}");
    ended
}

#[test]
fn packets_are_lost_now_and_then() {
    if let Some(why) = why_not() {
        skip("packets_are_lost_now_and_then", why);
        return;
    }
    let net = Lossy::new();
    let stage = net.stage("64", &[]);
    for lost in [10, 100] {
        for way in Way::BOTH {
            net.lose(lost);
            write_random(&stage.source(way), 4 * MIB + 7, u64::from(lost));
            let _ = succeeds(net.start(&stage.transfer(way, &["--retry", "9"])).end());
            net.lose(0);
            stage.assert_clean();
            fs::remove_file(stage.source(way)).unwrap();
            fs::remove_file(stage.target(way)).unwrap();
        }
    }
}

/// So long that the server gives the session up; what it had is gone on with.
#[test]
fn all_packets_are_lost_for_a_while() {
    if let Some(why) = why_not() {
        skip("all_packets_are_lost_for_a_while", why);
        return;
    }
    let (net, here) = (Lossy::new(), place());
    let settings = here.path().join("settings.toml");
    fs::write(&settings, "stall_timeout = \"1s\"\n").unwrap();
    let stage = net.stage("4", &["--config", settings.to_str().unwrap()]);
    for way in Way::BOTH {
        write_random(&stage.source(way), 200 * MIB + 7, 1);
        let mut client = net.start(&stage.transfer(way, &["--retry", "9"]));
        wait_until("it is under way", || client.is_over() || stage.came(way) > 20 * MIB);
        let given_up = stage.server.log().matches("did not answer in time").count();
        net.lose(1000);
        wait_until("the server gives it up", || {
            stage.server.log().matches("did not answer in time").count() > given_up
        });
        thread::sleep(Duration::from_millis(100));
        net.lose(0);
        let ended = succeeds(client.end());
        assert!(ended.stderr.contains("goes on behind the "), "{ended:?}");
        stage.assert_clean();
        fs::remove_file(stage.source(way)).unwrap();
        fs::remove_file(stage.target(way)).unwrap();
    }
}
