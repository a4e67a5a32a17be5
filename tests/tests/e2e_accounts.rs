//! Keys, users and tokens by the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kift_core::secure::{PublicKey, Token};
use kift_tests::files::place;
use kift_tests::machine::{Ended, command, kift};
use serde_json::json;
use tempfile::TempDir;

/// A state of its own, and a place for files beside it.
struct Home {
    place: TempDir,
    state: PathBuf,
}

impl Home {
    fn new() -> Self {
        let place = place();
        let state = place.path().join("state");
        Self { place, state }
    }

    fn kift(&self, args: &[&str]) -> Ended {
        kift([&["--state", self.state.to_str().unwrap()], args].concat())
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.state.join(file)).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        write(&self.state.join(file), text, 0o600);
    }

    /// A file with `text` as a password, which only we may read.
    fn password(&self, text: &str) -> String {
        let file = self.place.path().join("password");
        write(&file, text, 0o600);
        file.to_str().unwrap().to_owned()
    }

    fn add(&self, name: &str, options: &str) {
        self.kift(&["user", "add", name, options, "--no-password"]).ok();
    }
}

fn write(file: &Path, text: &str, mode: u32) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_key_is_made_shown_and_kept() {
    let home = Home::new();
    for args in [&["key", "show"][..], &["key", "fingerprint"]] {
        home.kift(args).fails(&["no key", "kift key gen"]);
    }
    let fingerprint = home.kift(&["key", "gen"]).ok();
    assert_eq!(mode(&home.state), 0o700);
    assert_eq!(mode(&home.state.join("key")), 0o600);
    let line = home.kift(&["key", "show"]).ok();
    let key: PublicKey = line.trim_end().strip_prefix("x25519 ").unwrap().parse().unwrap();
    assert_eq!(fingerprint, format!("{}\n", key.fingerprint()));
    assert_eq!(home.kift(&["key", "fingerprint"]).ok(), fingerprint);
    assert_eq!(home.kift(&["key", "fingerprint", &key.to_string()]).ok(), fingerprint);
    home.kift(&["key", "fingerprint", "x"]).exits(2, &["43 characters"]);
    let shown = json!({
        "kind": "x25519", "key": key.to_string(), "fingerprint": fingerprint.trim_end(),
    });
    assert_eq!(home.kift(&["key", "show", "--json"]).objects(), [shown]);

    // The secret half is nowhere but in its file.
    let text = home.read("key");
    let secret = text.lines().last().unwrap();
    for output in [&line, &fingerprint] {
        assert!(!output.contains(secret));
    }

    home.kift(&["key", "gen"]).fails(&["is there already", "--replace"]);
    assert_eq!(home.read("key"), text);
    let other = home.kift(&["key", "gen", "--replace"]).ok();
    assert_ne!(other, fingerprint);
    assert_eq!(home.kift(&["key", "fingerprint"]).ok(), other);
}

#[test]
fn loose_and_damaged_keys_are_refused() {
    let home = Home::new();
    home.kift(&["key", "gen"]).ok();
    let (file, whole) = (home.state.join("key"), home.read("key"));
    write(&file, &whole, 0o640);
    home.kift(&["key", "show"]).fails(&["chmod 600", file.to_str().unwrap()]);
    write(&file, &whole[..whole.len() - 3], 0o600);
    home.kift(&["key", "show"]).fails(&["damaged", "kift key gen --replace"]);
    home.kift(&["key", "gen"]).fails(&["is there already"]);
    write(&file, &whole, 0o600);
    home.kift(&["key", "show"]).ok();
    fs::set_permissions(&home.state, fs::Permissions::from_mode(0o770)).unwrap();
    home.kift(&["key", "show"]).fails(&["chmod go-w", home.state.to_str().unwrap()]);
}

#[test]
fn the_state_is_where_one_says() {
    let place = place();
    let made = |name: &str| place.path().join(name).join("key").exists();
    let gen_key = |set: &[(&str, &str)]| {
        let mut command = command(["key", "gen"]);
        command.current_dir(place.path()).env_remove("XDG_STATE_HOME").env_remove("KIFT_STATE");
        command.envs(set.iter().map(|(name, dir)| (name, place.path().join(dir))));
        kift_tests::machine::Running::start(command).end().ok();
    };
    gen_key(&[("HOME", "home")]);
    assert!(made("home/.local/state/kift"));
    gen_key(&[("HOME", "home"), ("XDG_STATE_HOME", "xdg")]);
    assert!(made("xdg/kift"));
    gen_key(&[("XDG_STATE_HOME", "xdg"), ("KIFT_STATE", "own")]);
    assert!(made("own"));
    let mut relative = command(["key", "gen", "--state", "relative"]);
    relative.current_dir(place.path()).env("KIFT_STATE", "other");
    kift_tests::machine::Running::start(relative).end().ok();
    assert!(made("relative") && !made("other"));
}

#[test]
fn users_come_and_go() {
    let home = Home::new();
    let password = home.password("correct horse\n");
    home.kift(&["user", "add", "anna", "rw,path=anna,quota=10240M", "--password-file", &password])
        .ok();
    home.kift(&["user", "add", "bert", "--no-password"]).ok();
    let text = home.read("users");
    assert_eq!(mode(&home.state.join("users")), 0o600);
    let lines: Vec<&str> = text.lines().collect();
    let hash = lines[0].strip_prefix("anna rw,path=anna,quota=10G $argon2id$v=19$m=19456,t=2,p=1$");
    assert!(hash.is_some(), "{text}");
    assert_eq!(lines[1..], ["bert rw"]);
    assert!(!text.contains("horse"));

    let key = PublicKey([1; 32]).to_string();
    home.kift(&["authorize", "bert", &key, "ro"]).ok();
    let listing = home.kift(&["user", "ls"]).ok();
    assert!(listing.contains("rw,path=anna,quota=10G  (password, 0 keys)"), "{listing}");
    assert!(listing.contains("rw  (1 key)") && !listing.contains("argon2"), "{listing}");
    let objects = home.kift(&["user", "ls", "--json"]).objects();
    assert_eq!(
        objects[1],
        json!({ "user": "bert", "options": "rw", "password": false, "keys": 1 })
    );

    home.kift(&["user", "add", "anna", "--no-password"]).fails(&[
        "anna is there",
        "user passwd",
        "user set",
    ]);
    home.kift(&["user", "rm", "nobody"]).fails(&["\"nobody\" is no user", "user ls"]);
    home.kift(&["user", "passwd", "nobody"]).fails(&["\"nobody\" is no user"]);

    // What people write themselves stays.
    home.write("users", &format!("# ours\n\n{text}# end"));
    home.kift(&["pair", "bert"]).ok();
    home.kift(&["user", "rm", "bert"]).ok();
    assert_eq!(home.read("users"), format!("# ours\n\n{}\n# end\n", lines[0]));
    assert_eq!(home.read("authorized_keys"), "");
    assert!(!home.state.join("token").exists());
}

#[test]
fn what_a_user_may_do_is_changed_and_nothing_else() {
    let home = Home::new();
    let password = home.password("correct horse");
    home.kift(&["user", "add", "anna", "rw", "--password-file", &password]).ok();
    home.add("bert", "ro");
    let key = PublicKey([1; 32]).to_string();
    home.kift(&["authorize", "bert", &key]).ok();
    let hash = home.read("users").lines().next().unwrap().split_once(" rw ").unwrap().1.to_owned();
    home.write("users", &format!("# ours\nanna rw {hash}\nbert ro\n"));

    let set = |args: &[&str]| home.kift(&[&["user", "set"], args].concat());
    assert!(set(&["anna", "ro,quota=1G,auth=both"]).ok().is_empty());
    set(&["bert", "rw,path=bert"]).ok();
    let users = format!("# ours\nanna ro,quota=1G,auth=both {hash}\nbert rw,path=bert\n");
    assert_eq!(home.read("users"), users);
    assert!(home.read("authorized_keys").contains(&key));
    let told = set(&["bert", "rw,path=bert", "--json"]).objects();
    assert_eq!(told, [json!({ "user": "bert", "options": "rw,path=bert", "changed": true })]);

    set(&["nobody", "ro"]).fails(&["\"nobody\" is no user", "user ls"]);
    set(&["bert", "ro,auth=both"]).fails(&["never log in", "kift user passwd bert"]);
    set(&["bert", "path=x"]).fails(&["no rights"]);
    set(&["bert", "ro,quota=lots"]).exits(2, &["quota=lots"]);
    set(&["bert"]).exits(2, &["RIGHTS"]);
    assert_eq!(home.read("users"), users);
}

#[test]
fn passwords_are_changed() {
    let home = Home::new();
    home.add("anna", "ro");
    home.write("users", "# ours\nanna ro\nbert rw\n");
    let password = home.password("first password");
    home.kift(&["user", "passwd", "anna", "--password-file", &password]).ok();
    let first = home.read("users");
    let password = home.password("second password\r\n");
    home.kift(&["user", "passwd", "anna", "--password-file", &password]).ok();
    let second = home.read("users");
    for text in [&first, &second] {
        assert!(text.starts_with("# ours\nanna ro $argon2id$") && text.ends_with("\nbert rw\n"));
    }
    assert_ne!(first, second);
}

#[test]
fn bad_passwords_and_users_are_refused() {
    let home = Home::new();
    let add = |args: &[&str]| home.kift(&[&["user", "add"], args].concat());
    add(&["anna"]).fails(&["no terminal", "--password-file"]);
    for (text, words) in [
        ("short\n", "at least 8"),
        (&*"x".repeat(129), "at most 128"),
        (&*"x".repeat(1000), "at most 128"),
        ("correct\0horse", "no NUL"),
        ("correct\nhorse", "more than one line"),
        ("correct horse\n\n", "more than one line"),
    ] {
        let file = home.password(text);
        add(&["anna", "--password-file", &file]).fails(&[words]);
    }
    let longest = home.password(&format!("{}\r\n", "x".repeat(128)));
    add(&["longest", "--password-file", &longest]).ok();
    let loose = home.password("correct horse");
    for mode in [0o640, 0o604, 0o620] {
        write(Path::new(&loose), "correct horse", mode);
        add(&["anna", "--password-file", &loose]).fails(&["chmod 600", &loose]);
    }
    add(&["anna", "--password-file", "/none"]).fails(&["cannot read", "/none"]);
    add(&["anna", "--password-file", "x", "--no-password"]).exits(2, &["cannot be used with"]);
    add(&["Anna", "--no-password"]).fails(&["\"Anna\" is no user's name"]);
    add(&["anna", "path=a", "--no-password"]).fails(&["no rights", "ro or rw"]);
    add(&["anna", "rw,quota=lots", "--no-password"]).exits(2, &["quota=lots"]);
    for auth in ["auth=password", "auth=both"] {
        add(&["anna", &format!("rw,{auth}"), "--no-password"]).fails(&["never log in"]);
    }
    assert!(!home.read("users").contains("nna"));
    home.write("users", "# x\nanna\n");
    add(&["bert", "--no-password"]).fails(&["users, line 2", "options"]);
    assert_eq!(home.read("users"), "# x\nanna\n");
}

#[test]
fn keys_are_authorized_and_removed() {
    let home = Home::new();
    home.add("anna", "rw");
    home.add("bert", "rw");
    let [one, two] = [1, 2].map(|n| PublicKey([n; 32]).to_string());
    home.kift(&["authorize", "anna", &one]).ok();
    home.kift(&["authorize", "anna", "x25519", &two, "read,list,from=::1"]).ok();
    home.kift(&["authorize", "bert", &format!("x25519 {one}"), "quota=1K"]).ok();
    let [anna, anna_ro, bert] = [
        format!("anna x25519 {one}"),
        format!("anna x25519 {two} ro,from=::1"),
        format!("bert x25519 {one} quota=1K"),
    ];
    assert_eq!(home.read("authorized_keys"), format!("{anna}\n{anna_ro}\n{bert}\n"));

    home.kift(&["authorize", "anna", &one, "ro"]).fails(&["anna's already", "--remove"]);
    home.kift(&["authorize", "nobody", &one]).fails(&["\"nobody\" is no user"]);
    home.kift(&["authorize", "anna", "AAAA"]).fails(&["\"AAAA\" is no key", "43 characters"]);
    home.kift(&["authorize", "anna", &one, "auth=key"]).fails(&["auth= is the user's"]);
    home.kift(&["authorize", "anna"]).exits(2, &["USER KEY"]);
    home.kift(&["authorize", "--remove", &PublicKey([3; 32]).to_string()]).fails(&["is not in"]);

    home.write("authorized_keys", &format!("# ours\n{anna}\n{anna_ro}\n# end\n{bert}\n"));
    home.kift(&["authorize", "--remove", &one]).ok();
    assert_eq!(home.read("authorized_keys"), format!("# ours\n{anna_ro}\n# end\n"));
}

#[test]
fn one_token_is_open_at_a_time() {
    let home = Home::new();
    home.add("anna", "rw");
    home.add("carl", "rw");
    home.write("users", &home.read("users").replace("carl rw", "carl rw,auth=password"));
    let token = home.kift(&["pair", "anna", "ro,path=device"]).ok();
    let token = token.trim_end();
    assert!(token.parse::<Token>().is_ok());
    let text = home.read("token");
    assert!(text.starts_with(&format!("{token} anna 20")), "{text}");
    assert!(text.ends_with("Z ro,path=device\n"), "{text}");
    assert_eq!(mode(&home.state.join("token")), 0o600);

    let objects = home.kift(&["pair", "anna", "--for", "1h", "--json"]).objects();
    let other = objects[0]["token"].as_str().unwrap();
    assert_ne!(other, token);
    let expires = objects[0]["expires"].as_str().unwrap();
    assert_eq!(home.read("token"), format!("{other} anna {expires}\n"));

    home.kift(&["pair", "nobody"]).fails(&["\"nobody\" is no user"]);
    home.kift(&["pair", "carl"]).fails(&["auth=password"]);
    home.kift(&["pair", "anna", "auth=key"]).fails(&["auth= is the user's"]);
    for time in ["0s", "25h", "long"] {
        home.kift(&["pair", "anna", "--for", time]).exits(2, &["10m"]);
    }
    home.kift(&["pair"]).exits(2, &["USER"]);
    home.kift(&["pair", "--cancel", "anna"]).exits(2, &["cannot be used with"]);
    assert_eq!(home.read("token"), format!("{other} anna {expires}\n"));
    for was_open in [true, false] {
        let cancelled = home.kift(&["pair", "--cancel", "--json"]).objects();
        assert_eq!(cancelled, [json!({ "cancelled": was_open })]);
        assert!(!home.state.join("token").exists());
    }
}
