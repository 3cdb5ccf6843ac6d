//! `.kafka_cleanshutdown`: stands in a data directory between a clean stop and the next start
//! (`org.apache.kafka.storage.internals.checkpoint.CleanShutdownFileHandler`).

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Content {
    version: i32,
    #[serde(rename = "brokerEpoch")]
    broker_epoch: i64,
}

pub(crate) const MAX_BYTES: u64 = 4096;

/// The file's content. `broker_epoch` is the one of the process that stopped.
pub fn encode(broker_epoch: i64) -> String {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}")
}

/// The epoch of the process that stopped; `None` when the content does not tell, as in Apache Kafka's files before
/// 3.7, which were empty. The marker counts all the same.
pub fn decode(bytes: &[u8]) -> Option<i64> {
    let content: Content = serde_json::from_slice(bytes).ok()?;
    (content.version == 0).then_some(content.broker_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_reads_back_and_an_empty_file_tells_none() {
        assert_eq!(decode(encode(17).as_bytes()), Some(17));
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"{\"version\":3,\"brokerEpoch\":17}"), None);
    }
}
