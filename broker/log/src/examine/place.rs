//! Which logs there are to look at, and what the data directory around them tells of them.

use std::io;
use std::path::{Path, PathBuf};

use taffrail_protocol::Uuid;
use thiserror::Error;

use super::observation::{Observation, Observations, Symptom};
use crate::names::{self, DirKind, PartitionFile, SegmentFile, TopicPartition};
use crate::offset_checkpoint::{self, Offsets};
use crate::storage::{DirEntry, FileStorage, LockHolder, Storage, lock_holder};
use crate::{meta_properties, partition_metadata};

/// The data directories of `taffrail dev` are in here, one for each broker.
const BROKERS: &str = "brokers";

/// A directory could not be looked at.
#[derive(Debug, Error)]
pub enum ExamineError {
    /// It holds nothing to look at.
    #[error(
        "{} holds no logs: name a data directory (with meta.properties in it) or the directory of one partition (with \
         .log files in it)",
        path.display()
    )]
    NoLogs {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be listed.
    #[error("cannot look at {}: {source}", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What the data directory around a log tells of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// There is a data directory around it. Without one, nothing of the rest is known.
    pub known: bool,
    /// A process holds its lock: the end of the log is in motion.
    pub in_use: bool,
    /// The last process stopped in good order.
    pub clean: bool,
    /// Everything before this was synced.
    pub recovery_point: Option<i64>,
    /// Records before this were deleted.
    pub log_start_offset: Option<i64>,
    /// Everything before this is committed.
    pub high_watermark: Option<i64>,
    /// Up to here the log was compacted.
    pub clean_offset: Option<i64>,
}

impl Surroundings {
    /// Whether the next start checks what is at `offset`, and mends it.
    pub(super) fn is_checked_at_start(&self, offset: i64) -> bool {
        self.known && !self.in_use && !self.clean && offset >= self.recovery_point.unwrap_or(0)
    }
}

/// A log to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The partition's directory.
    pub dir: PathBuf,
    /// The data directory around it, where there is one.
    pub data_dir: Option<PathBuf>,
    /// Which partition it is, where the directory's name tells.
    pub partition: Option<TopicPartition>,
    /// What is known of it.
    pub around: Surroundings,
}

/// What a directory that was named holds.
#[derive(Debug)]
pub struct Examined {
    /// The logs, in the order of their partitions.
    pub places: Vec<Place>,
    /// What was seen beside them.
    pub observations: Vec<Observation>,
    /// How many of these are damage.
    pub damaged: u64,
}

/// Finds the logs in a data directory, in the directory of `taffrail dev`, or in the one partition's directory that `path` is.
///
/// # Errors
/// When it holds none, or cannot be listed.
pub fn discover(path: &Path) -> Result<Examined, ExamineError> {
    let entries = list(path)?;
    let mut examined = Examined { places: Vec::new(), observations: Vec::new(), damaged: 0 };
    if is_partition(&entries) {
        examined.places.push(alone(path));
        return Ok(examined);
    }
    let mut seen = Observations::default();
    if is_data_dir(path, &entries) {
        look_at(path, &entries, &mut examined.places, &mut seen);
    } else if entries.iter().any(|entry| entry.is_dir && entry.name == BROKERS) {
        let brokers = path.join(BROKERS);
        let mut dirs = list(&brokers)?;
        dirs.sort_by(|a, b| a.name.cmp(&b.name));
        for dir in dirs.iter().filter(|dir| dir.is_dir) {
            let path = brokers.join(&dir.name);
            look_at(&path, &list(&path)?, &mut examined.places, &mut seen);
        }
    } else {
        return Err(ExamineError::NoLogs { path: path.to_owned() });
    }
    examined.damaged = seen.damaged();
    examined.observations = seen.into_told();
    Ok(examined)
}

fn list(path: &Path) -> Result<Vec<DirEntry>, ExamineError> {
    let entries = FileStorage::new(1).list(path);
    entries.map_err(|source| ExamineError::Read { path: path.to_owned(), source })
}

fn is_partition(entries: &[DirEntry]) -> bool {
    entries.iter().any(|entry| {
        let log = matches!(PartitionFile::parse(&entry.name), PartitionFile::Live(SegmentFile::Log, _));
        !entry.is_dir && (log || entry.name == names::PARTITION_METADATA)
    })
}

/// Whether a directory is a broker's: by its own files, or by the logs in it.
fn is_data_dir(path: &Path, entries: &[DirEntry]) -> bool {
    const OWN: [&str; 4] = [
        names::META_PROPERTIES,
        names::RECOVERY_POINT_CHECKPOINT,
        names::LOG_START_CHECKPOINT,
        names::REPLICATION_CHECKPOINT,
    ];
    entries.iter().any(|entry| match entry.is_dir {
        true if matches!(DirKind::parse(&entry.name), DirKind::Partition(_)) => {
            list(&path.join(&entry.name)).is_ok_and(|entries| is_partition(&entries))
        }
        true => false,
        false => OWN.contains(&entry.name.as_str()),
    })
}

/// One partition's directory. The directory above may be its data directory.
fn alone(path: &Path) -> Place {
    // "." has no name.
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let DirKind::Partition(partition) = DirKind::parse(name) else {
        let dir = path.to_owned();
        return Place { dir, data_dir: None, partition: None, around: Surroundings::default() };
    };
    let above = whole.parent().and_then(|above| Some((above, list(above).ok()?)));
    let marked = |entries: &[DirEntry]| {
        entries.iter().any(|entry| !entry.is_dir && entry.name == names::META_PROPERTIES)
    };
    let (data_dir, around) = match above.filter(|(_, entries)| marked(entries)) {
        // What is wrong with its files is not this partition's business.
        Some((above, entries)) => {
            let dir = DataDir::read(above, &entries, &mut Observations::default());
            (Some(above.to_owned()), dir.around(&partition))
        }
        None => (None, Surroundings::default()),
    };
    Place { dir: path.to_owned(), data_dir, partition: Some(partition), around }
}

/// What the files of a data directory tell.
struct DataDir {
    in_use: bool,
    clean: bool,
    recovery_points: Offsets,
    log_starts: Offsets,
    high_watermarks: Offsets,
    clean_offsets: Offsets,
}

impl DataDir {
    fn read(path: &Path, entries: &[DirEntry], seen: &mut Observations) -> Self {
        let has = |name: &str| entries.iter().any(|entry| !entry.is_dir && entry.name == name);
        let holder = if has(names::LOCK) { lock_holder(&path.join(names::LOCK)) } else { Ok(None) };
        let holder = holder.unwrap_or_else(|error| {
            let text = format!("whether a broker uses the directory cannot be told: {error}");
            seen.note(Symptom::NotChecked, &path.join(names::LOCK), text);
            None
        });
        let clean = has(names::CLEAN_SHUTDOWN);
        seen.note(Symptom::State, path, state(holder, clean));
        let mut offsets = |name: &str| {
            let file = path.join(name);
            offset_checkpoint::read(&FileStorage::new(1), &file).unwrap_or_else(|error| {
                seen.damage(Symptom::CorruptCheckpoint, &file, error.to_string());
                Offsets::new()
            })
        };
        Self {
            in_use: holder.is_some(),
            clean: clean && holder.is_none(),
            recovery_points: offsets(names::RECOVERY_POINT_CHECKPOINT),
            log_starts: offsets(names::LOG_START_CHECKPOINT),
            high_watermarks: offsets(names::REPLICATION_CHECKPOINT),
            clean_offsets: cleaned(path, seen),
        }
    }

    fn around(&self, partition: &TopicPartition) -> Surroundings {
        let of = |offsets: &Offsets| offsets.get(partition).copied();
        Surroundings {
            known: true,
            in_use: self.in_use,
            clean: self.clean,
            recovery_point: of(&self.recovery_points),
            log_start_offset: of(&self.log_starts),
            high_watermark: of(&self.high_watermarks),
            clean_offset: of(&self.clean_offsets),
        }
    }
}

/// Up to where each compacted log is clean.
fn cleaned(path: &Path, seen: &mut Observations) -> Offsets {
    let file = path.join(names::CLEANER_CHECKPOINT);
    offset_checkpoint::read(&FileStorage::new(1), &file).unwrap_or_else(|error| {
        seen.damage(Symptom::CorruptCheckpoint, &file, error.to_string());
        Offsets::new()
    })
}

fn state(holder: Option<LockHolder>, clean: bool) -> String {
    match (holder, clean) {
        (Some(holder), _) => {
            let process = match holder.pid {
                Some(pid) => format!("process {pid}"),
                None => "a process".to_owned(),
            };
            format!(
                "{process} uses the directory, so the ends of its logs are in motion and are judged with care"
            )
        }
        (None, true) => "no process uses the directory, and the last one stopped in good order".to_owned(),
        (None, false) => {
            "no process uses the directory, and the last one did not stop in good order: the next start \
                          checks each log from its recovery point on"
                .to_owned()
        }
    }
}

/// Looks at one data directory.
fn look_at(path: &Path, entries: &[DirEntry], places: &mut Vec<Place>, seen: &mut Observations) {
    let dir = DataDir::read(path, entries, seen);
    let meta = path.join(names::META_PROPERTIES);
    match FileStorage::new(1).read_small(&meta, meta_properties::MAX_BYTES) {
        Ok(Some(bytes)) => {
            if let Err(error) = meta_properties::decode(&bytes) {
                seen.damage(Symptom::CorruptMetadata, &meta, format!("the file {error}"));
            }
        }
        Ok(None) => {
            seen.damage(
                Symptom::CorruptMetadata,
                &meta,
                "the file that says whose directory this is is missing",
            );
        }
        Err(error) => seen.damage(Symptom::Unreadable, &meta, error.to_string()),
    }
    let mut found = Vec::new();
    for entry in entries {
        let file = path.join(&entry.name);
        if !entry.is_dir {
            if entry.name.ends_with(names::TEMPORARY_SUFFIX) {
                let text = "a file that was to take another's place and did not; it stands for nothing";
                seen.note(Symptom::UnfinishedFile, &file, text);
            }
            continue;
        }
        match DirKind::parse(&entry.name) {
            DirKind::Partition(partition) => {
                let around = dir.around(&partition);
                let data_dir = Some(path.to_owned());
                found.push(Place { dir: file, data_dir, partition: Some(partition), around });
            }
            DirKind::Deleted => {
                let text =
                    "a log that is being deleted; what is left goes with the next start, if not before";
                seen.note(Symptom::DirectoryAside, &file, text);
            }
            DirKind::Stray => {
                let text = "a log that is kept aside, as the partition is no longer this broker's; name the directory to \
                            have it checked";
                seen.note(Symptom::DirectoryAside, &file, text);
            }
            DirKind::Future => {
                let text = "a copy of a log that is being moved here from another directory of this broker";
                seen.note(Symptom::DirectoryAside, &file, text);
            }
            DirKind::Other => {}
        }
    }
    found.sort_by(|a, b| a.partition.cmp(&b.partition));
    for (offsets, name) in [
        (&dir.recovery_points, names::RECOVERY_POINT_CHECKPOINT),
        (&dir.log_starts, names::LOG_START_CHECKPOINT),
        (&dir.high_watermarks, names::REPLICATION_CHECKPOINT),
        (&dir.clean_offsets, names::CLEANER_CHECKPOINT),
    ] {
        let known = |partition: &TopicPartition| {
            found.binary_search_by(|place| place.partition.as_ref().cmp(&Some(partition))).is_ok()
        };
        let gone = offsets.keys().filter(|partition| !known(partition)).count();
        if gone > 0 && !dir.in_use {
            let text =
                format!("it tells of {gone} partitions that have no directory here, which does no harm");
            seen.note(Symptom::State, &path.join(name), text);
        }
    }
    places.append(&mut found);
}

impl Place {
    /// The topic's id, where the directory tells it.
    pub(super) fn check_topic_id(&self, seen: &mut Observations) -> Option<Uuid> {
        let path = self.dir.join(names::PARTITION_METADATA);
        match FileStorage::new(1).read_small(&path, partition_metadata::MAX_BYTES) {
            Ok(None) => None,
            Ok(Some(bytes)) => match partition_metadata::decode(&bytes) {
                Ok(id) => Some(id),
                Err(error) => {
                    seen.damage(Symptom::CorruptMetadata, &path, format!("the file {error}"));
                    None
                }
            },
            Err(error) => {
                seen.damage(Symptom::Unreadable, &path, error.to_string());
                None
            }
        }
    }

    /// The directory's files in the order of their names.
    pub(super) fn files(&self) -> io::Result<Vec<String>> {
        let entries = FileStorage::new(1).list(&self.dir)?;
        let mut names: Vec<String> =
            entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    }
}
