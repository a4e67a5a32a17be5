//! Handshakes of sealed links: two ends with somebody in between who changes what they say, and each
//! end alone with somebody who says anything. Nobody is taken for another, and nothing that was
//! changed is believed.

#![no_main]

use std::mem::take;

use arbitrary::{Result, Unstructured};
use kift_core::secure::{ChaChaPolyOnly, Ciphers, Noise, RustCrypto, Token};
use kift_core::session::{Config, Requester, Responder, Side};
use kift_core::wire::{Hello, PREFIX_LEN, Prefix, Record, Request, Role};
use kift_fuzz::{Asker, Drive, Keeper, Script};
use kift_tests::raw::records;
use kift_tests::sealed::{noise, requester_key, responder_key};
use libfuzzer_sys::fuzz_target;

type Asks<C> = Drive<Requester<Vec<u8>, 4, Noise<C>>, Asker>;
type Serves = Drive<Responder<Vec<u8>, Noise<RustCrypto>>, Keeper>;

/// More turns than a session here takes.
const TURNS_MAX: usize = 20;

fuzz_target!(|input: &[u8]| {
    let mut u = Unstructured::new(input);
    let _ = match u.arbitrary() {
        Ok(true) => check::<ChaChaPolyOnly>(&mut u),
        _ => check::<RustCrypto>(&mut u),
    };
});

fn check<C: Ciphers>(u: &mut Unstructured<'_>) -> Result<()> {
    let asker_dials: bool = u.arbitrary()?;
    let tokens = [any_token(u)?, any_token(u)?];
    let [dials, listens] = if asker_dials { tokens } else { [tokens[1], tokens[0]] };
    let script = u.bytes(2)?;
    let [mut asks, mut serves] = [Side::Dialler, Side::Listener];
    if !asker_dials {
        (asks, serves) = (serves, asks);
    }
    let mut asks = asker::<C>(asks, tokens[0], script);
    let mut serves = keeper(serves, tokens[1], script);
    match u.int_in_range(0..=7)? {
        6 => {
            asks.change_transport(u)?;
            asks.feed(u.bytes(u.len())?);
        }
        7 => {
            serves.change_transport(u)?;
            serves.feed(u.bytes(u.len())?);
        }
        _ => {
            let is_changed = talk(&mut asks, &mut serves, u);
            let is_refused = script.iter().any(|byte| byte & 7 == 7);
            let is_open = asks.port.hello.is_some() && serves.port.hello.is_some();
            let is_understood = dials.is_none() || dials == listens;
            assert_eq!(
                is_open || is_changed || is_refused,
                is_understood || is_changed || is_refused
            );
        }
    }
    asks.finish();
    serves.finish();
    // Whoever showed a key has it, and what they said of themselves is what they say.
    assert!(asks.port.peers.iter().all(|peer| peer.key == *responder_key().public()));
    assert!(serves.port.peers.iter().all(|peer| peer.key == *requester_key().public()));
    assert!(asks.port.hello.is_none_or(|hello| hello == said(Role::Responder)));
    assert!(serves.port.hello.is_none_or(|hello| hello == said(Role::Requester)));
    // A listener knows by the proof that the token is the same; a dialler only by what follows.
    let met = if asker_dials { &serves.port.peers } else { &asks.port.peers };
    assert!(met.iter().all(|peer| !peer.pairing || dials.is_some() && dials == listens));
    asks.port.assert_closed();
    serves.port.assert_closed();
    Ok(())
}

fn any_token(u: &mut Unstructured<'_>) -> Result<Option<u8>> {
    Ok(*u.choose(&[None, None, Some(1), Some(2)])?)
}

fn config(side: Side) -> Config {
    Config::small(side, 4)
}

/// What an end says of itself.
fn said(role: Role) -> Hello {
    Hello {
        role,
        batch: 1,
        credit: 4,
        reply_room: 512,
        requests_max: 8,
        path_len_max: 480,
        name_len_max: 255,
    }
}

fn asker<C: Ciphers>(side: Side, token: Option<u8>, script: &[u8]) -> Asks<C> {
    let noise = noise(requester_key(), token.map(|token| Token([token; 32])), 1);
    let session = Requester::with_security(vec![0; 1052], vec![0; 1052], &config(side), noise);
    Drive::new(session.expect("room"), Asker::new(Script::new(script)))
}

fn keeper(side: Side, token: Option<u8>, script: &[u8]) -> Serves {
    let noise = noise(responder_key(), token.map(|token| Token([token; 32])), 2);
    let session = Responder::with_security(vec![0; 1052], vec![0; 1052], &config(side), noise);
    Drive::new(session.expect("room"), Keeper::new(Script::new(script)))
}

/// Both talk, and one asks. Gives whether anything was changed on its way.
fn talk<C: Ciphers>(asks: &mut Asks<C>, serves: &mut Serves, u: &mut Unstructured<'_>) -> bool {
    let (mut is_changed, mut has_asked) = (false, false);
    for _ in 0..TURNS_MAX {
        asks.drain();
        if asks.port.hello.is_some() && !has_asked {
            has_asked = true;
            if let Ok(id) = asks.session.request(&Request::Space) {
                asks.port.accepted(id, &Request::Space);
            }
            asks.drain();
        }
        let up = take(&mut asks.sent);
        is_changed |= travel(&up, u, |bytes| serves.feed(bytes));
        serves.drain();
        let down = take(&mut serves.sent);
        is_changed |= travel(&down, u, |bytes| asks.feed(bytes));
    }
    is_changed
}

/// Gives on what was sent, changed or not, and says whether it was.
fn travel(sent: &[u8], u: &mut Unstructured<'_>, mut feed: impl FnMut(&[u8])) -> bool {
    let mut is_changed = false;
    for record in records(sent) {
        let changed = change(record.clone(), u).unwrap_or_else(|_| record.clone());
        is_changed |= changed != record;
        feed(&changed);
    }
    is_changed
}

/// A record, or what is made of it.
fn change(mut record: Vec<u8>, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let how = u.int_in_range(0..=15)?;
    if how < 10 {
        return Ok(record);
    }
    let at = usize::from(u.arbitrary::<u8>()?) % record.len();
    match how {
        10 | 11 => record[at] ^= u.arbitrary::<u8>()?,
        12 => record.truncate(at),
        13 => record.extend_from_within(at..),
        14 => record.clear(),
        _ => {
            let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
            record.splice(at.., u.bytes(len)?.iter().copied());
        }
    }
    // As if it had been of that length.
    if u.arbitrary()? && record.len() >= PREFIX_LEN {
        let record_type = if how < 12 { Record::Sealed } else { Record::Handshake };
        let len = (record.len() - PREFIX_LEN) as u16;
        Prefix { len, record: record_type }.emit(&mut record);
    }
    Ok(record)
}
