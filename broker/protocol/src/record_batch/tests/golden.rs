use crate::record_batch::*;

type Headers = Vec<(String, Option<Vec<u8>>)>;
type Owned = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Headers);

const TIMESTAMP: i64 = 1_700_000_000_000;

/// The segments of the file, by name, in its order.
fn segments() -> Vec<(&'static str, Vec<u8>)> {
    let hex = |text: &str| {
        let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    let lines = include_str!("golden_batches.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, bytes)| (name, hex(bytes))).collect()
}

fn segment(wanted: &str) -> Vec<u8> {
    segments().into_iter().find(|(name, _)| *name == wanted).unwrap().1
}

fn owned(records: &Records<'_>) -> Vec<Owned> {
    let copy = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let headers = |headers: RecordHeaders<'_>| {
        headers.map(|h| (String::from_utf8(h.key.to_vec()).unwrap(), copy(h.value))).collect()
    };
    records
        .iter()
        .map(Result::unwrap)
        .map(|r| (r.offset, r.timestamp, copy(r.key), copy(r.value), headers(r.headers)))
        .collect()
}

fn expected(with_null_header: bool) -> Vec<Owned> {
    let big = b"hello taffrail ".repeat(40);
    let mut headers = vec![("h1".to_owned(), Some(b"v1".to_vec())), ("empty".to_owned(), Some(vec![]))];
    headers.extend(with_null_header.then(|| ("null".to_owned(), None)));
    vec![
        (0, TIMESTAMP, Some(b"key-0".to_vec()), Some(big), headers),
        (1, TIMESTAMP + 5, None, Some(vec![]), vec![]),
        (2, TIMESTAMP - 1, Some(vec![]), None, vec![("h1".to_owned(), Some(b"again".to_vec()))]),
    ]
}

#[test]
fn batches_of_real_clients_are_read_with_every_codec() {
    let mut seen = 0;
    for (name, bytes) in segments().iter().filter(|(name, _)| *name != "tx") {
        let (client, codec) = name.split_once('-').unwrap();
        let view = BatchView::new(bytes).unwrap();
        view.verify_crc().unwrap();
        assert_eq!(view.header().compression().unwrap().name(), codec, "{name}");
        let records = view.records(4096).unwrap();
        assert_eq!(owned(&records), expected(client != "python"), "{name}");
        assert_eq!(records.check().unwrap().max_timestamp, view.header().max_timestamp, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 15);
}

#[test]
fn batches_of_real_clients_pass_the_produce_checks() {
    for (name, bytes) in segments().iter().filter(|(name, _)| *name != "tx") {
        let header = validate_produced(bytes, &ProduceLimits { max_message_bytes: 1024 }).unwrap();
        assert_eq!(header.last_offset(), 2, "{name}");
    }
}

#[test]
fn the_builder_writes_what_real_clients_write() {
    let big = b"hello taffrail ".repeat(40);
    let build = |compression| {
        BatchBuilder::new(compression)
            .partition_leader_epoch(0)
            .append(
                TIMESTAMP,
                Some(b"key-0"),
                Some(&big),
                &[("h1", Some(b"v1")), ("empty", Some(b"")), ("null", None)],
            )
            .append(TIMESTAMP + 5, None, Some(b""), &[])
            .append(TIMESTAMP - 1, Some(b""), None, &[("h1", Some(b"again"))])
            .build()
            .unwrap()
    };
    assert_eq!(build(Compression::None), segment("java-none"));
    assert_eq!(build(Compression::None), segment("librdkafka-none"));
    assert_eq!(build(Compression::Lz4), segment("java-lz4"));
}

#[test]
fn transactions_and_their_markers_are_read() {
    let bytes: Vec<u8> =
        segments().into_iter().filter(|(name, _)| *name == "tx").flat_map(|(_, b)| b).collect();
    let batches: Vec<BatchView<'_>> = Batches::new(&bytes).map(Result::unwrap).collect();
    let mut next_offset = 0;
    for (index, batch) in batches.iter().enumerate() {
        batch.verify_crc().unwrap();
        let header = batch.header();
        assert!(header.is_transactional() && header.has_producer_id());
        assert_eq!(header.base_offset, next_offset);
        assert_eq!(header.is_control(), index % 2 == 1);
        next_offset = header.next_offset();
    }
    assert_eq!((batches.len(), next_offset), (8, 16));
    let markers = batches.iter().filter(|batch| batch.header().is_control()).map(|batch| {
        let records = batch.records(0).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        record.key.unwrap().to_vec()
    });
    // Version 0, then 0 for abort or 1 for commit.
    let (abort, commit) = (vec![0, 0, 0, 0], vec![0, 0, 0, 1]);
    assert_eq!(markers.collect::<Vec<_>>(), [abort.clone(), commit.clone(), abort, commit]);
    assert_eq!(batches[0].header().last_sequence(), 2);
    assert_eq!(batches[1].header().last_sequence(), NO_SEQUENCE);
}
