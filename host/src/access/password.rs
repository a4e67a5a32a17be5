//! Passwords, and what is kept of them: Argon2id as a PHC string.
//!
//! A hash takes 19 MiB and some tens of milliseconds. That makes a stolen file of little use, and a
//! flood of logins dangerous: so no more than two are verified at once in the process, and further
//! ones wait. The memory for both is kept: an allocator may keep what was freed for each thread that
//! ever computed one.

use std::fmt;
use std::str::FromStr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Error, Result, anyhow, bail};
use argon2::password_hash::Error as HashError;
use argon2::password_hash::phc::Output;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, PasswordHasher as _, Version};
use kift_core::secure::Entropy as _;
use zeroize::Zeroizing;

use crate::secure::SystemRandom;

/// Bytes of the shortest password.
const LEN_MIN: usize = 8;
/// Bytes of the longest password, which is what a login has room for.
pub const LEN_MAX: usize = 128;

/// Hashes computed at once.
const AT_ONCE: usize = 2;
static SLOTS: Slots =
    Slots { state: Mutex::new(SlotsState { taken: 0, spare: Vec::new() }), freed: Condvar::new() };

/// Memory in KiB, passes and lanes: what OWASP's cheat sheet on storing passwords asks for.
const PARAMS: (u32, u32, u32) = (19_456, 2, 1);
/// The same memory in blocks of a KiB.
const MEMORY_LEN: usize = PARAMS.0 as usize;
const PARAMS_TEXT: &str = "m=19456,t=2,p=1";
const OUTPUT_LEN: usize = 32;
const SALT_LEN: usize = 16;

/// What stands in for a hash where there is none. What it is a hash of does not matter.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdC4uLg$bm9ib2R5J3MgaGFzaCwgd2hpY2ggZml0cyBub3RoaW4";

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(String);

/// No hash could be computed; trying later may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemory;

/// Refuses a password that is too weak to be kept or too long to be sent.
///
/// # Errors
/// The message says what is wrong, and not what the password is.
pub fn check(password: &str) -> Result<()> {
    if password.len() < LEN_MIN {
        bail!("a password has at least {LEN_MIN} bytes: take a longer one");
    }
    if password.len() > LEN_MAX {
        bail!("a password has at most {LEN_MAX} bytes: take a shorter one");
    }
    if password.contains('\0') {
        bail!("a password has no NUL in it");
    }
    Ok(())
}

impl Hash {
    /// What is to be kept of `password`.
    ///
    /// # Errors
    /// The password may not be one, or memory or randomness are missing.
    pub fn new(password: &str) -> Result<Self> {
        check(password)?;
        let mut salt = [0; SALT_LEN];
        SystemRandom.fill(&mut salt)?;
        let hash = argon2().and_then(|argon2| {
            let _slot = SLOTS.take();
            argon2.hash_password_with_salt(password.as_bytes(), &salt)
        });
        let hash = hash.map_err(|error| anyhow!("cannot hash the password: {error}"))?;
        Ok(Self(hash.to_string()))
    }

    /// Whether `password` is the one that `hash` was made from: never, where there is none, but
    /// after the same work.
    pub(super) fn verify(hash: Option<&Self>, password: &str) -> Result<bool, OutOfMemory> {
        let text = hash.map_or(NOBODYS, |hash| &hash.0);
        let parsed = PasswordHash::new(text).ok();
        let Some((salt, expected)) = parsed.and_then(|parsed| parsed.salt.zip(parsed.hash)) else {
            return Ok(false);
        };
        let mut output = Zeroizing::new([0; OUTPUT_LEN]);
        let mut slot = SLOTS.take();
        #[cfg(test)]
        tests::COMPUTED.set(tests::COMPUTED.get() + 1);
        let memory = slot.memory()?;
        let is_computed = argon2().is_ok_and(|argon2| {
            let bytes = password.as_bytes();
            argon2.hash_password_into_with_memory(bytes, &salt, &mut *output, memory).is_ok()
        });
        // Outputs are compared in constant time.
        let fits = is_computed && Output::new(&*output).is_ok_and(|output| output == expected);
        Ok(fits && hash.is_some())
    }
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let (memory, passes, lanes) = PARAMS;
    let params = Params::new(memory, passes, lanes, Some(OUTPUT_LEN))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl FromStr for Hash {
    type Err = Error;

    /// Takes hashes as they are made here and no others. Greater ones would pass the bound on
    /// memory, and different ones would show by their time whether a name is a user's.
    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            anyhow!(
                "the password's hash is damaged, or made otherwise than by Argon2id with \
                 {PARAMS_TEXT}: set the password again by `kift user passwd`"
            )
        };
        let hash = PasswordHash::new(text).map_err(|_| refused())?;
        let len = |part: Option<usize>| part.unwrap_or(0);
        let is_ours = hash.algorithm == argon2::ARGON2ID_IDENT
            && hash.version == Some(Version::V0x13.into())
            && hash.params.as_str() == PARAMS_TEXT
            && len(hash.salt.map(|salt| salt.len())) >= SALT_LEN
            && len(hash.hash.map(|output| output.len())) == OUTPUT_LEN;
        if is_ours { Ok(Self(text.to_owned())) } else { Err(refused()) }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

/// Room for [`AT_ONCE`] computations.
struct Slots {
    state: Mutex<SlotsState>,
    freed: Condvar,
}

struct SlotsState {
    taken: usize,
    /// Memory that was used and is to be used again.
    spare: Vec<Vec<Block>>,
}

/// Room for one, until it is dropped.
struct Slot<'a> {
    slots: &'a Slots,
    memory: Vec<Block>,
}

impl Slots {
    fn state(&self) -> MutexGuard<'_, SlotsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room.
    fn take(&self) -> Slot<'_> {
        let mut state = self
            .freed
            .wait_while(self.state(), |state| state.taken >= AT_ONCE)
            .unwrap_or_else(PoisonError::into_inner);
        state.taken += 1;
        Slot { slots: self, memory: state.spare.pop().unwrap_or_default() }
    }
}

impl Slot<'_> {
    /// As much as a computation takes.
    fn memory(&mut self) -> Result<&mut [Block], OutOfMemory> {
        let missing = MEMORY_LEN.saturating_sub(self.memory.len());
        self.memory.try_reserve_exact(missing).map_err(|_| OutOfMemory)?;
        self.memory.resize(MEMORY_LEN, Block::new());
        Ok(&mut self.memory)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.taken -= 1;
        state.spare.push(std::mem::take(&mut self.memory));
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;

    thread_local! {
        /// Verifications that this thread has computed.
        pub(in crate::access) static COMPUTED: Cell<u32> = const { Cell::new(0) };
    }

    #[test]
    fn a_password_fits_its_hash_alone() {
        let hash = Hash::new("correct horse").unwrap();
        let again: Hash = hash.to_string().parse().unwrap();
        assert_eq!(again, hash);
        assert_eq!(Hash::verify(Some(&again), "correct horse"), Ok(true));
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert_eq!(Hash::verify(Some(&hash), wrong), Ok(false));
        }
        // Salted.
        assert_ne!(Hash::new("correct horse").unwrap(), hash);
        assert_eq!(format!("{hash:?}"), "Hash");
    }

    #[test]
    fn nobody_has_a_password_after_the_same_work() {
        let before = COMPUTED.get();
        assert_eq!(Hash::verify(None, "anything"), Ok(false));
        assert_eq!(COMPUTED.get(), before + 1);
        // It is computed, and not refused beforehand.
        assert!(NOBODYS.parse::<Hash>().is_ok());
    }

    #[test]
    fn only_hashes_of_the_same_cost_are_taken() {
        let good = NOBODYS;
        for (from, to) in [
            ("m=19456", "m=1945600"),
            ("t=2", "t=3"),
            ("p=1", "p=2"),
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("$v=19", ""),
            ("bm9ib2R5J3Mgc2FsdC4uLg", "bm9ib2R5J3M"),
            ("$bm9ib2R5J3MgaGFzaCwgd2hpY2ggZml0cyBub3RoaW4", ""),
            ("ub3RoaW4", ""),
            ("$argon2id", "argon2id"),
        ] {
            let changed = good.replace(from, to);
            assert_ne!(changed, good);
            let error = changed.parse::<Hash>().unwrap_err().to_string();
            assert!(error.contains("user passwd") && !error.contains(&changed), "{error}");
        }
    }

    #[test]
    fn lengths() {
        assert!(check("1234567").is_err() && check("12345678").is_ok());
        assert!(check(&"x".repeat(128)).is_ok() && check(&"x".repeat(129)).is_err());
        assert!(check("1234\0abcdef").is_err());
        assert!(Hash::new("short").is_err());
    }

    #[test]
    fn a_third_verification_waits_for_one_of_two() {
        let held = [SLOTS.take(), SLOTS.take()];
        let (done, is_done) = channel();
        let third = thread::spawn(move || {
            let _ = Hash::verify(None, "anything");
            done.send(()).unwrap();
        });
        let waited = is_done.recv_timeout(Duration::from_secs(3));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
        drop(held);
        assert_eq!(is_done.recv_timeout(Duration::from_secs(60)), Ok(()));
        third.join().unwrap();
    }
}
