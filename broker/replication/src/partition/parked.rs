//! Requests that wait on a partition, and what is to be told to whom.

use std::collections::VecDeque;

use taffrail_control::session::IsrProposal;
use taffrail_protocol::ErrorCode;

use super::RequiredAcks;

/// Names one parked fetch or deletion of records on one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkId(u64);

/// Something that a step made true for another request than the one that caused it, or that the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<T> {
    /// `bytes` more bytes became readable for a parked fetch, which stays parked.
    Readable {
        /// The fetch.
        token: T,
        /// How many bytes, about: batches that became readable with one step are counted whole. A follower's fetch is told
        /// of none when there is nothing new but the high watermark or the log's start.
        bytes: u64,
    },
    /// A parked produce was committed or failed; it is not parked any more.
    Committed {
        /// The produce.
        token: T,
        /// How it ended.
        outcome: Result<(), ErrorCode>,
    },
    /// A replica has written down where its log starts: a parked deletion of records, which stays parked, may be done.
    StartWritten {
        /// The deletion.
        token: T,
    },
    /// The partition answers no fetch any more (it lost its role or is deleted): a parked fetch or deletion of records has
    /// to look again.
    Moved {
        /// The request, which is not parked any more.
        token: T,
    },
    /// The leader wishes another ISR: to be sent to the controller. At most one is in flight per partition; one that is
    /// lost is made again.
    Propose {
        /// The partition's reporter.
        token: T,
        /// What is proposed.
        proposal: IsrProposal,
    },
    /// Records wait for a flush before they count (rule 26). Told once until [`begin_flush`](super::Partition::begin_flush).
    FlushWanted {
        /// The partition's reporter.
        token: T,
    },
    /// The log has just ceased to take writes, or was found to have a corrupt batch. Told once for each.
    Failed {
        /// The partition's reporter.
        token: T,
    },
    /// The log's start moved: it has to be written down, and after that segments may go. Told at each move.
    StartMoved {
        /// The partition's reporter.
        token: T,
    },
    /// There is something to fetch from the leader, and there was not before.
    Fetchable {
        /// The partition's reporter.
        token: T,
    },
}

/// What a caller has to carry out after it let go of the partition.
pub type Effects<T> = Vec<Effect<T>>;

/// Waits for the high watermark to pass its last record.
struct ParkedCommit<T> {
    last_offset: i64,
    /// Gives up when the ISR becomes too small: a producer, which then sends the batch again (rule 9).
    impatient: bool,
    token: T,
}

/// Waits for this log alone to count its last record.
struct ParkedFlush<T> {
    last_offset: i64,
    token: T,
}

/// The requests parked on one partition. Its size is bounded by the requests in flight of all connections.
pub(super) struct Purgatory<T> {
    /// In the order of their offsets, since appends are.
    commits: VecDeque<ParkedCommit<T>>,
    flushes: VecDeque<ParkedFlush<T>>,
    fetches: Vec<(ParkId, T)>,
    replica_fetches: Vec<(ParkId, T)>,
    deletions: Vec<(ParkId, T)>,
    next_id: u64,
    /// Bytes appended and not yet reported to parked fetches as readable.
    unreported_bytes: u64,
}

impl<T> Default for Purgatory<T> {
    fn default() -> Self {
        Self {
            commits: VecDeque::new(),
            flushes: VecDeque::new(),
            fetches: Vec::new(),
            replica_fetches: Vec::new(),
            deletions: Vec::new(),
            next_id: 0,
            unreported_bytes: 0,
        }
    }
}

impl<T: Clone> Purgatory<T> {
    pub(super) fn park_produce(&mut self, last_offset: i64, acks: RequiredAcks, token: T) {
        match acks {
            RequiredAcks::All => self.insert_commit(ParkedCommit { last_offset, impatient: true, token }),
            RequiredAcks::Leader => {
                let at = self.flushes.partition_point(|parked| parked.last_offset <= last_offset);
                self.flushes.insert(at, ParkedFlush { last_offset, token });
            }
        }
    }

    pub(super) fn park_commit(&mut self, last_offset: i64, token: T) {
        self.insert_commit(ParkedCommit { last_offset, impatient: false, token });
    }

    fn insert_commit(&mut self, parked: ParkedCommit<T>) {
        // A retried duplicate waits for an older offset than its neighbours.
        let at = self.commits.partition_point(|other| other.last_offset <= parked.last_offset);
        self.commits.insert(at, parked);
    }

    pub(super) fn park_fetch(&mut self, token: T) -> ParkId {
        let id = self.next_id();
        self.fetches.push((id, token));
        id
    }

    pub(super) fn park_replica_fetch(&mut self, token: T) -> ParkId {
        let id = self.next_id();
        self.replica_fetches.push((id, token));
        id
    }

    pub(super) fn park_deletion(&mut self, token: T) -> ParkId {
        let id = self.next_id();
        self.deletions.push((id, token));
        id
    }

    fn next_id(&mut self) -> ParkId {
        let id = ParkId(self.next_id);
        self.next_id += 1;
        id
    }

    pub(super) fn leave(&mut self, id: ParkId) {
        for parked in [&mut self.fetches, &mut self.replica_fetches, &mut self.deletions] {
            if let Some(at) = parked.iter().position(|(parked, _)| *parked == id) {
                parked.swap_remove(at);
            }
        }
    }

    /// `bytes` were appended: followers may read them, consumers not before they are committed.
    pub(super) fn appended(&mut self, bytes: u64, effects: &mut Effects<T>) {
        self.unreported_bytes += bytes;
        let told = self.replica_fetches.iter();
        effects.extend(told.map(|(_, token)| Effect::Readable { token: token.clone(), bytes }));
    }

    /// Everything below `end` counts as far as this log is concerned.
    pub(super) fn counted(&mut self, end: i64, effects: &mut Effects<T>) {
        while let Some(parked) = self.flushes.pop_front_if(|parked| parked.last_offset < end) {
            effects.push(Effect::Committed { token: parked.token, outcome: Ok(()) });
        }
    }

    /// Everything below `high_watermark` is committed and readable.
    pub(super) fn committed(&mut self, high_watermark: i64, effects: &mut Effects<T>) {
        while let Some(parked) = self.commits.pop_front_if(|parked| parked.last_offset < high_watermark) {
            effects.push(Effect::Committed { token: parked.token, outcome: Ok(()) });
        }
        let bytes = std::mem::take(&mut self.unreported_bytes);
        effects
            .extend(self.fetches.iter().map(|(_, token)| Effect::Readable { token: token.clone(), bytes }));
        let followers = self.replica_fetches.iter();
        effects.extend(followers.map(|(_, token)| Effect::Readable { token: token.clone(), bytes: 0 }));
    }

    /// The log's start moved, which followers are told.
    pub(super) fn start_moved(&mut self, effects: &mut Effects<T>) {
        let followers = self.replica_fetches.iter();
        effects.extend(followers.map(|(_, token)| Effect::Readable { token: token.clone(), bytes: 0 }));
    }

    /// This replica or another one has written down where its log starts.
    pub(super) fn start_written(&mut self, effects: &mut Effects<T>) {
        let told = self.deletions.iter();
        effects.extend(told.map(|(_, token)| Effect::StartWritten { token: token.clone() }));
    }

    /// The ISR became too small for anything to be committed: producers are told that their batches are in the log and not
    /// on enough replicas (rule 9).
    pub(super) fn too_few_replicas(&mut self, effects: &mut Effects<T>) {
        let outcome = Err(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND);
        let mut told = |parked: &ParkedCommit<T>| {
            if parked.impatient {
                effects.push(Effect::Committed { token: parked.token.clone(), outcome });
            }
            !parked.impatient
        };
        self.commits.retain(|parked| told(parked));
    }

    /// Lets everybody go: the partition is not this broker's to answer for any more.
    pub(super) fn fail_all(&mut self, code: ErrorCode, effects: &mut Effects<T>) {
        let commits = self.commits.drain(..).map(|parked| parked.token);
        let flushes = self.flushes.drain(..).map(|parked| parked.token);
        let outcome = Err(code);
        effects.extend(commits.chain(flushes).map(|token| Effect::Committed { token, outcome }));
        let looking = self.fetches.drain(..).chain(self.replica_fetches.drain(..));
        let looking = looking.chain(self.deletions.drain(..));
        effects.extend(looking.map(|(_, token)| Effect::Moved { token }));
        self.unreported_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed<T>(token: T) -> Effect<T> {
        Effect::Committed { token, outcome: Ok(()) }
    }

    #[test]
    fn produces_are_told_in_offset_order_and_only_below_the_high_watermark() {
        let mut purgatory = Purgatory::default();
        purgatory.park_produce(9, RequiredAcks::All, "b");
        purgatory.park_produce(4, RequiredAcks::All, "duplicate");
        purgatory.park_produce(19, RequiredAcks::All, "c");
        let mut effects = Effects::new();
        purgatory.committed(10, &mut effects);
        let told = std::mem::take(&mut effects);
        assert_eq!(told, ["duplicate", "b"].map(committed));
        purgatory.committed(19, &mut effects);
        assert!(effects.is_empty(), "offset 19 is not below high watermark 19");
        purgatory.fail_all(ErrorCode::NOT_LEADER_OR_FOLLOWER, &mut effects);
        assert_eq!(
            effects,
            [Effect::Committed { token: "c", outcome: Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }]
        );
    }

    #[test]
    fn a_parked_fetch_hears_of_bytes_until_it_leaves() {
        let mut purgatory = Purgatory::default();
        let (stays, goes) = (purgatory.park_fetch("stays"), purgatory.park_fetch("goes"));
        purgatory.leave(goes);
        let mut effects = Effects::new();
        purgatory.appended(70, &mut effects);
        purgatory.appended(30, &mut effects);
        assert!(effects.is_empty(), "a consumer may not see what is not committed");
        purgatory.committed(5, &mut effects);
        assert_eq!(effects, [Effect::Readable { token: "stays", bytes: 100 }]);
        effects.clear();
        purgatory.fail_all(ErrorCode::NOT_LEADER_OR_FOLLOWER, &mut effects);
        assert_eq!(effects, [Effect::Moved { token: "stays" }]);
        purgatory.leave(stays);
        effects.clear();
        purgatory.committed(6, &mut effects);
        assert!(effects.is_empty());
    }

    #[test]
    fn a_followers_parked_fetch_hears_of_appends_and_of_the_high_watermark() {
        let mut purgatory = Purgatory::default();
        let id = purgatory.park_replica_fetch("follower");
        let mut effects = Effects::new();
        purgatory.appended(70, &mut effects);
        purgatory.committed(5, &mut effects);
        assert_eq!(effects, [70, 0].map(|bytes| Effect::Readable { token: "follower", bytes }));
        purgatory.leave(id);
        effects.clear();
        purgatory.appended(70, &mut effects);
        assert!(effects.is_empty());
    }

    #[test]
    fn acks_1_waits_for_this_log_alone() {
        let mut purgatory = Purgatory::default();
        purgatory.park_produce(9, RequiredAcks::Leader, "leader");
        purgatory.park_produce(9, RequiredAcks::All, "all");
        let mut effects = Effects::new();
        purgatory.counted(9, &mut effects);
        assert!(effects.is_empty());
        purgatory.counted(10, &mut effects);
        assert_eq!(effects, [committed("leader")]);
    }

    #[test]
    fn a_coordinator_waits_on_where_a_producer_is_told_of_too_few_replicas() {
        let mut purgatory = Purgatory::default();
        purgatory.park_commit(3, "coordinator");
        purgatory.park_produce(3, RequiredAcks::All, "producer");
        let mut effects = Effects::new();
        purgatory.too_few_replicas(&mut effects);
        let outcome = Err(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND);
        assert_eq!(effects, [Effect::Committed { token: "producer", outcome }]);
        effects.clear();
        purgatory.committed(4, &mut effects);
        assert_eq!(effects, [committed("coordinator")]);
    }
}
