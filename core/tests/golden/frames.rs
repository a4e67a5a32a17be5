//! Bytes of plain frames, computed here: section 3 and A.3.

use kift_core::wire::{
    Digest, HEADER_LEN, Header, Kind, PREFIX_LEN, Prefix, Record, Request, Signal,
};

use crate::document::{Vectors, numbered};

/// CRC-32C, a bit at a time.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

pub(crate) fn digest(hex: &str) -> Digest {
    let mut result = [0; 32];
    for (i, byte) in result.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..][..2], 16).unwrap();
    }
    Digest(result)
}

/// A digest that is easily seen in a dump: `00 01 02` and so on.
pub(crate) fn counting() -> Digest {
    Digest(std::array::from_fn(|i| i as u8))
}

pub(crate) fn encoded(encode: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut buf = vec![0; 2048];
    let len = encode(&mut buf).expect("it fits");
    buf.truncate(len);
    buf
}

/// A frame of a plain link.
pub(crate) fn plain(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN];
    let len = (HEADER_LEN - PREFIX_LEN + payload.len() + 4) as u16;
    Prefix { len, record: Record::Plain }.emit(&mut frame);
    header.emit(&mut frame);
    frame.extend_from_slice(payload);
    let crc = crc32c(&frame);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame
}

/// Header and payload of a frame of a plain link, whose checksum is right.
pub(crate) fn opened(frame: &[u8]) -> (Header, &[u8]) {
    let prefix = Prefix::parse(frame).unwrap().unwrap();
    assert_eq!(prefix.record, Record::Plain);
    assert_eq!(PREFIX_LEN + usize::from(prefix.len), frame.len());
    let (body, trailer) = frame.split_at(frame.len() - 4);
    assert_eq!(crc32c(body).to_le_bytes(), trailer);
    assert_eq!(crc32c(body), kift_core::crc32c(body));
    (Header::parse(frame).unwrap(), &body[HEADER_LEN..])
}

/// Takes the first frame off a stream, if it is whole.
pub(crate) fn split_frame(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let len = PREFIX_LEN + usize::from(Prefix::parse(stream).unwrap()?.len);
    (stream.len() >= len).then(|| stream.drain(..len).collect())
}

pub(crate) fn check_frames(vectors: &Vectors) {
    vectors.check("crc.check", &crc32c(b"123456789").to_le_bytes());
    assert_eq!(kift_core::crc32c(b"123456789"), crc32c(b"123456789"));
    let cases = [
        ("frame.space", Header::new(Kind::Request, 1), encoded(|buf| Request::Space.encode(buf))),
        (
            "frame.data",
            Header { kind: Kind::Data, request: 0xbeef, index: 0x0102_0304 },
            b"hello".to_vec(),
        ),
        (
            "frame.credit",
            Header::new(Kind::Signal, 0),
            encoded(|buf| Signal::Credit(300).encode(buf)),
        ),
    ];
    for (name, header, payload) in cases {
        vectors.check(name, &plain(header, &payload));
        assert_eq!(opened(vectors.get(name)), (header, &payload[..]), "{name}");
    }
    let kinds = numbered("3.2");
    for (number, kind) in &kinds {
        let mut bytes = [0; HEADER_LEN];
        bytes[4] = *number;
        assert_eq!(format!("{:?}", Header::parse(&bytes).unwrap().kind), *kind);
    }
    for number in 0..=255u8 {
        let mut bytes = [0; HEADER_LEN];
        bytes[4] = number;
        assert_eq!(Header::parse(&bytes).is_some(), kinds.contains_key(&number), "kind {number}");
    }
    let records = numbered("3.1");
    for number in 0..=255u8 {
        let record =
            Prefix::parse(&[0, 0, number, 0]).map(|prefix| format!("{:?}", prefix.unwrap().record));
        assert_eq!(record.ok().as_ref(), records.get(&number), "record {number}");
    }
}
