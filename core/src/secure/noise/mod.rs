//! Sealed links. Implements sections 4.4 to 4.6 of `core/PROTOCOL.md`.
//!
//! | module | does |
//! | --- | --- |
//! | `keys` | an end's secrets, and where they come from |
//! | `cipher` | the ciphers that a program brings, keyed |
//! | `handshake` | the three messages of Noise XX, as states that are types |
//! | `records` | frames sealed in place, counters, new keys |
//!
//! Hashes and key derivation are `clatter`'s. Which suite is spoken is known only when the peer has
//! been heard, so the states of both ciphers meet in one enum here.

mod cipher;
mod handshake;
mod keys;
mod records;

use core::fmt;

pub use cipher::{Absent, ChaChaPoly, ChaChaPolyOnly, Cipher, Ciphers, Forged};
#[cfg(feature = "aes-gcm")]
pub use cipher::{AesGcm, RustCrypto};
pub use keys::{Entropy, NoEntropy, NotToken, SecretKey, Token};

use super::first_flight::{FIRST_FLIGHT_LEN, FirstFlight, Refusal, Suite};
use super::{Checksum, Peer, Plain, Protect, PublicKey};
use crate::bytes;
use crate::wire::{Code, Hello, PREFIX_LEN, Prefix, Record, TRAILER_LEN_MAX};
use cipher::TAG_LEN;
use handshake::{Answered, Asked, Introduced, KEY_LEN, Said};
use keys::Secrets;
use records::Records;

/// Bytes of the longest payload of a handshake message: a minor version and a hello.
const PAYLOAD_LEN_MAX: usize = 32;

/// Bytes of a first record's clear part: prefix and first flight.
const CLEAR_LEN: usize = PREFIX_LEN + FIRST_FLIGHT_LEN;

/// What both ends put in front of the handshake: the dialler's clear bytes, and the suite chosen.
type Prologue = [u8; CLEAR_LEN + 1];

/// A sealed link, by the ciphers `C`: nobody reads or changes what goes over it, and each end knows
/// the other's key.
///
/// One is made for one link. Its own key and the randomness that it needs are given beforehand:
/// this crate has no random source of its own.
pub struct Noise<C: Ciphers = ChaChaPolyOnly> {
    state: State<C>,
    peer: Option<Peer>,
}

enum State<C: Ciphers> {
    Plain(Plain),
    /// No suite was chosen yet.
    Fresh(Secrets),
    ChaChaPoly(Progress<C::ChaChaPoly>),
    AesGcm(Progress<C::AesGcm>),
    /// The handshake failed: nothing can be said or heard any more.
    Failed,
}

/// How far a link has come whose suite was chosen.
enum Progress<C: Cipher> {
    /// Dialler: the listener's key is known, its own not yet said.
    Introduced(Introduced<C>),
    /// Listener: its key was said, the dialler's is not yet known.
    Answered(Answered<C>),
    Sealed(Records<C>),
}

impl<C: Ciphers> Noise<C> {
    /// An end whose key is `identity`. With a `token` a dialler pairs and does nothing else, and a
    /// listener admits to pairing too.
    ///
    /// # Errors
    /// [`NoEntropy`]: without randomness there is no handshake.
    pub fn new(
        identity: SecretKey,
        token: Option<Token>,
        entropy: &mut impl Entropy,
    ) -> Result<Self, NoEntropy> {
        let ephemeral = SecretKey::generate(entropy)?;
        Ok(Self { state: State::Fresh(Secrets { identity, ephemeral, token }), peer: None })
    }

    /// A plain link all the same, for programs that are told at run time.
    #[must_use]
    pub const fn plain(checksum: Checksum) -> Self {
        Self { state: State::Plain(Plain::new(checksum)), peer: None }
    }

    /// The secrets of an end that has not heard the other yet.
    fn take_secrets(&mut self) -> Option<Secrets> {
        match core::mem::replace(&mut self.state, State::Failed) {
            State::Fresh(secrets) => Some(secrets),
            _ => None,
        }
    }

    /// Dialler: hears message 2.
    fn hear_reply(&mut self, record: &[u8]) -> Result<Hello, Refusal> {
        let (reply, message) = FirstFlight::parse(record).map_err(Refusal::Message)?;
        let chosen = reply.chosen()?;
        let failed = Refusal::Message(Code::HandshakeFailed);
        let secrets = self.take_secrets().ok_or(failed)?;
        let offered = offered::<C>(&secrets);
        let suite = [Suite::ChaChaPoly, Suite::AesGcm, Suite::Pairing]
            .into_iter()
            .find(|suite| *suite as u8 == chosen && offered & suite.bit() != 0)
            .ok_or(Refusal::Peer(Code::Incompatible))?;
        let prologue = prologue(&clear(offered, suite), suite);
        let mut payload = Payload::default();
        let heard = match suite {
            Suite::AesGcm => introduce(&secrets, suite, &prologue, message, &mut payload)
                .map(|(state, key)| (State::AesGcm(Progress::Introduced(state)), key)),
            _ => introduce(&secrets, suite, &prologue, message, &mut payload)
                .map(|(state, key)| (State::ChaChaPoly(Progress::Introduced(state)), key)),
        };
        let (state, key) = heard.ok_or(failed)?;
        // The listener's minor version is in no prologue, so it says it again in here.
        let [minor, hello @ ..] = payload.bytes() else { return Err(failed) };
        if *minor != reply.minor {
            return Err(failed);
        }
        let hello = Hello::decode(hello).map_err(|_| failed)?;
        self.state = state;
        self.peer = Some(Peer { key, pairing: suite == Suite::Pairing });
        Ok(hello)
    }

    /// Listener: hears message 3.
    fn hear_proof(&mut self, record: &[u8]) -> Option<Hello> {
        let message = record.get(PREFIX_LEN..)?;
        let mut payload = Payload::default();
        let (state, peer) = match core::mem::replace(&mut self.state, State::Failed) {
            State::ChaChaPoly(Progress::Answered(state)) => {
                let (records, peer) = state.hear(message, &mut payload)?;
                (State::ChaChaPoly(Progress::Sealed(records)), peer)
            }
            State::AesGcm(Progress::Answered(state)) => {
                let (records, peer) = state.hear(message, &mut payload)?;
                (State::AesGcm(Progress::Sealed(records)), peer)
            }
            _ => return None,
        };
        let hello = Hello::decode(payload.bytes()).ok()?;
        self.state = state;
        self.peer = Some(peer);
        Some(hello)
    }
}

impl<C: Ciphers> fmt::Debug for Noise<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Plain(_) => "Plain",
            State::Failed => "Noise(failed)",
            _ if self.is_ready() => "Noise(sealed)",
            _ => "Noise(handshake)",
        })
    }
}

// The handshake's steps are never inlined: what they take of the stack would be taken while files
// are moved too.
impl<C: Ciphers> Protect for Noise<C> {
    fn trailer_len(&self) -> usize {
        match &self.state {
            State::Plain(plain) => plain.trailer_len(),
            _ => TRAILER_LEN_MAX,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(
            self.state,
            State::Plain(_)
                | State::ChaChaPoly(Progress::Sealed(_))
                | State::AesGcm(Progress::Sealed(_))
        )
    }

    fn seal(&mut self, frame: &mut [u8]) -> bool {
        match &mut self.state {
            State::Plain(plain) => plain.seal(frame),
            State::ChaChaPoly(Progress::Sealed(records)) => records.seal(frame),
            State::AesGcm(Progress::Sealed(records)) => records.seal(frame),
            _ => false,
        }
    }

    fn open(&mut self, record: Record, frame: &mut [u8]) -> Result<(), Code> {
        match &mut self.state {
            State::Plain(plain) => plain.open(record, frame),
            State::ChaChaPoly(Progress::Sealed(records)) => records.open(record, frame),
            State::AesGcm(Progress::Sealed(records)) => records.open(record, frame),
            _ => Err(Code::OutOfOrder),
        }
    }

    #[inline(never)]
    fn offer(&mut self, body: &mut [u8]) -> Option<usize> {
        let secrets = match &mut self.state {
            State::Plain(plain) => return plain.offer(body),
            State::Fresh(secrets) => secrets,
            _ => return None,
        };
        let offered = offered::<C>(secrets);
        let exchange = FirstFlight::offer(offered).emit(body)?;
        // Suites 1 and 2 have the same first message, and for pairing nothing else is offered.
        let suite = if secrets.token.is_some() { Suite::Pairing } else { Suite::ChaChaPoly };
        let prologue = prologue(&clear(offered, suite), suite);
        let (_, len) = Said::<C::ChaChaPoly>::say(secrets, suite, &prologue, &[], exchange)?;
        Some(FIRST_FLIGHT_LEN + len)
    }

    #[inline(never)]
    fn answer(&mut self, offer: &[u8], hello: &Hello, body: &mut [u8]) -> Result<usize, Code> {
        if let State::Plain(plain) = &mut self.state {
            return plain.answer(offer, hello, body);
        }
        let (flight, message) = FirstFlight::parse(offer)?;
        let offered = flight.offered()?;
        let secrets = self.take_secrets().ok_or(Code::Internal)?;
        let suite = choose::<C>(offered, &secrets)?;
        let clear = offer.first_chunk().ok_or(Code::Malformed)?;
        let prologue = prologue(clear, suite);
        let welcome = FirstFlight::welcome(suite);
        let exchange = welcome.emit(body).ok_or(Code::Internal)?;
        let mut payload = Payload::default();
        payload.encode(Some(welcome.minor), hello).ok_or(Code::Internal)?;
        // What a later version may have put behind message 1 is not for this one.
        let message = message.get(..message_1_len(suite)).ok_or(Code::Malformed)?;
        let answered = match suite {
            Suite::AesGcm => answer(&secrets, suite, &prologue, message, payload.bytes(), exchange)
                .map(|(state, len)| (State::AesGcm(Progress::Answered(state)), len)),
            _ => answer(&secrets, suite, &prologue, message, payload.bytes(), exchange)
                .map(|(state, len)| (State::ChaChaPoly(Progress::Answered(state)), len)),
        };
        let (state, len) = answered.ok_or(Code::HandshakeFailed)?;
        self.state = state;
        Ok(FIRST_FLIGHT_LEN + len)
    }

    #[inline(never)]
    fn hear(&mut self, record: &[u8]) -> Result<Option<Hello>, Refusal> {
        match &mut self.state {
            State::Plain(plain) => plain.hear(record),
            State::Fresh(_) => self.hear_reply(record).map(Some),
            _ => {
                let failed = Refusal::Message(Code::HandshakeFailed);
                self.hear_proof(record).map(Some).ok_or(failed)
            }
        }
    }

    fn peer(&self) -> Option<Peer> {
        self.peer
    }

    #[inline(never)]
    fn prove(&mut self, hello: &Hello, body: &mut [u8]) -> Option<usize> {
        let mut payload = Payload::default();
        payload.encode(None, hello)?;
        let (state, len) = match core::mem::replace(&mut self.state, State::Failed) {
            State::ChaChaPoly(Progress::Introduced(state)) => {
                let (records, len) = state.prove(payload.bytes(), body)?;
                (State::ChaChaPoly(Progress::Sealed(records)), len)
            }
            State::AesGcm(Progress::Introduced(state)) => {
                let (records, len) = state.prove(payload.bytes(), body)?;
                (State::AesGcm(Progress::Sealed(records)), len)
            }
            _ => return None,
        };
        self.state = state;
        Some(len)
    }
}

/// The suites that a dialler with these secrets offers.
fn offered<C: Ciphers>(secrets: &Secrets) -> u8 {
    match (&secrets.token, C::AesGcm::there()) {
        (Some(_), _) => Suite::Pairing.bit(),
        (None, Some(_)) => Suite::ChaChaPoly.bit() | Suite::AesGcm.bit(),
        (None, None) => Suite::ChaChaPoly.bit(),
    }
}

/// The suite that a listener with these secrets chooses of those offered.
fn choose<C: Ciphers>(offered: u8, secrets: &Secrets) -> Result<Suite, Code> {
    let has = |suite: Suite| offered & suite.bit() != 0;
    if offered == Suite::Pairing.bit() && secrets.token.is_some() {
        Ok(Suite::Pairing)
    } else if has(Suite::AesGcm) && C::AesGcm::there().is_some() {
        Ok(Suite::AesGcm)
    } else if has(Suite::ChaChaPoly) {
        Ok(Suite::ChaChaPoly)
    } else if offered == Suite::Plain.bit() {
        Err(Code::SealedOnly)
    } else {
        Err(Code::Incompatible)
    }
}

/// A dialler says message 1 once more, now that the suite is known, and hears message 2.
fn introduce<C: Cipher>(
    secrets: &Secrets,
    suite: Suite,
    prologue: &Prologue,
    message_2: &[u8],
    payload: &mut Payload,
) -> Option<(Introduced<C>, PublicKey)> {
    let mut message_1 = [0; KEY_LEN + TAG_LEN];
    let (said, _) = Said::say(secrets, suite, prologue, &[], &mut message_1)?;
    said.hear(message_2, payload)
}

/// A listener hears message 1, and says message 2.
fn answer<C: Cipher>(
    secrets: &Secrets,
    suite: Suite,
    prologue: &Prologue,
    message_1: &[u8],
    payload: &[u8],
    out: &mut [u8],
) -> Option<(Answered<C>, usize)> {
    let asked = Asked::hear(secrets, suite, prologue, message_1, &mut Payload::default())?;
    asked.answer(payload, out)
}

/// Bytes of message 1: it is sealed only where there is a token.
const fn message_1_len(suite: Suite) -> usize {
    match suite {
        Suite::Pairing => KEY_LEN + TAG_LEN,
        _ => KEY_LEN,
    }
}

/// The clear bytes of a dialler's first record.
fn clear(offered: u8, suite: Suite) -> [u8; CLEAR_LEN] {
    let mut clear = [0; CLEAR_LEN];
    let len = (FIRST_FLIGHT_LEN + message_1_len(suite)) as u16;
    Prefix { len, record: Record::Handshake }.emit(&mut clear);
    FirstFlight::offer(offered).emit(bytes::part_mut(&mut clear, PREFIX_LEN, CLEAR_LEN));
    clear
}

fn prologue(clear: &[u8; CLEAR_LEN], suite: Suite) -> Prologue {
    let mut prologue = [suite as u8; CLEAR_LEN + 1];
    bytes::copy(&mut prologue, clear);
    prologue
}

/// What a handshake message carries.
#[derive(Default)]
struct Payload {
    buf: [u8; PAYLOAD_LEN_MAX],
    len: usize,
}

impl Payload {
    fn encode(&mut self, minor: Option<u8>, hello: &Hello) -> Option<()> {
        let mut at = 0;
        if let Some(minor) = minor {
            at = bytes::copy(&mut self.buf, &[minor]);
        }
        self.len = at + hello.encode(self.buf.get_mut(at..)?)?;
        Some(())
    }

    fn bytes(&self) -> &[u8] {
        bytes::part(&self.buf, 0, self.len)
    }

    /// Room for `len` bytes that come.
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        self.len = len;
        self.buf.get_mut(..len)
    }
}
