//! Kafka's protocol by hand, for what no client would send. It shares nothing with the broker's own codec.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::broker::{Broker, PATIENCE};

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const API_VERSIONS: i16 = 18;

/// A connection that says what it likes.
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    pub fn connect(broker: &Broker) -> Self {
        let stream = TcpStream::connect(&broker.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// This end's address, by which the broker's log names it.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// The bare stream.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes as they are. The other end may have hung up already: that shows when reading.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// One answer's bytes after its length, or none if the broker closed the connection.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0u8; 4];
        if !self.read_or_closed(&mut length) {
            return None;
        }
        let mut answer = vec![0u8; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut answer).unwrap();
        Some(answer)
    }

    /// Sends a request and returns the answer's bytes after the correlation id, which must be the request's.
    pub fn ask(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.send(request);
        let answer = self.receive()?;
        assert_eq!(answer[..4], request[8..12], "correlation id");
        Some(answer[4..].to_vec())
    }

    /// Sends `rest`, the end of `request` whose beginning was sent before, and returns the answer like [`Self::ask`].
    pub fn ask_rest(&mut self, request: &[u8], rest: &[u8]) -> Vec<u8> {
        self.send(rest);
        let answer = self.receive().unwrap();
        assert_eq!(answer[..4], request[8..12], "correlation id");
        answer[4..].to_vec()
    }

    /// Asserts that the broker closes the connection without a word.
    pub fn assert_closed(&mut self) {
        let answer = self.receive();
        assert_eq!(answer, None, "the connection should be closed");
    }

    fn read_or_closed(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read_exact(buffer) {
            Ok(()) => true,
            Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("neither an answer nor a closed connection: {error}"),
        }
    }
}

/// A request with a header of version 1 and its length in front.
pub fn request(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(api_key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(0x0bad_cafe_i32.to_be_bytes());
    bytes.extend(string("wire"));
    bytes.extend(body);
    framed(&bytes)
}

/// A request with a header of version 2, which ends in tagged fields.
pub fn flexible_request(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    request(api_key, version, &[&[0], body].concat())
}

/// `bytes` with their length in front.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes(), bytes].concat()
}

/// A string of two bytes' length.
pub fn string(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat()
}

/// A Produce request for partition 0 of `topic`, acks=all.
pub fn produce(version: i16, topic: &str, records: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    if version >= 3 {
        body.extend((-1i16).to_be_bytes());
    }
    body.extend((-1i16).to_be_bytes());
    body.extend(10_000i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(string(topic));
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend((records.len() as i32).to_be_bytes());
    body.extend(records);
    request(PRODUCE, version, &body)
}

/// The partition's error and base offset in an answer to [`produce`] of version 3 to 8.
pub fn produced(answer: &[u8], topic: &str) -> (i16, i64) {
    let at = 4 + 2 + topic.len() + 4 + 4;
    let error = i16::from_be_bytes(answer[at..at + 2].try_into().unwrap());
    (error, i64::from_be_bytes(answer[at + 2..at + 10].try_into().unwrap()))
}

/// A Fetch request, version 4, for partition 0 of `topic` from the beginning, with as much as may come.
pub fn fetch(topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((-1i32).to_be_bytes());
    body.extend(100i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(i32::MAX.to_be_bytes());
    body.push(0);
    body.extend(1i32.to_be_bytes());
    body.extend(string(topic));
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(0i64.to_be_bytes());
    body.extend(i32::MAX.to_be_bytes());
    request(FETCH, 4, &body)
}

/// A record batch, correct until a test changes it.
pub struct Batch {
    pub length_change: i32,
    pub magic: u8,
    pub crc_change: u32,
    pub last_offset_delta: i32,
    pub count: i32,
    pub values: Vec<Vec<u8>>,
}

impl Batch {
    pub fn of(values: &[&[u8]]) -> Self {
        Self {
            length_change: 0,
            magic: 2,
            crc_change: 0,
            last_offset_delta: values.len() as i32 - 1,
            count: values.len() as i32,
            values: values.iter().map(|value| value.to_vec()).collect(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut covered = Vec::new();
        covered.extend(0i16.to_be_bytes());
        covered.extend(self.last_offset_delta.to_be_bytes());
        covered.extend(1_700_000_000_000i64.to_be_bytes());
        covered.extend(1_700_000_000_000i64.to_be_bytes());
        covered.extend((-1i64).to_be_bytes());
        covered.extend((-1i16).to_be_bytes());
        covered.extend((-1i32).to_be_bytes());
        covered.extend(self.count.to_be_bytes());
        for (offset_delta, value) in self.values.iter().enumerate() {
            let mut record = vec![0, 0];
            record.extend(varint(offset_delta as i64));
            record.extend(varint(-1));
            record.extend(varint(value.len() as i64));
            record.extend(value);
            record.extend(varint(0));
            covered.extend(varint(record.len() as i64));
            covered.extend(record);
        }
        let mut batch = Vec::new();
        batch.extend(0i64.to_be_bytes());
        batch.extend((covered.len() as i32 + 9 + self.length_change).to_be_bytes());
        batch.extend((-1i32).to_be_bytes());
        batch.push(self.magic);
        batch.extend((crc32c::crc32c(&covered) ^ self.crc_change).to_be_bytes());
        batch.extend(covered);
        batch
    }
}

fn varint(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}
