//! The files that people edit: no text does harm, and what was understood is said again so that it is
//! understood in the same way.

#![no_main]

use std::fmt::{Debug, Display};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::LazyLock;

use kift::access::keys::{self, AuthorizedKey};
use kift::access::token::{self, OpenToken};
use kift::access::users::{self, User};
use kift::access::{Hash, Network, Options};
use kift::config::{Listen, Span, Timeout, client, server};
use kift::remote::Remote;
use kift::state::State;
use kift::trust;
use kift_core::secure::PublicKey;
use libfuzzer_sys::{Corpus, fuzz_target};

/// Where files are read from: a directory of this process's own.
static PLACE: LazyLock<(PathBuf, State)> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("kift-fuzz-{}", std::process::id()));
    DirBuilder::new().recursive(true).mode(0o700).create(&path).expect("a directory");
    // SAFETY: libFuzzer has one thread here.
    unsafe { std::env::set_var(client::VARIABLE, path.join("client.toml")) }
    let state = State::open(Some(&path)).expect("of our own");
    (path, state)
});

/// Makes `text` what stands in a file.
fn write(name: &str, text: &str) -> PathBuf {
    let path = PLACE.0.join(name);
    let mut file = File::create(&path).expect("a file");
    file.write_all(text.as_bytes()).expect("room");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
    path
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&which, bytes)) = input.split_first() else { return Corpus::Reject };
    let Ok(text) = str::from_utf8(bytes) else { return Corpus::Reject };
    let state = &PLACE.1;
    match which % 10 {
        0 => {
            write(keys::FILE, text);
            for key in keys::list(state).unwrap_or_default() {
                said_again(&key);
            }
        }
        1 => {
            write("users", text);
            for user in users::list(state).unwrap_or_default() {
                said_again(&user);
                assert!(users::find(state, &user.name).is_ok_and(|found| found == user));
            }
        }
        2 => {
            write("token", text);
            if let Ok(Some(open)) = token::find(state) {
                let again: OpenToken = open.to_string().parse().expect("the same");
                assert_eq!(again.to_string(), open.to_string());
            }
        }
        3 => known_hosts(text),
        4 => {
            write("key", text);
            let _ = state.key();
        }
        5 => settings_of_a_server(&write("server.toml", text)),
        6 => settings_of_a_client(&write("client.toml", text)),
        7 => {
            parsed::<Options>(text);
            parsed::<Network>(text);
            let _ = text.parse::<Hash>().map(|hash| assert_eq!(hash.to_string(), text));
        }
        8 => {
            if let Ok(remote) = text.parse::<Remote>() {
                assert!(!remote.host.is_empty() && remote.port != Some(0));
                assert!(kift_core::wire::Path::new(&remote.path).is_ok());
            }
        }
        _ => {
            parsed::<AuthorizedKey>(text);
            parsed::<User>(text);
            parsed::<Listen>(text);
            parsed::<Span>(text);
            parsed::<Timeout>(text);
        }
    }
    Corpus::Keep
});

fn parsed<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        said_again(&value);
    }
}

fn said_again<T: FromStr + Display + Debug + PartialEq>(value: &T) {
    assert!(value.to_string().parse::<T>().ok().as_ref() == Some(value), "{value:?}");
}

fn known_hosts(text: &str) {
    let state = &PLACE.1;
    write("known_hosts", text);
    let key = PublicKey([1; 32]);
    let Ok(keys) = trust::known(state, "lab:5438") else { return };
    trust::remember(state, "lab:5438", &key).expect("understood");
    assert!(trust::known(state, "lab:5438").is_ok_and(|keys| keys.contains(&key)));
    let gone = trust::forget(state, "LAB:5438").expect("understood");
    assert_eq!(gone, keys.len() + usize::from(!keys.contains(&key)));
    assert!(trust::known(state, "lab:5438").is_ok_and(|keys| keys.is_empty()));
}

fn settings_of_a_server(path: &Path) {
    let Ok(settings) = server::Settings::read(path) else { return };
    let _ = settings.limits();
    let others = server::Settings::default();
    assert!(settings.unlike(&others).len() >= settings.waiting(&others).len());
    let all = settings.clone().or(others);
    assert!(all.unlike(&settings).is_empty());
}

fn settings_of_a_client(path: &Path) {
    assert_eq!(client::place(), Some((path.to_owned(), true)));
    let _ = client::Settings::load();
}
