//! The cluster as this broker knows it: brokers, topics and the replicas that live here.
//!
//! Written only by the controller's updates ([`crate::controller_link`]), read by every request.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use taffrail_control::session::{
    BrokerRecord, ClusterUpdate, LogState, Member, PartitionRecord, TopicRecord,
};
use taffrail_control::topic_config::TopicConfig;
use taffrail_log::FileStorage;
use taffrail_protocol::{ErrorCode, Uuid};
use tokio::sync::Notify;

use crate::auto_create::OFFSETS_TOPIC;
use crate::peer::watch::PeerWatch;
use crate::waiter::PartitionWaiter;
use taffrail_replication::brokers::{self, KnownBrokers};
use taffrail_replication::partition::Partition;

/// How long a broker that was lost and not looked at again is taken for lost: some tries to connect to it.
const LOST_FOR: Duration = Duration::from_secs(3);
/// For how long clients are still told where a broker is that was fenced. librdkafka (from 2.10 on) gives up a broker that is
/// missing in an answer together with the partitions that it is about to hand to their new leaders, and then asks for
/// those again up to a second later.
const LISTED_FOR: Duration = Duration::from_secs(3);

/// A replica that lives on this broker. The lock is held for one step, never across I/O on a socket or an await.
pub type Replica = Mutex<Partition<FileStorage, PartitionWaiter>>;

/// Names a partition for ever: topic id and number.
pub type PartitionKey = (Uuid, i32);

/// A topic, its configuration and its partitions. Replaced as a whole when any of it changes.
pub struct Topic {
    /// The name.
    pub name: Arc<str>,
    /// The id that tells it from others that had the same name.
    pub id: Uuid,
    /// The controller's record.
    pub record: TopicRecord,
    /// Configuration with every default filled in.
    pub config: TopicConfig,
    /// By partition number, without gaps.
    pub partitions: Vec<TopicPartition>,
}

/// One partition of a topic.
#[derive(Clone)]
pub struct TopicPartition {
    /// The controller's record.
    pub record: PartitionRecord,
    /// The replica here, if there is one.
    pub replica: Option<Arc<Replica>>,
    /// Why there is none where the record says that there is: its log is missing, or cannot be opened.
    pub absence: Option<LogState>,
}

impl TopicPartition {
    /// The replica here.
    ///
    /// # Errors
    /// What a client is told that asks for one: `KAFKA_STORAGE_ERROR` where its log cannot be opened, else
    /// `NOT_LEADER_OR_FOLLOWER`.
    pub fn replica(&self) -> Result<&Arc<Replica>, ErrorCode> {
        self.replica.as_ref().ok_or(match self.absence {
            Some(LogState::Failed { .. }) => ErrorCode::KAFKA_STORAGE_ERROR,
            Some(LogState::Missing | LogState::Online) | None => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        })
    }
}

impl Topic {
    /// The partition of this number.
    pub fn partition(&self, number: i32) -> Option<&TopicPartition> {
        self.partitions.get(usize::try_from(number).ok()?)
    }

    /// Whether it is one of the broker's own (`__consumer_offsets` and the like).
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

/// Whether a topic of this name is one of the broker's own.
pub fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == "__transaction_state"
}

/// The brokers that are not fenced.
fn alive(brokers: &KnownBrokers) -> impl Iterator<Item = i32> {
    brokers.values().filter(|broker| !broker.fenced).map(|broker| broker.broker_id)
}

/// Everything known of the cluster.
pub struct Cluster {
    /// The cluster's id.
    pub id: Arc<str>,
    state: RwLock<State>,
    updated: Notify,
    /// Brokers whose connection to this one broke and that took no new one, and when that was seen last.
    lost: Mutex<BTreeMap<Member, Instant>>,
    /// When brokers were fenced, as far as that was seen.
    fenced: Mutex<BTreeMap<i32, Instant>>,
    /// The connections to and from other brokers.
    pub peers: Arc<PeerWatch>,
}

#[derive(Default)]
struct State {
    brokers: KnownBrokers,
    by_name: HashMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Cluster {
    /// A cluster of which nothing is known yet but its id.
    pub fn new(id: Arc<str>) -> Self {
        Self {
            id,
            state: RwLock::default(),
            updated: Notify::new(),
            lost: Mutex::default(),
            fenced: Mutex::default(),
            peers: Arc::default(),
        }
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.state.read().by_name.get(name).cloned()
    }

    /// The topic of this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.state.read().by_id.get(&id).cloned()
    }

    /// The replica of a partition that lives here.
    pub fn replica(&self, (topic_id, number): PartitionKey) -> Option<Arc<Replica>> {
        self.topic_by_id(topic_id)?.partition(number)?.replica.clone()
    }

    /// How a partition is called in messages to people.
    pub fn name(&self, (topic_id, number): PartitionKey) -> String {
        match self.topic_by_id(topic_id) {
            Some(topic) => format!("{}-{number}", topic.name),
            None => format!("{topic_id}-{number}"),
        }
    }

    /// Shows `look` each topic, in no order. It must not ask for anything else of the cluster meanwhile.
    pub fn for_each_topic(&self, look: impl FnMut(&Arc<Topic>)) {
        self.state.read().by_id.values().for_each(look);
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> = self.state.read().by_name.values().cloned().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// All replicas that live here, by topic and number.
    pub fn replicas(&self) -> Vec<(taffrail_log::TopicPartition, Arc<Replica>)> {
        let topics = self.topics();
        let all = topics.iter().flat_map(|topic| {
            let partitions = (0..).zip(&topic.partitions);
            partitions.filter_map(|(number, partition)| {
                let name = taffrail_log::TopicPartition::new(&*topic.name, number);
                Some((name, Arc::clone(partition.replica.as_ref()?)))
            })
        });
        all.collect()
    }

    /// Whether any topic asks for syncs by time or by number of records (`flush.ms`, `flush.messages`).
    pub fn has_flush_settings(&self) -> bool {
        let asks =
            |topic: &Arc<Topic>| topic.config.flush_ms < i64::MAX || topic.config.flush_messages < i64::MAX;
        self.state.read().by_name.values().any(asks)
    }

    /// All registered brokers, fenced ones too, by id.
    pub fn brokers(&self) -> Vec<Arc<BrokerRecord>> {
        self.state.read().brokers.values().cloned().collect()
    }

    /// A broker's process has ended, as far as can be seen from here. Until the controller has decided what follows from
    /// that, clients are not sent to it: who is told of the old leader once more asks again much later than who is told
    /// that there is none at the moment.
    pub fn note_lost(&self, id: i32) {
        if let Some(broker) = self.broker(id) {
            let member = Member { broker_id: id, incarnation: broker.incarnation };
            let mut lost = self.lost.lock();
            // Its earlier lives are of no interest any more.
            lost.retain(|other, _| other.broker_id != id);
            lost.insert(member, Instant::now());
        }
    }

    /// A broker takes connections, or it cannot be told from here whether it does.
    pub fn note_found(&self, id: i32) {
        self.lost.lock().retain(|member, _| member.broker_id != id);
    }

    /// Brokers in those lives that have ended, as far as could be seen from here a moment before `now`. What nobody looks
    /// at any more is not believed for long.
    pub fn lost(&self, now: Instant) -> BTreeSet<Member> {
        let hung_up = self.peers.hung_up(now).into_iter().filter_map(|id| self.broker(id));
        let hung_up =
            hung_up.map(|broker| Member { broker_id: broker.broker_id, incarnation: broker.incarnation });
        let hung_up: BTreeSet<Member> = hung_up.collect();
        let lost = self.lost.lock();
        let recent = lost.iter().filter(|(_, seen)| now.saturating_duration_since(**seen) < LOST_FOR);
        recent.map(|(member, _)| *member).chain(hung_up).collect()
    }

    /// The broker of this id, fenced or not.
    pub fn broker(&self, id: i32) -> Option<Arc<BrokerRecord>> {
        self.state.read().brokers.get(&id).cloned()
    }

    /// Takes over what an update says of the brokers. Whether it says anything.
    pub fn apply_brokers(&self, update: &ClusterUpdate) -> bool {
        if !update.snapshot && update.brokers.is_empty() && update.removed_brokers.is_empty() {
            return false;
        }
        let mut state = self.state.write();
        let lived: BTreeSet<i32> = alive(&state.brokers).collect();
        brokers::apply(&mut state.brokers, update);
        let mut fenced = self.fenced.lock();
        let live: BTreeSet<i32> = alive(&state.brokers).collect();
        fenced.extend(lived.difference(&live).map(|id| (*id, Instant::now())));
        fenced.retain(|id, _| state.brokers.contains_key(id) && !live.contains(id));
        true
    }

    /// Brokers that were fenced a moment before `now`.
    pub fn just_fenced(&self, now: Instant) -> BTreeSet<i32> {
        let fenced = self.fenced.lock();
        let recent = fenced.iter().filter(|(_, since)| now.saturating_duration_since(**since) < LISTED_FOR);
        recent.map(|(id, _)| *id).collect()
    }

    /// Puts a topic in or replaces it. A topic of another id under the same name gives way.
    pub fn put_topic(&self, topic: Arc<Topic>) {
        let mut state = self.state.write();
        state.by_id.insert(topic.id, Arc::clone(&topic));
        if let Some(old) = state.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic))
            && old.id != topic.id
        {
            state.by_id.remove(&old.id);
        }
    }

    /// What the controller told of is all in place: whoever waits for something of it looks.
    pub fn note_updated(&self) {
        self.updated.notify_waiters();
    }

    /// Completes when the controller told of something since this was called.
    pub fn updated(&self) -> impl Future<Output = ()> + '_ {
        // It hears of what comes from its making on, polled or not.
        self.updated.notified()
    }

    /// The brokers that are registered and not fenced.
    pub fn living(&self) -> BTreeSet<i32> {
        alive(&self.state.read().brokers).collect()
    }

    /// Completes when `is_so`, at once or after an update of the controller.
    pub async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            // Registered before the look, so that an update in between is not missed.
            let updated = self.updated.notified();
            tokio::pin!(updated);
            updated.as_mut().enable();
            if is_so() {
                return;
            }
            updated.await;
        }
    }

    /// Takes a topic out and returns it.
    pub fn remove_topic(&self, id: Uuid) -> Option<Arc<Topic>> {
        let mut state = self.state.write();
        let topic = state.by_id.remove(&id)?;
        if state.by_name.get(&topic.name).is_some_and(|named| named.id == id) {
            state.by_name.remove(&topic.name);
        }
        Some(topic)
    }
}
