//! What one session may do.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use kift_core::secure::PublicKey;
use kift_core::wire::Path;

use super::options::Options;
use super::password::Hash;
use super::rights::Rights;

/// Who somebody turned out to be, and what they may do therefore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Their name.
    pub user: String,
    /// What they may do.
    pub rights: Rights,
    /// The directory beneath the root that is all they see; empty for the root.
    pub home: String,
    /// Bytes that may be stored in it.
    pub quota: Option<u64>,
    /// Bytes of the largest file that they may send.
    pub largest: Option<u64>,
    /// When it ends.
    pub expires: Option<SystemTime>,
    pub(super) proof: Proof,
}

/// By what they showed who they are.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) key: PublicKey,
    pub(super) from: IpAddr,
    /// The hash that their password fitted, where they gave one.
    pub(super) password: Option<Hash>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.password.is_some() { "password" } else { "key" };
        write!(f, "{} at {} by {by}", self.key, self.from)
    }
}

impl Grant {
    /// What `user` may do by their own options and, where a key let them in, by the key's, which can
    /// only take away. None where the two together name no directory.
    pub(super) fn new(
        name: &str,
        user: &Options,
        key: Option<&Options>,
        proof: Proof,
    ) -> Option<Self> {
        let nothing = Options::default();
        let key = key.unwrap_or(&nothing);
        let rights = user.rights.unwrap_or_default();
        let home = match (&user.path, &key.path) {
            (Some(above), Some(below)) => format!("{above}/{below}"),
            (Some(path), None) | (None, Some(path)) => path.clone(),
            (None, None) => String::new(),
        };
        Path::new(&home).ok()?;
        Some(Self {
            user: name.to_owned(),
            rights: key.rights.map_or(rights, |key| rights.within(key)),
            home,
            quota: smaller(user.quota, key.quota),
            largest: smaller(user.largest, key.largest),
            expires: smaller(user.expires, key.expires),
            proof,
        })
    }
}

/// The bound that holds where there may be two.
fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(user: &str, key: Option<&str>) -> Option<Grant> {
        let options = |text: &str| text.parse::<Options>().unwrap();
        let key = key.map(options);
        let proof = Proof { key: PublicKey([1; 32]), from: [127, 0, 0, 1].into(), password: None };
        Grant::new("anna", &options(user), key.as_ref(), proof)
    }

    #[test]
    fn a_key_only_takes_away() {
        let whole = "rw,path=a,quota=10,largest=5,expires=2030-01-01";
        let user = grant(whole, None).unwrap();
        assert_eq!((user.home.as_str(), user.quota, user.largest), ("a", Some(10), Some(5)));
        for more in ["rw,admin", "quota=11", "largest=6", "expires=2031-01-01"] {
            assert_eq!(grant(whole, Some(more)).as_ref(), Some(&user), "{more}");
        }
        let less = "read,admin,path=b/c,quota=9,largest=4,expires=2029-01-01";
        let less = grant(whole, Some(less)).unwrap();
        assert_eq!(less.rights, Rights::READ);
        assert_eq!((less.home.as_str(), less.quota, less.largest), ("a/b/c", Some(9), Some(4)));
        assert!(less.expires < user.expires);

        assert_eq!(grant("ro", Some("path=b")).unwrap().home, "b");
        let unbounded = grant("ro", None).unwrap();
        assert_eq!((unbounded.home.as_str(), unbounded.quota), ("", None));
        assert_eq!(grant("ro", Some("quota=1")).unwrap().quota, Some(1));
        assert_eq!(grant("ro", Some("write")).unwrap().rights, Rights::NONE);
        assert_eq!(grant("path=a", Some("rw")).unwrap().rights, Rights::NONE);
    }

    #[test]
    fn two_long_paths_make_no_home() {
        let long = format!("ro,path={0}/{0}", "x".repeat(200));
        assert!(grant(&long, None).is_some());
        assert!(grant(&long, Some(&long)).is_none());
    }
}
