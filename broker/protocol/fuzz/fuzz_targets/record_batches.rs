//! Walks batches that stand back to back, and the records of each, as consumers, producers and log recovery do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_protocol::record_batch::{
    BatchHeader, BatchMut, Batches, CRC_OFFSET, Compression, HEADER_SIZE, ProduceLimits, validate_produced,
};

/// The most that the records of one batch may take once decompressed.
const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    walk(data);
    // A checksum that happens to be right is rare: the first batch is walked again with its own.
    let mut mended = data.to_vec();
    if mend_first(&mut mended) {
        walk(&mended);
    }
    if let [codec, input @ ..] = data
        && let Ok(compression) = Compression::from_code(codec % 8)
        && let Ok(output) = compression.decompress(input, LIMIT)
    {
        assert!(output.len() <= LIMIT);
    }
});

fn walk(data: &[u8]) {
    let _ = validate_produced(data, &ProduceLimits { max_message_bytes: LIMIT });
    let mut position = 0;
    for batch in Batches::new(data) {
        let Ok(batch) = batch else { break };
        assert_eq!(batch.bytes().as_ptr(), data[position..].as_ptr());
        position += batch.bytes().len();
        let _ = batch.verify_crc();
        let Ok(records) = batch.records(LIMIT) else { continue };
        let _ = records.check();
        for record in records.iter() {
            let Ok(record) = record else { break };
            assert_eq!(record.headers.count(), record.headers.len());
        }
    }
}

/// Makes the length and checksum of the first batch right; says whether there is a batch at all.
fn mend_first(data: &mut [u8]) -> bool {
    if data.len() < HEADER_SIZE {
        return false;
    }
    let length = (data.len() - 12) as i32;
    data[8..12].copy_from_slice(&length.to_be_bytes());
    data[16] = 2;
    let crc = crc32c::crc32c(&data[CRC_OFFSET + 4..]);
    data[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_be_bytes());
    assert!(BatchHeader::parse(data).is_ok_and(|header| header.size_in_bytes() == data.len()));
    let Ok(mut batch) = BatchMut::new(data) else { return false };
    batch.set_base_offset(0);
    batch.set_partition_leader_epoch(7);
    true
}
