//! Every message in every version against the `kafka-protocol` crate, both ways.
#![allow(non_snake_case, reason = "the tests are named by their APIs")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as oracle;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use crate::codec::sample::{Sample, Sampler};
use crate::codec::{EncodeError, EncodeReason, Message, Writer};
use crate::messages::*;

/// How many random values are made of each message in each version, at each run.
const CASES: u32 = 48;

fn encode(message: &impl Message, version: i16) -> Vec<u8> {
    let mut w = Writer::new();
    message.write(&mut w, version).unwrap();
    assert!(w.splices.is_empty());
    w.buf
}

fn reencode<O: Decodable + Encodable>(bytes: &[u8], version: i16) -> (O, Bytes) {
    let mut rest = Bytes::copy_from_slice(bytes);
    let theirs = O::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty(), "the oracle left {} bytes", rest.len());
    let mut written = BytesMut::new();
    theirs.encode(&mut written, version).unwrap();
    (theirs, written.freeze())
}

/// Puts a tagged field that no version has into the oracle's value. SaslHandshake has no flexible version.
macro_rules! add_later_field {
    (SaslHandshakeRequest, $theirs:ident) => {
        let _: &mut oracle::SaslHandshakeRequest = &mut $theirs;
    };
    (SaslHandshakeResponse, $theirs:ident) => {
        let _: &mut oracle::SaslHandshakeResponse = &mut $theirs;
    };
    ($message:ident, $theirs:ident) => {
        $theirs.unknown_tagged_fields.insert(4_000, Bytes::from_static(b"from a later version"));
    };
}

macro_rules! agrees {
    ($message:ident, $seed:expr) => {
        for version in $message::default().versions() {
            let form = $message::default().form_of(version);
            let ours = $message::sample(&mut Sampler::new($seed), form);
            let bytes = encode(&ours, version);
            let (mut theirs, written) = reencode::<oracle::$message>(&bytes, version);
            prop_assert_eq!(&bytes, &written, "version {}: {:?}", version, ours);
            prop_assert_eq!(&$message::from_bytes(&written, version).unwrap(), &ours, "version {}", version);
            prop_assert_eq!(&$message::from_bytes(&bytes, version).unwrap().into_owned(), &ours);

            if form.flexible {
                add_later_field!($message, theirs);
                let mut written = BytesMut::new();
                theirs.encode(&mut written, version).unwrap();
                prop_assert_eq!(
                    &$message::from_bytes(&written, version).unwrap(),
                    &ours,
                    "version {}",
                    version
                );
            }
        }
    };
}

/// Where the oracle writes what Apache Kafka's own generated code refuses, as ours does: a null where the version has
/// none, and these fields, which it drops although they cannot be ignored.
fn is_stricter(error: &EncodeError) -> bool {
    const DROPPED: [&str; 7] = [
        "FetchRequest.replica_state",
        "FetchResponse.node_endpoints",
        "PartitionData.diverging_epoch",
        "PartitionData.current_leader",
        "PartitionData.snapshot_id",
        "PartitionProduceResponse.current_leader",
        "ProduceResponse.node_endpoints",
    ];
    matches!(error.reason, EncodeReason::UnexpectedNull(_))
        || error.field.is_some_and(|field| DROPPED.contains(&field))
}

/// A value that one version expresses, written in every other: defaults and ignorable fields, at every depth.
macro_rules! carries_over {
    ($message:ident, $seed:expr) => {
        for from in $message::default().versions() {
            let ours = $message::sample(&mut Sampler::new($seed), $message::default().form_of(from));
            let theirs = reencode::<oracle::$message>(&encode(&ours, from), from).0;
            for to in $message::default().versions() {
                let mut w = Writer::new();
                let mut written = BytesMut::new();
                match (ours.write(&mut w, to), theirs.encode(&mut written, to)) {
                    (Ok(()), Ok(())) => {
                        prop_assert_eq!(&w.buf, &written, "from {} to {}: {:?}", from, to, ours)
                    }
                    (Err(_), Err(_)) => {}
                    (Err(error), Ok(())) if is_stricter(&error) => {}
                    (ours, theirs) => prop_assert!(false, "from {from} to {to}: {ours:?}, {theirs:?}"),
                }
            }
        }
    };
}

/// What the macros need of a message type without naming its lifetime.
trait Known: Message {
    fn versions(&self) -> std::ops::RangeInclusive<i16> {
        Self::VERSIONS.min..=Self::VERSIONS.max
    }

    fn form_of(&self, version: i16) -> crate::codec::Form {
        Self::form(version)
    }
}

impl<M: Message> Known for M {}

macro_rules! per_api {
    ($($api:ident: $request:ident, $response:ident;)*) => {
        /// A request's bytes mean the same to both, and so do those that each makes of the other's value.
        mod every_request_version_agrees_both_ways {
            use super::*;
            $(
                #[test]
                fn $api() {
                    proptest!(ProptestConfig::with_cases(CASES), |(seed: u64)| { agrees!($request, seed) });
                }
            )*
        }

        /// The same of responses.
        mod every_response_version_agrees_both_ways {
            use super::*;
            $(
                #[test]
                fn $api() {
                    proptest!(ProptestConfig::with_cases(CASES), |(seed: u64)| { agrees!($response, seed) });
                }
            )*
        }

        mod every_version_carries_over_to_every_other_alike {
            use super::*;
            $(
                #[test]
                fn $api() {
                    proptest!(ProptestConfig::with_cases(16), |(seed: u64)| {
                        carries_over!($request, seed);
                        carries_over!($response, seed);
                    });
                }
            )*
        }

        #[test]
        fn defaults_are_those_of_the_oracle() {
            $(
                let version = $request::default().versions().last().unwrap();
                let mut written = BytesMut::new();
                oracle::$request::default().encode(&mut written, version).unwrap();
                assert_eq!(encode(&$request::default(), version), written, stringify!($request));

                let mut written = BytesMut::new();
                oracle::$response::default().encode(&mut written, version).unwrap();
                assert_eq!(encode(&$response::default(), version), written, stringify!($response));
            )*
        }
    };
}

crate::for_each_api!(per_api);
