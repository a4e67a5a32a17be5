use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;

use super::*;
use crate::access::password::tests::COMPUTED;
use crate::access::rights::Rights;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const PASSWORD: &str = "correct horse";

/// A server's state, and accounts over it.
struct Place {
    _dir: TempDir,
    state: State,
    accounts: Accounts,
}

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

/// The hash of [`PASSWORD`].
fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| Hash::new(PASSWORD).unwrap().to_string())
}

/// A state in which `users` and `keys` stand. `HASH` is the password's, `<1>` to `<9>` are keys.
fn state(users: &str, keys: &str) -> (TempDir, State) {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(Some(&dir.path().join("state"))).unwrap();
    write(&state, users::FILE, users);
    write(&state, keys::FILE, keys);
    (dir, state)
}

fn write(state: &State, file: &str, text: &str) {
    let mut text = text.replace("HASH", hash());
    for n in 1..=9 {
        text = text.replace(&format!("<{n}>"), &format!("x25519 {}", key(n)));
    }
    state.replace(file, &text).unwrap();
}

fn place(users: &str, keys: &str) -> Place {
    let (dir, state) = state(users, keys);
    let accounts = Accounts::open(state.clone()).unwrap();
    Place { _dir: dir, state, accounts }
}

impl Place {
    fn write(&self, file: &str, text: &str) {
        write(&self.state, file, text);
    }

    fn user(&self, n: u8) -> Option<Grant> {
        match self.accounts.admit(&key(n), HERE) {
            Ok(Entry::User(grant)) => Some(grant),
            Ok(Entry::Guest) | Err(_) => None,
        }
    }

    fn name(&self, n: u8) -> Option<String> {
        self.user(n).map(|grant| grant.user)
    }

    fn verify(&self, n: u8, user: &str, password: &str) -> Result<Grant, Code> {
        self.accounts.verify(&key(n), HERE, user, password)
    }

    /// As if the files had last been looked at a second ago.
    fn still(&self, grant: &Grant) -> bool {
        let a_second_ago = Instant::now().checked_sub(GLANCE).unwrap();
        self.accounts.files.lock().unwrap().looked = a_second_ago;
        self.accounts.still(grant)
    }

    fn open_token(&self, user: &str, options: &str, lasts_s: u64) -> Token {
        let options = if options.is_empty() { <_>::default() } else { options.parse().unwrap() };
        let open = OpenToken::new(user, options, Duration::from_secs(lasts_s)).unwrap();
        token::open(&self.state.lock().unwrap(), &open).unwrap();
        open.token
    }

    fn keys(&self) -> String {
        self.state.read(keys::FILE).unwrap().unwrap().to_string()
    }
}

#[test]
fn a_known_key_is_its_user() {
    let place = place("anna rw,path=anna,quota=1G", "anna <1>\nanna <2> ro,quota=2G\nghost <3>");
    let grant = place.user(1).unwrap();
    assert_eq!((grant.user.as_str(), grant.home.as_str()), ("anna", "anna"));
    assert_eq!((grant.rights, grant.quota), (Rights::READ_WRITE, Some(1 << 30)));
    let grant = place.user(2).unwrap();
    assert_eq!((grant.rights, grant.quota), (Rights::READ_ONLY, Some(1 << 30)));
    for stranger in [3, 4] {
        assert_eq!(place.accounts.admit(&key(stranger), HERE), Err(Code::Denied));
    }
    assert!(!place.accounts.takes_passwords());
}

#[test]
fn whoever_may_have_a_password_is_a_guest() {
    let place = place("anna rw\nbert ro HASH", "anna <1>");
    assert_eq!(place.name(1).as_deref(), Some("anna"));
    assert_eq!(place.accounts.admit(&key(2), HERE), Ok(Entry::Guest));
    assert!(place.accounts.takes_passwords());
    place.write(users::FILE, "anna rw\nbert ro,auth=key HASH");
    assert_eq!(place.accounts.admit(&key(2), HERE), Err(Code::Denied));
}

#[test]
fn the_first_line_that_counts_wins() {
    let place = place(
        "anna rw\nbert rw,from=198.51.100.0/24\ncarl rw,expires=2020-01-01\ndora rw,auth=both HASH",
        "ghost <1>\nanna <1> from=198.51.100.1\nanna <1> expires=2020-01-01\nbert <1>\ncarl <1>\ndora <1>\n\
         anna <1> read\nanna <1> list",
    );
    assert_eq!(place.user(1).unwrap().rights, Rights::READ);
    let other = IpAddr::from([198, 51, 100, 2]);
    let Ok(Entry::User(grant)) = place.accounts.admit(&key(1), other) else { panic!("a guest") };
    assert_eq!(grant.user, "bert");
    let mapped = "::ffff:198.51.100.1".parse().unwrap();
    let Ok(Entry::User(grant)) = place.accounts.admit(&key(1), mapped) else { panic!("a guest") };
    assert_eq!((grant.user.as_str(), grant.rights), ("anna", Rights::READ_WRITE));
}

#[test]
fn what_a_user_logs_in_with() {
    // By the key alone; by the password with that key; by the password with another key.
    for (auth, by_key, by_password, by_password_alone) in [
        ("key", true, false, false),
        ("password", false, true, true),
        ("any", true, true, true),
        ("both", false, true, false),
    ] {
        let users = format!("anna rw,auth={auth} HASH\nbert rw HASH");
        let place = place(&users, "anna <1> ro\nbert <1> ro");
        let first = if by_key { "anna" } else { "bert" };
        assert_eq!(place.name(1).as_deref(), Some(first), "{auth}");
        let claimed = place.accounts.claim(&key(1), HERE, "anna");
        assert_eq!(claimed.map(|grant| grant.rights), by_key.then_some(Rights::READ_ONLY));
        assert_eq!(place.accounts.claim(&key(2), HERE, "anna"), None);

        let rights = if auth == "both" { Rights::READ_ONLY } else { Rights::READ_WRITE };
        let expected = |is_right| if is_right { Ok(rights) } else { Err(Code::LoginFailed) };
        let verify = |n| place.verify(n, "anna", PASSWORD).map(|grant| grant.rights);
        assert_eq!(verify(1), expected(by_password), "{auth}");
        assert_eq!(verify(2), expected(by_password_alone), "{auth}");
    }
}

#[test]
fn every_failed_login_is_answered_alike_after_the_same_work() {
    let place = place(
        "anna rw HASH\nbert rw\ncarl rw,auth=key HASH\ndora rw,expires=2020-01-01 HASH\n\
         eve rw,from=198.51.100.1 HASH\nfred rw,auth=both HASH",
        "fred <1> expires=2020-01-01\nfred <2>\nbert <3>",
    );
    let cases = [
        ("anna", "wrong horse", 1),
        ("anna", "", 1),
        ("nobody", PASSWORD, 1),
        ("NOBODY \0", PASSWORD, 1),
        ("bert", PASSWORD, 3),
        ("carl", PASSWORD, 1),
        ("dora", PASSWORD, 1),
        ("eve", PASSWORD, 1),
        ("fred", PASSWORD, 1),
        ("fred", "wrong horse", 2),
    ];
    for (at, (user, password, n)) in cases.into_iter().enumerate() {
        let (before, from) = (COMPUTED.get(), IpAddr::from([203, 0, 113, at as u8]));
        let result = place.accounts.verify(&key(n), from, user, password);
        assert_eq!(result, Err(Code::LoginFailed), "{user}");
        assert_eq!(COMPUTED.get(), before + 1, "{user}");
    }
    assert!(place.verify(1, "anna", PASSWORD).is_ok());
    assert!(place.verify(2, "fred", PASSWORD).is_ok());
}

#[test]
fn wrong_passwords_delay_the_next_for_users_known_and_unknown() {
    let place = place("anna rw HASH", "");
    for user in ["anna", "nobody"] {
        for n in 1..=3u8 {
            let from = IpAddr::from([198, 51, user.len() as u8, n]);
            assert!(place.accounts.verify(&key(1), from, user, "wrong horse").is_err());
        }
        let started = Instant::now();
        let result = place.verify(1, user, PASSWORD);
        assert_eq!(result.is_ok(), user == "anna");
        // It waited, and was then looked at.
        assert!(started.elapsed() >= Duration::from_secs(1), "{user}");
    }
    // The right one made an end of it.
    assert_eq!(place.accounts.backoff().delay(HERE, "anna", Instant::now()), Duration::ZERO);
}

#[test]
fn grants_end_with_what_they_rest_on() {
    let users = "anna rw HASH\nbert rw,auth=both HASH";
    let keys = "anna <1> ro\nbert <2>";
    let place = place(users, keys);
    let by_key = place.user(1).unwrap();
    let by_password = place.verify(3, "anna", PASSWORD).unwrap();
    let by_both = place.verify(2, "bert", PASSWORD).unwrap();
    let all = [&by_key, &by_password, &by_both];
    let other_hash = Hash::new(PASSWORD).unwrap().to_string();
    let now = |place: &Place| all.map(|grant| place.still(grant));
    assert_eq!(now(&place), [true, true, true]);
    for (users, keys, expected) in [
        (users, "anna <1> ro", [true, true, false]),
        (users, "bert <2>\n# a word\nanna <9>\nanna <1> ro", [true, true, true]),
        (users, "anna <1> rw\nbert <2>", [false, true, true]),
        (users, "anna <1> ro,expires=2020-01-01\nbert <2> from=::1", [false, true, false]),
        ("bert rw,auth=both HASH", keys, [false, false, true]),
        ("anna ro HASH\nbert rw,auth=both HASH", keys, [true, false, true]),
        ("anna rw,quota=1 HASH\nbert rw,auth=both HASH", keys, [false, false, true]),
        ("anna rw,auth=key HASH\nbert rw,auth=both HASH", keys, [true, false, true]),
        ("anna rw,auth=password HASH\nbert rw,auth=password HASH", keys, [false, true, true]),
        ("anna rw,from=::1 HASH\nbert rw,auth=both HASH", keys, [false, false, true]),
        (&format!("anna rw {other_hash}\nbert rw,auth=both HASH"), keys, [true, false, true]),
        ("anna rw\nbert rw,auth=both", keys, [true, false, false]),
        ("", keys, [false, false, false]),
        (users, keys, [true, true, true]),
    ] {
        place.write(users::FILE, users);
        place.write(keys::FILE, keys);
        assert_eq!(now(&place), expected, "{users:?} {keys:?}");
    }
    fs::remove_file(place.state.file(keys::FILE)).unwrap();
    assert_eq!(now(&place), [false, true, false]);
}

#[test]
fn a_grant_ends_when_it_expires() {
    let expires = SystemTime::now() + Duration::from_secs(5);
    let keys = format!("anna <1> expires={}", humantime::format_rfc3339_seconds(expires));
    let place = place("anna rw", &keys);
    let grant = place.user(1).unwrap();
    assert!(place.accounts.still(&grant) || SystemTime::now() >= grant.expires.unwrap());
    while SystemTime::now() < expires {
        thread::sleep(Duration::from_millis(10));
    }
    // Without another look at the files.
    place.accounts.files.lock().unwrap().looked = Instant::now() + Duration::from_secs(3600);
    assert!(!place.accounts.still(&grant));
}

#[test]
fn running_sessions_look_at_the_files_once_a_second() {
    let place = place("anna rw", "anna <1>");
    let grant = place.user(1).unwrap();
    place.write(keys::FILE, "");
    place.accounts.files.lock().unwrap().looked = Instant::now() + Duration::from_secs(3600);
    assert!(place.accounts.still(&grant));
    // Who comes anew is let in by what stands there now.
    assert_eq!(place.user(1), None);
    assert!(!place.accounts.still(&grant));
}

#[test]
fn quick_changes_of_one_length_are_all_seen() {
    let place = place("anna rw", "");
    for n in (1..=9).chain(1..=9) {
        // In place, so that nothing but the contents is sure to change.
        let line = format!("anna x25519 {}\n", key(n));
        fs::write(place.state.file(keys::FILE), line).unwrap();
        assert_eq!(place.name(n).as_deref(), Some("anna"), "{n}");
    }
}

#[test]
fn what_breaks_later_changes_nothing_and_is_logged_once() {
    let place = place("anna rw HASH", "anna <1>");
    let grant = place.user(1).unwrap();
    let log = place.state.file("log");
    let writer = Arc::new(File::create(&log).unwrap());
    let logger = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    tracing::subscriber::with_default(logger, || {
        place.write(keys::FILE, "anna <1> nonsense\nanna <2>");
        for _ in 0..3 {
            assert!(place.still(&grant));
            assert_eq!((place.name(1).as_deref(), place.name(2)), (Some("anna"), None));
        }
        // What is in order counts meanwhile.
        place.write(users::FILE, "anna ro HASH");
        assert_eq!(place.user(1).unwrap().rights, Rights::READ_ONLY);
        place.write(keys::FILE, "anna <2>");
        assert!(!place.still(&grant));
        assert_eq!((place.name(1), place.name(2).as_deref()), (None, Some("anna")));

        let file = place.state.file(users::FILE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        for _ in 0..3 {
            assert_eq!(place.name(2).as_deref(), Some("anna"));
        }
    });
    let log = fs::read_to_string(&log).unwrap();
    let count = |words| log.matches(words).count();
    assert_eq!((count("authorized_keys, line 1"), count("nonsense")), (1, 1), "{log}");
    assert_eq!((count("in order again"), count("chmod 600")), (1, 1), "{log}");
    assert!(!log.contains("argon2"), "{log}");
}

#[test]
fn a_server_does_not_start_on_loose_or_damaged_files() {
    let open = |change: &dyn Fn(&State)| {
        let (_dir, state) = state("# users\nanna rw HASH", "anna <1>");
        change(&state);
        format!("{:#}", Accounts::open(state).expect_err("loose or damaged"))
    };
    let long = format!("{} anna 2030-01-01", "a".repeat(26));
    for (file, text, words) in [
        (users::FILE, "anna", "users, line 1: behind the name belong options"),
        (users::FILE, "\n# x\nAnna rw", "users, line 3: a user's name is"),
        (users::FILE, "HASH anna rw", "users, line 1: a user's name is"),
        (users::FILE, "anna rw,quota=x", "users, line 1: option \"quota=x\": a size"),
        (users::FILE, "anna quota=1", "users, line 1: anna has no rights"),
        (users::FILE, "anna rw hash", "users, line 1: the password's hash is damaged"),
        (users::FILE, "anna rw HASH x", "users, line 1: there is more"),
        (users::FILE, "anna rw\nbert rw\nanna ro", "anna has two lines"),
        (keys::FILE, "anna", "authorized_keys, line 1: behind the name"),
        (keys::FILE, "anna ed25519 x", "authorized_keys, line 1: \"ed25519\" is no kind"),
        (keys::FILE, "anna x25519 x", "authorized_keys, line 1: \"x\" is no key"),
        (keys::FILE, "anna <1> auth=key", "authorized_keys, line 1: auth= is the user's"),
        (keys::FILE, "anna <1> ro rw", "authorized_keys, line 1: there is more"),
        (token::FILE, "short anna 2030-01-01", "token, line 1: a pairing token"),
        (token::FILE, &long.replace("2030", "soon"), "token, line 1: a time"),
        (token::FILE, &format!("{long}\n{long}"), "more than one token"),
    ] {
        let error = open(&|state| write(state, file, text));
        assert!(error.contains(words), "{text:?}: {error}");
        assert!(!error.contains("argon2id$") && !error.contains("aaaa"), "{error}");
    }
    for (file, mode, words) in [
        (users::FILE, 0o640, "chmod 600"),
        (token::FILE, 0o604, "chmod 600"),
        (keys::FILE, 0o664, "chmod go-w"),
    ] {
        let error = open(&|state| {
            if file == token::FILE {
                write(state, file, &long);
            }
            fs::set_permissions(state.file(file), fs::Permissions::from_mode(mode)).unwrap();
        });
        assert!(error.contains(words) && error.contains(file), "{error}");
    }
}

#[test]
fn a_token_makes_one_key_known() {
    let place = place("anna rw", "# keys of mine\nanna <1>");
    assert!(place.accounts.token().is_none());
    let token = place.open_token("anna", "ro,path=device", 600);
    assert_eq!(place.accounts.token().unwrap().0, token.0);
    let Ok(Entry::User(grant)) = place.accounts.pair(&token, &key(2), HERE) else {
        panic!("refused")
    };
    assert_eq!((grant.user.as_str(), grant.home.as_str()), ("anna", "device"));
    assert_eq!(grant.rights, Rights::READ_ONLY);
    assert!(place.still(&grant));
    // It lasts: another server would find it so.
    let expected =
        format!("# keys of mine\nanna x25519 {}\nanna x25519 {} ro,path=device\n", key(1), key(2));
    assert_eq!(place.keys(), expected);
    assert!(!place.state.file(token::FILE).exists());
    assert!(place.accounts.token().is_none());
    assert_eq!(place.accounts.pair(&token, &key(3), HERE), Err(Code::Denied));
    assert_eq!(place.accounts.pair(&token, &key(2), HERE), Err(Code::Denied));
    assert_eq!(place.user(2), Some(grant));

    // A key that is there gets no second line.
    let token = place.open_token("anna", "", 600);
    assert!(place.accounts.pair(&token, &key(2), HERE).is_ok());
    assert_eq!(place.keys(), expected);
    assert!(place.accounts.token().is_none());
}

#[test]
fn of_many_with_one_token_one_is_paired() {
    let place = place("anna rw", "");
    let token = place.open_token("anna", "", 600);
    // Two processes serve, too.
    let other = Accounts::open(place.state.clone()).unwrap();
    let accounts = [&place.accounts, &other];
    let paired = thread::scope(|scope| {
        let threads: Vec<_> = (1..=9u8)
            .map(|n| {
                let (accounts, token) = (accounts[usize::from(n % 2)], &token);
                scope.spawn(move || accounts.pair(token, &key(n), HERE))
            })
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.filter(Result::is_ok).count()
    });
    assert_eq!((paired, place.keys().lines().count()), (1, 1));
}

#[test]
fn only_the_token_that_is_open_counts() {
    let place = place("anna rw\nbert rw,auth=both HASH\ncarl rw,from=::1", "");
    let denied = |token: &Token| {
        assert_eq!(place.accounts.pair(token, &key(1), HERE), Err(Code::Denied));
        assert_eq!(place.keys(), "");
    };
    let old = place.open_token("anna", "", 600);
    let new = place.open_token("anna", "", 600);
    denied(&old);
    assert_eq!(place.accounts.token().unwrap().0, new.0);
    token::cancel(&place.state.lock().unwrap()).unwrap();
    denied(&new);

    let expired = place.open_token("anna", "", 0);
    assert!(place.accounts.token().is_none());
    denied(&expired);
    denied(&place.open_token("nobody", "", 600));
    denied(&place.open_token("carl", "", 600));
    denied(&place.open_token("anna", "from=::1", 600));
    // It is still there for those whom it is meant for.
    assert!(place.accounts.token().is_some());

    let token = place.open_token("bert", "", 600);
    assert_eq!(place.accounts.pair(&token, &key(1), HERE), Ok(Entry::Guest));
    assert!(place.verify(1, "bert", PASSWORD).is_ok());
}

#[test]
fn nothing_shows_secrets() {
    let place = place("anna rw HASH", "anna <1>");
    let token = place.open_token("anna", "", 600);
    let grant = place.verify(1, "anna", PASSWORD).unwrap();
    let _ = place.accounts.token();
    let shown = format!("{grant:?} {:?}", place.accounts);
    assert!(shown.contains("anna") && !shown.contains("$argon2"), "{shown}");
    assert!(!shown.contains(token.as_text().unwrap()), "{shown}");
}
