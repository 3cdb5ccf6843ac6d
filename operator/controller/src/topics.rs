//! Decisions on a [`TopicSlice`]: who owns a name, how many partitions a topic has, where their records are.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_protocol::{ErrorCode, Uuid};

use crate::cell::Verdict;
use crate::configs;
use crate::model::{ClusterState, Other, Piece, TopicEntry, TopicSlice, Wish};
use crate::policy::Policy;
use crate::requests::{PartResult, Success, Ticket};
use crate::slicing::choose_slices;
use crate::validate::{self, refuse};
use taffrail_control::session::{ApiError, ConfigChange, MorePartitions, NewTopic, TopicOutcome};

/// Something to be decided on a topic slice.
#[derive(Debug, Clone)]
pub(crate) enum TopicIntent {
    Create {
        ticket: Ticket,
        topic: Box<NewTopic>,
        validate_only: bool,
        /// The ids that the topic got each time this was decided. After a lost answer they tell whether the topic that is
        /// there is this one; if it is not there, it may have been, and was deleted since: no id is used twice.
        tried: Vec<Uuid>,
    },
    Grow {
        ticket: Ticket,
        topic: MorePartitions,
        validate_only: bool,
        /// The topic that was grown when this was first decided.
        topic_id: Option<Uuid>,
    },
    Delete {
        ticket: Ticket,
        name: String,
        topic_id: Option<Uuid>,
        /// It was decided before, and that may have been stored.
        proposed: bool,
    },
    /// Its configuration shall change.
    Configure {
        ticket: Ticket,
        name: String,
        change: Box<ConfigChange>,
        validate_only: bool,
        /// The topic that was meant when this was first decided.
        topic_id: Option<Uuid>,
    },
    /// A deletion's last step: its records are gone.
    Forget { name: String, topic_id: Uuid },
    /// It is to be remembered which object wishes for it.
    Wish { name: String, topic_id: Uuid, wish: Option<Box<Wish>> },
}

/// What it came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TopicDecision {
    /// The answer comes when so many partitions are published.
    AwaitPartitions { topic_id: Uuid, count: i32 },
    /// The answer comes when nothing is left of the topic.
    AwaitGone { topic_id: Uuid },
    /// The answer.
    Answer(PartResult),
    /// The configuration is as it was wished for.
    Configured,
    /// Nobody waits.
    Forgotten,
}

/// Creation numbers that this controller has reserved.
#[derive(Debug, Default)]
pub(crate) struct Creations {
    pub(crate) next: u64,
    pub(crate) end: u64,
}

impl Creations {
    pub(crate) fn is_empty(&self) -> bool {
        self.next >= self.end
    }

    /// Gives out none up to `above`.
    pub(crate) fn skip(&mut self, above: u64) {
        if self.next <= above && self.next < self.end {
            self.next = self.end;
        }
    }

    /// A number above `above`; `None` when a new block has to be reserved first. A block that another controller has
    /// overtaken is of no use any more.
    fn take(&mut self, above: u64) -> Option<u64> {
        self.skip(above);
        (self.next < self.end).then(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

/// What a decision on a topic depends on besides its slice.
pub(crate) struct Facts<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) cluster: &'a ClusterState,
    /// Partitions that each partition slice holds or is promised. Grows with what is decided here.
    pub(crate) load: BTreeMap<u32, i32>,
    pub(crate) creations: &'a mut Creations,
    pub(crate) now_ms: u64,
    pub(crate) new_topic_id: &'a mut dyn FnMut() -> Uuid,
}

type Decided = Verdict<TopicIntent, TopicDecision>;

fn answer(intent: TopicIntent, result: Result<TopicOutcome, ApiError>) -> Decided {
    Verdict::Unchanged(intent, TopicDecision::Answer(result.map(Success::Topic)))
}

/// Decides one intent on `slice`.
pub(crate) fn decide(slice: &mut TopicSlice, intent: TopicIntent, facts: &mut Facts<'_>) -> Decided {
    match intent {
        TopicIntent::Create { ticket, topic, validate_only, tried } => {
            create(slice, ticket, topic, validate_only, tried, facts)
        }
        TopicIntent::Grow { ticket, topic, validate_only, topic_id } => {
            grow(slice, ticket, topic, validate_only, topic_id, facts)
        }
        TopicIntent::Delete { ticket, name, topic_id, proposed } => {
            delete(slice, ticket, name, topic_id, proposed, facts.now_ms)
        }
        TopicIntent::Configure { ticket, name, change, validate_only, topic_id } => {
            configure(slice, ticket, name, change, validate_only, topic_id, facts.policy)
        }
        TopicIntent::Forget { ref name, topic_id } => {
            let ours = slice.topics.get(name).is_some_and(|entry| entry.topic_id == topic_id);
            if !ours {
                return Verdict::Unchanged(intent, TopicDecision::Forgotten);
            }
            slice.topics.remove(name);
            Verdict::Changed(intent, TopicDecision::Forgotten)
        }
        TopicIntent::Wish { ref name, topic_id, ref wish } => {
            let entry = slice.topics.get_mut(name).filter(|entry| entry.topic_id == topic_id);
            let wish = wish.as_deref().cloned();
            match entry.filter(|entry| entry.wish != wish) {
                None => Verdict::Unchanged(intent, TopicDecision::Forgotten),
                Some(entry) => {
                    Arc::make_mut(entry).wish = wish;
                    Verdict::Changed(intent, TopicDecision::Forgotten)
                }
            }
        }
    }
}

fn create(
    slice: &mut TopicSlice,
    ticket: Ticket,
    topic: Box<NewTopic>,
    validate_only: bool,
    mut tried: Vec<Uuid>,
    facts: &mut Facts<'_>,
) -> Decided {
    let intent = |tried| TopicIntent::Create { ticket, topic: topic.clone(), validate_only, tried };
    if let Some(entry) = slice.topics.get(&topic.name).filter(|entry| tried.contains(&entry.topic_id)) {
        let (topic_id, count) = (entry.topic_id, entry.partition_count);
        return Verdict::Unchanged(intent(tried), TopicDecision::AwaitPartitions { topic_id, count });
    }
    let planned = match plan(slice, &topic, facts) {
        Ok(planned) => planned,
        Err(error) => return answer(intent(tried), Err(error)),
    };
    if validate_only {
        let entry = planned.entry(Uuid::ZERO, 0, &topic.config, Vec::new());
        return answer(intent(tried), Ok(outcome_of(&topic.name, &entry, planned.replication_factor)));
    }
    let Some(creation) = facts.creations.take(slice.highest_creation) else {
        return Verdict::Later(intent(tried));
    };
    assert!(creation > slice.highest_creation, "rule 2: creation grows with every topic made");
    let topic_id = (facts.new_topic_id)();
    tried.push(topic_id);
    let pieces =
        cut(&mut facts.load, 0, 0, planned.partition_count, planned.replication_factor, &topic.assignments);
    let entry = planned.entry(topic_id, creation, &topic.config, pieces);
    slice.topics.insert(topic.name.clone(), Arc::new(entry));
    slice.highest_creation = creation;
    let decision = TopicDecision::AwaitPartitions { topic_id, count: planned.partition_count };
    Verdict::Changed(intent(tried), decision)
}

/// The numbers of a topic that may be made.
struct Planned {
    partition_count: i32,
    replication_factor: i16,
}

impl Planned {
    fn entry(
        &self,
        topic_id: Uuid,
        creation: u64,
        config: &BTreeMap<String, String>,
        pieces: Vec<Piece>,
    ) -> TopicEntry {
        TopicEntry {
            topic_id,
            creation,
            partition_count: self.partition_count,
            config: config.clone(),
            deleting_since_ms: None,
            pieces,
            wish: None,
            other: Other::new(),
        }
    }
}

/// The checks on a new topic that need the others and the brokers.
fn plan(slice: &TopicSlice, topic: &NewTopic, facts: &Facts<'_>) -> Result<Planned, ApiError> {
    let name = &topic.name;
    if let Some(entry) = slice.topics.get(name) {
        let state =
            if entry.deleting_since_ms.is_some() { "is still being deleted" } else { "already exists" };
        return refuse(ErrorCode::TOPIC_ALREADY_EXISTS, format!("topic \"{name}\" {state}"));
    }
    if let Some(other) = validate::colliding(slice, name) {
        return refuse(
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            format!(
                "topic \"{name}\" collides with topic \"{other}\": '.' and '_' are the same in metric names"
            ),
        );
    }
    let (partition_count, replication_factor) = if let Some(first) = topic.assignments.first() {
        validate::assignments(&topic.assignments, None, facts.cluster)?;
        (topic.assignments.len() as i32, first.len() as i16)
    } else {
        let factor = topic.replication_factor.unwrap_or(facts.policy.default_replication_factor);
        validate::replication_factor(factor, facts.cluster)?;
        (topic.partitions.unwrap_or(facts.policy.default_partitions), factor)
    };
    total_partitions(partition_count, facts)?;
    Ok(Planned { partition_count, replication_factor })
}

fn total_partitions(more: i32, facts: &Facts<'_>) -> Result<(), ApiError> {
    let present: i64 = facts.load.values().map(|count| i64::from(*count)).sum();
    if present + i64::from(more) > i64::from(facts.policy.max_partitions) {
        let most = facts.policy.max_partitions;
        return refuse(
            ErrorCode::POLICY_VIOLATION,
            format!("the cluster has {present} partitions; {more} more would exceed the limit of {most}"),
        );
    }
    Ok(())
}

/// Cuts `count` partitions from `first` on into pieces, and takes the room for them.
fn cut(
    load: &mut BTreeMap<u32, i32>,
    round: u32,
    first: i32,
    count: i32,
    replication_factor: i16,
    assignments: &[Vec<i32>],
) -> Vec<Piece> {
    let mut next = 0;
    let mut pieces = Vec::new();
    for (slice, count) in choose_slices(load, count) {
        *load.entry(slice).or_default() += count;
        let by_hand = assignments.get(next as usize..(next + count) as usize).unwrap_or_default();
        let (first, assignments) = (first + next, by_hand.to_vec());
        pieces.push(Piece {
            slice,
            first,
            count,
            round,
            replication_factor,
            assignments,
            other: Other::new(),
        });
        next += count;
    }
    pieces
}

fn grow(
    slice: &mut TopicSlice,
    ticket: Ticket,
    topic: MorePartitions,
    validate_only: bool,
    topic_id: Option<Uuid>,
    facts: &mut Facts<'_>,
) -> Decided {
    let (name, total) = (topic.name.clone(), topic.total_count);
    let intent = |topic_id| TopicIntent::Grow { ticket, topic: topic.clone(), validate_only, topic_id };
    let entry = slice.topics.get_mut(&name).filter(|entry| entry.deleting_since_ms.is_none());
    let Some(entry) = entry else { return answer(intent(None), unknown_topic(&name)) };
    if topic_id == Some(entry.topic_id) && entry.partition_count == total {
        let decision = TopicDecision::AwaitPartitions { topic_id: entry.topic_id, count: total };
        return Verdict::Unchanged(intent(topic_id), decision);
    }
    let factor = replication_factor_of(entry);
    if let Err(error) = may_grow(entry, &topic, factor, facts) {
        return answer(intent(topic_id), Err(error));
    }
    if validate_only {
        let grown = TopicEntry { partition_count: total, ..entry.as_ref().clone() };
        return answer(intent(None), Ok(outcome_of(&name, &grown, factor)));
    }
    let entry = Arc::make_mut(entry);
    let round = entry.pieces.iter().map(|piece| piece.round + 1).max().unwrap_or(0);
    let first = entry.partition_count;
    entry.pieces.extend(cut(&mut facts.load, round, first, total - first, factor, &topic.assignments));
    assert!(total > entry.partition_count, "a topic's partitions only become more");
    entry.partition_count = total;
    let topic_id = entry.topic_id;
    Verdict::Changed(intent(Some(topic_id)), TopicDecision::AwaitPartitions { topic_id, count: total })
}

fn may_grow(
    entry: &TopicEntry,
    topic: &MorePartitions,
    factor: i16,
    facts: &Facts<'_>,
) -> Result<(), ApiError> {
    let (name, present, total) = (&topic.name, entry.partition_count, topic.total_count);
    if total <= present {
        return refuse(
            ErrorCode::INVALID_PARTITIONS,
            format!("topic \"{name}\" has {present} partitions, which can only become more: {total} are not"),
        );
    }
    validate::partition_count(i64::from(total), facts.policy)?;
    let more = total - present;
    if topic.assignments.is_empty() {
        validate::replication_factor(factor, facts.cluster)?;
    } else if topic.assignments.len() != more as usize {
        let given = topic.assignments.len();
        return refuse(
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            format!("topic \"{name}\" gets {more} more partitions, but replicas are given for {given}"),
        );
    } else {
        validate::assignments(&topic.assignments, Some(factor), facts.cluster)?;
    }
    total_partitions(more, facts)
}

fn delete(
    slice: &mut TopicSlice,
    ticket: Ticket,
    name: String,
    topic_id: Option<Uuid>,
    proposed: bool,
    now_ms: u64,
) -> Decided {
    let by_id = topic_id.is_some() && !proposed;
    let entry = slice.topics.get_mut(&name).filter(|entry| topic_id.is_none_or(|id| id == entry.topic_id));
    let intent = |topic_id, proposed| TopicIntent::Delete { ticket, name: name.clone(), topic_id, proposed };
    match entry {
        Some(entry) if entry.deleting_since_ms.is_none() => {
            Arc::make_mut(entry).deleting_since_ms = Some(now_ms);
            let topic_id = entry.topic_id;
            Verdict::Changed(intent(Some(topic_id), true), TopicDecision::AwaitGone { topic_id })
        }
        // Decided before with a lost answer, and stored; perhaps even carried out by somebody else.
        _ if proposed => {
            let gone = topic_id.unwrap_or(Uuid::ZERO);
            Verdict::Unchanged(intent(topic_id, true), TopicDecision::AwaitGone { topic_id: gone })
        }
        _ if by_id => answer(intent(topic_id, false), unknown_topic_id()),
        _ => answer(intent(None, false), unknown_topic(&name)),
    }
}

/// A change that is stored already, as its answer was lost, comes to the same once more.
fn configure(
    slice: &mut TopicSlice,
    ticket: Ticket,
    name: String,
    change: Box<ConfigChange>,
    validate_only: bool,
    topic_id: Option<Uuid>,
    policy: &Policy,
) -> Decided {
    let entry = slice.topics.get_mut(&name).filter(|entry| {
        entry.deleting_since_ms.is_none() && topic_id.is_none_or(|topic_id| topic_id == entry.topic_id)
    });
    let Some(entry) = entry else {
        let result = unknown_topic(&name);
        let intent = TopicIntent::Configure { ticket, name, change, validate_only, topic_id };
        return answer(intent, result);
    };
    let wanted = configs::of_topic(&name, &entry.config, &change, policy);
    let topic_id = Some(entry.topic_id);
    let intent = TopicIntent::Configure { ticket, name, change, validate_only, topic_id };
    match wanted {
        Err(error) => answer(intent, Err(error)),
        Ok(wanted) if validate_only || wanted == entry.config => {
            Verdict::Unchanged(intent, TopicDecision::Configured)
        }
        Ok(wanted) => {
            Arc::make_mut(entry).config = wanted;
            Verdict::Changed(intent, TopicDecision::Configured)
        }
    }
}

/// How many replicas each of its partitions has.
pub(crate) fn replication_factor_of(entry: &TopicEntry) -> i16 {
    entry.pieces.first().map_or(1, |piece| piece.replication_factor)
}

/// A topic as it is answered to a client.
pub(crate) fn outcome_of(name: &str, entry: &TopicEntry, replication_factor: i16) -> TopicOutcome {
    TopicOutcome {
        name: Some(name.to_owned()),
        topic_id: entry.topic_id,
        partition_count: entry.partition_count,
        replication_factor,
        config: entry.config.clone(),
    }
}

pub(crate) fn unknown_topic<T>(name: &str) -> Result<T, ApiError> {
    refuse(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic \"{name}\""))
}

pub(crate) fn unknown_topic_id<T>() -> Result<T, ApiError> {
    refuse(ErrorCode::UNKNOWN_TOPIC_ID, "there is no topic of that id")
}
