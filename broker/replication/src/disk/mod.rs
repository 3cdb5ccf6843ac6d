//! What a broker keeps in its log directories about itself, and what it concludes from it when it starts: whether its
//! disks kept everything, which records it has acted on, and what to do about each replica's log.

pub mod claim;
pub mod epochs;
pub mod logs;
pub mod moving;
pub mod note;
pub mod opening;
mod served_dir;
pub mod space;

use std::path::PathBuf;

/// A file that a broker keeps beside its logs could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct DiskError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: std::io::Error,
}

impl DiskError {
    /// The file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Why.
    pub fn source(&self) -> &std::io::Error {
        &self.source
    }
}

#[cfg(test)]
mod test_support {
    use taffrail_control::session::PartitionRecord;
    use taffrail_protocol::Uuid;

    pub(crate) fn record(partition: i32, creation: u64, leader_epoch: i32) -> PartitionRecord {
        PartitionRecord {
            topic_id: Uuid([7; 16]),
            partition,
            creation,
            replicas: vec![1, 2, 3],
            leader: None,
            leader_epoch,
            partition_epoch: leader_epoch,
            isr: Vec::new(),
            elr: Vec::new(),
            min_isr: 1,
            adding: Vec::new(),
            removing: Vec::new(),
            unclean_epoch: None,
        }
    }
}
