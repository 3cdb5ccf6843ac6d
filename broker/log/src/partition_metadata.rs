//! `partition.metadata`: the id of the topic that a directory belongs to
//! (`org.apache.kafka.storage.internals.checkpoint.PartitionMetadataFile`).

use taffrail_protocol::Uuid;

use crate::error::FormatError;

pub(crate) const MAX_BYTES: u64 = 4096;

/// The file's content.
pub fn encode(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// Reads a file's content.
pub fn decode(bytes: &[u8]) -> Result<Uuid, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::new("is not text"))?;
    let mut lines = text.lines();
    let mut value = |key: &str| {
        let line = lines.next().unwrap_or_default();
        let value =
            line.split_once(": ").filter(|(name, _)| *name == key).map(|(_, value)| value.trim().to_owned());
        value.ok_or_else(|| FormatError::new(format!("has {line:?} where {key:?} is due")))
    };
    let version = value("version")?;
    if version != "0" {
        return Err(FormatError::new(format!("has version {version:?}, and only version 0 is known")));
    }
    let id = value("topic_id")?;
    let id: Uuid = id.parse().map_err(|_| FormatError::new(format!("has {id:?} where a topic id is due")))?;
    if id == Uuid::ZERO {
        return Err(FormatError::new("has the topic id that stands for none"));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas_and_anything_else_is_refused() {
        let id = Uuid([7; 16]);
        assert_eq!(encode(id), "version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw");
        assert_eq!(decode(encode(id).as_bytes()), Ok(id));
        for text in
            ["", "version: 1\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw", "version: 0\n", "version: 0\ntopic_id: x"]
        {
            assert!(decode(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(decode(encode(Uuid::ZERO).as_bytes()).is_err());
    }
}
