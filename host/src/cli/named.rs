//! Which server is meant, and how it is to be reached: what the command line says comes before what
//! the environment says, and that before what stands in the user's settings.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use kift_core::wire::is_user_name;

use super::args::{Link, ServerKey};
use crate::config::client::Settings;
use crate::remote::Remote;

/// Whether the user's settings name the server.
pub(super) fn is_named(remote: &Remote) -> Result<bool> {
    Ok(remote.port.is_none() && Settings::load()?.server.contains_key(&remote.host))
}

/// The server that is meant by `remote`, and how it is to be reached.
///
/// Who says how a link is protected says it alone: a key that a lower place demands does not count where
/// a higher one says plain, nor the other way round.
pub(super) fn resolve(remote: &Remote, link: &Link) -> Result<(Remote, Link)> {
    resolve_by(remote, link, Settings::load()?, |name| std::env::var(name).ok())
}

fn resolve_by(
    remote: &Remote,
    link: &Link,
    mut settings: Settings,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(Remote, Link)> {
    let (mut remote, mut link) = (remote.clone(), link.clone());
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let named = match remote.port {
        None => settings.server.remove(&remote.host),
        Some(_) => None,
    };
    let is_protected =
        |link: &Link| link.plain || link.server_key.is_some() || link.token_file.is_some();
    if !is_protected(&link)
        && let Some(key) = variable("KIFT_SERVER_KEY")
    {
        link.server_key = Some(key_of(&key).context("KIFT_SERVER_KEY")?);
    }
    if let Some(named) = &named {
        remote.host.clone_from(&named.address.host);
        remote.port = named.address.port;
        if !is_protected(&link) {
            link.plain = named.plain;
            let key = named.server_key.as_deref().map(key_of).transpose();
            link.server_key = key.context("server_key in the settings")?;
        }
    }
    // Neither plain links nor those that a token opens have a login.
    if link.plain || link.token_file.is_some() {
        return Ok((remote, link));
    }
    if remote.user.is_none()
        && let Some(user) = variable("KIFT_USER")
    {
        if !is_user_name(&user) {
            return Err(anyhow!("KIFT_USER: {user:?} is no user's name"));
        }
        remote.user = Some(user);
    }
    remote.user = remote.user.or_else(|| named.as_ref()?.user.clone());
    // A password is a user's.
    if remote.user.is_some() && link.password_file.is_none() {
        let given = variable("KIFT_PASSWORD_FILE").map(PathBuf::from);
        // And nobody else's.
        let theirs = named.filter(|named| named.user == remote.user);
        link.password_file = given.or_else(|| theirs?.password_file);
    }
    Ok((remote, link))
}

fn key_of(text: &str) -> Result<ServerKey> {
    text.parse().map_err(|_| anyhow!("{text:?} is neither a key nor a fingerprint"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::client::{Address, Server};

    const KEY: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn server() -> Server {
        let address = Address { host: "192.0.2.7".to_owned(), port: Some(99) };
        let user = Some("anna".to_owned());
        let password_file = Some(PathBuf::from("/anna's"));
        Server { address, user, password_file, server_key: Some(KEY.to_owned()), plain: false }
    }

    fn settings() -> Settings {
        let plain =
            Server { user: None, password_file: None, server_key: None, plain: true, ..server() };
        let server = [("lab".to_owned(), server()), ("bench".to_owned(), plain)];
        Settings { server: server.into_iter().collect() }
    }

    fn resolved(remote: &str, link: &Link, variables: &[(&str, &str)]) -> (Remote, Link) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(of, _)| *of == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        resolve_by(&remote.parse().unwrap(), link, settings(), variable).unwrap()
    }

    #[test]
    fn a_name_is_a_server_unless_a_port_is_said() {
        let (remote, link) = resolved("lab:/in/x", &Link::default(), &[]);
        assert_eq!(remote.to_string(), "anna@192.0.2.7:99/in/x");
        assert!(link.server_key.is_some() && link.password_file.is_some() && !link.plain);
        assert_eq!(resolved("lab/x", &Link::default(), &[]).0, remote_of("anna@192.0.2.7:99/x"));
        assert_eq!(resolved("lab:98/x", &Link::default(), &[]).0, remote_of("lab:98/x"));
        assert_eq!(resolved("other/x", &Link::default(), &[]).0, remote_of("other/x"));
        assert!(resolved("bench", &Link::default(), &[]).1.plain);
    }

    fn remote_of(text: &str) -> Remote {
        text.parse().unwrap()
    }

    #[test]
    fn the_command_line_comes_first_and_the_environment_second() {
        let variables = [
            ("KIFT_USER", "bert"),
            ("KIFT_SERVER_KEY", KEY),
            ("KIFT_PASSWORD_FILE", "/the environment's"),
        ];
        let file = |link: &Link| link.password_file.clone().unwrap_or_default();
        let (remote, link) = resolved("lab", &Link::default(), &variables);
        assert_eq!(remote.user.as_deref(), Some("bert"));
        assert_eq!(file(&link), PathBuf::from("/the environment's"));
        let given = Link { password_file: Some("/given".into()), ..Link::default() };
        let (remote, link) = resolved("carl@lab", &given, &variables);
        assert_eq!(remote.user.as_deref(), Some("carl"));
        assert_eq!(file(&link), PathBuf::from("/given"));
        let (_, link) = resolved("other", &Link::default(), &variables);
        assert!(link.server_key.is_some());
        let (remote, _) = resolved("other", &Link::default(), &[("KIFT_USER", "")]);
        assert_eq!(remote.user, None, "what is empty is not set");
    }

    #[test]
    fn nobody_gets_the_password_of_another() {
        assert_eq!(resolved("carl@lab", &Link::default(), &[]).1.password_file, None);
        assert!(resolved("anna@lab", &Link::default(), &[]).1.password_file.is_some());
    }

    #[test]
    fn protections_are_not_mixed() {
        let plain = Link { plain: true, ..Link::default() };
        let (remote, link) = resolved("lab", &plain, &[("KIFT_USER", "bert")]);
        assert!(link.plain && link.server_key.is_none() && link.password_file.is_none());
        assert_eq!(remote.user, None);
        let sealed = Link { server_key: KEY.parse().ok(), ..Link::default() };
        assert!(!resolved("bench", &sealed, &[]).1.plain);
        assert!(!resolved("bench", &Link::default(), &[("KIFT_SERVER_KEY", KEY)]).1.plain);
        let token = Link { token_file: Some("/t".into()), ..Link::default() };
        assert!(resolved("lab", &token, &[]).1.server_key.is_none());
    }
}
