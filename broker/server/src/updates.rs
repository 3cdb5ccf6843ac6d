//! What the broker does when the controller tells it of a change: it opens, leads, gives up and deletes replicas.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::{
    ClusterUpdate, HeldPartition, LogEnd, LogState, Member, PartitionRecord, RefusedIsr, TopicRecord,
};
use taffrail_protocol::Uuid;

use crate::auto_create::OFFSETS_TOPIC;
use crate::broker::Broker;
use crate::clock;
use crate::cluster::{PartitionKey, Replica, Topic, TopicPartition};
use crate::dynamic_config;
use crate::replicas::{ReplicaError, Replicas, log_config};
use crate::replication;
use crate::waiter::carry_out;
use taffrail_replication::partition::Effects;
use taffrail_replication::topics::TopicLedger;

/// Applies the controller's updates, one after the other.
pub struct Updates {
    broker: Arc<Broker>,
    replicas: Arc<Replicas>,
    /// This broker in this life; a record that names another incarnation does not make it leader (rule 7).
    me: Member,
    /// Threads that open logs (`num.recovery.threads.per.data.dir`).
    threads: NonZeroUsize,
    ledger: Mutex<TopicLedger>,
}

/// A topic as an update tells of it.
struct Target<'a> {
    record: TopicRecord,
    known: Option<Arc<Topic>>,
    partitions: Vec<&'a PartitionRecord>,
}

/// A partition as an update tells of it.
struct Change {
    record: PartitionRecord,
    replica: Option<Arc<Replica>>,
    absence: Option<LogState>,
}

impl Updates {
    /// For the broker `me`.
    pub fn new(broker: Arc<Broker>, replicas: Arc<Replicas>, me: Member, threads: NonZeroUsize) -> Self {
        Self { broker, replicas, me, threads, ledger: Mutex::default() }
    }

    /// Applies one update. Blocks on the disk; has to be called within the runtime.
    pub fn apply(&self, update: &ClusterUpdate) {
        dynamic_config::apply(&self.broker, update);
        let cluster = &self.broker.cluster;
        for broker in &update.brokers {
            cluster.put_broker(broker.clone());
        }
        for broker_id in &update.removed_brokers {
            cluster.remove_broker(*broker_id);
        }
        let reading = self.ledger.lock().read(update);
        for id in &reading.outdated {
            tracing::warn!("the controller tells of topic {id}, which was deleted; it is outdated");
        }
        let gone = reading.deleted.iter().map(|id| (id, false));
        let gone = gone.chain(reading.missing.iter().map(|id| (id, true)));
        let gone = gone.filter_map(|(id, missing)| Some((cluster.remove_topic(*id)?, missing)));
        let retired = gone.inspect(|(topic, missing)| self.retire(topic, *missing)).count();
        if retired > 0 {
            self.checkpoint();
        }
        let is_believed = |id: &Uuid| !reading.outdated.contains(id);
        let mut changed: BTreeMap<Uuid, Vec<&PartitionRecord>> = BTreeMap::new();
        for topic in update.topics.iter().filter(|topic| is_believed(&topic.topic_id)) {
            changed.entry(topic.topic_id).or_default();
        }
        let partitions = reading.records(update);
        for partition in &partitions {
            changed.entry(partition.topic_id).or_default().push(partition);
        }
        let records: BTreeMap<Uuid, &TopicRecord> =
            update.topics.iter().map(|topic| (topic.topic_id, topic)).collect();
        let targets: Vec<_> = changed
            .into_iter()
            .filter_map(|(id, mut partitions)| {
                let known = cluster.topic_by_id(id);
                let record = records.get(&id).map(|record| (*record).clone());
                let record = record.or_else(|| known.as_ref().map(|topic| topic.record.clone()))?;
                // A topic that was made again does not give way to the one before it (rules 2, 18).
                let named = cluster.topic(&record.name);
                if named.is_some_and(|named| named.record.creation > record.creation) {
                    return None;
                }
                if let Some(known) = &known {
                    partitions.retain(|partition| !is_older(partition, known));
                }
                Some(Target { record, known, partitions })
            })
            .collect();
        self.put_topics(targets);
        if update.snapshot
            && self.replicas.move_strays_aside(|partition| {
                let topic = cluster.topic(&partition.topic);
                topic.is_some_and(|topic| topic.partition(partition.partition).is_some())
            })
        {
            self.checkpoint();
        }
        if update.snapshot {
            // It begins a session: what became of proposals made in an earlier one is known now, or never will be.
            replication::session_renewed(&self.broker);
        }
    }

    /// A log that is made under an old name would be believed to be durable as far as the old one was.
    fn checkpoint(&self) {
        if let Err(error) = self.replicas.checkpoint(|| self.broker.cluster.replicas()) {
            tracing::error!("{error}; trying again in a while");
        }
    }

    /// The records that were acted on (rule 25).
    pub fn held_records(&self) -> Vec<HeldPartition> {
        self.replicas.held()
    }

    /// Whether any partition is still said to be led by this broker in an earlier life.
    pub fn names_former_self(&self) -> bool {
        let former = |leader: Member| {
            leader.broker_id == self.me.broker_id && leader.incarnation < self.me.incarnation
        };
        let topics = self.broker.cluster.topics();
        let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
        partitions.any(|partition| partition.record.leader.is_some_and(former))
    }

    /// The controller did not take these proposals.
    pub fn isr_refused(&self, refused: &[RefusedIsr]) {
        replication::isr_refused(&self.broker, refused);
    }

    /// How far these logs reach; those that are not here or not sound are left out (rules 4, 17).
    pub fn log_ends(&self, partitions: &[PartitionKey]) -> Vec<LogEnd> {
        replication::log_ends(&self.broker, partitions)
    }

    /// The topic is deleted: whoever waits is told, and its logs go. One that is only missing in a snapshot may be known
    /// to another controller: its logs are kept aside (rule 18).
    fn retire(&self, topic: &Topic, missing_in_snapshot: bool) {
        tracing::info!("topic {} ({}) is gone", topic.name, topic.id);
        let delay = Duration::from_millis(u64::try_from(topic.config.file_delete_delay_ms).unwrap_or(0));
        let mut effects = Effects::new();
        for (number, partition) in (0..).zip(&topic.partitions) {
            let Some(replica) = &partition.replica else { continue };
            if *topic.name == *OFFSETS_TOPIC {
                self.broker.groups.hand_over(number);
            }
            replica.lock().resign(&mut effects);
            if missing_in_snapshot {
                self.replicas.set_aside(&taffrail_log::TopicPartition::new(&*topic.name, number));
            } else {
                self.replicas.delete(replica, delay);
            }
        }
        if !missing_in_snapshot {
            self.replicas.forget(topic.id);
        }
        carry_out(&mut effects);
    }

    /// Brings topics to their new state: opens what is missing, all topics' logs side by side, then takes the roles.
    fn put_topics(&self, targets: Vec<Target<'_>>) {
        let config = &self.broker.live.now();
        let changes = targets.iter().flat_map(|Target { record, known, partitions }| {
            let log_config = log_config(&config.topic(&record.config), config);
            partitions.iter().map(move |partition| {
                let here = partition.replicas.contains(&self.me.broker_id);
                let known = known.as_ref().and_then(|topic| topic.partition(partition.partition));
                let replica = known.and_then(|partition| partition.replica.clone());
                let missing = (here && replica.is_none()).then(|| (record.name.as_ref(), log_config.clone()));
                (Change { record: (*partition).clone(), replica, absence: None }, missing)
            })
        });
        let (mut changes, missing): (Vec<_>, Vec<_>) = changes.unzip();
        let work = changes
            .iter_mut()
            .zip(missing)
            .filter_map(|(change, missing)| Some((change, missing?)))
            .collect();
        let made_any = self.open_all(work);
        if made_any {
            self.replicas.sync_names();
        }
        let here = changes.iter().filter(|change| change.replica.is_some()).map(|change| &change.record);
        let noted = self.replicas.note_epochs(here);
        if let Err(error) = &noted {
            tracing::error!("{error}; this broker acts on none of the controller's newest records (rule 31)");
            self.replicas.strike_out_note();
        }
        let mut changes = changes.into_iter();
        for Target { record, known, partitions } in targets {
            let changes = changes.by_ref().take(partitions.len()).collect();
            self.put_topic(record, known.as_deref(), changes, noted.is_ok());
        }
    }

    fn put_topic(&self, record: TopicRecord, known: Option<&Topic>, changes: Vec<Change>, noted: bool) {
        let live = self.broker.live.now();
        let config = live.topic(&record.config);
        let mut partitions = known.map(|topic| topic.partitions.clone()).unwrap_or_default();
        if known.is_some_and(|topic| topic.record.config != record.config) {
            let mut effects = Effects::new();
            for replica in partitions.iter().filter_map(|partition| partition.replica.as_ref()) {
                let config = log_config(&config, &live);
                replica.lock().update_config(clock::now_ms(), config, &mut effects);
            }
            carry_out(&mut effects);
        }
        let mut taken_over = Vec::new();
        let key = |change: &Change| (record.topic_id, change.record.partition);
        let changed: Vec<_> = changes.iter().map(key).collect();
        let coordinates = *record.name == *OFFSETS_TOPIC;
        let mut to_report = Vec::new();
        for change in changes {
            let Change { record: new_record, replica, absence } = change;
            let number = usize::try_from(new_record.partition).unwrap_or(usize::MAX);
            let mut partition = TopicPartition { record: new_record, replica, absence };
            let (before, after) = self.take_role(&partition, noted);
            self.give_up_if_moved_away(&record.name, &mut partition);
            if partition.absence.is_some() {
                to_report.push((record.topic_id, partition.record.partition));
            }
            if coordinates && before != after {
                if before.is_some() {
                    self.broker.groups.hand_over(partition.record.partition);
                }
                if let (Some(_), Some(replica)) = (after, &partition.replica) {
                    taken_over.push((partition.record.partition, Arc::clone(replica)));
                }
            }
            match partitions.get_mut(number) {
                Some(place) => *place = partition,
                // Updates tell of new partitions in their order, without gaps.
                None => partitions.push(partition),
            }
        }
        self.broker.cluster.put_topic(Arc::new(Topic {
            name: Arc::clone(&record.name),
            id: record.topic_id,
            record,
            config,
            partitions,
        }));
        // Only now can they be found.
        self.broker.errands.fetchable.extend(changed);
        self.broker.errands.failed.extend(to_report);
        for (number, replica) in taken_over {
            self.broker.groups.take_over(number, replica);
        }
    }

    /// A partition was moved to other brokers: the replica here stops, and its log is kept aside for a while (rule 18).
    fn give_up_if_moved_away(&self, topic: &str, partition: &mut TopicPartition) {
        if partition.record.replicas.contains(&self.me.broker_id) {
            return;
        }
        let Some(replica) = partition.replica.take() else { return };
        let mut effects = Effects::new();
        replica.lock().resign(&mut effects);
        carry_out(&mut effects);
        self.replicas.set_aside(&taffrail_log::TopicPartition::new(topic, partition.record.partition));
    }

    /// Tells the replica its record. Returns the epoch that this broker led in before, and the one it leads in now.
    /// Without its epoch `noted` the record may not be acted on, and the one before it no longer.
    fn take_role(&self, partition: &TopicPartition, noted: bool) -> (Option<i32>, Option<i32>) {
        let Some(replica) = &partition.replica else { return (None, None) };
        let mut effects = Effects::new();
        let mut replica = replica.lock();
        let before = replica.led_epoch();
        let isr_before = replica.record().isr.len();
        if !noted {
            replica.resign(&mut effects);
        } else if let Err(error) = replica.assign(clock::now_ms(), partition.record.clone(), &mut effects) {
            let key = (partition.record.topic_id, partition.record.partition);
            tracing::error!("{}: {error}", self.broker.cluster.name(key));
        }
        let after = replica.led_epoch();
        let isr_after = replica.record().isr.len();
        drop(replica);
        if before.is_some() && before == after {
            self.broker.metrics.isr_changed(isr_before, isr_after);
        }
        carry_out(&mut effects);
        (before, after)
    }

    /// Opens or makes the logs of `work` on several threads. False when there was nothing to do.
    fn open_all<'a>(&self, work: Vec<(&'a mut Change, (&'a str, taffrail_log::LogConfig))>) -> bool {
        let any = !work.is_empty();
        let threads = self.threads.get().min(work.len());
        let queue = Mutex::new(work.into_iter());
        let open_next = || {
            loop {
                let Some((change, (name, config))) = queue.lock().next() else { return };
                let number = change.record.partition;
                match self.replicas.open_or_create(name, &change.record, config) {
                    Ok(replica) => change.replica = Some(Arc::new(replica)),
                    Err(error @ (ReplicaError::Missing | ReplicaError::Outdated)) => {
                        tracing::warn!(
                            "{name}-{number} is not served: {error}; waiting for the controller to decide"
                        );
                        change.absence = matches!(error, ReplicaError::Missing).then_some(LogState::Missing);
                    }
                    Err(error) => {
                        tracing::error!(
                            "{name}-{number} is not served: {error}; mend the cause and start the broker again"
                        );
                        change.absence = Some(LogState::Failed { reason: error.to_string() });
                    }
                }
            }
        };
        match threads {
            0 => {}
            1 => open_next(),
            _ => std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(open_next)))),
        }
        any
    }
}

/// Whether the record is older than the one that is known of its partition (rule 2).
fn is_older(record: &PartitionRecord, known: &Topic) -> bool {
    let age = |record: &PartitionRecord| (record.creation, record.partition_epoch);
    known.partition(record.partition).is_some_and(|known| age(record) < age(&known.record))
}
