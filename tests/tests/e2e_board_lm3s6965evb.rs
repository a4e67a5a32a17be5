//! The bare-metal image of the LM3S6965 kit, in QEMU with an SD card: files go both ways over sealed
//! links, and the power is cut by killing QEMU.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use kift_firmware_sim::card::Store;
use kift_tests::card::Card;
use kift_tests::files::random;
use kift_tests::flash;
use kift_tests::machine::{Running, Signal, command, skip, wait_until};
use tempfile::TempDir;

const BOARD: &str = "lm3s6965evb";

const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz";

/// A FAT16 of clusters of 2 KiB.
const CARD_KIB: &str = "32768";

/// Where the entries of uploads are, at the beginning of the card.
const ENTRIES: usize = 1 << 20;

/// A program, which may be among those of the administrator.
fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null());
    command
}

/// cargo for the board's processor.
fn cargo() -> Command {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-sim/boards");
    let mut cargo = tool("bash");
    cargo.arg(boards.join("cargo")).arg("thumbv7m-none-eabi").current_dir(boards.join(BOARD));
    // Those are for the tests.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// The device's image, if it can be built here and run.
fn image(test: &str) -> Option<&'static Path> {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    for name in ["qemu-system-arm", "arm-none-eabi-ld", "mkfs.fat"] {
        if tool(name).arg("--version").output().is_err() {
            skip(test, &format!("needs {name}"));
            return None;
        }
    }
    if !cargo().arg("--which").output().is_ok_and(|said| said.status.success()) {
        skip(test, "needs a toolchain for thumbv7m-none-eabi");
        return None;
    }
    Some(IMAGE.get_or_init(|| {
        let this = std::env::current_exe().expect("a test has a program");
        let target = this.ancestors().nth(3).expect("TARGET/PROFILE/deps/this").join(BOARD);
        let mut build = cargo();
        build.args(["build", "--release", "--locked", "--target-dir"]).arg(&target);
        let built = build.output().expect("bash");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("thumbv7m-none-eabi/release/kift-lm3s6965evb")
    }))
}

/// A card, a device that it is in, and whoever is at this machine.
struct Kit {
    image: &'static Path,
    place: TempDir,
    port: u16,
}

impl Kit {
    fn new(test: &str) -> Option<Self> {
        let image = image(test)?;
        let place = tempfile::tempdir().unwrap();
        let made = tool("mkfs.fat")
            .args(["-F16", "-s4", "-C"])
            .arg(place.path().join("sd.img"))
            .arg(CARD_KIB)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        fs::write(place.path().join("token"), TOKEN).unwrap();
        let only_ours = fs::Permissions::from_mode(0o600);
        fs::set_permissions(place.path().join("token"), only_ours).unwrap();
        // It is free when this is dropped.
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        Some(Self { image, place, port })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Boots the device, and waits until it serves.
    fn boot(&self) -> Running {
        let console = self.at("console");
        let _ = fs::remove_file(&console);
        let mut qemu = Command::new("qemu-system-arm");
        let (card, words) = (self.at("sd.img"), format!("serve,arg=pair={TOKEN}"));
        qemu.args(["-M", BOARD, "-display", "none", "-monitor", "none"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-kernel")
            .arg(self.image)
            .arg("-drive")
            .arg(format!("file={},if=sd,format=raw", card.display()))
            .arg("-nic")
            .arg(format!("user,restrict=on,hostfwd=tcp:127.0.0.1:{}-10.0.2.15:5438", self.port))
            .arg("-semihosting-config")
            .arg(format!(
                "enable=on,target=native,arg=kift,arg={words},arg=seed={}",
                "0123456789abcdef".repeat(4)
            ));
        let mut device = Running::start(qemu);
        wait_until("the device serves", || {
            assert!(
                !device.is_over(),
                "QEMU has ended: {}",
                fs::read_to_string(&console).unwrap_or_default()
            );
            fs::read_to_string(&console).is_ok_and(|text| text.contains("listening"))
        });
        device
    }

    /// The power is cut.
    fn cut(device: Running) {
        device.signal(Signal::KILL);
        assert!(device.end().was_killed());
    }

    fn kift(&self, args: &[&str]) -> Running {
        let mut command = command(args);
        command.env("KIFT_STATE", self.at("state")).current_dir(self.place.path());
        Running::start(command)
    }

    fn device_path(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Bytes of the upload on its way that the card says are durable.
    fn durable(&self) -> u32 {
        let mut blocks = vec![0; ENTRIES];
        fs::File::open(self.at("sd.img")).unwrap().read_exact_at(&mut blocks, 0).unwrap();
        let (entries, _) = blocks.as_chunks::<32>();
        let uploads = entries.iter().filter(|entry| entry[0] != 0xe5 && entry[8..11] == *b"TMP");
        let size = |entry: &[u8; 32]| u32::from_le_bytes(*entry.last_chunk().unwrap());
        uploads.map(size).max().unwrap_or(0)
    }

    /// The card, as a computer has it.
    fn card(&self) -> Card {
        Card::new(&fs::read(self.at("sd.img")).unwrap())
    }
}

#[test]
fn files_go_both_ways_and_lie_on_the_card_as_they_are() {
    let Some(kit) = Kit::new("files_go_both_ways_and_lie_on_the_card_as_they_are") else { return };
    let file = random(200_000, 1);
    fs::write(kit.at("file.bin"), &file).unwrap();
    let device = kit.boot();
    let to = kit.device_path("");
    kit.kift(&["put", "--quiet", "--token-file", "token", "file.bin", &to]).end().ok();
    kit.kift(&["mkdir", "--quiet", &kit.device_path("logs")]).end().ok();
    kit.kift(&["put", "--quiet", "file.bin", &kit.device_path("logs/day.1")]).end().ok();
    kit.kift(&["get", "--quiet", &kit.device_path("logs/day.1"), "back"]).end().ok();
    assert!(fs::read(kit.at("back")).unwrap() == file);
    kit.kift(&["put", "--quiet", "file.bin", &kit.device_path("no.long.name")]).end().fails(&[]);
    Kit::cut(device);
    let card = kit.card();
    assert_eq!(card.complaints(), Vec::<String>::new());
    // It is known after a reset, and knows whom it has paired with.
    let device = kit.boot();
    kit.kift(&["get", "--quiet", &kit.device_path("file.bin"), "again"]).end().ok();
    assert!(fs::read(kit.at("again")).unwrap() == file);
    Kit::cut(device);
    let mut store = Store::<_, 1>::mount(kit.card()).unwrap();
    let tree = flash::tree(&mut store.handle(0)).unwrap();
    assert!(tree.keys().eq(["file.bin", "logs", "logs/day.1"]), "{:?}", tree.keys());
    assert!(tree["logs/day.1"].as_ref() == Some(&file));
    assert_eq!(store.boots(), 3);
}

#[test]
fn an_upload_goes_on_after_power_cuts() {
    let Some(kit) = Kit::new("an_upload_goes_on_after_power_cuts") else { return };
    let (old, new) = (random(100_000, 1), random(3_000_000, 2));
    fs::write(kit.at("old"), &old).unwrap();
    fs::write(kit.at("new"), &new).unwrap();
    let mut device = kit.boot();
    let to = kit.device_path("image");
    kit.kift(&["put", "--quiet", "--token-file", "token", "old", &to]).end().ok();
    let sender = kit.kift(&["put", "--quiet", "--retry", "100", "new", &to]);
    for chunks in [64, 500, 1300, 2300] {
        wait_until("so much is durable", || kit.durable() >= chunks * 1024);
        Kit::cut(device);
        let card = kit.card();
        let mut store = Store::<_, 1>::mount(card.clone()).unwrap();
        assert!(flash::get(&mut store.handle(0), "image").unwrap() == old, "the old one is there");
        assert_eq!(card.complaints(), Vec::<String>::new());
        device = kit.boot();
    }
    sender.end().ok();
    Kit::cut(device);
    let mut store = Store::<_, 1>::mount(kit.card()).unwrap();
    assert!(flash::get(&mut store.handle(0), "image").unwrap() == new);
}
