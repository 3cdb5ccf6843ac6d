//! Every message in every version, damaged: no panic, and no more memory than the bytes can account for.
#![allow(non_snake_case, reason = "the tests are named by their APIs")]

use proptest::prelude::*;

use crate::codec::sample::{Sample, Sampler};
use crate::codec::{DecodeError, DecodeReason, Form, Message, Writer};
use crate::messages::*;
use crate::testing::allocated_by;

/// No decoded value takes more bytes of memory for a byte on the wire: an empty compact string is one byte there and a
/// `Cow` of 24 here, and a vector that grows may take twice its need, and its old half while it is copied.
const AMPLIFICATION: usize = 24 * 3;

fn encode<M: Message>(message: &M, version: i16) -> Vec<u8> {
    let mut w = Writer::new();
    message.write(&mut w, version).unwrap();
    w.buf
}

/// The form of `version`, without naming the message's lifetime.
fn form_of<M: Message>(_: &M, version: i16) -> Form {
    M::form(version)
}

fn versions_of<M: Message>(_: &M) -> std::ops::RangeInclusive<i16> {
    M::VERSIONS.min..=M::VERSIONS.max
}

/// `bytes` with a length of 2^31-1 put over what stands at `at`.
fn with_huge_length(bytes: &[u8], at: usize, form: Form) -> Vec<u8> {
    let (length, replaced): (&[u8], usize) =
        if form.flexible { (&[0x80, 0x80, 0x80, 0x80, 0x08], 1) } else { (&[0x7f, 0xff, 0xff, 0xff], 4) };
    let mut bytes = bytes.to_vec();
    bytes.splice(at..(at + replaced).min(bytes.len()), length.iter().copied());
    bytes
}

fn damage(bytes: &mut Vec<u8>, s: &mut Sampler) {
    for _ in 0..=s.below(4) {
        let at = s.below(bytes.len() + 1);
        match s.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, s.bits() as u8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] = 0xff,
            _ if at < bytes.len() => bytes[at] = s.bits() as u8,
            _ => {}
        }
    }
}

macro_rules! decode_bounded {
    ($message:ident, $bytes:expr, $version:expr) => {{
        let bytes: &[u8] = $bytes;
        let (decoded, peak) = allocated_by(|| $message::from_bytes(bytes, $version));
        let limit = AMPLIFICATION * bytes.len();
        assert!(peak <= limit, "{peak} bytes of memory for {} of {}", bytes.len(), stringify!($message));
        decoded
    }};
}

macro_rules! damaged {
    ($message:ident, $seed:expr) => {
        for version in versions_of(&$message::default()) {
            let mut s = Sampler::new($seed);
            let value = $message::sample(&mut s, form_of(&$message::default(), version));
            let mut bytes = encode(&value, version);
            damage(&mut bytes, &mut s);
            if let Ok(decoded) = decode_bounded!($message, &bytes, version) {
                // Whatever is accepted is a value that can be written and read again.
                let again = encode(&decoded, version);
                prop_assert_eq!(&$message::from_bytes(&again, version).unwrap(), &decoded);
            }
            let garbage = (0..s.below(200)).map(|_| s.bits() as u8).collect::<Vec<_>>();
            let _ = decode_bounded!($message, &garbage, version);
        }
    };
}

macro_rules! huge_lengths {
    ($message:ident) => {
        for (seed, version) in
            (0..4).flat_map(|seed| versions_of(&$message::default()).map(move |v| (seed, v)))
        {
            let form = form_of(&$message::default(), version);
            let mut s = Sampler::new(seed);
            let bytes = encode(&$message::sample(&mut s, form), version);
            let mut refused = 0;
            for at in 0..bytes.len() {
                let bytes = with_huge_length(&bytes, at, form);
                let decoded = decode_bounded!($message, &bytes, version);
                let claimed = |error: &DecodeError| match error.reason {
                    DecodeReason::ArrayTooLong { claimed, .. } => claimed == i32::MAX as u64,
                    _ => false,
                };
                refused += usize::from(decoded.is_err_and(|error| claimed(&error)));
            }
            assert!(refused >= s.arrays(), "{} of {} arrays, version {version}", refused, s.arrays());
        }
    };
}

macro_rules! every_prefix {
    ($message:ident) => {
        for version in versions_of(&$message::default()) {
            let form = form_of(&$message::default(), version);
            let mut bytes = encode(&$message::sample(&mut Sampler::new(7), form), version);
            for end in 0..bytes.len() {
                assert!($message::from_bytes(&bytes[..end], version).is_err(), "{end} of {}", bytes.len());
            }
            bytes.push(0);
            let error = $message::from_bytes(&bytes, version).unwrap_err();
            assert_eq!(error.reason, DecodeReason::TrailingBytes(1));
        }
    };
}

macro_rules! per_api {
    ($($api:ident: $request:ident, $response:ident;)*) => {
        mod damaged_and_random_bytes_never_panic {
            use super::*;
            $(
                #[test]
                fn $api() {
                    proptest!(ProptestConfig::with_cases(64), |(seed: u64)| {
                        damaged!($request, seed);
                        damaged!($response, seed);
                    });
                }
            )*
        }

        mod a_length_of_two_to_the_31_is_refused_at_once_wherever_it_stands {
            use super::*;
            $(
                #[test]
                fn $api() {
                    huge_lengths!($request);
                    huge_lengths!($response);
                }
            )*
        }

        mod cut_off_messages_and_trailing_bytes_are_refused {
            use super::*;
            $(
                #[test]
                fn $api() {
                    every_prefix!($request);
                    every_prefix!($response);
                }
            )*
        }
    };
}

crate::for_each_api!(per_api);
