//! Decodes a message. The first byte chooses between request and response, the second the API, the third the version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_protocol::messages::*;
use taffrail_protocol::{ApiKey, Message, Reader, Writer};

/// What a decoded message may take in memory before it is refused, as a broker would set it.
const MEMORY_LIMIT: usize = 1 << 20;

/// Whatever is decoded can be written again, and reads back the same.
macro_rules! round_trip {
    ($message:ident, $version:expr, $body:expr) => {{
        let example = $message::default();
        let version = nth_version(&example, $version);
        let mut r = Reader::with_memory_limit($body, MEMORY_LIMIT);
        if let Ok(message) = $message::read(&mut r, version) {
            let mut w = Writer::new();
            message.write(&mut w, version).expect("a decoded message can be encoded");
            assert_eq!($message::from_bytes(&w.buf, version).as_ref(), Ok(&message));
        }
    }};
}

fn nth_version<M: Message>(_: &M, n: u8) -> i16 {
    let range = M::VERSIONS;
    range.min + i16::from(n) % (range.max - range.min + 1)
}

macro_rules! decode {
    ($($api:ident: $request:ident, $response:ident;)*) => {
        fn decode(is_request: bool, api: ApiKey, version: u8, body: &[u8]) {
            match api {
                $(
                    ApiKey::$api if is_request => round_trip!($request, version, body),
                    ApiKey::$api => round_trip!($response, version, body),
                )*
                _ => {}
            }
        }
    };
}

taffrail_protocol::for_each_api!(decode);

fuzz_target!(|data: &[u8]| {
    let [side, api, version, body @ ..] = data else { return };
    let api = ApiKey::SPOKEN[usize::from(*api) % ApiKey::SPOKEN.len()].key;
    decode(side % 2 == 0, api, *version, body);
});
