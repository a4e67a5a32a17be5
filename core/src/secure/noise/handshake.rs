//! Noise XX and XXpsk3, message by message.
//!
//! ```text
//! XX:  -> e             what is sent: keys in the clear (e) or sealed (s), then a payload
//!      <- e, ee, s, es  what is mixed in: agreements of the two ends' keys (ee, es, se)
//!      -> s, se         and, for pairing, a token behind it all (psk)
//! ```
//! Each state is a type, and each step takes one and gives the next: there is no order but this. A
//! step that fails gives nothing, and what it had is wiped.

use core::marker::PhantomData;

use clatter::bytearray::SensitiveByteArray;
use clatter::crypto::hash::Sha256;
use clatter::error::{CipherError, CipherResult};
use clatter::symmetricstate::SymmetricState;
use clatter::traits::CryptoComponent;

use super::Payload;
use super::cipher::{Cipher, TAG_LEN};
use super::keys::{SecretKey, Secrets, Token};
use super::records::Records;
use crate::bytes;
use crate::secure::first_flight::Suite;
use crate::secure::{Peer, PublicKey};

/// Bytes of a public key.
pub(super) const KEY_LEN: usize = 32;

/// A dialler that said message 1.
pub(super) struct Said<'a, C: Cipher> {
    hashes: Hashes<C>,
    secrets: &'a Secrets,
}

impl<'a, C: Cipher> Said<'a, C> {
    /// Writes message 1, and gives its length.
    pub(super) fn say(
        secrets: &'a Secrets,
        suite: Suite,
        prologue: &[u8],
        payload: &[u8],
        out: &mut [u8],
    ) -> Option<(Self, usize)> {
        let mut hashes = Hashes::new(suite, prologue)?;
        let mut out = Writer { out, len: 0 };
        hashes.say_ephemeral(&secrets.ephemeral, &mut out)?;
        hashes.say(payload, &mut out)?;
        Some((Self { hashes, secrets }, out.len))
    }

    /// Reads message 2, and gives the listener's key.
    pub(super) fn hear(
        mut self,
        mut message: &[u8],
        payload: &mut Payload,
    ) -> Option<(Introduced<C>, PublicKey)> {
        let Secrets { identity, ephemeral, token } = self.secrets;
        let theirs = self.hashes.hear_ephemeral(&mut message)?;
        self.hashes.mix_agreed(ephemeral, &theirs)?;
        let key = self.hashes.hear_key(&mut message)?;
        self.hashes.mix_agreed(ephemeral, &key)?;
        self.hashes.hear_payload(message, payload)?;
        let (identity, token) = (identity.clone(), token.clone());
        Some((Introduced { hashes: self.hashes, identity, token, ephemeral: theirs }, key))
    }
}

/// A dialler that knows who the listener is, and has not said who it is itself.
pub(super) struct Introduced<C: Cipher> {
    hashes: Hashes<C>,
    identity: SecretKey,
    token: Option<Token>,
    /// The listener's.
    ephemeral: PublicKey,
}

impl<C: Cipher> Introduced<C> {
    /// Writes message 3, and gives its length.
    pub(super) fn prove(mut self, payload: &[u8], out: &mut [u8]) -> Option<(Records<C>, usize)> {
        let mut out = Writer { out, len: 0 };
        self.hashes.say(&self.identity.public().0, &mut out)?;
        self.hashes.mix_agreed(&self.identity, &self.ephemeral)?;
        self.hashes.mix_token(self.token.as_ref())?;
        self.hashes.say(payload, &mut out)?;
        Some((self.hashes.split(true)?, out.len))
    }
}

/// A listener that heard message 1.
pub(super) struct Asked<'a, C: Cipher> {
    hashes: Hashes<C>,
    secrets: &'a Secrets,
    /// The dialler's.
    ephemeral: PublicKey,
}

impl<'a, C: Cipher> Asked<'a, C> {
    /// Reads message 1.
    pub(super) fn hear(
        secrets: &'a Secrets,
        suite: Suite,
        prologue: &[u8],
        mut message: &[u8],
        payload: &mut Payload,
    ) -> Option<Self> {
        let mut hashes = Hashes::new(suite, prologue)?;
        let ephemeral = hashes.hear_ephemeral(&mut message)?;
        hashes.hear_payload(message, payload)?;
        Some(Self { hashes, secrets, ephemeral })
    }

    /// Writes message 2, and gives its length.
    pub(super) fn answer(mut self, payload: &[u8], out: &mut [u8]) -> Option<(Answered<C>, usize)> {
        let Secrets { identity, ephemeral, token } = self.secrets;
        let mut out = Writer { out, len: 0 };
        self.hashes.say_ephemeral(ephemeral, &mut out)?;
        self.hashes.mix_agreed(ephemeral, &self.ephemeral)?;
        self.hashes.say(&identity.public().0, &mut out)?;
        self.hashes.mix_agreed(identity, &self.ephemeral)?;
        self.hashes.say(payload, &mut out)?;
        let (ephemeral, token) = (ephemeral.clone(), token.clone());
        Some((Answered { hashes: self.hashes, ephemeral, token }, out.len))
    }
}

/// A listener that said who it is, and does not know who the dialler is.
pub(super) struct Answered<C: Cipher> {
    hashes: Hashes<C>,
    ephemeral: SecretKey,
    token: Option<Token>,
}

impl<C: Cipher> Answered<C> {
    /// Reads message 3, and says who the dialler is.
    pub(super) fn hear(
        mut self,
        mut message: &[u8],
        payload: &mut Payload,
    ) -> Option<(Records<C>, Peer)> {
        let key = self.hashes.hear_key(&mut message)?;
        self.hashes.mix_agreed(&self.ephemeral, &key)?;
        self.hashes.mix_token(self.token.as_ref())?;
        self.hashes.hear_payload(message, payload)?;
        let pairing = self.hashes.pairing;
        Some((self.hashes.split(false)?, Peer { key, pairing }))
    }
}

/// What both ends have said so far, as hashes, and the key that follows from it.
struct Hashes<C: Cipher> {
    state: SymmetricState<Bridge<C>, Sha256>,
    /// Whether this is XXpsk3.
    pairing: bool,
    there: C::There,
}

impl<C: Cipher> Hashes<C> {
    /// None where the program does not have the cipher.
    fn new(suite: Suite, prologue: &[u8]) -> Option<Self> {
        let there = C::there()?;
        let mut state = SymmetricState::new(name(suite));
        state.mix_hash(prologue);
        Some(Self { state, pairing: suite == Suite::Pairing, there })
    }

    fn say_ephemeral(&mut self, key: &SecretKey, out: &mut Writer<'_>) -> Option<()> {
        bytes::copy(out.take(KEY_LEN)?, &key.public().0);
        self.mix_ephemeral(key.public());
        Some(())
    }

    fn hear_ephemeral(&mut self, message: &mut &[u8]) -> Option<PublicKey> {
        let key = PublicKey(*message.split_off(..KEY_LEN)?.first_chunk()?);
        self.mix_ephemeral(&key);
        Some(key)
    }

    fn mix_ephemeral(&mut self, key: &PublicKey) {
        self.state.mix_hash(&key.0);
        // Noise does so in every handshake with a psk.
        if self.pairing {
            self.state.mix_key(&key.0);
        }
    }

    fn mix_agreed(&mut self, ours: &SecretKey, theirs: &PublicKey) -> Option<()> {
        self.state.mix_key(&*ours.agree(theirs)?);
        Some(())
    }

    fn mix_token(&mut self, token: Option<&Token>) -> Option<()> {
        if self.pairing {
            self.state.mix_key_and_hash(&token?.0);
        }
        Some(())
    }

    /// Bytes that a tag takes now.
    fn tag_len(&self) -> usize {
        if self.state.has_key() { TAG_LEN } else { 0 }
    }

    /// Writes `text`, sealed where there is a key by now.
    fn say(&mut self, text: &[u8], out: &mut Writer<'_>) -> Option<()> {
        let out = out.take(text.len() + self.tag_len())?;
        self.state.encrypt_and_hash(text, out).ok()
    }

    fn hear_key(&mut self, message: &mut &[u8]) -> Option<PublicKey> {
        let sealed = message.split_off(..KEY_LEN + self.tag_len())?;
        let mut key = [0; KEY_LEN];
        self.state.decrypt_and_hash(sealed, &mut key).ok()?;
        Some(PublicKey(key))
    }

    /// The rest of a message.
    fn hear_payload(&mut self, sealed: &[u8], payload: &mut Payload) -> Option<()> {
        let room = payload.room(sealed.len().checked_sub(self.tag_len())?)?;
        self.state.decrypt_and_hash(sealed, room).ok()
    }

    /// The handshake is over.
    fn split(self, dialler: bool) -> Option<Records<C>> {
        let keys = self.state.split().ok()?;
        let (up, _) = keys.initiator_to_responder.take();
        let (down, _) = keys.responder_to_initiator.take();
        let (send, receive) = if dialler { (up, down) } else { (down, up) };
        Some(Records::new(self.there, &send, &receive))
    }
}

/// The name of a suite in Noise.
const fn name(suite: Suite) -> &'static str {
    match suite {
        Suite::Plain => "",
        Suite::ChaChaPoly => "Noise_XX_25519_ChaChaPoly_SHA256",
        Suite::AesGcm => "Noise_XX_25519_AESGCM_SHA256",
        Suite::Pairing => "Noise_XXpsk3_25519_ChaChaPoly_SHA256",
    }
}

/// A message as far as it is written.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn take(&mut self, len: usize) -> Option<&mut [u8]> {
        let at = self.len;
        self.len = at.checked_add(len)?;
        self.out.get_mut(at..self.len)
    }
}

/// A [`Cipher`] as `clatter` wants it.
struct Bridge<C>(PhantomData<C>);

impl<C> Clone for Bridge<C> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<C> CryptoComponent for Bridge<C> {
    fn name() -> &'static str {
        // A handshake's name is given as a whole.
        ""
    }
}

impl<C: Cipher> clatter::traits::Cipher for Bridge<C> {
    type Key = SensitiveByteArray<[u8; 32]>;

    fn tag_len() -> usize {
        TAG_LEN
    }

    fn encrypt(
        key: &Self::Key,
        nonce: u64,
        ad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> CipherResult<()> {
        bytes::copy(out, plaintext);
        let sealed = Self::encrypt_in_place(key, nonce, ad, out, plaintext.len())?;
        if sealed == out.len() { Ok(()) } else { Err(CipherError::Encrypt) }
    }

    fn encrypt_in_place(
        key: &Self::Key,
        nonce: u64,
        ad: &[u8],
        in_out: &mut [u8],
        plaintext_len: usize,
    ) -> CipherResult<usize> {
        let there = C::there().ok_or(CipherError::Encrypt)?;
        let (text, rest) =
            in_out.split_at_mut_checked(plaintext_len).ok_or(CipherError::Encrypt)?;
        let tag = rest.first_chunk_mut::<TAG_LEN>().ok_or(CipherError::Encrypt)?;
        *tag = C::new(there, key).seal(nonce, ad, text);
        Ok(plaintext_len + TAG_LEN)
    }

    fn decrypt(
        key: &Self::Key,
        nonce: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> CipherResult<()> {
        let there = C::there().ok_or(CipherError::Decrypt)?;
        let (text, tag) = ciphertext.split_last_chunk().ok_or(CipherError::Decrypt)?;
        if bytes::copy(out, text) != text.len() {
            return Err(CipherError::Decrypt);
        }
        C::new(there, key).open(nonce, ad, out, tag).map_err(|_| CipherError::Decrypt)
    }

    fn decrypt_in_place(
        key: &Self::Key,
        nonce: u64,
        ad: &[u8],
        in_out: &mut [u8],
        ciphertext_len: usize,
    ) -> CipherResult<usize> {
        let there = C::there().ok_or(CipherError::Decrypt)?;
        let sealed = in_out.get_mut(..ciphertext_len).ok_or(CipherError::Decrypt)?;
        let (text, tag) = sealed.split_last_chunk_mut().ok_or(CipherError::Decrypt)?;
        C::new(there, key).open(nonce, ad, text, tag).map_err(|_| CipherError::Decrypt)?;
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::cipher::{AesGcm, ChaChaPoly};
    use super::*;
    use std::vec::Vec;
    extern crate std;

    /// One of the public vectors: what `messages` are there by turns, the dialler's first.
    #[derive(Default)]
    struct Vector {
        name: &'static str,
        prologue: Vec<u8>,
        token: Option<Token>,
        dialler: [[u8; 32]; 2],
        listener: [[u8; 32]; 2],
        messages: Vec<(Vec<u8>, Vec<u8>)>,
    }

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        (0..text.len()).step_by(2).map(digit).collect()
    }

    fn vectors() -> Vec<Vector> {
        let mut all = Vec::new();
        for line in include_str!("vectors.txt").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let key = || hex(words[1]).try_into().expect("32 bytes");
            if words[0].starts_with("Noise_") {
                all.push(Vector { name: words[0], ..Vector::default() });
            }
            let Some(last) = all.last_mut() else { continue };
            match words[0] {
                "prologue" => last.prologue = hex(words[1]),
                "psk" => last.token = Some(Token(key())),
                "init_static" => last.dialler[0] = key(),
                "init_ephemeral" => last.dialler[1] = key(),
                "resp_static" => last.listener[0] = key(),
                "resp_ephemeral" => last.listener[1] = key(),
                "message" => last.messages.push((hex(words[1]), hex(words[2]))),
                _ => {}
            }
        }
        all
    }

    fn secrets([identity, ephemeral]: &[[u8; 32]; 2], token: Option<&Token>) -> Secrets {
        let [identity, ephemeral] = [identity, ephemeral].map(SecretKey::from_bytes);
        Secrets { identity, ephemeral, token: token.cloned() }
    }

    fn check<C: Cipher>(suite: Suite, vector: &Vector) {
        assert_eq!(name(suite), vector.name);
        let [first, second, third, rest @ ..] = &vector.messages[..] else { panic!() };
        let dialler = secrets(&vector.dialler, vector.token.as_ref());
        let listener = secrets(&vector.listener, vector.token.as_ref());
        let keys = [*dialler.identity.public(), *listener.identity.public()];
        let (mut out, mut payload) = ([0; 200], Payload::default());

        let said = Said::<C>::say(&dialler, suite, &vector.prologue, &first.0, &mut out);
        let (said, len) = said.expect("said");
        assert_eq!(out[..len], first.1);
        let asked = Asked::<C>::hear(&listener, suite, &vector.prologue, &first.1, &mut payload);
        assert_eq!(payload.bytes(), first.0);

        let (answered, len) = asked.expect("heard").answer(&second.0, &mut out).expect("answered");
        assert_eq!(out[..len], second.1);
        let (introduced, key) = said.hear(&second.1, &mut payload).expect("heard");
        assert_eq!((payload.bytes(), key), (&second.0[..], keys[1]));

        let (mut dialler, len) = introduced.prove(&third.0, &mut out).expect("proven");
        assert_eq!(out[..len], third.1);
        let (mut listener, peer) = answered.hear(&third.1, &mut payload).expect("heard");
        assert_eq!((payload.bytes(), peer.key), (&third.0[..], keys[0]));
        assert_eq!(peer.pairing, vector.token.is_some());

        for (n, (text, sealed)) in rest.iter().enumerate() {
            let (from, to) = if n % 2 == 0 {
                (&mut listener, &mut dialler)
            } else {
                (&mut dialler, &mut listener)
            };
            let mut message = text.clone();
            let tag = from.send.seal(&mut message);
            assert_eq!([&message[..], &tag].concat(), *sealed);
            assert_eq!(to.receive.open(&mut message, &tag), Ok(()));
            assert_eq!(message, *text);
        }
        assert_eq!(rest.len(), 3);
    }

    #[test]
    fn public_vectors() {
        let vectors = vectors();
        let [chacha, aes, pairing] = &vectors[..] else { panic!("{}", vectors.len()) };
        check::<ChaChaPoly>(Suite::ChaChaPoly, chacha);
        check::<AesGcm>(Suite::AesGcm, aes);
        check::<ChaChaPoly>(Suite::Pairing, pairing);
    }

    const NOBODY: PublicKey = PublicKey([0; 32]);

    /// An end's own keys for what follows.
    fn honest() -> Secrets {
        secrets(&[[1; 32], [2; 32]], None)
    }

    fn hashes() -> Hashes<ChaChaPoly> {
        Hashes::new(Suite::ChaChaPoly, b"").expect("there")
    }

    /// Mixes in what a key of low order agrees on with any other.
    fn mix_nothing(hashes: &mut Hashes<ChaChaPoly>) {
        hashes.state.mix_key(&[0; 32]);
    }

    #[test]
    fn a_dialler_with_keys_that_are_none() {
        for [no_ephemeral, no_identity] in [[false, false], [true, false], [false, true]] {
            let theirs = secrets(&[[3; 32], [4; 32]], None);
            let (mut first, mut third) = ([0; 32], [0; 200]);
            let mut hashes = hashes();
            let mut out = Writer { out: &mut first, len: 0 };
            if no_ephemeral {
                hashes.mix_ephemeral(&NOBODY);
                assert!(out.take(KEY_LEN).is_some());
            } else {
                hashes.say_ephemeral(&theirs.ephemeral, &mut out).expect("room");
            }
            hashes.say(&[], &mut out).expect("room");
            let honest = honest();
            let asked = Asked::<ChaChaPoly>::hear(
                &honest,
                Suite::ChaChaPoly,
                b"",
                &first,
                &mut Payload::default(),
            );
            let mut second = [0; 200];
            let answered = asked.expect("long enough").answer(b"", &mut second);
            assert_eq!(answered.is_none(), no_ephemeral);
            let Some((answered, len)) = answered else { continue };

            let mut message = &second[..len];
            let ephemeral = hashes.hear_ephemeral(&mut message).expect("a key");
            hashes.mix_agreed(&theirs.ephemeral, &ephemeral).expect("good");
            let key = hashes.hear_key(&mut message).expect("a key");
            hashes.mix_agreed(&theirs.ephemeral, &key).expect("good");
            hashes.hear_payload(message, &mut Payload::default()).expect("good");
            let mut out = Writer { out: &mut third, len: 0 };
            if no_identity {
                hashes.say(&NOBODY.0, &mut out).expect("room");
                mix_nothing(&mut hashes);
            } else {
                hashes.say(&theirs.identity.public().0, &mut out).expect("room");
                hashes.mix_agreed(&theirs.identity, &ephemeral).expect("good");
            }
            hashes.say(b"", &mut out).expect("room");
            let len = out.len;
            let peer = answered.hear(&third[..len], &mut Payload::default());
            assert_eq!(peer.is_none(), no_identity);
        }
    }

    #[test]
    fn a_listener_with_keys_that_are_none() {
        for [no_ephemeral, no_identity] in [[false, false], [true, false], [false, true]] {
            let theirs = secrets(&[[3; 32], [4; 32]], None);
            let honest = honest();
            let (mut first, mut second) = ([0; 200], [0; 200]);
            let (said, len) =
                Said::<ChaChaPoly>::say(&honest, Suite::ChaChaPoly, b"", b"", &mut first)
                    .expect("room");
            let mut hashes = hashes();
            let mut message = &first[..len];
            let ephemeral = hashes.hear_ephemeral(&mut message).expect("a key");
            hashes.hear_payload(message, &mut Payload::default()).expect("good");
            let mut out = Writer { out: &mut second, len: 0 };
            if no_ephemeral {
                hashes.mix_ephemeral(&NOBODY);
                assert!(out.take(KEY_LEN).is_some());
                mix_nothing(&mut hashes);
            } else {
                hashes.say_ephemeral(&theirs.ephemeral, &mut out).expect("room");
                hashes.mix_agreed(&theirs.ephemeral, &ephemeral).expect("good");
            }
            if no_identity {
                hashes.say(&NOBODY.0, &mut out).expect("room");
                mix_nothing(&mut hashes);
            } else {
                hashes.say(&theirs.identity.public().0, &mut out).expect("room");
                hashes.mix_agreed(&theirs.identity, &ephemeral).expect("good");
            }
            hashes.say(b"", &mut out).expect("room");
            let len = out.len;
            let heard = said.hear(&second[..len], &mut Payload::default());
            assert_eq!(heard.is_none(), no_ephemeral || no_identity);
        }
    }
}
