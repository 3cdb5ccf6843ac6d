//! One partition on disk, in Apache Kafka's format byte for byte.
//!
//! [`Log`] is one partition: it appends, reads, rolls, truncates and recovers. [`LogDir`] is a data directory of many.
//! Both do their I/O through [`Storage`]; [`FileStorage`] is real, [`MemoryStorage`] fails on command. There are no
//! threads and no clock in here, and no knowledge of replicas.

mod checkpoint;
pub mod clean_shutdown;
pub mod cleaner;
mod config;
pub mod dump;
mod error;
pub mod examine;
mod index_file;
pub mod leader_epoch;
mod log;
mod log_dir;
pub mod meta_properties;
pub mod names;
pub mod offset_checkpoint;
pub mod offset_index;
pub mod partition_metadata;
pub mod producer_snapshot;
mod producer_state;
mod recent;
mod recovery;
pub mod repair;
pub mod retention;
mod rewritten;
mod scan;
mod segment;
pub mod storage;
pub mod time_index;
pub mod transaction_index;

pub use config::LogConfig;
pub use error::{
    AppendError, CheckpointError, FormatError, HealError, OpenError, Poisoned, ProducerError, ReadError,
    is_of_whole_disk, is_out_of_space, is_passing,
};
pub use leader_epoch::EpochEntry;
pub use log::{
    AppendInfo, CorruptBatch, FileRange, Flush, FlushResult, Followed, Log, OpenMode, ReadInfo, Replaced,
    Replacement, Retained, SegmentCheck, Sweep, Unwanted, remove_dir,
};
pub use log_dir::{DirState, LogCheckpoints, LogDir, LogDirError, inspect};
pub use meta_properties::MetaProperties;
pub use names::TopicPartition;
pub use producer_state::{AppendOrigin, AppendedBatch};
pub use recovery::{Finding, RecoveryProgress, RecoveryReport, Verdict, Workload};
pub use storage::{DiskFile, DiskSpace, FileStorage, MemoryStorage, Storage, StorageFile};
pub use taffrail_protocol::record_batch::TimestampType;
pub use time_index::TimestampOffset;
