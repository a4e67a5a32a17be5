//! A requester on a plain link, and any responder: frames that are right as such, in any order, and
//! bytes that are none. What its application may expect of it, `Asker` checks.

#![no_main]

use arbitrary::{Result, Unstructured};
use kift_core::Hasher;
use kift_core::session::{Config, Requester, Side};
use kift_core::storage::RequestId;
use kift_core::wire::{
    Answer, CHUNK, Code, HEADER_LEN, Hello, Kind, Request, Role, TRAILER_LEN_MAX,
};
use kift_fuzz::{
    Asker, Drive, Script, Stream, any_code, any_frame, any_request, any_signal, contents, granted,
};
use kift_tests::raw::{Frame, first_flight};
use libfuzzer_sys::fuzz_target;

type Driven = Drive<Requester<Vec<u8>, 16>, Asker>;

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
    let side = if u.arbitrary()? { Side::Dialler } else { Side::Listener };
    let mut config = Config::small(side, u.int_in_range(1..=9)?);
    config.batch_max = u.int_in_range(1..=4)?;
    let mut buffer = |least: usize| {
        let len = least + usize::from(u.arbitrary::<u8>()?) * 20;
        Result::Ok(vec![0; HEADER_LEN + len + TRAILER_LEN_MAX])
    };
    let (rx, tx) = (buffer(CHUNK)?, buffer(CHUNK)?);
    config.reply_room = rx.len() as u32;
    let script = usize::from(u.arbitrary::<u8>()?);
    let script = Script::new(u.bytes(script.min(u.len()))?);
    let session = Requester::new(rx, tx, &config).expect("room");
    let mut driven = Drive::new(session, Asker::new(script));
    driven.drain();
    let hello = Hello {
        role: Role::Responder,
        batch: u.int_in_range(1..=4)?,
        credit: u.int_in_range(1..=9)?,
        reply_room: 4096,
        requests_max: u.int_in_range(1..=20)?,
        path_len_max: 480,
        name_len_max: u.int_in_range(1..=255)?,
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
    let mut stream = Stream::default();
    while !u.is_empty() && driven.closed.is_none() {
        let number = driven.port.front();
        let frame = match u.int_in_range(0..=15)? {
            0 => any_frame(u)?,
            1..=3 => {
                let request = any_request(u)?;
                if let (Request::Resume { first, .. }, Some(hasher)) =
                    (&request, driven.session.prefix())
                {
                    *hasher = Hasher::new();
                    hasher.update(&contents(0, *first as usize * CHUNK));
                }
                if let Ok(id) = driven.session.request(&request) {
                    driven.port.accepted(id, &request);
                }
                driven.drain();
                continue;
            }
            4..=6 => {
                stream = driven.port.due_stream();
                Frame::answer(number, &any_answer(&driven.port, u)?)
            }
            7..=9 => stream.any_frame(number, u)?,
            10 => {
                let count = u.int_in_range(0..=9)?;
                Frame::new(Kind::Page, number, driven.port.due_page(count))
            }
            11 => {
                let signal = any_signal(u)?;
                Frame::signal(number.wrapping_add(u.int_in_range(0..=2)?), signal)
            }
            which @ 12..=14 => {
                driven.trouble(which - 12, credit, u)?;
                continue;
            }
            _ => {
                match u.int_in_range(0..=7)? {
                    0 => driven.session.abort(Code::Denied),
                    back => {
                        let id = RequestId(driven.port.last().saturating_sub(back));
                        let _ = driven.session.stop(id);
                    }
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

/// Mostly what is due.
fn any_answer(port: &Asker, u: &mut Unstructured<'_>) -> Result<Answer> {
    Ok(match u.int_in_range(0..=9)? {
        0 => Answer::Failed(any_code(u)?),
        1 => Answer::Unchanged,
        2 => Answer::Sending { size: u.arbitrary()?, file_size: u.arbitrary()?, modified: None },
        3 => Answer::Done,
        _ => port.due(u.arbitrary()?).unwrap_or(Answer::Done),
    })
}
