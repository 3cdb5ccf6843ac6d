//! The controller's durable objects (REPLICATION.md, section State): [`ClusterState`], [`TopicSlice`] and
//! [`PartitionSlice`].
//!
//! Each object is one JSON document with a `format` and is written by compare-and-swap as a whole. Fields that this
//! release does not know are kept as they are, in `other`, so that an older controller does not strip what a newer
//! one wrote. A document of a higher `format` is refused and never written over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use taffrail_control::session;
use taffrail_control::slices::TOPIC_SLICES;
use taffrail_protocol::Uuid;

use crate::uuid_text;

/// The `format` that this release writes and the highest that it reads.
pub const FORMAT: u32 = 1;

/// Partitions that a [`PartitionSlice`] is filled up to. A target, not a law: two controllers that choose the same
/// slice at once may exceed it.
pub const PARTITIONS_PER_SLICE: i32 = 500;

/// Fields of a later release, kept unread.
pub type Other = BTreeMap<String, serde_json::Value>;

/// The name of one stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// The one [`ClusterState`].
    Cluster,
    /// A [`TopicSlice`], below [`TOPIC_SLICES`].
    Topics(u32),
    /// A [`PartitionSlice`].
    Partitions(u32),
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Topics(slice) => write!(f, "topics-{slice}"),
            Self::Partitions(slice) => write!(f, "partitions-{slice}"),
        }
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = DecodeObjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.parse::<u32>().ok();
        let key = match text.split_once('-') {
            None if text == "cluster" => Some(Self::Cluster),
            Some(("topics", slice)) => number(slice).filter(|s| *s < TOPIC_SLICES).map(Self::Topics),
            Some(("partitions", slice)) => number(slice).map(Self::Partitions),
            _ => None,
        };
        key.ok_or_else(|| DecodeObjectError::UnknownKey { key: text.to_owned() })
    }
}

/// A stored object that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DecodeObjectError {
    /// The name of no object of this release.
    #[error(
        "the store holds an object \"{key}\", which this release does not know; use the release that wrote it"
    )]
    UnknownKey {
        /// The name found.
        key: String,
    },
    /// Written by a later release.
    #[error(
        "object {key} has format {found}, and this release knows formats up to {FORMAT}; use the release that wrote it"
    )]
    HigherFormat {
        /// The object.
        key: ObjectKey,
        /// The format it claims.
        found: u32,
    },
    /// Not the JSON that was expected.
    #[error("object {key} cannot be read: {source}")]
    Malformed {
        /// The object.
        key: ObjectKey,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The content of one stored object.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// Under [`ObjectKey::Cluster`].
    Cluster(ClusterState),
    /// Under [`ObjectKey::Topics`].
    Topics(TopicSlice),
    /// Under [`ObjectKey::Partitions`].
    Partitions(PartitionSlice),
}

impl Object {
    /// The object as JSON.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Cluster(object) => serde_json::to_vec(object),
            Self::Topics(object) => serde_json::to_vec(object),
            Self::Partitions(object) => serde_json::to_vec(object),
        }
    }

    /// Reads what [`Object::encode`] wrote. The format is looked at first, so that a later release's document is
    /// named as such instead of failing on whatever differs.
    pub fn decode(key: ObjectKey, json: &[u8]) -> Result<Self, DecodeObjectError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let malformed = |source| DecodeObjectError::Malformed { key, source };
        let Format { format } = serde_json::from_slice(json).map_err(malformed)?;
        if format > FORMAT {
            return Err(DecodeObjectError::HigherFormat { key, found: format });
        }
        match key {
            ObjectKey::Cluster => serde_json::from_slice(json).map(Self::Cluster),
            ObjectKey::Topics(_) => serde_json::from_slice(json).map(Self::Topics),
            ObjectKey::Partitions(_) => serde_json::from_slice(json).map(Self::Partitions),
        }
        .map_err(malformed)
    }
}

/// A broker in one of its lives; `[broker, incarnation]` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(i32, u64)", into = "(i32, u64)")]
pub struct Member {
    /// The broker's id.
    pub broker_id: i32,
    /// The incarnation that is meant.
    pub incarnation: u64,
}

impl From<(i32, u64)> for Member {
    fn from((broker_id, incarnation): (i32, u64)) -> Self {
        Self { broker_id, incarnation }
    }
}

impl From<Member> for (i32, u64) {
    fn from(member: Member) -> Self {
        (member.broker_id, member.incarnation)
    }
}

impl From<session::Member> for Member {
    fn from(member: session::Member) -> Self {
        Self { broker_id: member.broker_id, incarnation: member.incarnation }
    }
}

impl From<Member> for session::Member {
    fn from(member: Member) -> Self {
        Self { broker_id: member.broker_id, incarnation: member.incarnation }
    }
}

/// What belongs to the cluster as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterState {
    /// [`FORMAT`].
    pub format: u32,
    /// Kafka-style id; empty until the first broker registers.
    pub cluster_id: String,
    /// The incarnation that the next registration gets.
    pub next_incarnation: u64,
    /// The first `creation` that no controller has reserved.
    pub next_creation: u64,
    /// The first producer id that no broker has been given.
    pub next_producer_id: i64,
    /// Registered brokers, by id.
    pub brokers: Vec<BrokerState>,
    /// Dynamic configuration of brokers, that of all of them first, then by id; only where something is set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broker_configs: Vec<BrokerConfigState>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

impl Default for ClusterState {
    fn default() -> Self {
        Self {
            format: FORMAT,
            cluster_id: String::new(),
            next_incarnation: 1,
            next_creation: 1,
            next_producer_id: 0,
            brokers: Vec::new(),
            broker_configs: Vec::new(),
            other: Other::new(),
        }
    }
}

impl ClusterState {
    /// The broker of that id, if it ever registered.
    pub fn broker(&self, broker_id: i32) -> Option<&BrokerState> {
        self.brokers.binary_search_by_key(&broker_id, |b| b.broker_id).ok().map(|i| &self.brokers[i])
    }

    /// The same, to be changed.
    pub fn broker_mut(&mut self, broker_id: i32) -> Option<&mut BrokerState> {
        self.brokers.binary_search_by_key(&broker_id, |b| b.broker_id).ok().map(|i| &mut self.brokers[i])
    }

    /// Puts `broker` in its place, over whatever was registered under its id.
    pub fn put_broker(&mut self, broker: BrokerState) {
        match self.brokers.binary_search_by_key(&broker.broker_id, |b| b.broker_id) {
            Ok(at) => self.brokers[at] = broker,
            Err(at) => self.brokers.insert(at, broker),
        }
    }

    /// Forgets the broker of that id and its configuration; whether it was registered.
    pub fn remove_broker(&mut self, broker_id: i32) -> bool {
        self.set_broker_config(Some(broker_id), BTreeMap::new());
        let found = self.brokers.binary_search_by_key(&broker_id, |b| b.broker_id);
        found.map(|at| self.brokers.remove(at)).is_ok()
    }

    /// What is set for one broker, or for all of them (`None`); `None` if nothing is.
    pub fn broker_config(&self, broker_id: Option<i32>) -> Option<&BTreeMap<String, String>> {
        let found = self.broker_configs.binary_search_by_key(&broker_id, |config| config.broker_id);
        found.ok().map(|at| &self.broker_configs[at].config)
    }

    /// Sets the whole configuration of one broker, or that of all of them (`None`).
    pub fn set_broker_config(&mut self, broker_id: Option<i32>, config: BTreeMap<String, String>) {
        match self.broker_configs.binary_search_by_key(&broker_id, |config| config.broker_id) {
            Ok(at) if config.is_empty() => {
                self.broker_configs.remove(at);
            }
            Ok(at) => self.broker_configs[at].config = config,
            Err(_) if config.is_empty() => {}
            Err(at) => {
                let other = Other::new();
                self.broker_configs.insert(at, BrokerConfigState { broker_id, config, other });
            }
        }
    }
}

/// Dynamic configuration of one broker or of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokerConfigState {
    /// The broker; none for what holds for every broker that does not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_id: Option<i32>,
    /// All that is set.
    pub config: BTreeMap<String, String>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

/// Where a broker can be reached, for one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: String,
    /// Host name or address that clients are told.
    pub host: String,
    /// TCP port that clients are told.
    pub port: u16,
}

impl From<session::Endpoint> for Endpoint {
    fn from(session::Endpoint { listener, host, port }: session::Endpoint) -> Self {
        Self { listener, host, port }
    }
}

impl From<Endpoint> for session::Endpoint {
    fn from(Endpoint { listener, host, port }: Endpoint) -> Self {
        Self { listener, host, port }
    }
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokerState {
    /// The broker's id.
    pub broker_id: i32,
    /// Its current incarnation; only this one counts (rule 3).
    pub incarnation: u64,
    /// The process that has this incarnation (rule 16).
    #[serde(with = "uuid_text")]
    pub process_id: Uuid,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// Its failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// The ids of its log directories.
    #[serde(with = "uuid_text::list")]
    pub log_dirs: Vec<Uuid>,
    /// Where other brokers reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<SocketAddr>,
    /// A fenced broker leads nothing.
    pub fenced: bool,
    /// First incarnation over which its disks have lost nothing (rule 16).
    pub since: u64,
    /// Last such incarnation before the current one; none after an UNCLEAN start: the range is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Its disks had not served in the life before: another may have been, and have lost what it held then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

impl BrokerState {
    /// The broker in its present life.
    pub fn member(&self) -> Member {
        Member { broker_id: self.broker_id, incarnation: self.incarnation }
    }

    /// Whether a place that was held under `incarnation` may be kept under the current one (rule 17).
    pub fn carries(&self, incarnation: u64) -> bool {
        self.last.is_some_and(|last| self.since <= incarnation && incarnation <= last)
    }
}

/// The topics whose names fall into one slice (see [`taffrail_control::slices::topic_slice`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicSlice {
    /// [`FORMAT`].
    pub format: u32,
    /// The highest `creation` ever given to a topic of this slice: a topic made again under a name never gets a
    /// lower one, whichever controller makes it.
    pub highest_creation: u64,
    /// By name. Shared as records of partitions are: see [`SliceTopic::partitions`].
    #[serde(with = "shared::by_name")]
    pub topics: BTreeMap<String, Arc<TopicEntry>>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

impl Default for TopicSlice {
    fn default() -> Self {
        Self { format: FORMAT, highest_creation: 0, topics: BTreeMap::new(), other: Other::new() }
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicEntry {
    /// Drawn at random when the topic was made.
    #[serde(with = "uuid_text")]
    pub topic_id: Uuid,
    /// Grows with every topic made (rule 2).
    pub creation: u64,
    /// How many partitions it has or, while it is being made or grown, will have.
    pub partition_count: i32,
    /// Configuration set on the topic itself.
    pub config: BTreeMap<String, String>,
    /// When its deletion was decided, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting_since_ms: Option<u64>,
    /// Which partition slices hold its records (rule 21), in order of partitions.
    pub pieces: Vec<Piece>,
    /// The object that wishes for it, if there is or was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

/// The object, outside of the cluster, that wishes for a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The object's name.
    pub object: String,
    /// The object's uid.
    pub uid: String,
    /// What is to become of the topic without it: `delete`, `retain`, or `hold` until a person decides.
    pub after: String,
    /// Since when it is gone, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since_ms: Option<u64>,
    /// The configuration that it sets, or has set and that is to be reset.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub config_keys: BTreeSet<String>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

impl From<session::TopicWish> for Wish {
    fn from(wish: session::TopicWish) -> Self {
        let after = match wish.after {
            session::AfterWish::Delete => "delete",
            session::AfterWish::Retain => "retain",
            session::AfterWish::Hold => "hold",
        };
        let session::TopicWish { object, uid, gone_since_ms, config_keys, .. } = wish;
        Self { object, uid, after: after.to_owned(), gone_since_ms, config_keys, other: Other::new() }
    }
}

impl Wish {
    /// The wish as watchers are told it. What a later release knows to do with a topic, this one does not: it stays.
    pub fn published(&self) -> session::TopicWish {
        let after = match self.after.as_str() {
            "delete" => session::AfterWish::Delete,
            "hold" => session::AfterWish::Hold,
            _ => session::AfterWish::Retain,
        };
        let Self { object, uid, gone_since_ms, config_keys, .. } = self.clone();
        session::TopicWish { object, uid, after, gone_since_ms, config_keys }
    }
}

/// A run of a topic's partitions whose records are in one [`PartitionSlice`]. Decided with the topic and never
/// changed (rule 21).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The slice.
    pub slice: u32,
    /// First partition.
    pub first: i32,
    /// Number of partitions.
    pub count: i32,
    /// 0 for the partitions made with the topic; one more for each time partitions were added. A round becomes
    /// visible as a whole.
    pub round: u32,
    /// Replicas of each partition.
    pub replication_factor: i16,
    /// Replicas by hand, one list per partition; empty where the controller places them. Read only while the records
    /// are being made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assignments: Vec<Vec<i32>>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

impl Piece {
    /// The partition numbers it stands for.
    pub fn partitions(&self) -> std::ops::Range<i32> {
        self.first..self.first.saturating_add(self.count)
    }
}

/// The records of up to some [`PARTITIONS_PER_SLICE`] partitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionSlice {
    /// [`FORMAT`].
    pub format: u32,
    /// By topic id.
    pub topics: Vec<SliceTopic>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

impl Default for PartitionSlice {
    fn default() -> Self {
        Self { format: FORMAT, topics: Vec::new(), other: Other::new() }
    }
}

impl PartitionSlice {
    /// Where the topic's records stand, or where they would be inserted.
    fn position(&self, topic_id: Uuid) -> Result<usize, usize> {
        self.topics.binary_search_by_key(&topic_id, |t| t.topic_id)
    }

    /// The topic's records in this slice.
    pub fn topic(&self, topic_id: Uuid) -> Option<&SliceTopic> {
        self.position(topic_id).ok().map(|at| &self.topics[at])
    }

    /// The topic's records in this slice, to be changed.
    pub fn topic_mut(&mut self, topic_id: Uuid) -> Option<&mut SliceTopic> {
        self.position(topic_id).ok().map(|at| &mut self.topics[at])
    }

    /// One partition's record, to be changed.
    pub fn partition_mut(&mut self, topic_id: Uuid, partition: i32) -> Option<&mut PartitionState> {
        self.topic_mut(topic_id)?.partition_mut(partition)
    }

    /// The topic's records in this slice, an empty list of them if there were none.
    pub fn topic_or_insert(&mut self, topic_id: Uuid, name: &str, creation: u64) -> &mut SliceTopic {
        let at = self.position(topic_id).unwrap_or_else(|at| {
            let (name, partitions) = (name.to_owned(), Vec::new());
            self.topics.insert(at, SliceTopic { topic_id, name, creation, partitions, other: Other::new() });
            at
        });
        &mut self.topics[at]
    }

    /// Takes the topic's records out; whether there were any.
    pub fn remove_topic(&mut self, topic_id: Uuid) -> bool {
        self.position(topic_id).map(|at| self.topics.remove(at)).is_ok()
    }
}

/// One topic's records in a slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceTopic {
    /// The topic's id.
    #[serde(with = "uuid_text")]
    pub topic_id: Uuid,
    /// Its name: tells where its [`TopicEntry`] would be, and people what they read.
    pub name: String,
    /// Its creation.
    pub creation: u64,
    /// By partition. Shared: the content that is committed, the one that is being written and the one on its way to the
    /// store differ in few of them.
    #[serde(with = "shared")]
    pub partitions: Vec<Arc<PartitionState>>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

/// What is shared stands in JSON as anything else does.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        items: &[Arc<T>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(items.iter().map(Arc::as_ref))
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Arc<T>>, D::Error> {
        let items = Vec::<T>::deserialize(deserializer)?;
        Ok(items.into_iter().map(Arc::new).collect())
    }

    /// The same of a map.
    pub(super) mod by_name {
        use std::collections::BTreeMap;
        use std::sync::Arc;

        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        pub(in super::super) fn serialize<T: Serialize, S: Serializer>(
            items: &BTreeMap<String, Arc<T>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_map(items.iter().map(|(name, item)| (name, item.as_ref())))
        }

        pub(in super::super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<BTreeMap<String, Arc<T>>, D::Error> {
            let items = BTreeMap::<String, T>::deserialize(deserializer)?;
            Ok(items.into_iter().map(|(name, item)| (name, Arc::new(item))).collect())
        }
    }
}

impl SliceTopic {
    /// One partition's record.
    pub fn partition(&self, partition: i32) -> Option<&PartitionState> {
        self.partitions.binary_search_by_key(&partition, |p| p.partition).ok().map(|at| &*self.partitions[at])
    }

    /// The same, to be changed.
    pub fn partition_mut(&mut self, partition: i32) -> Option<&mut PartitionState> {
        let found = self.partitions.binary_search_by_key(&partition, |p| p.partition);
        found.ok().map(|at| Arc::make_mut(&mut self.partitions[at]))
    }

    /// Adds a record, unless the partition has one; whether it was added.
    pub fn insert(&mut self, record: PartitionState) -> bool {
        let position = self.partitions.binary_search_by_key(&record.partition, |p| p.partition);
        position.map_err(|at| self.partitions.insert(at, Arc::new(record))).is_err()
    }
}

/// One partition's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionState {
    /// The partition's number.
    pub partition: i32,
    /// Broker ids; the first is the preferred leader.
    pub replicas: Vec<i32>,
    /// The leader, in the life in which it was elected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Member>,
    /// Grows by one at every change of leader (rule 2).
    pub leader_epoch: i32,
    /// Grows by one at every change of the record (rule 2).
    pub partition_epoch: i32,
    /// In-sync replicas, in order of `replicas`; never empty (rule 5).
    pub isr: Vec<Member>,
    /// Eligible leader replicas outside the ISR (rule 22).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elr: Vec<Member>,
    /// The smaller of `min.insync.replicas` and the number of replicas (rule 23).
    pub min_isr: i32,
    /// Replicas that a reassignment adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<i32>,
    /// Replicas that a reassignment removes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<i32>,
    /// Leader epoch of the last election that may have lost records (rules 4, 17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean_epoch: Option<i32>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub other: Other,
}

impl PartitionState {
    /// Whether a reassignment is under way.
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas there were before the reassignment, or all of them if none is under way.
    pub fn origin(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|id| !self.adding.contains(id)).collect()
    }

    /// The replicas there shall be.
    pub fn targets(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|id| !self.removing.contains(id)).collect()
    }

    /// The record as brokers are told it.
    pub fn published(&self, topic_id: Uuid, creation: u64) -> session::PartitionRecord {
        let members = |members: &[Member]| members.iter().copied().map(Into::into).collect();
        session::PartitionRecord {
            topic_id,
            partition: self.partition,
            creation,
            replicas: self.replicas.clone(),
            leader: self.leader.map(Into::into),
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr: members(&self.isr),
            elr: members(&self.elr),
            min_isr: self.min_isr,
            adding: self.adding.clone(),
            removing: self.removing.clone(),
            unclean_epoch: self.unclean_epoch,
        }
    }

    /// The record with `change` made, and the epochs raised as rule 2 demands. The one way to change a record.
    pub(crate) fn next(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        let left = self.replicas.iter().any(|id| !next.replicas.contains(id));
        // Who leads again after an unclean election leads anew.
        let anew = next.unclean_epoch != self.unclean_epoch;
        next.partition_epoch = self.partition_epoch + 1;
        next.leader_epoch = self.leader_epoch + i32::from(left || anew || next.leader != self.leader);
        assert_eq!(next.follows(self), Ok(()), "a decision breaks a rule: {self:?} became {next:?}");
        next
    }

    /// Whether `self` may follow `before` in the store; the rule that it breaks otherwise. As one write may carry several
    /// decisions on a record, epochs may have grown by more than one.
    pub fn follows(&self, before: &Self) -> Result<(), &'static str> {
        if self.partition_epoch <= before.partition_epoch {
            return Err("rule 2: partition_epoch grows at every change of the record");
        }
        if self.leader != before.leader && self.leader_epoch <= before.leader_epoch {
            return Err("rule 2: leader_epoch grows at every change of leader");
        }
        let replica_left = before.replicas.iter().any(|id| !self.replicas.contains(id));
        if replica_left && self.leader_epoch <= before.leader_epoch {
            return Err("rule 2: leader_epoch grows when a replica leaves");
        }
        if self.leader_epoch < before.leader_epoch {
            return Err("rule 2: leader_epoch never falls");
        }
        if self.unclean_epoch < before.unclean_epoch {
            return Err("rule 4: unclean_epoch never falls");
        }
        self.is_sound()
    }

    /// Whether the record is one that may be stored at all; the rule that it breaks otherwise.
    pub fn is_sound(&self) -> Result<(), &'static str> {
        if self.isr.is_empty() {
            return Err("rule 5: an ISR is never empty");
        }
        if self.unclean_epoch > Some(self.leader_epoch) {
            return Err("rule 4: unclean_epoch is a leader epoch that was");
        }
        if self.leader.is_some_and(|leader| !self.isr.contains(&leader)) {
            return Err("rule 4: the leader is a member of the ISR");
        }
        let is_replica = |member: &Member| self.replicas.contains(&member.broker_id);
        if !self.isr.iter().chain(&self.elr).all(is_replica) {
            return Err("members of ISR and ELR are replicas");
        }
        if !self.adding.iter().chain(&self.removing).all(|id| self.replicas.contains(id)) {
            return Err("rule 24: who is added and who is removed is a replica until the reassignment ends");
        }
        if self.replicas.iter().all(|id| self.removing.contains(id)) {
            return Err("rule 24: a reassignment leaves replicas");
        }
        let places = |id: i32| self.isr.iter().chain(&self.elr).filter(move |m| m.broker_id == id);
        if self.isr.iter().chain(&self.elr).any(|member| places(member.broker_id).count() > 1) {
            return Err("rule 22: nobody is in ISR and ELR, or in one of them, twice");
        }
        if self.isr.len() >= self.min_isr.max(0) as usize && !self.elr.is_empty() {
            return Err("rule 22: the ELR is empty while the ISR has min_isr members");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PartitionState {
        PartitionState {
            partition: 3,
            replicas: vec![1, 2],
            leader: Some(Member { broker_id: 1, incarnation: 5 }),
            leader_epoch: 2,
            partition_epoch: 7,
            isr: vec![Member { broker_id: 1, incarnation: 5 }],
            elr: vec![],
            min_isr: 1,
            adding: vec![],
            removing: vec![],
            unclean_epoch: None,
            other: Other::new(),
        }
    }

    #[test]
    fn brokers_are_told_all_of_a_record() {
        let member = |broker_id, incarnation| Member { broker_id, incarnation };
        let state = PartitionState {
            replicas: vec![1, 2, 3, 4],
            elr: vec![member(2, 6)],
            adding: vec![3],
            removing: vec![4],
            unclean_epoch: Some(0),
            ..record()
        };
        let told = |broker_id, incarnation| session::Member { broker_id, incarnation };
        let expected = session::PartitionRecord {
            topic_id: Uuid([1; 16]),
            partition: 3,
            creation: 9,
            replicas: vec![1, 2, 3, 4],
            leader: Some(told(1, 5)),
            leader_epoch: 2,
            partition_epoch: 7,
            isr: vec![told(1, 5)],
            elr: vec![told(2, 6)],
            min_isr: 1,
            adding: vec![3],
            removing: vec![4],
            unclean_epoch: Some(0),
        };
        assert_eq!(state.published(Uuid([1; 16]), 9), expected);
    }

    #[test]
    fn golden_json_of_a_partition_slice() {
        let mut slice = PartitionSlice::default();
        slice.topic_or_insert(Uuid([1; 16]), "t", 9).insert(record());
        let json = Object::Partitions(slice.clone()).encode().unwrap();
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            "{\"format\":1,\"topics\":[{\"topic_id\":\"AQEBAQEBAQEBAQEBAQEBAQ\",\"name\":\"t\",\"creation\":9,\
             \"partitions\":[{\"partition\":3,\"replicas\":[1,2],\"leader\":[1,5],\"leader_epoch\":2,\
             \"partition_epoch\":7,\"isr\":[[1,5]],\"min_isr\":1}]}]}"
        );
        assert_eq!(Object::decode(ObjectKey::Partitions(0), &json).unwrap(), Object::Partitions(slice));
    }

    #[test]
    fn fields_of_a_later_release_are_kept() {
        let json = br#"{"format":1,"highest_creation":4,"topics":{"a":{"topic_id":"AQEBAQEBAQEBAQEBAQEBAQ","creation":4,
            "partition_count":1,"config":{},"pieces":[{"slice":0,"first":0,"count":1,"round":0,"replication_factor":1,
            "colour":"red"}],"owner":{"team":"x"}}},"zone":[1,2]}"#;
        let object = Object::decode(ObjectKey::Topics(3), json).unwrap();
        let again: serde_json::Value = serde_json::from_slice(&object.encode().unwrap()).unwrap();
        assert_eq!(again, serde_json::from_slice::<serde_json::Value>(json).unwrap());
    }

    #[test]
    fn a_wish_is_kept_with_its_topic_and_what_is_to_follow_it_in_a_later_release_deletes_nothing() {
        let json = br#"{"format":1,"highest_creation":4,"topics":{"a":{"topic_id":"AQEBAQEBAQEBAQEBAQEBAQ","creation":4,
            "partition_count":1,"config":{},"pieces":[],
            "wish":{"object":"a","uid":"u","after":"delete","gone_since_ms":7,"config_keys":["retention.ms"],"by":"x"}}}}"#;
        let object = Object::decode(ObjectKey::Topics(3), json).unwrap();
        let again: serde_json::Value = serde_json::from_slice(&object.encode().unwrap()).unwrap();
        assert_eq!(again, serde_json::from_slice::<serde_json::Value>(json).unwrap());
        let later = String::from_utf8(json.to_vec()).unwrap().replace("\"delete\"", "\"archive\"");
        let Ok(Object::Topics(slice)) = Object::decode(ObjectKey::Topics(3), later.as_bytes()) else {
            panic!("it can be read");
        };
        let wish = slice.topics["a"].wish.clone().unwrap();
        assert_eq!(wish.published().after, session::AfterWish::Retain);
        let encoded = Object::Topics(slice).encode().unwrap();
        assert!(String::from_utf8(encoded).unwrap().contains("archive"), "it is kept for the later release");
        for after in [session::AfterWish::Delete, session::AfterWish::Retain, session::AfterWish::Hold] {
            let wish = session::TopicWish { after, ..wish.published() };
            assert_eq!(Wish::from(wish.clone()).published(), wish);
        }
    }

    #[test]
    fn a_higher_format_is_refused_by_name_whatever_else_differs() {
        let refusal = Object::decode(ObjectKey::Cluster, br#"{"format":2,"brokers":"none"}"#).unwrap_err();
        assert!(matches!(refusal, DecodeObjectError::HigherFormat { found: 2, .. }), "{refusal}");
    }

    #[test]
    fn object_keys_round_trip_and_strangers_are_refused() {
        for key in [ObjectKey::Cluster, ObjectKey::Topics(127), ObjectKey::Partitions(4_000)] {
            assert_eq!(key.to_string().parse::<ObjectKey>().unwrap(), key);
        }
        for text in ["", "cluster-1", "topics-128", "topics-", "partitions--1", "users-0"] {
            assert!(text.parse::<ObjectKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_that_breaks_a_rule_is_named_by_it() {
        let before = record();
        let step = |change: fn(&mut PartitionState)| {
            let mut after = PartitionState { partition_epoch: 8, ..record() };
            change(&mut after);
            after.follows(&before).err().unwrap_or("fine")
        };
        assert_eq!(step(|_| ()), "fine");
        assert!(step(|r| r.partition_epoch = 7).starts_with("rule 2"));
        assert!(step(|r| r.leader = None).starts_with("rule 2"));
        assert!(step(|r| r.leader_epoch = 1).starts_with("rule 2"));
        assert!(step(|r| r.replicas = vec![1]).starts_with("rule 2"));
        assert!(step(|r| r.adding = vec![3]).starts_with("rule 24"));
        assert!(step(|r| r.removing = vec![1, 2]).starts_with("rule 24"));
        assert!(step(|r| r.isr.clear()).starts_with("rule 5"));
        assert!(step(|r| r.isr = vec![Member { broker_id: 2, incarnation: 1 }]).starts_with("rule 4"));
        assert!(step(|r| r.elr = vec![Member { broker_id: 2, incarnation: 1 }]).starts_with("rule 22"));
    }
}
