//! Bytes that no client should send: each gets the protocol's error or a closed connection, and others notice nothing.

use std::io::{ErrorKind, Write};

use crate::broker::{Broker, eventually};
use crate::client::{create_topic, produce_numbers, texts};
use crate::wire::{
    API_VERSIONS, Batch, FETCH, PRODUCE, Wire, fetch, flexible_request, framed, produce, produced, request,
};

const CORRUPT_MESSAGE: i16 = 2;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_RECORD: i16 = 87;
const MIB: u64 = 1 << 20;

/// What the broker must stay below, however it is treated: the pod it is meant to fit into.
const MEMORY_LIMIT: u64 = 128 * MIB;

/// The connection is closed, and the log tells of it in one line that names the client.
fn assert_closed_with_one_line(broker: &Broker, wire: &mut Wire) {
    wire.assert_closed();
    let address = wire.address().to_string();
    let lines = || broker.log().lines().filter(|line| line.contains(&address)).count();
    eventually("the log tells of the closed connection", || lines() > 0);
    assert_eq!(lines(), 1, "log: {}", broker.log());
}

fn assert_still_serves(broker: &mut Broker) {
    broker.assert_alive();
    create_topic(broker, "after", 1);
    produce_numbers(broker, "after", 10);
    assert_eq!(texts(broker, "after").len(), 10);
}

#[test]
fn bytes_that_are_no_request_close_the_connection() {
    let mut broker = Broker::start();
    let cases: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        // A TLS handshake.
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 0x5a],
        &[0xff; 64],
        // Lengths: none, less than a header, and above what is allowed.
        &0i32.to_be_bytes(),
        &framed(&[0, 18]),
        &(101 * MIB as i32).to_be_bytes(),
    ];
    for bytes in cases {
        let mut wire = Wire::connect(&broker);
        wire.send(bytes);
        assert_closed_with_one_line(&broker, &mut wire);
    }
    assert_still_serves(&mut broker);
}

#[test]
fn a_frame_that_never_ends_takes_no_memory_ahead() {
    let mut broker = Broker::start();
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut wire = Wire::connect(&broker);
        // Promises the largest frame, and sends its first bytes.
        wire.send(&(99 * MIB as i32).to_be_bytes());
        wire.send(&request(PRODUCE, 7, &[0; 100])[4..]);
        held.push(wire);
    }
    assert_still_serves(&mut broker);
    assert!(broker.rss() < MEMORY_LIMIT, "{} bytes resident", broker.rss());
}

#[test]
fn a_truncated_frame_is_forgotten() {
    let mut broker = Broker::start();
    create_topic(&broker, "truncated", 1);
    let whole = produce(7, "truncated", &Batch::of(&[b"whole"]).bytes());
    for length in 1..whole.len() {
        Wire::connect(&broker).send(&whole[..length]);
    }
    let answer = Wire::connect(&broker).ask(&whole).unwrap();
    assert_eq!(produced(&answer, "truncated"), (0, 0));
    assert_eq!(texts(&broker, "truncated"), ["whole"]);
    assert_still_serves(&mut broker);
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let broker = Broker::start();
    create_topic(&broker, "dripping", 1);
    let whole = produce(7, "dripping", &Batch::of(&[b"drop"]).bytes());
    let mut wire = Wire::connect(&broker);
    let (last, first) = whole.split_last().unwrap();
    for byte in first {
        wire.send(&[*byte]);
    }
    assert_eq!(produced(&wire.ask_rest(&whole, &[*last]), "dripping"), (0, 0));
}

#[test]
fn an_unknown_api_or_version_closes_the_connection() {
    let mut broker = Broker::start();
    for bytes in
        [request(999, 0, &[]), request(-1, 0, &[]), request(FETCH, 99, &[0; 40]), request(PRODUCE, -1, &[])]
    {
        let mut wire = Wire::connect(&broker);
        wire.send(&bytes);
        assert_closed_with_one_line(&broker, &mut wire);
    }
    assert_still_serves(&mut broker);
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let broker = Broker::start();
    let mut wire = Wire::connect(&broker);
    let answer = wire.ask(&flexible_request(API_VERSIONS, 99, &[0])).unwrap();
    assert_eq!(answer[..2], UNSUPPORTED_VERSION.to_be_bytes());
    // One entry at least: key 18 with its range, six bytes.
    let count = i32::from_be_bytes(answer[2..6].try_into().unwrap()) as usize;
    assert_eq!(answer.len(), 6 + 6 * count);
    assert!(answer[6..].chunks(6).any(|entry| entry == [0, 18, 0, 0, 0, 4]), "{answer:?}");
    // The connection goes on.
    let answer = wire.ask(&request(API_VERSIONS, 0, &[])).unwrap();
    assert_eq!(answer[..2], [0, 0]);
}

#[test]
fn produce_below_version_3_is_advertised_and_refused() {
    let mut broker = Broker::start();
    create_topic(&broker, "old", 1);
    let answer = Wire::connect(&broker).ask(&request(API_VERSIONS, 0, &[])).unwrap();
    assert!(answer[6..].chunks(6).any(|entry| entry[..4] == [0, 0, 0, 0]), "Produce from version 0");
    for version in 0..3 {
        let mut wire = Wire::connect(&broker);
        if let Some(answer) = wire.ask(&produce(version, "old", &Batch::of(&[b"old"]).bytes())) {
            assert_eq!(produced(&answer, "old").0, UNSUPPORTED_VERSION);
        }
    }
    assert_eq!(texts(&broker, "old"), Vec::<String>::new());
    assert_still_serves(&mut broker);
}

#[test]
fn a_damaged_batch_is_refused_and_the_connection_goes_on() {
    let broker = Broker::start();
    create_topic(&broker, "damaged", 1);
    let batch = || Batch::of(&[b"first", b"second", b"third"]);
    let longer = [batch().bytes(), vec![0; 7]].concat();
    let cut = batch().bytes()[..70].to_vec();
    let cases = [
        ("checksum", Batch { crc_change: 1, ..batch() }.bytes(), CORRUPT_MESSAGE),
        ("magic 1", Batch { magic: 1, ..batch() }.bytes(), INVALID_RECORD),
        ("magic 9", Batch { magic: 9, ..batch() }.bytes(), CORRUPT_MESSAGE),
        ("count above", Batch { count: 4, ..batch() }.bytes(), INVALID_RECORD),
        ("count below", Batch { count: 2, ..batch() }.bytes(), INVALID_RECORD),
        ("count huge", Batch { count: i32::MAX, ..batch() }.bytes(), INVALID_RECORD),
        ("count negative", Batch { count: -1, ..batch() }.bytes(), INVALID_RECORD),
        ("offset delta", Batch { last_offset_delta: 7, ..batch() }.bytes(), INVALID_RECORD),
        ("length above", Batch { length_change: 5, ..batch() }.bytes(), CORRUPT_MESSAGE),
        ("length below", Batch { length_change: -5, ..batch() }.bytes(), CORRUPT_MESSAGE),
        ("length huge", Batch { length_change: i32::MAX - 1000, ..batch() }.bytes(), CORRUPT_MESSAGE),
        ("length negative", Batch { length_change: i32::MIN, ..batch() }.bytes(), CORRUPT_MESSAGE),
        // Kafka drops such bytes and takes the batch.
        ("bytes after", longer, CORRUPT_MESSAGE),
        ("cut off", cut, CORRUPT_MESSAGE),
        ("nothing", Vec::new(), INVALID_RECORD),
        ("two batches", [batch().bytes(), batch().bytes()].concat(), INVALID_RECORD),
    ];
    let mut wire = Wire::connect(&broker);
    let mut wrong = Vec::new();
    for (what, records, expected) in cases {
        let answer = wire.ask(&produce(7, "damaged", &records)).unwrap_or_else(|| panic!("{what}: closed"));
        let (error, base_offset) = produced(&answer, "damaged");
        // Kafka itself gives one or the other of these two for what cannot be parsed.
        let either = expected == CORRUPT_MESSAGE && what != "checksum" && error == INVALID_RECORD;
        if (error != expected && !either) || base_offset != -1 {
            wrong.push((what, error, base_offset));
        }
    }
    assert_eq!(wrong, [], "case, error, base offset");
    let answer = wire.ask(&produce(7, "damaged", &batch().bytes())).unwrap();
    assert_eq!(produced(&answer, "damaged"), (0, 0));
    assert_eq!(texts(&broker, "damaged"), ["first", "second", "third"]);
}

/// The APIs of the broker with their version ranges.
fn advertised(broker: &Broker) -> Vec<(i16, i16, i16)> {
    let answer = Wire::connect(broker).ask(&request(API_VERSIONS, 0, &[])).unwrap();
    let number = |entry: &[u8], at: usize| i16::from_be_bytes([entry[at], entry[at + 1]]);
    answer[6..].chunks(6).map(|entry| (number(entry, 0), number(entry, 2), number(entry, 4))).collect()
}

#[test]
fn an_array_that_claims_two_thousand_million_elements_allocates_nothing() {
    let mut broker = Broker::start();
    let apis = advertised(&broker);
    assert!(apis.len() > 15, "{apis:?}");
    // As a length of four bytes, and as the varint of the compact form.
    let claims: [&[u8]; 3] = [&[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x07], &[0xff; 4]];
    for (key, min, max) in apis {
        for version in min..=max {
            for claim in claims {
                // The claim at each of the places where an array may begin, after bytes that are empty fields.
                for lead in [0, 1, 2, 4, 5, 6, 8, 10, 12] {
                    let body = [&vec![0u8; lead], claim, &[0u8; 8]].concat();
                    for bytes in [request(key, version, &body), flexible_request(key, version, &body)] {
                        let mut wire = Wire::connect(&broker);
                        wire.send(&bytes);
                        wire.stream().shutdown(std::net::Shutdown::Write).unwrap();
                    }
                }
            }
        }
    }
    assert_still_serves(&mut broker);
    assert!(broker.rss() < MEMORY_LIMIT, "{} bytes resident", broker.rss());
}

#[test]
fn clients_that_never_read_hold_little_memory_and_no_one_up() {
    let mut broker = Broker::start();
    create_topic(&broker, "unread", 1);
    let value = vec![7u8; 900_000];
    for _ in 0..20 {
        let answer =
            Wire::connect(&broker).ask(&produce(7, "unread", &Batch::of(&[&value]).bytes())).unwrap();
        assert_eq!(produced(&answer, "unread").0, 0);
    }
    let mut held = Vec::new();
    for number in 0..20 {
        let mut wire = Wire::connect(&broker);
        wire.stream().set_nonblocking(true).unwrap();
        // As many requests as go in until the broker stops taking them, but not without end.
        let one = if number % 2 == 0 { fetch("unread") } else { request(API_VERSIONS, 0, &[]) };
        let many = one.repeat(1 + 65_536 / one.len());
        let mut sent = 0u64;
        let mut refused = 0;
        while refused < 20 && sent < 32 * MIB {
            match wire.stream().write(&many) {
                Ok(count) => (sent, refused) = (sent + count as u64, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refused += 1;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                // The broker may have closed it: that bounds memory too.
                Err(_) => break,
            }
        }
        assert!(sent < 32 * MIB, "the broker goes on taking requests whose answers nobody reads");
        held.push(wire);
    }
    assert_still_serves(&mut broker);
    assert!(broker.rss() < MEMORY_LIMIT, "{} bytes resident", broker.rss());
}
