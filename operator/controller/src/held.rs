//! A store that is behind its brokers (rule 25): it was restored from a backup, and what was decided since is lost.
//!
//! A broker says at the start of a session which records it has acted on, and then, which it has told clients of that are
//! newer than the snapshot it gets: clients believe no older ones. A controller that has just read its store cannot
//! know whether it is the newest there ever was, so it decides nothing on topics and partitions before all brokers that the
//! store knows have said so, or were silent for a session time. If the store is the newest, that costs what it costs to
//! find out that a silent broker is dead.
//!
//! Where a told record is higher than the one in the store, the slice is read again, as another controller may have written
//! it. If the record is still behind, nobody knows who was in sync last: the record gets the replicas that were told, epochs
//! far above what was told, no leader, and an ISR of all replicas in incarnation 0, in which none of them ever lived. Each
//! of them thereby has to be back, and counts as one that lost what it had, so that the longest log of them all is found as
//! rule 17 says; and whoever led goes on only until it is told.
//!
//! Nothing that was acknowledged is lost if all brokers come back within that session time. The first decision after the
//! backup that anybody acted on was acted on by a replica that the store names: the leader that the ISR was changed for,
//! or the one that was elected from ISR or ELR. It is heard before anything is decided. The record that it tells is
//! lifted and waits for all replicas in it, of which the same can be said of the next decision, and so on to the last one.
//! What only brokers know that are not back cannot be known.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::HeldPartition;

use crate::controller::Controller;
use crate::message::{Event, SessionId};
use crate::model::{Member, ObjectKey, PartitionState};
use crate::partitions::PartitionIntent;
use crate::registration::ClusterIntent;

/// How much epochs are lifted above what was told: more than a record changes between backups, so that no decision that was
/// told to others only is as high.
const LEAP: i32 = 1 << 20;

/// What is told beyond this was never reached by counting.
const HIGHEST_EPOCH: i32 = i32::MAX / 2;

/// As [`HIGHEST_EPOCH`].
const HIGHEST_CREATION: u64 = u64::MAX / 2;

/// The brokers that are yet to say which records they hold.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// By id: until when they are waited for.
    awaited: BTreeMap<i32, u64>,
    /// Partition slices that are read again, as more was told than was known of them.
    doubted: BTreeSet<u32>,
    counters: Counters,
}

/// How far the cluster's counters are with being lifted.
#[derive(Debug, Default, PartialEq, Eq)]
enum Counters {
    /// Nobody is known to know more than the store.
    #[default]
    Believed,
    /// That write is on its way. What is told shows that the store is behind only until it is lifted: were the counters
    /// not lifted first, nobody would do it for a controller that dies in between.
    BeingLifted,
    Lifted,
}

impl Gathering {
    /// These brokers are waited for.
    pub(crate) fn begin(&mut self, brokers: impl Iterator<Item = i32>, until_ms: u64) {
        self.awaited = brokers.map(|id| (id, until_ms)).collect();
        self.counters = Counters::Believed;
    }

    /// Whether some broker is waited for, or the store.
    pub(crate) fn is_on(&self) -> bool {
        let for_store = !self.doubted.is_empty() || self.counters == Counters::BeingLifted;
        for_store || !self.awaited.is_empty()
    }
}

/// Whether nothing was decided on the record since it was lifted.
fn is_lifted(record: &PartitionState) -> bool {
    record.leader.is_none() && record.isr.iter().all(|member| member.incarnation == 0)
}

/// The record lifted above one that was told; `None` if it is not behind, or the epochs cannot be.
pub(crate) fn lifted(record: &PartitionState, told: &HeldPartition) -> Option<PartitionState> {
    // One that was lifted may be behind a record that is told later: it is compared as it was told then.
    let leap = if is_lifted(record) { LEAP } else { 0 };
    let (leader_epoch, partition_epoch) = (record.leader_epoch - leap, record.partition_epoch - leap);
    let highest =
        record.leader_epoch.max(record.partition_epoch).max(told.leader_epoch).max(told.partition_epoch);
    let behind = leader_epoch < told.leader_epoch || partition_epoch < told.partition_epoch;
    if !behind || HIGHEST_EPOCH < highest {
        return None;
    }
    let above = |mine: i32, told: i32, stored: i32| (mine.max(told) + LEAP).max(stored + 1);
    let once = |id: &i32| told.replicas.iter().filter(|other| *other == id).count() == 1;
    let believed = !told.replicas.is_empty() && told.replicas.iter().all(once);
    let replicas = if believed { told.replicas.clone() } else { record.replicas.clone() };
    let moves_on = replicas == record.replicas;
    let nobody_knows = |id: &i32| Member { broker_id: *id, incarnation: 0 };
    let lifted = PartitionState {
        leader: None,
        leader_epoch: above(leader_epoch, told.leader_epoch, record.leader_epoch),
        partition_epoch: above(partition_epoch, told.partition_epoch, record.partition_epoch),
        isr: replicas.iter().map(nobody_knows).collect(),
        elr: Vec::new(),
        min_isr: record.min_isr.min(replicas.len() as i32),
        // Who has the log is known, and not what a person wanted to come of it.
        adding: if moves_on { record.adding.clone() } else { Vec::new() },
        removing: if moves_on { record.removing.clone() } else { Vec::new() },
        replicas,
        ..record.clone()
    };
    assert_eq!(lifted.follows(record), Ok(()), "a decision breaks a rule: {record:?} became {lifted:?}");
    Some(lifted)
}

impl Controller {
    /// Whether it decides nothing on topics and partitions yet, and hands out no producer ids, as it does not know whether
    /// its store was restored from a backup (rule 25): some of its brokers have not said what they hold, and may be about
    /// to; or what they said is being looked into, and counters are lifted if it shows that it was.
    pub fn awaits_brokers(&self) -> bool {
        self.gathering.is_on()
    }

    /// The store was read: its brokers are heard first.
    pub(crate) fn begin_to_gather(&mut self) {
        let until_ms = self.clock.now_ms() + self.policy.session_timeout_ms;
        let brokers = self.cluster.committed().brokers.iter().map(|broker| broker.broker_id);
        self.gathering.begin(brokers, until_ms);
    }

    /// The broker opens a session: it is going to say what it holds.
    pub(crate) fn expect_held(&mut self, broker_id: i32) {
        let until_ms = self.clock.now_ms() + self.policy.session_timeout_ms;
        if let Some(until) = self.gathering.awaited.get_mut(&broker_id) {
            *until = until_ms;
        }
    }

    /// Time passed: who was silent for so long is waited for no more.
    pub(crate) fn gather(&mut self) {
        let now_ms = self.clock.now_ms();
        self.end_gathering(|_, until_ms| until_ms <= now_ms);
    }

    /// Waits no more for these; when for nobody any more, what had to wait is decided.
    fn end_gathering(&mut self, told: impl Fn(i32, u64) -> bool) {
        if !self.gathering.is_on() {
            return;
        }
        self.gathering.awaited.retain(|broker_id, until_ms| !told(*broker_id, *until_ms));
        self.decide_what_waited();
    }

    fn decide_what_waited(&mut self) {
        if !self.gathering.is_on() {
            self.ready.extend(self.topics.iter().map(|cell| cell.key));
            self.ready.extend(self.partitions.values().map(|cell| cell.key));
            self.ready.insert(ObjectKey::Cluster);
        }
    }

    /// The cluster's counters are above what brokers know of.
    pub(crate) fn on_counters_lifted(&mut self) {
        self.gathering.counters = Counters::Lifted;
        self.decide_what_waited();
    }

    fn lift_counters(&mut self, above: u64) {
        self.gathering.counters = Counters::BeingLifted;
        self.enqueue_cluster(ClusterIntent::LiftCounters { above });
    }

    /// The slice was read: if a record in it is still behind what was told, counters are too, and are lifted before
    /// anything is decided.
    pub(crate) fn see_what_is_behind(&mut self, slice: u32) {
        let Some(cell) = self.partitions.get(&slice).filter(|cell| cell.is_idle()) else { return };
        if !self.gathering.doubted.remove(&slice) {
            return;
        }
        let is_behind = |intent: &PartitionIntent| {
            let PartitionIntent::Lift { told } = intent else { return false };
            let topic = cell.committed().topic(told.topic_id);
            let record = topic.and_then(|topic| topic.partition(told.partition));
            record.is_none_or(|record| lifted(record, told).is_some())
        };
        if self.gathering.counters == Counters::Believed && cell.waits(is_behind) {
            self.lift_counters(0);
        }
        self.decide_what_waited();
    }

    pub(crate) fn on_held(&mut self, session: SessionId, incarnation: u64, held: Vec<HeldPartition>) {
        let Some(teller) = self.speaker(session, incarnation) else { return };
        let creations = held.iter().map(|held| held.creation).filter(|creation| *creation < HIGHEST_CREATION);
        let above = creations.max().unwrap_or(0);
        if self.cluster.committed().next_creation <= above {
            self.lift_counters(above);
        }
        for told in held {
            let entry = self.entry(told.topic_id);
            let record = entry.and_then(|(_, entry)| self.record(entry, told.partition));
            // Where there is no record it is about to be made, and is behind then.
            if record.is_some_and(|record| lifted(record, &told).is_none()) {
                continue;
            }
            let Some(slice) = self.home_of(told.topic_id, told.partition) else { continue };
            let Some(cell) = self.partitions.get_mut(&slice) else { continue };
            cell.reread();
            self.gathering.doubted.insert(slice);
            self.ready.insert(ObjectKey::Partitions(slice));
            // What was decided first on a record that is behind might be as high as what is told, and pass for it.
            let lift = PartitionIntent::Lift { told };
            if !cell.waits(|waiting| *waiting == lift) {
                cell.enqueue_first(lift);
            }
        }
        self.end_gathering(|broker_id, _| broker_id == teller.broker_id);
    }

    /// Says so, if the record had to be lifted. A sole replica may lead again at once.
    pub(crate) fn on_lifted(&mut self, told: &HeldPartition) {
        let (topic_id, partition) = (told.topic_id, told.partition);
        if let Some(slice) = self.home_of(topic_id, partition) {
            self.enqueue_mend(slice);
        }
        let Some((name, entry)) = self.entry(topic_id) else { return };
        let was_lifted =
            |record: &&PartitionState| is_lifted(record) && record.leader_epoch - LEAP == told.leader_epoch;
        let Some(record) = self.record(entry, partition).filter(was_lifted) else { return };
        let (topic, leader_epoch) = (name.to_owned(), record.leader_epoch);
        self.event(Event::StoreBehind { topic, partition, leader_epoch });
    }
}
