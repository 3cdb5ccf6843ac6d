//! `recovery-point-offset-checkpoint`, `log-start-offset-checkpoint`, `replication-offset-checkpoint`: one offset for each
//! partition of a data directory (`org.apache.kafka.storage.internals.checkpoint.OffsetCheckpointFile`).

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint;
use crate::error::{CheckpointError, FormatError};
use crate::names::TopicPartition;
use crate::storage::Storage;

/// Offsets by partition, in the order they are written.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// The file's content.
pub fn encode(offsets: &Offsets) -> String {
    checkpoint::encode(
        offsets
            .iter()
            .map(|(partition, offset)| format!("{} {} {offset}", partition.topic, partition.partition)),
    )
}

/// Reads a file's content. Apache Kafka leaves a file empty that it has not written to yet.
pub fn decode(bytes: &[u8]) -> Result<Offsets, FormatError> {
    if bytes.is_empty() {
        return Ok(Offsets::new());
    }
    let entries = checkpoint::decode(bytes, |line| {
        let mut words = line.split_whitespace();
        let topic = words.next()?;
        let partition: i32 = words.next()?.parse().ok()?;
        let offset: i64 = words.next()?.parse().ok()?;
        let sound = partition >= 0 && words.next().is_none() && crate::names::is_legal_topic(topic);
        sound.then(|| (TopicPartition::new(topic, partition), offset))
    })?;
    Ok(entries.into_iter().collect())
}

/// Reads a file; one that is missing holds nothing.
pub fn read<S: Storage>(storage: &S, path: &Path) -> Result<Offsets, CheckpointError> {
    let bytes = storage.read_small(path, checkpoint::MAX_BYTES);
    match bytes.map_err(|source| CheckpointError::Read { path: path.to_owned(), source })? {
        None => Ok(Offsets::new()),
        Some(bytes) => {
            decode(&bytes).map_err(|source| CheckpointError::Format { path: path.to_owned(), source })
        }
    }
}

/// Puts a file in place, whole and durable.
pub fn write<S: Storage>(storage: &S, path: &Path, offsets: &Offsets) -> Result<(), CheckpointError> {
    let written = storage.replace_small(path, encode(offsets).as_bytes());
    written.map_err(|source| CheckpointError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas() {
        let offsets = Offsets::from([(TopicPartition::new("t", 0), 7), (TopicPartition::new("a.b", 11), 0)]);
        let text = encode(&offsets);
        assert_eq!(text, "0\n2\na.b 11 0\nt 0 7\n");
        assert_eq!(decode(text.as_bytes()).unwrap(), offsets);
    }

    #[test]
    fn what_is_malformed_is_refused_with_a_reason() {
        for (text, reason) in [
            ("\n", "version"),
            ("1\n0\n", "version"),
            ("0\n", "no count"),
            ("0\n2\na 0 1\n", "1 of the 2"),
            ("0\n0\na 0 1\n", "more than the 0"),
            ("0\n1\na 0\n", "malformed"),
            ("0\n1\na 0 1 2\n", "malformed"),
            ("0\n1\na -1 1\n", "malformed"),
            ("0\n1\n../x 0 1\n", "malformed"),
        ] {
            let error = decode(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        assert_eq!(decode(b"").unwrap(), Offsets::new());
        assert!(decode(&[0xff, 0xfe]).is_err());
        assert!(decode(b"0\n99999999999999\n").is_err());
    }
}
