//! A responder on a plain link, and any requester: frames that are right as such, in any order, and
//! bytes that are none. What its store may expect of it, `Keeper` checks.

#![no_main]

use arbitrary::{Result, Unstructured};
use kift_core::session::{Config, Responder, Side};
use kift_core::wire::{CHUNK, Code, HEADER_LEN, Hello, Role, TRAILER_LEN_MAX};
use kift_fuzz::{Drive, Keeper, Script, Stream, any_frame, any_request, any_signal, granted};
use kift_tests::raw::{Frame, first_flight};
use libfuzzer_sys::fuzz_target;

type Driven = Drive<Responder<Vec<u8>>, Keeper>;

fuzz_target!(|input: &[u8]| {
    let mut u = Unstructured::new(input);
    let Ok(mut driven) = begin(&mut u) else { return };
    let mut credit = 0;
    // Where the input ends, the peer does.
    let _ = go_on(&mut driven, &mut credit, &mut u);
    driven.finish();
    driven.port.assert_closed();
    driven.check_sent(driven.port.hello, credit);
});

fn begin(u: &mut Unstructured<'_>) -> Result<Driven> {
    let side = if u.arbitrary()? { Side::Listener } else { Side::Dialler };
    let mut config = Config::small(side, u.int_in_range(1..=9)?);
    config.batch_max = u.int_in_range(1..=4)?;
    let mut buffer = |least: usize| {
        let len = least + usize::from(u.arbitrary::<u8>()?) * 20;
        Result::Ok(vec![0; HEADER_LEN + len + TRAILER_LEN_MAX])
    };
    let (rx, tx) = (buffer(CHUNK)?, buffer(CHUNK)?);
    let script = usize::from(u.arbitrary::<u8>()?);
    let script = Script::new(u.bytes(script.min(u.len()))?);
    let session = Responder::new(rx, tx, &config).expect("room");
    let mut driven = Drive::new(session, Keeper::new(script));
    driven.drain();
    let hello = Hello {
        role: Role::Requester,
        batch: u.int_in_range(1..=4)?,
        credit: u.int_in_range(1..=9)?,
        reply_room: 1052,
        requests_max: 8,
        path_len_max: 480,
        name_len_max: 255,
    };
    if u.ratio(15, 16)? {
        let suites = u8::from(side == Side::Listener);
        driven.feed(&first_flight(1, suites, 0));
        driven.feed(&Frame::hello(&hello).bytes());
    }
    Ok(driven)
}

/// `credit` becomes the most that the peer granted.
fn go_on(driven: &mut Driven, credit: &mut u64, u: &mut Unstructured<'_>) -> Result<()> {
    let (mut number, mut stream) = (0_u16, Stream::default());
    while !u.is_empty() && driven.closed.is_none() {
        let frame = match u.int_in_range(0..=15)? {
            0 => any_frame(u)?,
            1..=4 => {
                number = number.wrapping_add(1);
                let request = any_request(u)?;
                stream = Stream::of(&request);
                Frame::request(number, &request)
            }
            5..=10 => {
                if let Some(chunks) = driven.port.resumed.take() {
                    stream = Stream::behind(chunks);
                }
                stream.any_frame(number, u)?
            }
            11 => {
                let signal = any_signal(u)?;
                Frame::signal(number.wrapping_sub(u.int_in_range(0..=2)?), signal)
            }
            which @ 12..=14 => {
                driven.trouble(which - 12, credit, u)?;
                continue;
            }
            _ => {
                match u.int_in_range(0..=7)? {
                    0 => driven.session.shut_down(),
                    1 => driven.session.abort(Code::Denied),
                    _ => {}
                }
                driven.drain();
                continue;
            }
        };
        *credit = granted(&frame).max(*credit);
        driven.feed(&frame.bytes());
    }
    Ok(())
}
