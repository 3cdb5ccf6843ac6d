//! What the broker does when the controller tells it of a change: it opens, leads, gives up and deletes replicas.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::{
    BrokerRecord, ClusterUpdate, HeldPartition, LogEnd, LogState, Member, PartitionRecord, RefusedIsr,
    SliceDigest, TopicRecord,
};

use crate::advertised::Advertised;
use crate::auto_create::OFFSETS_TOPIC;
use crate::broker::Broker;
use crate::clock;
use crate::cluster::{PartitionKey, Replica, Topic, TopicPartition};
use crate::dynamic_config;
use crate::replicas::{ReplicaError, Replicas, log_config, set_log_configs};
use crate::replication;
use crate::waiter::carry_out;
use taffrail_replication::partition::{Effects, RoleKind};
use taffrail_replication::topics::{self, Gone, TopicLedger};

/// Applies the controller's updates, one after the other.
pub struct Updates {
    broker: Arc<Broker>,
    replicas: Arc<Replicas>,
    /// This broker in this life; a record that names another incarnation does not make it leader (rule 7).
    me: Member,
    /// Threads that open logs (`num.recovery.threads.per.data.dir`).
    threads: NonZeroUsize,
    ledger: Mutex<TopicLedger>,
    /// The names of this broker's listeners.
    listeners: Vec<String>,
    /// What clients are told of this broker.
    advertised: Mutex<Advertised>,
    /// Held while topics are changed: the controller's session is not the only one to do it.
    changing: Mutex<()>,
}

/// A topic as an update tells of it.
struct Target<'a> {
    record: TopicRecord,
    known: Option<Arc<Topic>>,
    partitions: Vec<Cow<'a, PartitionRecord>>,
}

/// A partition as an update tells of it.
struct Change {
    record: PartitionRecord,
    replica: Option<Arc<Replica>>,
    absence: Option<LogState>,
}

impl Updates {
    /// For the broker `me`, which asked to be `advertised` so.
    pub fn new(
        broker: Arc<Broker>,
        replicas: Arc<Replicas>,
        me: Member,
        threads: NonZeroUsize,
        advertised: Advertised,
    ) -> Self {
        let listeners = advertised.endpoints.iter().map(|endpoint| endpoint.listener.clone()).collect();
        let advertised = Mutex::new(advertised);
        Self {
            broker,
            replicas,
            me,
            threads,
            ledger: Mutex::default(),
            listeners,
            advertised,
            changing: Mutex::default(),
        }
    }

    /// The registration was answered. What the answer says of this broker holds from now on, also in a session that
    /// brings no newer record of it.
    pub fn registered(&self, advertised: Advertised) {
        let cluster = &self.broker.cluster;
        let own = cluster.broker(self.me.broker_id);
        if let Some(own) = own.filter(|own| own.incarnation == self.me.incarnation) {
            let Advertised { rack, endpoints } = advertised.clone();
            let brokers = vec![BrokerRecord { rack, endpoints, ..(*own).clone() }];
            cluster.apply_brokers(&ClusterUpdate { brokers, ..ClusterUpdate::default() });
        }
        self.is_advertised(advertised);
    }

    /// Clients are told this of the broker from now on.
    fn is_advertised(&self, advertised: Advertised) {
        let before = std::mem::replace(&mut *self.advertised.lock(), advertised.clone());
        for sentence in advertised.news(&before, &self.listeners) {
            tracing::info!("{sentence}");
        }
    }

    /// Applies one update. Blocks on the disk; has to be called within the runtime. Answers what is held that is newer than
    /// what a snapshot tells.
    pub fn apply(&self, update: &ClusterUpdate) -> Vec<HeldPartition> {
        let _one_at_a_time = self.changing.lock();
        let newer = self.newer_than(update);
        if update.snapshot {
            replication::session_begins(&self.broker);
        }
        dynamic_config::apply(&self.broker, update);
        let cluster = &self.broker.cluster;
        let own = update.brokers.iter().rfind(|record| record.broker_id == self.me.broker_id);
        if let Some(own) = own.filter(|own| own.incarnation == self.me.incarnation) {
            self.is_advertised(Advertised::in_record(own));
        }
        if cluster.apply_brokers(update) {
            self.broker.errands.brokers.notify_one();
        }
        let reading = self.ledger.lock().read(update);
        for id in &reading.outdated {
            tracing::warn!(
                "the controller tells of topic {id}, which was deleted or made again; it is outdated"
            );
        }
        let gone = reading.gone.iter();
        let gone = gone.filter_map(|(id, gone)| Some((cluster.remove_topic(*id)?, *gone)));
        let retired = gone.inspect(|(topic, gone)| self.retire(topic, *gone)).count();
        if retired > 0 {
            self.checkpoint();
        }
        let targets = reading.topics.into_iter().filter_map(|change| {
            let known = cluster.topic_by_id(change.topic_id);
            let record = change.record.or(known.as_deref().map(|topic| &topic.record))?.clone();
            Some(Target { record, known, partitions: change.partitions })
        });
        let targets = targets.collect();
        self.put_topics(targets);
        if update.snapshot
            && self.replicas.move_strays_aside(|partition| {
                let topic = cluster.topic(&partition.topic);
                let known = topic.as_deref().and_then(|topic| topic.partition(partition.partition));
                known.is_some_and(|known| known.record.replicas.contains(&self.me.broker_id))
            })
        {
            self.checkpoint();
        }
        if update.snapshot {
            replication::snapshot_applied(&self.broker);
        }
        cluster.note_updated();
        newer
    }

    /// A disk has room again: what could not be opened or acted on for want of it is tried once more. Blocks on the disk;
    /// has to be called within the runtime.
    pub fn try_again(&self) {
        let _one_at_a_time = self.changing.lock();
        let topics = self.broker.cluster.topics();
        let targets = topics.iter().filter_map(|topic| {
            let waiting = topic.partitions.iter().filter(|partition| self.waits(partition));
            let partitions: Vec<_> = waiting.map(|partition| Cow::Borrowed(&partition.record)).collect();
            let (record, known) = (topic.record.clone(), Some(Arc::clone(topic)));
            (!partitions.is_empty()).then_some(Target { record, known, partitions })
        });
        self.put_topics(targets.collect());
    }

    /// Whether a partition's record could not be acted on here.
    fn waits(&self, partition: &TopicPartition) -> bool {
        let Some(replica) = &partition.replica else {
            return matches!(partition.absence, Some(LogState::Failed { .. }));
        };
        let replica = replica.lock();
        let has_role = replica.role() != RoleKind::Idle || partition.record.leader.is_none();
        *replica.record() != partition.record || !has_role
    }

    fn newer_than(&self, update: &ClusterUpdate) -> Vec<HeldPartition> {
        let told = update.partitions.iter().filter(|_| update.snapshot);
        let newer = told.filter_map(|told| {
            let topic = self.broker.cluster.topic_by_id(told.topic_id)?;
            topics::newer(&topic.partition(told.partition)?.record, told)
        });
        newer.collect()
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

    /// What is held of the topics. Nothing may be applied meanwhile.
    pub fn slices(&self) -> Vec<SliceDigest> {
        let topics = self.broker.cluster.topics();
        let partitions = topics.iter().flat_map(|topic| &topic.partitions).map(|partition| &partition.record);
        self.ledger.lock().digests(topics.iter().map(|topic| &topic.record), partitions)
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

    /// The topic goes: whoever waits is told, and its logs are deleted or kept aside.
    fn retire(&self, topic: &Topic, gone: Gone) {
        tracing::info!("topic {} ({}) is gone", topic.name, topic.id);
        let delay = Duration::from_millis(u64::try_from(topic.config.file_delete_delay_ms).unwrap_or(0));
        let mut effects = Effects::new();
        for (number, partition) in (0..).zip(&topic.partitions) {
            let Some(replica) = &partition.replica else { continue };
            if *topic.name == *OFFSETS_TOPIC {
                self.broker.groups.hand_over(number);
            }
            replica.lock().resign(&mut effects);
            match gone {
                Gone::Deleted => self.replicas.delete(replica, delay),
                Gone::Missing => {
                    self.replicas.set_aside(&taffrail_log::TopicPartition::new(&*topic.name, number));
                }
            }
        }
        if gone == Gone::Deleted {
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
                (Change { record: PartitionRecord::clone(partition), replica, absence: None }, missing)
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
        }
        let is_failure = |change: &Change| change.replica.is_none() || noted.is_err();
        let failed = changes.iter().filter(|change| change.record.replicas.contains(&self.me.broker_id));
        for Change { record, .. } in failed.filter(|change| is_failure(change)) {
            self.ledger.lock().not_acted_on(record.topic_id, record.partition);
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
            set_log_configs(&self.broker, record.topic_id, &partitions, || log_config(&config, &live));
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
        self.broker.errands.reports.extend(to_report);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use taffrail_control::session::{BrokerRecord, LogClaim};
    use taffrail_control::slices;
    use taffrail_log::meta_properties::MetaProperties;
    use taffrail_log::{FileStorage, LogDir};
    use taffrail_protocol::Uuid;
    use taffrail_replication::disk::logs::RecoveredLogs;
    use tempfile::TempDir;

    use super::*;
    use crate::cluster::Cluster;
    use crate::config::BrokerConfig;
    use crate::controller_link::ControllerLink;
    use crate::log_dirs::{LogDirs, ServedLogDir};
    use crate::maintenance;
    use crate::metrics::Metrics;

    const ME: Member = Member { broker_id: 1, incarnation: 7 };

    /// A broker on an empty disk, which knows nothing yet.
    fn started(dir: &Path) -> Updates {
        let mut config = BrokerConfig::from_settings(std::iter::empty::<(&str, &str)>()).unwrap();
        config.fit_into(256 << 20);
        let (queue, _requests) = maintenance::sync_queue();
        let link = ControllerLink::new(Duration::from_secs(60));
        let log_dirs = LogDirs::new(vec![ServedLogDir::online(dir.to_owned(), Uuid([1; 16]))]);
        let broker = Broker::new(1, log_dirs, config, "c", link, queue, Arc::new(Metrics::new()));
        let properties = MetaProperties { cluster_id: "c".into(), node_id: 1, directory_id: Uuid([1; 16]) };
        let storage = FileStorage::new(16);
        let dir = LogDir::open(storage.clone(), dir.to_owned(), properties).unwrap();
        let replicas =
            Replicas::new(storage, vec![(dir, RecoveredLogs::new())], ME, LogClaim::Unclean, &broker)
                .unwrap();
        let advertised = Advertised { rack: None, endpoints: Vec::new() };
        Updates::new(Arc::new(broker), Arc::new(replicas), ME, NonZeroUsize::MIN, advertised)
    }

    fn broker(broker_id: i32) -> BrokerRecord {
        BrokerRecord {
            broker_id,
            incarnation: 7,
            endpoints: Vec::new(),
            rack: None,
            fenced: false,
            peer_address: None,
            peer_token: None,
        }
    }

    fn topic(id: u8, config: &[(&str, &str)]) -> TopicRecord {
        TopicRecord {
            name: format!("topic-{id}").into(),
            topic_id: Uuid([id; 16]),
            creation: 1,
            config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            partition_count: 1,
        }
    }

    fn partition(id: u8, partition_epoch: i32, leader: Option<Member>) -> PartitionRecord {
        PartitionRecord {
            topic_id: Uuid([id; 16]),
            partition: 0,
            creation: 1,
            replicas: vec![1],
            leader,
            leader_epoch: partition_epoch,
            partition_epoch,
            isr: vec![ME],
            elr: Vec::new(),
            min_isr: 1,
            adding: Vec::new(),
            removing: Vec::new(),
            unclean_epoch: None,
        }
    }

    fn snapshot(
        brokers: &[i32],
        topics: Vec<TopicRecord>,
        partitions: Vec<PartitionRecord>,
    ) -> ClusterUpdate {
        let brokers = brokers.iter().copied().map(broker).collect();
        ClusterUpdate { snapshot: true, brokers, topics, partitions, ..ClusterUpdate::default() }
    }

    fn names(cluster: &Cluster) -> Vec<String> {
        cluster.topics().iter().map(|topic| topic.name.to_string()).collect()
    }

    #[tokio::test]
    async fn a_second_snapshot_takes_away_what_is_gone_and_changes_what_is_there() {
        let dir = TempDir::new().unwrap();
        let updates = started(dir.path());
        let cluster = &updates.broker.cluster;
        let led = |id| partition(id, 0, Some(ME));
        let topics = vec![topic(1, &[]), topic(2, &[]), topic(3, &[])];
        updates.apply(&snapshot(&[1, 2, 3], topics, vec![led(1), led(2), led(3)]));
        assert_eq!(names(cluster), ["topic-1", "topic-2", "topic-3"]);
        let led_epoch = |id| cluster.replica((Uuid([id; 16]), 0)).map(|replica| replica.lock().led_epoch());
        assert_eq!([1, 2, 3].map(led_epoch), [Some(Some(0)); 3]);

        // Broker 3 was unregistered and topic 2 deleted while there was no session; 3 has other settings, and no leader.
        let topics = vec![topic(1, &[]), topic(3, &[("max.message.bytes", "5000")])];
        updates.apply(&snapshot(&[1, 2], topics, vec![led(1), partition(3, 1, None)]));
        assert_eq!(cluster.brokers().iter().map(|broker| broker.broker_id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(names(cluster), ["topic-1", "topic-3"]);
        assert_eq!([1, 2, 3].map(led_epoch), [Some(Some(0)), None, Some(None)]);
        assert_eq!(cluster.topic("topic-3").unwrap().config.max_message_bytes, 5000);
        assert!(!dir.path().join("topic-2-0").exists(), "its log is out of the way");
        let aside = std::fs::read_dir(dir.path()).unwrap();
        let aside = aside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(aside.filter(|name| name.ends_with("-stray")).count(), 1, "and kept (rule 18)");

        // What a late controller says of topic 1 and what it does not know of does no harm.
        let late = snapshot(&[1, 2], vec![topic(3, &[])], vec![partition(3, 0, Some(ME))]);
        let newer = updates.apply(&late);
        let newer: Vec<_> = newer.iter().map(|held| (held.topic_id, held.partition_epoch)).collect();
        assert_eq!(newer, [(Uuid([3; 16]), 1)], "rule 25");
        assert_eq!((led_epoch(1), led_epoch(3)), (None, Some(None)), "rule 2");
    }

    /// What a controller with this state tells a broker that registers with `held`.
    fn told(whole: &ClusterUpdate, held: &[SliceDigest]) -> ClusterUpdate {
        let mut snapshot = whole.clone();
        slices::leave_out_unchanged(&mut snapshot, held);
        snapshot
    }

    #[tokio::test]
    async fn another_session_tells_only_what_has_changed_and_leaves_the_rest_in_peace() {
        let dir = TempDir::new().unwrap();
        let updates = started(dir.path());
        let cluster = &updates.broker.cluster;
        assert_eq!(updates.slices(), []);
        let led = |id| partition(id, 0, Some(ME));
        let whole =
            snapshot(&[1], vec![topic(1, &[]), topic(2, &[]), topic(3, &[])], vec![led(1), led(2), led(3)]);
        updates.apply(&whole);
        let again = told(&whole, &updates.slices());
        assert_eq!((again.topics.len(), again.unchanged_slices.len()), (0, 3));
        let before = cluster.topics();
        updates.apply(&again);
        let unchanged = |before: &[Arc<Topic>]| {
            let now = cluster.topics();
            let same = before.iter().filter(|topic| now.iter().any(|now| Arc::ptr_eq(topic, now)));
            same.map(|topic| topic.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(unchanged(&before), ["topic-1", "topic-2", "topic-3"]);

        // Meanwhile 2 was deleted, 3 changed, and 4 made.
        let whole = snapshot(
            &[1],
            vec![topic(1, &[]), topic(3, &[]), topic(4, &[])],
            vec![led(1), partition(3, 1, None), led(4)],
        );
        let again = told(&whole, &updates.slices());
        assert_eq!(again.topics, [topic(3, &[]), topic(4, &[])]);
        updates.apply(&again);
        assert_eq!(unchanged(&before), ["topic-1"]);
        assert_eq!(names(cluster), ["topic-1", "topic-3", "topic-4"]);
        assert_eq!(updates.slices(), slices::digests(&whole.topics, &whole.partitions));
    }

    #[tokio::test]
    async fn a_partition_that_could_not_be_opened_is_told_and_tried_again_in_the_next_session() {
        let dir = TempDir::new().unwrap();
        let updates = started(dir.path());
        let whole = snapshot(
            &[1],
            vec![topic(1, &[]), topic(2, &[])],
            vec![partition(1, 0, Some(ME)), partition(2, 0, Some(ME))],
        );
        // A file is where its directory is to be.
        let in_the_way = dir.path().join("topic-1-0");
        std::fs::write(&in_the_way, "").unwrap();
        updates.apply(&whole);
        let replica = |id| updates.broker.cluster.replica((Uuid([id; 16]), 0));
        assert!(replica(1).is_none() && replica(2).is_some());
        std::fs::remove_file(in_the_way).unwrap();
        let again = told(&whole, &updates.slices());
        assert_eq!(again.topics, [topic(1, &[])]);
        updates.apply(&again);
        assert!(replica(1).is_some());
        assert!(told(&whole, &updates.slices()).topics.is_empty());
    }

    #[tokio::test]
    async fn a_log_that_was_here_at_the_start_and_belongs_elsewhere_by_now_is_moved_aside() {
        let dir = TempDir::new().unwrap();
        started(dir.path()).apply(&snapshot(&[1], vec![topic(1, &[])], vec![partition(1, 0, Some(ME))]));
        let again = started(dir.path());
        let elsewhere = PartitionRecord { replicas: vec![2], isr: Vec::new(), ..partition(1, 1, None) };
        again.apply(&snapshot(&[1, 2], vec![topic(1, &[])], vec![elsewhere]));
        assert!(again.broker.cluster.topic("topic-1").is_some());
        assert!(!dir.path().join("topic-1-0").exists(), "rule 18");
    }
}
