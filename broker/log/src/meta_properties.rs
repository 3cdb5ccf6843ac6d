//! `meta.properties`: whose data directory this is (`org.apache.kafka.metadata.properties.MetaProperties`), a file of Java
//! properties.
//!
//! Ours carry the key `taffrail.version` besides Kafka's four, which Kafka's tools pass over. A file without it was
//! written by Apache Kafka.

use taffrail_protocol::Uuid;

use crate::error::FormatError;

pub(crate) const MAX_BYTES: u64 = 64 * 1024;
const OWN_KEY: &str = "taffrail.version";
const OWN_VERSION: &str = "1";

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker's id.
    pub node_id: i32,
    /// The data directory's own id (KIP-858).
    pub directory_id: Uuid,
}

/// Whose file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Ours.
    Taffrail(MetaProperties),
    /// Apache Kafka's, with ZooKeeper or KRaft.
    ApacheKafka,
}

/// The file's content.
pub fn encode(properties: &MetaProperties) -> String {
    format!(
        "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\n{OWN_KEY}={OWN_VERSION}\n",
        escape(&properties.cluster_id),
        properties.node_id,
        properties.directory_id
    )
}

/// Reads a file's content.
pub fn decode(bytes: &[u8]) -> Result<Owner, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::new("is not text"))?;
    let mut pairs = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| FormatError::new(format!("has a line without \"=\": {line:?}")))?;
        pairs.push((key.trim_end(), unescape(value.trim())));
    }
    let find = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
    let need = |key: &str| find(key).ok_or_else(|| FormatError::new(format!("lacks {key:?}")));
    let Some(own) = find(OWN_KEY) else {
        if find("node.id").is_none() && find("broker.id").is_none() {
            return Err(FormatError::new("names neither Taffrail nor an Apache Kafka node as its owner"));
        }
        return Ok(Owner::ApacheKafka);
    };
    if own != OWN_VERSION {
        return Err(FormatError::new(format!("has {OWN_KEY}={own}, written by a later Taffrail")));
    }
    let version = need("version")?;
    if version != "1" {
        return Err(FormatError::new(format!("has version {version:?}, and only version 1 is known")));
    }
    let bad =
        |key: &str, value: &str| FormatError::new(format!("has {key}={value}, which is no legal value"));
    let node_id = need("node.id")?;
    let directory_id = need("directory.id")?;
    Ok(Owner::Taffrail(MetaProperties {
        cluster_id: need("cluster.id")?.to_owned(),
        node_id: node_id.parse().ok().filter(|id| *id >= 0).ok_or_else(|| bad("node.id", node_id))?,
        directory_id: directory_id.parse().map_err(|_| bad("directory.id", directory_id))?,
    }))
}

/// Java escapes these in a property's value.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, '\\' | '=' | ':' | '#' | '!') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_read_back_and_kafkas_are_told_apart() {
        let ours = MetaProperties { cluster_id: "a=b:c".into(), node_id: 3, directory_id: Uuid([5; 16]) };
        assert_eq!(decode(encode(&ours).as_bytes()).unwrap(), Owner::Taffrail(ours));
        let kafkas = "#\n#Fri Nov 20 08:00:00 UTC 2026\ncluster.id=x\ndirectory.id=y\nnode.id=1\nversion=1\n";
        assert_eq!(decode(kafkas.as_bytes()).unwrap(), Owner::ApacheKafka);
        assert_eq!(decode(b"version=0\nbroker.id=1\n").unwrap(), Owner::ApacheKafka);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "",
            "node.id",
            "version=1\ntaffrail.version=2\n",
            "version=2\ncluster.id=a\nnode.id=1\ndirectory.id=BQUFBQUFBQUFBQUFBQUFBQ\ntaffrail.version=1\n",
            "version=1\ncluster.id=a\nnode.id=-1\ndirectory.id=BQUFBQUFBQUFBQUFBQUFBQ\ntaffrail.version=1\n",
            "version=1\ncluster.id=a\nnode.id=1\ndirectory.id=BQ\ntaffrail.version=1\n",
            "version=1\nnode.id=1\ndirectory.id=BQUFBQUFBQUFBQUFBQUFBQ\ntaffrail.version=1\n",
        ] {
            assert!(decode(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
