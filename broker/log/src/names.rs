//! The names of files and directories (`org.apache.kafka.storage.internals.log.LogFileUtils`, `LocalLog`).

use std::fmt::Write;
use std::path::{Path, PathBuf};

use taffrail_protocol::Uuid;

/// Holds topic id, in a partition's directory.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// Holds the start offset of each leader epoch, in a partition's directory.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// Holds up to where each log of a data directory is synced.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// Holds where each log of a data directory begins, if not at its first segment.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// Holds the high watermark of each log of a data directory.
pub const REPLICATION_CHECKPOINT: &str = "replication-offset-checkpoint";
/// Holds up to where each compacted log of a data directory is clean.
pub const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// Holds the logs of a data directory that are giving way to those which were made of them in another, each with where it
/// ended.
pub const MOVING: &str = "taffrail.moving";
/// Holds since when a directory has been set aside, in it.
pub const SET_ASIDE: &str = "taffrail.set-aside";
/// Says whose data directory it is.
pub const META_PROPERTIES: &str = "meta.properties";
/// Stands in a data directory between a clean stop and the next start.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// The same marker after a start that found it, until a broker is about to write: nothing was lost, and whatever the start
/// did to the logs is checked by the next one.
pub const CLOSED: &str = "taffrail.closed";
/// Is locked while a process uses the data directory.
pub const LOCK: &str = ".lock";
/// The directory of Apache Kafka's own metadata log, which only a KRaft node has.
pub const KAFKA_METADATA_DIR: &str = "__cluster_metadata-0";
/// Apache Kafka's dynamic bootstrap metadata, which only a KRaft node has.
pub const KAFKA_BOOTSTRAP: &str = "bootstrap.checkpoint";

/// Ends the name of a file that is being written to take another's place.
pub const TEMPORARY_SUFFIX: &str = ".tmp";
/// Ends the name of a segment file that is about to be removed.
pub const DELETED_SUFFIX: &str = ".deleted";
/// Ends the name of a file that an unfinished compaction wrote.
pub const CLEANED_SUFFIX: &str = ".cleaned";
/// Ends the name of a file that a finished compaction is putting in place.
pub const SWAP_SUFFIX: &str = ".swap";
/// Ends the name of a partition directory that is being deleted.
pub const DELETE_DIR_SUFFIX: &str = "-delete";
/// Ends the name of a directory that a replica is being moved into.
pub const FUTURE_DIR_SUFFIX: &str = "-future";
/// Ends the name of a partition directory that nobody claims.
pub const STRAY_DIR_SUFFIX: &str = "-stray";

/// File systems allow no longer names.
const MAX_NAME_LEN: usize = 255;
const STEM_DIGITS: usize = 20;

/// What a file of a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentFile {
    /// Record batches: `.log`.
    Log,
    /// Offsets to positions: `.index`.
    OffsetIndex,
    /// Timestamps to offsets: `.timeindex`.
    TimeIndex,
    /// Aborted transactions: `.txnindex`.
    TransactionIndex,
    /// Producer state before the segment: `.snapshot`.
    ProducerSnapshot,
}

impl SegmentFile {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::TransactionIndex, Self::ProducerSnapshot];

    /// The end of the name, with its dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TransactionIndex => ".txnindex",
            Self::ProducerSnapshot => ".snapshot",
        }
    }

    /// The file of this kind that belongs to the segment (or, for a snapshot, the end offset) `offset`.
    pub fn path(self, dir: &Path, offset: i64) -> PathBuf {
        dir.join(self.name(offset))
    }

    /// As [`path`](Self::path), the name alone.
    pub fn name(self, offset: i64) -> String {
        format!("{offset:0STEM_DIGITS$}{}", self.suffix())
    }
}

/// What a name in a partition's directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionFile {
    /// A file of the segment with this base offset, in use.
    Live(SegmentFile, i64),
    /// The same, put in place by a compaction that may not have ended.
    Swap(SegmentFile, i64),
    /// The same, written by a compaction that did not end.
    Cleaned(SegmentFile, i64),
    /// The same, about to be removed.
    Deleted(SegmentFile, i64),
    /// A file that was to take another's place and did not.
    Temporary,
    /// Anything else.
    Other,
}

impl PartitionFile {
    /// Reads a name.
    pub fn parse(name: &str) -> Self {
        let live = |stem: &str| {
            let (digits, _) = stem.split_once('.')?;
            let suffix = &stem[digits.len()..];
            let kind = SegmentFile::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
            let plain = digits.len() == STEM_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
            Some((kind, digits.parse::<i64>().ok().filter(|_| plain)?))
        };
        let suffixed = |suffix: &str| name.strip_suffix(suffix).and_then(live);
        if let Some((kind, offset)) = live(name) {
            Self::Live(kind, offset)
        } else if let Some((kind, offset)) = suffixed(SWAP_SUFFIX) {
            Self::Swap(kind, offset)
        } else if let Some((kind, offset)) = suffixed(CLEANED_SUFFIX) {
            Self::Cleaned(kind, offset)
        } else if let Some((kind, offset)) = suffixed(DELETED_SUFFIX) {
            Self::Deleted(kind, offset)
        } else if name.ends_with(TEMPORARY_SUFFIX) {
            Self::Temporary
        } else {
            Self::Other
        }
    }
}

/// A topic and the number of one of its partitions, as a directory names them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The name of the partition's directory.
    pub fn dir_name(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a directory inside a data directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirKind {
    /// A partition's log.
    Partition(TopicPartition),
    /// A log that is being deleted (`-delete`).
    Deleted,
    /// A log that a replica is being moved into (`-future`).
    Future,
    /// A log that nobody claimed (`-stray`).
    Stray,
    /// Nothing of a broker's.
    Other,
}

impl DirKind {
    /// Reads the name of a directory (`LocalLog.parseTopicPartitionName`).
    pub fn parse(name: &str) -> Self {
        // topic-partition.<32 hex digits>-suffix; the front may have been cut to fit.
        let marked = |suffix: &str| {
            let Some((_, id)) = name.strip_suffix(suffix).and_then(|front| front.rsplit_once('.')) else {
                return false;
            };
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if marked(DELETE_DIR_SUFFIX) {
            return Self::Deleted;
        }
        if marked(FUTURE_DIR_SUFFIX) {
            return Self::Future;
        }
        if marked(STRAY_DIR_SUFFIX) {
            return Self::Stray;
        }
        let Some((topic, number)) = name.rsplit_once('-') else { return Self::Other };
        let plain =
            number == "0" || !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
        match number.parse() {
            Ok(partition) if plain && is_legal_topic(topic) => {
                Self::Partition(TopicPartition::new(topic, partition))
            }
            _ => Self::Other,
        }
    }
}

/// Kafka's rule for topic names (`org.apache.kafka.common.internals.Topic`).
pub fn is_legal_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

/// The name of the directory that a partition's log is moved into (`UnifiedLog.logFutureDirName`). `None` where it would be
/// longer than 255 characters: the partition has to be readable from it.
pub fn future_dir_name(partition: &TopicPartition, unique: Uuid) -> Option<String> {
    let name = marked_dir_name(partition, unique, FUTURE_DIR_SUFFIX);
    name.starts_with(&(partition.dir_name() + ".")).then_some(name)
}

/// The partition that a directory was, before it got the name [`stray_dir_name`] or [`delete_dir_name`]. `None` where the
/// name was cut to fit, or is no such name.
pub fn partition_of_marked(name: &str) -> Option<TopicPartition> {
    if name.len() == MAX_NAME_LEN || !matches!(DirKind::parse(name), DirKind::Stray | DirKind::Deleted) {
        return None;
    }
    let (front, _) = name.rsplit_once('.')?;
    match DirKind::parse(front) {
        DirKind::Partition(partition) => Some(partition),
        _ => None,
    }
}

/// The name a partition's directory takes before it is deleted, of at most 255 characters
/// (`LocalLog.logDeleteDirName`). `unique` keeps it apart from a later one of the same topic.
pub fn delete_dir_name(partition: &TopicPartition, unique: Uuid) -> String {
    marked_dir_name(partition, unique, DELETE_DIR_SUFFIX)
}

/// The name of a directory that is kept though nobody claims it (`LocalLog.logStrayDirName`).
pub fn stray_dir_name(partition: &TopicPartition, unique: Uuid) -> String {
    marked_dir_name(partition, unique, STRAY_DIR_SUFFIX)
}

/// The name that a directory which was set aside takes before it is deleted; `None` for other directories.
pub fn delete_stray_dir_name(stray: &str) -> Option<String> {
    let front = stray.strip_suffix(STRAY_DIR_SUFFIX)?;
    // The longer suffix must not make the name too long; its front is for people.
    let cut = (front.len() + DELETE_DIR_SUFFIX.len()).saturating_sub(MAX_NAME_LEN);
    Some(format!("{}{DELETE_DIR_SUFFIX}", front.get(cut..)?))
}

fn marked_dir_name(partition: &TopicPartition, unique: Uuid, suffix: &str) -> String {
    let mut end = String::from(".");
    for byte in unique.0 {
        // Writing into a string cannot fail.
        let _ = write!(end, "{byte:02x}");
    }
    end.push_str(suffix);
    let mut name = partition.dir_name();
    name.truncate(MAX_NAME_LEN - end.len());
    name + &end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_have_twenty_digits_and_read_back() {
        let name = SegmentFile::TimeIndex.name(42);
        assert_eq!(name, "00000000000000000042.timeindex");
        assert_eq!(PartitionFile::parse(&name), PartitionFile::Live(SegmentFile::TimeIndex, 42));
        assert_eq!(
            PartitionFile::parse("00000000000000000042.log.swap"),
            PartitionFile::Swap(SegmentFile::Log, 42)
        );
        assert_eq!(
            PartitionFile::parse("00000000000000000042.index.deleted"),
            PartitionFile::Deleted(SegmentFile::OffsetIndex, 42)
        );
        for other in
            ["42.log", "0000000000000000004x.log", "99999999999999999999.log", "leader-epoch-checkpoint"]
        {
            assert_eq!(PartitionFile::parse(other), PartitionFile::Other, "{other}");
        }
    }

    #[test]
    fn directories_are_told_apart() {
        assert_eq!(DirKind::parse("a-b-12"), DirKind::Partition(TopicPartition::new("a-b", 12)));
        for other in ["a", "a-", "-1", "a-01", "a-x", "a b-1", "a-99999999999"] {
            assert_eq!(DirKind::parse(other), DirKind::Other, "{other}");
        }
        let partition = TopicPartition::new("t".repeat(249), 1_000_000);
        let name = delete_dir_name(&partition, Uuid([0xab; 16]));
        assert_eq!(name.len(), 255);
        assert_eq!(DirKind::parse(&name), DirKind::Deleted);
        let stray = stray_dir_name(&TopicPartition::new("a", 1), Uuid([1; 16]));
        assert_eq!(stray, "a-1.01010101010101010101010101010101-stray");
        assert_eq!(DirKind::parse(&stray), DirKind::Stray);
        assert_eq!(partition_of_marked(&stray), Some(TopicPartition::new("a", 1)));
        let doomed = delete_stray_dir_name(&stray).unwrap();
        assert_eq!(doomed, "a-1.01010101010101010101010101010101-delete");
        let longest = delete_stray_dir_name(&stray_dir_name(&partition, Uuid([2; 16]))).unwrap();
        assert_eq!((longest.len(), DirKind::parse(&longest)), (255, DirKind::Deleted));
        assert_eq!(delete_stray_dir_name("a-1"), None);
        let future = future_dir_name(&TopicPartition::new("a", 1), Uuid([3; 16])).unwrap();
        assert_eq!(future, "a-1.03030303030303030303030303030303-future");
        assert_eq!(DirKind::parse(&future), DirKind::Future);
        let longest = TopicPartition::new("t".repeat(213), 1);
        assert_eq!(future_dir_name(&longest, Uuid([3; 16])).unwrap().len(), 255);
        assert_eq!(future_dir_name(&TopicPartition::new("t".repeat(214), 1), Uuid([3; 16])), None);
        assert_eq!(partition_of_marked(&name), None, "its partition's number was cut off");
        assert_eq!(partition_of_marked("a-1"), None);
    }
}
