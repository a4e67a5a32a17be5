//! Goes on when a link was lost: in another session, with the requests that are open.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant as Clock};

use embedded_io::{Read, Write};
use kift_core::Hasher;
use kift_core::session::{Error, Reply, RequestError};
use kift_core::storage::RequestId;
use kift_core::wire::{Ask, CONTROL_LEN_MAX, Code, Password, Put, Request, RunLen};
use zeroize::Zeroizing;

use super::desk::Notice;
use super::{Client, ClientError};
use crate::net::{Socket, TICK};

/// How long a client waits before the first attempt, and at most.
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What a client needs to come to another session.
pub(super) struct Again<T: embedded_io::ErrorType> {
    hang_up: fn(&Client<T>),
    dial: fn(&Client<T>) -> Result<Client<T>, ClientError>,
    /// Attempts in a row.
    times: u32,
    left: u32,
}

/// As whom a client has logged in.
pub(super) struct Login {
    user: String,
    password: Zeroizing<String>,
}

impl Client<Socket> {
    /// From now on goes on when the link is lost: it tries to come to another session, so many times in
    /// a row, and makes those requests again that have no answer.
    pub fn retry(&mut self, times: u32) {
        let hang_up = |lost: &Self| {
            // Where it is not connected any more there is nothing to do.
            let _ = lost.driver.stream().stream().shutdown(Shutdown::Both);
        };
        let dial = |lost: &Self| lost.dial_again();
        self.again = Some(Again { hang_up, dial, times, left: times });
    }

    /// Says who the user is. If the link is lost it is said again.
    ///
    /// # Errors
    /// As [`ask`](Self::ask). A name or password that is none: [`Code::BadName`], [`Code::Malformed`].
    pub fn log_in(&mut self, user: &str, password: &str) -> Result<Result<(), Code>, ClientError> {
        let Some(said) = Password::new(password) else { return Ok(Err(Code::Malformed)) };
        Ok(match self.ask(&Request::Login { user, password: said })? {
            Ok(Reply::Done) => {
                let password = Zeroizing::new(password.to_owned());
                self.login = Some(Login { user: user.to_owned(), password });
                Ok(())
            }
            Ok(_) => Err(Code::Internal),
            Err(failure) => Err(failure.code()),
        })
    }

    /// Another session with the same server, in which the same user is logged in.
    fn dial_again(&self) -> Result<Self, ClientError> {
        let Some(remote) = &self.remote else {
            return Err(ClientError::Session(Error::Disconnected));
        };
        let mut client = Self::connect_with(remote, self.same_server(), self.window)?;
        client.interrupt_by(self.interrupted.clone());
        client.open()?;
        if let Some(Login { user, password }) = &self.login
            && let Err(code) = client.log_in(user, password)?
        {
            return Err(ClientError::LoggedOut(code));
        }
        Ok(client)
    }
}

impl<T: Read + Write> Client<T> {
    /// Whether this goes on when its link is lost.
    #[must_use]
    pub fn retries(&self) -> bool {
        self.again.is_some()
    }

    /// The link was lost: comes to another session, in which all that was open is again.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn go_on(&mut self, lost: ClientError) -> Result<(), ClientError> {
        let mut why = lost;
        // The server may not know yet that this link is worth nothing.
        if let Some(Again { hang_up, .. }) = &self.again {
            hang_up(self);
        }
        loop {
            let has_moved = self.desk.has_moved();
            let is_wanted = self.is_anything_open();
            let Some(again) = &mut self.again else { return Err(why) };
            if has_moved {
                again.left = again.times;
            }
            if again.left == 0 || !is_wanted || !(is_passing(&why) || is_damage(&why)) {
                return Err(why);
            }
            let wait = wait(again.times - again.left);
            again.left -= 1;
            let dial = again.dial;
            self.desk.tell(Notice::Lost { why: &why, wait });
            self.rest(wait)?;
            let result = match dial(self) {
                Ok(fresh) => {
                    self.take_place_of(fresh);
                    self.repeat()
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => return Ok(()),
                Err(error) => why = error,
            }
        }
    }

    /// Whether more than a goodbye has no answer: that one needs none.
    fn is_anything_open(&mut self) -> bool {
        let goodbye = encoded(&Request::Goodbye);
        (0..self.desk.open_len())
            .any(|at| self.desk.open_at(at).is_some_and(|open| open.request != goodbye))
    }

    fn rest(&self, wait: Duration) -> Result<(), ClientError> {
        let began = Clock::now();
        while began.elapsed() < wait {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(ClientError::Interrupted);
            }
            thread::sleep(TICK.min(wait.saturating_sub(began.elapsed())));
        }
        Ok(())
    }

    fn take_place_of(&mut self, fresh: Self) {
        self.desk.take_over(&fresh.desk);
        let Self { session, driver, origin, last, .. } = fresh;
        self.session = session;
        self.driver = driver;
        self.origin = origin;
        self.last = last;
        self.is_over = false;
        self.error = None;
    }

    /// Makes the requests again that are open.
    fn repeat(&mut self) -> Result<(), ClientError> {
        // None of their numbers may be taken for one of this session's.
        for at in 0..self.desk.open_len() {
            if let Some(open) = self.desk.open_at(at) {
                open.number = RequestId::default();
            }
        }
        let mut at = 0;
        loop {
            // Those that were answered meanwhile are gone.
            let len = self.desk.open_len();
            at = at.min(len);
            while at > 0 && self.desk.open_at(at - 1).is_some_and(|open| open.number.0 == 0) {
                at -= 1;
            }
            while self.desk.open_at(at).is_some_and(|open| open.number.0 > 0) {
                at += 1;
            }
            if at >= len {
                return Ok(());
            }
            self.repeat_one(at)?;
        }
    }

    fn repeat_one(&mut self, at: usize) -> Result<(), ClientError> {
        let Some(open) = self.desk.open_at(at) else { return Ok(()) };
        let (id, bytes) = (open.id, open.request.clone());
        let prepared = open.rewind().and_then(|()| open.have());
        let have = match prepared {
            Ok(have) => have,
            Err(error) => {
                self.desk.give_up(at, error);
                return Ok(());
            }
        };
        let root;
        let request = match (Request::decode(&bytes), &have) {
            // An earlier attempt may have come some way.
            (Ok(Request::Put(put)), _) if put.ask == Ask::Now => {
                Request::Put(Put { ask: Ask::Ready, ..put })
            }
            (Ok(Request::Get { path, .. } | Request::Resume { path, .. }), Some(tree)) => {
                let hasher = Hasher::continued(tree.clone());
                root = hasher.digest();
                self.make_idle()?;
                if let Some(prefix) = self.session.prefix() {
                    *prefix = hasher;
                }
                Request::Resume { path, first: tree.runs() << RunLen::MIN.0, root }
            }
            // What it was to go on behind is not there any more.
            (Ok(Request::Resume { path, .. }), None) => {
                Request::Get { path, first: 0, count: None }
            }
            (Ok(request @ Request::List { .. }), _) => {
                self.desk.forget_entries();
                request
            }
            (Ok(request), _) => request,
            (Err(_), _) => return Err(ClientError::Session(Error::Disconnected)),
        };
        loop {
            match self.session.request(&request) {
                Ok(number) => {
                    self.last = number;
                    self.desk.renumber(id, number);
                    return Ok(());
                }
                Err(RequestError::Later) => self.step_once()?,
                Err(RequestError::Over) if self.is_over => return Err(self.how_it_ended()),
                Err(RequestError::Over) => self.step_once()?,
                Err(RequestError::Refused(_)) => {
                    return Err(ClientError::Session(Error::Disconnected));
                }
            }
        }
    }

    /// Works until all that was asked in this session is answered.
    pub(super) fn make_idle(&mut self) -> Result<(), ClientError> {
        while !self.session.is_idle() {
            self.step_once()?;
        }
        Ok(())
    }
}

/// A request, to be kept.
pub(super) fn encoded(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = vec![0; CONTROL_LEN_MAX];
    let len = request.encode(&mut bytes).unwrap_or(0);
    bytes.truncate(len);
    bytes
}

/// Whether it may be over after a while.
pub(crate) fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } => true,
        ClientError::Session(error) => match error {
            Error::Disconnected | Error::TimedOut => true,
            Error::PeerMisbehaved(code) | Error::PeerClosed(code) => matches!(
                code,
                Code::Busy
                    | Code::Corrupt
                    | Code::ShuttingDown
                    | Code::TimedOut
                    | Code::TooManySessions
            ),
            Error::Closed(_) => false,
        },
        ClientError::Stranger(_)
        | ClientError::NoEntropy(_)
        | ClientError::LoggedOut(_)
        | ClientError::Interrupted => false,
    }
}

/// Whether a line that changes bits can be the reason why an end does not understand the other, when they had
/// understood each other before: the length of a frame, and all of a greeting, have no checksum.
fn is_damage(error: &ClientError) -> bool {
    let ClientError::Session(Error::PeerMisbehaved(code) | Error::PeerClosed(code)) = error else {
        return false;
    };
    matches!(code, Code::CreditExceeded | Code::Incompatible | Code::Malformed | Code::OutOfOrder)
}

/// How long to wait before attempt number `attempt`, from 0 on: twice as long each time, and between half of
/// that and all of it, so that clients which lost the same server do not come back at once.
pub(crate) fn wait(attempt: u32) -> Duration {
    let longest = WAIT_MIN.saturating_mul(1 << attempt.min(10)).min(WAIT_MAX);
    let mut byte = [0];
    // Without randomness they only come back together.
    let _ = rustix::rand::getrandom(&mut byte[..], rustix::rand::GetRandomFlags::empty());
    longest / 2 + longest / 2 * u32::from(byte[0]) / 255
}
