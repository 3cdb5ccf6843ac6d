//! What a broker states about its disks when it registers (rules 16, 28).
//!
//! | marker of a clean stop | note | all logs reach their high watermark | the directory |
//! |---|---|---|---|
//! | of the note's incarnation | there | yes | CLEAN |
//! | none, or of another incarnation | of this boot and mount | yes | SAME_BOOT |
//! | none, or of another incarnation | of another boot or mount | yes | UNCLEAN |
//! | any | there | no | UNCLEAN |
//! | any | none, or struck out | any | UNCLEAN |
//!
//! The marker outlives starts that never came to write: the note keeps the incarnation that the marker names until the next
//! registration, and only after that anything is written.
//!
//! Several directories are as good as the worst of them.

use std::path::PathBuf;

use taffrail_control::session::LogClaim;
use taffrail_log::{LogDir, Storage, TopicPartition};

use super::DiskError;
use super::note::{Boot, DiskNote};

/// What became of one log directory since it was last served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirFate {
    /// The marker of a clean stop was there, and nothing was written since.
    pub clean: bool,
    /// The incarnation that the marker named.
    pub marked: Option<u64>,
    /// The note.
    pub note: Option<DiskNote>,
    /// Where the directory is served from today.
    pub today: Boot,
    /// Logs that end before records that were known to be committed ([`short_logs`](super::logs::short_logs)).
    pub short: Vec<ShortLog>,
}

/// A log that ends before it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortLog {
    /// Whose it is.
    pub partition: TopicPartition,
    /// Where the log ends.
    pub log_end_offset: i64,
    /// How that is known.
    pub missing: Missing,
}

/// What a log lacks that it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Committed records, which ended here when that was last written down.
    Committed(i64),
    /// Something behind a batch that is damaged, for this reason. While the machine ran on, no write leaves that: the disk does.
    Damaged(String),
}

/// What is stated, and the incarnation that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// What the disks are worth.
    pub claim: LogClaim,
    /// The last incarnation of which the disks have everything. Where they are UNCLEAN, the last that is known at all:
    /// numbers go on above it (rule 25).
    pub last_incarnation: Option<u64>,
}

impl DirFate {
    /// Looks at an open directory. `short` are the logs in it that recovery left too short.
    ///
    /// # Errors
    /// When the note cannot be read.
    pub fn of<S: Storage>(
        storage: &S,
        dir: &LogDir<S>,
        today: Boot,
        short: Vec<ShortLog>,
    ) -> Result<Self, DiskError> {
        Ok(Self {
            clean: dir.was_closed(),
            marked: dir.previous_broker_epoch().and_then(|epoch| u64::try_from(epoch).ok()),
            note: DiskNote::read(storage, dir.path())?,
            today,
            short,
        })
    }

    /// What the directory is worth, by the table above.
    pub fn claim(&self) -> LogClaim {
        let Some(note) = &self.note else { return LogClaim::Unclean };
        if !self.short.is_empty() {
            LogClaim::Unclean
        } else if self.clean && self.marked == Some(note.incarnation) {
            LogClaim::Clean
        } else if note.boot.is_same(&self.today) {
            LogClaim::SameBoot
        } else {
            LogClaim::Unclean
        }
    }
}

/// The claim of a broker with these directories. One that could not be opened is `None`.
pub fn claim(dirs: &[Option<DirFate>]) -> Claim {
    let worst = |a: LogClaim, b: LogClaim| match (a, b) {
        (LogClaim::Unclean, _) | (_, LogClaim::Unclean) => LogClaim::Unclean,
        (LogClaim::SameBoot, _) | (_, LogClaim::SameBoot) => LogClaim::SameBoot,
        (LogClaim::Clean, LogClaim::Clean) => LogClaim::Clean,
    };
    let each = dirs.iter().map(|dir| dir.as_ref().map_or(LogClaim::Unclean, DirFate::claim));
    let claim = each.reduce(worst).unwrap_or(LogClaim::Unclean);
    let noted = dirs.iter().flatten().filter_map(|dir| Some(dir.note.as_ref()?.incarnation));
    let last_incarnation = match claim {
        LogClaim::Unclean => noted.max(),
        // A directory that the last life did not come to note was not served in it.
        LogClaim::Clean | LogClaim::SameBoot => noted.min(),
    };
    Claim { claim, last_incarnation }
}

/// Where the claim's reason is to be read by a person: why the disks count as having lost records, one sentence each.
pub fn reasons(dirs: &[(PathBuf, Option<DirFate>)]) -> Vec<String> {
    let mut reasons = Vec::new();
    for (path, dir) in dirs {
        let path = path.display();
        let Some(dir) = dir else {
            reasons.push(format!("{path} cannot be opened"));
            continue;
        };
        for ShortLog { partition, log_end_offset, missing } in &dir.short {
            let why = match missing {
                Missing::Committed(high_watermark) => {
                    format!("and records up to {high_watermark} were committed")
                }
                Missing::Damaged(reason) => format!("as what was behind is damaged: {reason}"),
            };
            reasons.push(format!("{partition} in {path} ends at offset {log_end_offset}, {why}"));
        }
        if dir.short.is_empty() && dir.claim() == LogClaim::Unclean {
            reasons.push(match &dir.note {
                None => format!("{path} has no note of its last start: it is new, or a write to it failed"),
                Some(_) => {
                    format!("{path} was not closed in good order, and the machine or its mount is another")
                }
            });
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::logs::{RecoveredLogs, ReplicaLogs};
    use taffrail_control::session::Member;
    use taffrail_log::{MemoryStorage, MetaProperties};
    use taffrail_protocol::Uuid;

    fn boot(boot_id: &str) -> Boot {
        Boot { boot_id: boot_id.to_owned(), device: 1 }
    }

    fn fate(marked: Option<u64>, noted: Option<(&str, u64)>, short: bool) -> DirFate {
        let note = noted.map(|(id, incarnation)| DiskNote { boot: boot(id), incarnation });
        let partition = TopicPartition::new("t", 0);
        let short =
            short.then_some(ShortLog { partition, log_end_offset: 5, missing: Missing::Committed(9) });
        let short = short.into_iter().collect();
        DirFate { clean: marked.is_some(), marked, note, today: boot("today"), short }
    }

    #[test]
    fn every_row_of_the_table() {
        use LogClaim::{Clean, SameBoot, Unclean};
        let (today, before) = (Some(("today", 7)), Some(("before", 7)));
        for (marked, noted, short, expected) in [
            (Some(7), today, false, Clean),
            (Some(7), before, false, Clean),
            (None, today, false, SameBoot),
            (Some(6), today, false, SameBoot),
            (None, before, false, Unclean),
            (Some(6), before, false, Unclean),
            (Some(7), today, true, Unclean),
            (None, today, true, Unclean),
            (Some(7), None, false, Unclean),
            (None, None, false, Unclean),
        ] {
            let dir = fate(marked, noted, short);
            let claimed = claim(&[Some(dir.clone())]);
            assert_eq!(claimed.claim, expected, "{dir:?}");
            assert_eq!(claimed.last_incarnation, noted.map(|_| 7));
            let reasons = reasons(&[("/data".into(), Some(dir))]);
            assert_eq!(reasons.is_empty(), expected != Unclean, "{reasons:?}");
        }
        // A marker of a release that named no incarnation proves nothing about this one.
        let nameless = DirFate { clean: true, ..fate(None, before, false) };
        assert_eq!(claim(&[Some(nameless)]).claim, Unclean);
    }

    #[test]
    fn a_clean_disk_stays_clean_until_a_broker_is_registered_on_it() {
        let (storage, path) = (MemoryStorage::new(), PathBuf::from("/data"));
        let properties =
            MetaProperties { cluster_id: "c".to_owned(), node_id: 1, directory_id: Uuid([1; 16]) };
        let dir = || LogDir::open(storage.clone(), path.clone(), properties.clone()).unwrap();
        let note = |id: &str, incarnation| DiskNote { boot: boot(id), incarnation }.write(&storage, &path);
        let claimed =
            |dir: &LogDir<_>| DirFate::of(&storage, dir, boot("today"), Vec::new()).unwrap().claim();
        let served = |dir, incarnation| {
            let me = Member { broker_id: 1, incarnation };
            let dirs = vec![(dir, RecoveredLogs::new())];
            let served = ReplicaLogs::new(storage.clone(), dirs, Vec::new(), me, LogClaim::Clean, 0);
            drop(served.unwrap());
        };
        let first = dir();
        note("before", 7).unwrap();
        first.mark_clean(7).unwrap();
        drop(first);
        for seed in 0..9 {
            storage.crash(seed);
            assert_eq!(claimed(&dir()), LogClaim::Clean, "the machine failed before it was registered");
        }
        // The process dies between its note and its first write, and the machine with it: the marker is not of that life.
        let registered = dir();
        note("before", 8).unwrap();
        drop(registered);
        storage.crash(9);
        assert_eq!(claimed(&dir()), LogClaim::Unclean);
        // It comes to serve.
        let serving = dir();
        note("before", 7).unwrap();
        served(serving, 7);
        assert_eq!(
            claimed(&dir()),
            LogClaim::Unclean,
            "what was found at the start says nothing of what followed"
        );
    }

    #[test]
    fn several_directories_are_as_good_as_the_worst() {
        let clean = Some(fate(Some(7), Some(("before", 7)), false));
        let same_boot = Some(fate(None, Some(("today", 7)), false));
        let unclean = Some(fate(None, Some(("before", 9)), false));
        let of = |dirs: &[Option<DirFate>]| (claim(dirs).claim, claim(dirs).last_incarnation);
        assert_eq!(of(&[clean.clone(), clean.clone()]), (LogClaim::Clean, Some(7)));
        assert_eq!(of(&[clean.clone(), same_boot]), (LogClaim::SameBoot, Some(7)));
        assert_eq!(of(&[clean.clone(), unclean]), (LogClaim::Unclean, Some(9)));
        assert_eq!(of(&[clean, None]), (LogClaim::Unclean, Some(7)));
        assert_eq!(of(&[]), (LogClaim::Unclean, None));
    }

    #[test]
    fn a_directory_that_the_last_life_did_not_note_bounds_the_claim() {
        let noted = |incarnation| Some(fate(None, Some(("today", incarnation)), false));
        assert_eq!(claim(&[noted(8), noted(7)]).last_incarnation, Some(7));
    }
}
