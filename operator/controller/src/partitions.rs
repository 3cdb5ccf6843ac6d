//! Decisions on a [`PartitionSlice`]: records made, removed, mended, and changed as somebody asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use taffrail_control::session::{ApiError, HeldPartition, IsrProposal, IsrRefusal};
use taffrail_protocol::{ErrorCode, Uuid};

use crate::cell::Verdict;
use crate::configs;
use crate::election::{self, View};
use crate::health::Health;
use crate::held;
use crate::isr;
use crate::message::SessionId;
use crate::model::{ClusterState, Member, PartitionSlice, PartitionState, Piece, SliceTopic, TopicEntry};
use crate::placement;
use crate::policy::Policy;
use crate::reassignment::{self, Wish};
use crate::requests::Ticket;

/// Something to be decided on a partition slice: a wish for a state, where what is already so stays, or something that
/// names what it was made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PartitionIntent {
    /// The slice shall hold the records of the topic's pieces that name it.
    Add { topic_id: Uuid },
    /// The slice shall hold no record of the topic.
    Remove { topic_id: Uuid },
    /// Each record shall be as [`election::mend`] would have it.
    Mend,
    /// No broker that yields shall lead what another in-sync replica can.
    Relieve,
    /// A partition shall live elsewhere.
    Reassign { ticket: Ticket, topic_id: Uuid, wish: Wish },
    /// No record shall be moving on that has come to where it is moved to.
    EndMoves,
    /// The topic's records shall need as many replicas in sync as its configuration says (rule 23).
    SetMinIsr { topic_id: Uuid },
    /// A leader proposes in-sync replicas.
    Propose { session: SessionId, sender: Member, proposal: IsrProposal },
    /// The preferred replica shall lead, if it can.
    Prefer { topic_id: Uuid, partition: i32, ticket: Option<Ticket> },
    /// A log was found to be the longest, on the record of that epoch (rules 4, 17).
    ElectByLog {
        topic_id: Uuid,
        partition: i32,
        partition_epoch: i32,
        winner: Member,
        ticket: Option<Ticket>,
    },
    /// The record shall be above one that a broker has acted on (rule 25).
    Lift { told: HeldPartition },
}

impl PartitionIntent {
    /// Whether it is a wish for a state, so that the same again adds nothing.
    pub(crate) fn is_wish(&self) -> bool {
        !matches!(self, Self::Propose { .. } | Self::Prefer { .. })
    }
}

/// What it came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PartitionDecision {
    /// The slice is as the intent wants it.
    Fulfilled,
    /// A part of a request is through.
    Through(Result<(), ApiError>),
    /// A proposal was not taken.
    Refused(IsrRefusal),
}

type Decided = Verdict<PartitionIntent, PartitionDecision>;

/// What decisions on partitions rest on besides their records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlook<'a> {
    pub(crate) cluster: &'a ClusterState,
    pub(crate) going: &'a BTreeSet<Member>,
    pub(crate) health: &'a Health,
    pub(crate) leaving: &'a BTreeSet<i32>,
    pub(crate) yielding: &'a BTreeSet<i32>,
}

impl<'a> Outlook<'a> {
    /// What a decision on one partition rests on.
    pub(crate) fn on(&self, topic_id: Uuid, partition: i32) -> View<'a> {
        let bad_logs = self.health.bad(topic_id, partition);
        View { cluster: self.cluster, going: Some(self.going), bad_logs, yielding: Some(self.yielding) }
    }
}

/// Lifts the record above one that was told; whether it was behind.
pub(crate) fn lift(slice: &mut PartitionSlice, told: &HeldPartition) -> bool {
    let Some(record) = slice.partition_mut(told.topic_id, told.partition) else { return false };
    held::lifted(record, told).map(|lifted| *record = lifted).is_some()
}

/// Decides on a proposal of `sender`'s.
pub(crate) fn propose(
    slice: &mut PartitionSlice,
    session: SessionId,
    sender: Member,
    proposal: IsrProposal,
    outlook: &Outlook<'_>,
) -> Decided {
    let (topic_id, partition) = (proposal.topic_id, proposal.partition);
    let view = outlook.on(topic_id, partition);
    let taken = match slice.partition_mut(topic_id, partition) {
        None => Err(IsrRefusal::UnknownPartition),
        Some(record) => isr::take(record, sender, &proposal, &view).map(|next| *record = next),
    };
    let intent = PartitionIntent::Propose { session, sender, proposal };
    match taken {
        Ok(()) => Verdict::Changed(intent, PartitionDecision::Fulfilled),
        Err(refusal) => Verdict::Unchanged(intent, PartitionDecision::Refused(refusal)),
    }
}

/// Decides on an election that somebody asked for.
pub(crate) fn elect(slice: &mut PartitionSlice, intent: PartitionIntent, outlook: &Outlook<'_>) -> Decided {
    let (PartitionIntent::Prefer { topic_id, partition, .. }
    | PartitionIntent::ElectByLog { topic_id, partition, .. }) = intent
    else {
        return verdict(false, intent);
    };
    let view = outlook.on(topic_id, partition);
    let elected = match (slice.partition_mut(topic_id, partition), &intent) {
        (None, _) => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (Some(record), PartitionIntent::ElectByLog { partition_epoch, winner, .. }) => {
            let stands = record.partition_epoch == *partition_epoch
                && view.in_session(winner.broker_id) == Some(*winner)
                && election::electorate(record, &view, true).is_some();
            let elected = stands.then(|| election::elect_by_log(record, *winner));
            elected.ok_or(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE).map(|next| *record = next)
        }
        (Some(record), _) => election::prefer(record, &view).map(|next| *record = next),
    };
    match elected {
        Ok(()) => Verdict::Changed(intent, PartitionDecision::Through(Ok(()))),
        Err(code) => Verdict::Unchanged(intent, PartitionDecision::Through(Err(refusal_of(code)))),
    }
}

/// Why an election was not held, as it is answered (KIP-460).
pub(crate) fn refusal_of(code: ErrorCode) -> ApiError {
    let message = match code {
        ErrorCode::ELECTION_NOT_NEEDED => "the partition has the leader that was asked for",
        ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE => {
            "the preferred replica is not in sync, not in session, or about to be taken away; try again when that has \
             changed"
        }
        ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE => {
            "no replica that is in session has a log to lead with; start the brokers of its replicas"
        }
        _ => "there is no such partition",
    };
    ApiError { code, message: message.to_owned() }
}

/// Makes the records of `entry`'s pieces in slice `number`; whether any was missing.
pub(crate) fn add(
    slice: &mut PartitionSlice,
    number: u32,
    name: &str,
    entry: &TopicEntry,
    outlook: &Outlook<'_>,
    policy: &Policy,
) -> bool {
    let cluster = outlook.cluster;
    let min_isr = configs::min_insync_replicas(entry, cluster, policy);
    let pieces: Vec<&Piece> = entry.pieces.iter().filter(|piece| piece.slice == number).collect();
    let mut added = false;
    for piece in pieces {
        let placed = placement::place(
            cluster,
            outlook.leaving,
            entry.creation,
            piece.first,
            piece.count,
            piece.replication_factor,
        );
        let topic = slice.topic_or_insert(entry.topic_id, name, entry.creation);
        for (at, partition) in piece.partitions().enumerate() {
            if topic.partition(partition).is_some() {
                continue;
            }
            // A broker that was chosen by hand may have been forgotten meanwhile.
            let registered = |replicas: &&Vec<i32>| replicas.iter().any(|id| cluster.broker(*id).is_some());
            let by_hand = piece.assignments.get(at).filter(registered);
            if let Some(replicas) = by_hand.or_else(|| placed.get(at)) {
                let view = outlook.on(entry.topic_id, partition);
                added |= topic.insert(election::first_record(partition, replicas.clone(), min_isr, &view));
            }
        }
    }
    added
}

/// Whether any record of `slice` is not as [`election::mend`] would have it.
pub(crate) fn needs_mending(slice: &PartitionSlice, outlook: &Outlook<'_>) -> bool {
    slice.topics.iter().any(|topic| {
        let mut records = topic.partitions.iter();
        records.any(|record| election::mend(record, &outlook.on(topic.topic_id, record.partition)).is_some())
    })
}

/// Mends each record; whether any had to be.
pub(crate) fn mend(slice: &mut PartitionSlice, outlook: &Outlook<'_>) -> bool {
    let mut changed = false;
    for topic in &mut slice.topics {
        for record in &mut topic.partitions {
            if let Some(next) = election::mend(record, &outlook.on(topic.topic_id, record.partition)) {
                *record = Arc::new(next);
                changed = true;
            }
        }
    }
    changed
}

/// How many leaders of `slice` are to be replaced as [`election::relieve`] says.
pub(crate) fn count_to_relieve(slice: &PartitionSlice, outlook: &Outlook<'_>) -> usize {
    let to_relieve = |topic: &SliceTopic| {
        let view = |record: &PartitionState| outlook.on(topic.topic_id, record.partition);
        topic.partitions.iter().filter(|record| election::relieve(record, &view(record)).is_some()).count()
    };
    slice.topics.iter().map(to_relieve).sum()
}

/// Replaces leaders as [`election::relieve`] says; whether there was one.
pub(crate) fn relieve(slice: &mut PartitionSlice, outlook: &Outlook<'_>) -> bool {
    let mut changed = false;
    for topic in &mut slice.topics {
        for record in &mut topic.partitions {
            if let Some(next) = election::relieve(record, &outlook.on(topic.topic_id, record.partition)) {
                *record = Arc::new(next);
                changed = true;
            }
        }
    }
    changed
}

/// Whether a move in `slice` has come to its end. `min_insync_replicas` is what the topic of an id asks for; `None` for
/// one that is to be left alone.
pub(crate) fn has_ended_moves(
    slice: &PartitionSlice,
    outlook: &Outlook<'_>,
    min_insync_replicas: impl Fn(Uuid) -> Option<i32>,
) -> bool {
    let moving = |topic: &&SliceTopic| topic.partitions.iter().any(|record| record.is_moving());
    slice.topics.iter().filter(moving).any(|topic| {
        let wanted = min_insync_replicas(topic.topic_id);
        let ended = |record: &PartitionState| {
            let view = outlook.on(topic.topic_id, record.partition);
            wanted.is_some_and(|wanted| reassignment::ended(record, wanted, &view).is_some())
        };
        topic.partitions.iter().any(|record| ended(record))
    })
}

/// Ends each move that has come to its end; whether any had.
pub(crate) fn end_moves(
    slice: &mut PartitionSlice,
    outlook: &Outlook<'_>,
    min_insync_replicas: impl Fn(Uuid) -> Option<i32>,
) -> bool {
    let mut changed = false;
    for topic in &mut slice.topics {
        for record in topic.partitions.iter_mut().filter(|record| record.is_moving()) {
            let wanted = min_insync_replicas(topic.topic_id);
            let view = outlook.on(topic.topic_id, record.partition);
            if let Some(ended) = wanted.and_then(|wanted| reassignment::ended(record, wanted, &view)) {
                *record = Arc::new(ended);
                changed = true;
            }
        }
    }
    changed
}

/// Gives the topic's records their `min_isr`; whether any had another.
pub(crate) fn set_min_isr(slice: &mut PartitionSlice, topic_id: Uuid, min_insync_replicas: i32) -> bool {
    let mut changed = false;
    for record in slice.topic_mut(topic_id).into_iter().flat_map(|topic| &mut topic.partitions) {
        if let Some(after) = reassignment::with_min_isr(record, min_insync_replicas) {
            *record = Arc::new(after);
            changed = true;
        }
    }
    changed
}

/// Whether a record of the topic has another `min_isr` than it ought to.
pub(crate) fn needs_min_isr(slice: &PartitionSlice, topic_id: Uuid, min_insync_replicas: i32) -> bool {
    let mut records = slice.topic(topic_id).into_iter().flat_map(|topic| &topic.partitions);
    records.any(|record| reassignment::with_min_isr(record, min_insync_replicas).is_some())
}

/// Turns an intent's effect into a verdict.
pub(crate) fn verdict(changed: bool, intent: PartitionIntent) -> Decided {
    let decision = PartitionDecision::Fulfilled;
    if changed { Verdict::Changed(intent, decision) } else { Verdict::Unchanged(intent, decision) }
}

/// How many of `entry`'s partitions have their records, counting whole rounds only: a topic, and each growth of it,
/// becomes visible at once. `slice_of` finds a committed slice.
pub(crate) fn visible_count<'a>(
    entry: &TopicEntry,
    slice_of: impl Fn(u32) -> Option<&'a PartitionSlice>,
) -> i32 {
    let mut visible = 0;
    for round in entry.pieces.chunk_by(|a, b| a.round == b.round) {
        for piece in round {
            let topic = slice_of(piece.slice).and_then(|slice| slice.topic(entry.topic_id));
            let complete =
                topic.is_some_and(|topic| piece.partitions().all(|p| topic.partition(p).is_some()));
            if !complete {
                return visible;
            }
        }
        visible += round.iter().map(|piece| piece.count).sum::<i32>();
    }
    visible
}
