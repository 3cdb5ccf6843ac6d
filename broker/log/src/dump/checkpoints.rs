//! The small files: leader epochs, offset checkpoints, and what says whose a directory is.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::{Failure, names, read_small};
use crate::error::FormatError;
use crate::leader_epoch::LeaderEpochs;
use crate::meta_properties::Owner;
use crate::{checkpoint, clean_shutdown, meta_properties, offset_checkpoint, partition_metadata};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    LeaderEpoch {
        epoch: i32,
        start_offset: i64,
    },
    PartitionOffset {
        topic: &'a str,
        partition: i32,
        offset: i64,
    },
    PartitionMetadata {
        topic_id: String,
    },
    MetaProperties {
        owner: &'a str,
        cluster_id: Option<&'a str>,
        node_id: Option<i32>,
        directory_id: Option<String>,
    },
    CleanShutdown {
        broker_epoch: Option<i64>,
    },
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaderEpoch { epoch, start_offset } => {
                write!(f, "epoch={epoch} start_offset={start_offset}")
            }
            Self::PartitionOffset { topic, partition, offset } => {
                write!(f, "topic={topic} partition={partition} offset={offset}")
            }
            Self::PartitionMetadata { topic_id } => write!(f, "topic_id={topic_id}"),
            Self::MetaProperties { owner, cluster_id, node_id, directory_id } => {
                write!(f, "owner={owner}")?;
                cluster_id.map_or(Ok(()), |id| write!(f, " cluster_id={id}"))?;
                node_id.map_or(Ok(()), |id| write!(f, " node_id={id}"))?;
                directory_id.as_ref().map_or(Ok(()), |id| write!(f, " directory_id={id}"))
            }
            Self::CleanShutdown { broker_epoch: Some(epoch) } => write!(f, "broker_epoch={epoch}"),
            Self::CleanShutdown { broker_epoch: None } => f.write_str("broker_epoch=unknown"),
        }
    }
}

/// Prints the file if its name is that of one of these.
pub(super) fn print(path: &Path, name: &str, output: &mut Output<'_>) -> Option<Result<(), Failure>> {
    let (limit, print): (u64, Printer) = match name {
        names::LEADER_EPOCH_CHECKPOINT => (checkpoint::MAX_BYTES, leader_epochs),
        names::RECOVERY_POINT_CHECKPOINT
        | names::LOG_START_CHECKPOINT
        | names::REPLICATION_CHECKPOINT
        | names::CLEANER_CHECKPOINT => (checkpoint::MAX_BYTES, offsets),
        names::PARTITION_METADATA => (partition_metadata::MAX_BYTES, metadata),
        names::META_PROPERTIES => (meta_properties::MAX_BYTES, properties),
        names::CLEAN_SHUTDOWN => (clean_shutdown::MAX_BYTES, shutdown),
        _ => return None,
    };
    Some(read_small(path, limit).and_then(|bytes| match print(&bytes, output) {
        Err(Stop::Format(error)) => output.damage(None, &format!("the file {error}")),
        Err(Stop::Failure(failure)) => Err(failure),
        Ok(()) => Ok(()),
    }))
}

type Printed = Result<(), Stop>;
type Printer = fn(&[u8], &mut Output<'_>) -> Printed;

enum Stop {
    Format(FormatError),
    Failure(Failure),
}

impl From<FormatError> for Stop {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Apache Kafka makes a checkpoint empty and fills it when there is something to note.
const EMPTY: &str = "the file is empty, so nothing was noted yet";

fn leader_epochs(bytes: &[u8], output: &mut Output<'_>) -> Printed {
    if bytes.is_empty() {
        return Ok(output.note(EMPTY)?);
    }
    for entry in LeaderEpochs::decode(bytes)?.entries() {
        output.entry(&Line::LeaderEpoch { epoch: entry.epoch, start_offset: entry.start_offset })?;
    }
    Ok(())
}

fn offsets(bytes: &[u8], output: &mut Output<'_>) -> Printed {
    if bytes.is_empty() {
        return Ok(output.note(EMPTY)?);
    }
    for (partition, offset) in &offset_checkpoint::decode(bytes)? {
        let (topic, partition) = (partition.topic.as_str(), partition.partition);
        output.entry(&Line::PartitionOffset { topic, partition, offset: *offset })?;
    }
    Ok(())
}

fn metadata(bytes: &[u8], output: &mut Output<'_>) -> Printed {
    let topic_id = partition_metadata::decode(bytes)?.to_string();
    Ok(output.entry(&Line::PartitionMetadata { topic_id })?)
}

fn properties(bytes: &[u8], output: &mut Output<'_>) -> Printed {
    let owner = meta_properties::decode(bytes)?;
    let line = match &owner {
        Owner::Taffrail(properties) => Line::MetaProperties {
            owner: "taffrail",
            cluster_id: Some(&properties.cluster_id),
            node_id: Some(properties.node_id),
            directory_id: Some(properties.directory_id.to_string()),
        },
        Owner::ApacheKafka => Line::MetaProperties {
            owner: "apache-kafka",
            cluster_id: None,
            node_id: None,
            directory_id: None,
        },
    };
    Ok(output.entry(&line)?)
}

fn shutdown(bytes: &[u8], output: &mut Output<'_>) -> Printed {
    Ok(output.entry(&Line::CleanShutdown { broker_epoch: clean_shutdown::decode(bytes) })?)
}
