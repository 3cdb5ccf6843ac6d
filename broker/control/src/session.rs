//! The messages of a broker's session with the controller, and (feature `channel`) the channel that carries them in process.
//!
//! Order: the broker's first message is [`ToController::Register`]; the controller's first answer is
//! [`FromController::Registered`] or [`FromController::Refused`]; after `Registered` comes one update with
//! `snapshot: true`, then changes. A response to an administrative request is sent after the update that carries the
//! request's effect, so a broker that answers its client when the response arrives already serves the new state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use taffrail_protocol::{ErrorCode, Uuid};

#[cfg(feature = "channel")]
mod channel;
#[cfg(feature = "channel")]
pub use channel::{BrokerEnd, ControllerEnd, SESSION_QUEUE, SessionEnd, session};

/// The version of this contract, named in the first message of a session.
pub const CONTRACT_VERSION: u32 = 1;
/// The oldest version that this release still speaks.
pub const OLDEST_CONTRACT_VERSION: u32 = 1;

/// In [`FromController::Registered`]: the controller takes [`ToController::PartitionSizes`].
pub const PARTITION_SIZES: &str = "partition-sizes";
/// In [`FromController::Registered`]: the controller takes [`ToController::LogDirs`].
pub const LOG_DIRS: &str = "log-dirs";
/// What controllers of this release can do beyond the contract's version.
pub const CONTROLLER_FEATURES: [&str; 2] = [PARTITION_SIZES, LOG_DIRS];

/// Whether this release and one that speaks up to `theirs` understand each other: they work one release apart, in both
/// directions, and then speak the older one's version.
pub fn is_contract_understood(theirs: u32) -> bool {
    (OLDEST_CONTRACT_VERSION..=CONTRACT_VERSION + 1).contains(&theirs)
}

/// What a broker states about its log directories when it registers (REPLICATION.md, rule 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogClaim {
    /// The clean-shutdown marker was there: nothing was lost since the range's first incarnation.
    Clean,
    /// No marker, but boot id and mount are those noted at the last start: the process died, the page cache did not.
    SameBoot,
    /// Anything else, a new disk included.
    Unclean,
}

/// A `host:port` under which a broker can be reached by clients, for one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, such as `PLAINTEXT`.
    pub listener: String,
    /// Host name or address that clients are told.
    pub host: String,
    /// TCP port that clients are told.
    pub port: u16,
}

/// A broker's first message: who it is and what became of its disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// [`CONTRACT_VERSION`] of the broker.
    pub contract_version: u32,
    /// The cluster the broker's disks belong to; `None` on an empty disk.
    pub cluster_id: Option<String>,
    /// The broker's id, unique in the cluster.
    pub broker_id: i32,
    /// Drawn at random once per process, so that a registration asked again gets the same incarnation (rule 16).
    pub process_id: Uuid,
    /// The fate of the log directories.
    pub claim: LogClaim,
    /// The incarnation under which the disks were last served; `None` if never.
    pub last_incarnation: Option<u64>,
    /// Where clients reach the broker.
    pub endpoints: Vec<Endpoint>,
    /// The failure domain, `broker.rack`.
    pub rack: Option<String>,
    /// The ids of the broker's log directories.
    pub log_dirs: Vec<Uuid>,
    /// What this release can do beyond the contract's version, by name.
    pub features: Vec<String>,
    /// Where other brokers reach this one: an address, as replication never asks the DNS. `None`: the broker neither
    /// leads for others nor follows.
    pub peer_address: Option<SocketAddr>,
    /// Drawn at random once per process. The controller hands it to the other brokers, and a replica's connection opens
    /// with it.
    pub peer_token: Uuid,
    /// The incarnation that this process has already, when it opens another session. It gets the same one, also from a
    /// controller that has never heard of it (rule 25), or is refused where another process has the id by now.
    pub resumes: Option<u64>,
    /// What the process holds of topics already, when it opens another session (see [`crate::slices`]). Slices that are
    /// not named are told whole.
    pub slices: Vec<SliceDigest>,
}

/// What is held of one slice of the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SliceDigest {
    /// The slice, as [`crate::slices::topic_slice`] numbers them.
    pub slice: u32,
    /// Of all its records: equal where the same is held.
    pub digest: u64,
}

impl Registration {
    /// What a new process of a broker says whose disks belong to no cluster yet, that nobody reaches, and that replicates
    /// nothing. It has no secret: whoever gives it a `peer_address` must draw a `peer_token` too.
    pub fn new(broker_id: i32, process_id: Uuid, claim: LogClaim) -> Self {
        Self {
            contract_version: CONTRACT_VERSION,
            cluster_id: None,
            broker_id,
            process_id,
            claim,
            last_incarnation: None,
            endpoints: Vec::new(),
            rack: None,
            log_dirs: Vec::new(),
            features: Vec::new(),
            peer_address: None,
            peer_token: Uuid::ZERO,
            resumes: None,
            slices: Vec::new(),
        }
    }
}

/// A message from broker to controller.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a session has one registration, and few messages are on their way at a time"
)]
pub enum ToController {
    /// The first message of a session.
    Register(Registration),
    /// The broker is alive and has applied updates up to `applied_version`.
    Heartbeat {
        /// The incarnation that the registration was answered with.
        incarnation: u64,
        /// The highest [`ClusterUpdate::version`] applied.
        applied_version: u64,
    },
    /// The records that the broker acted on before this session, told once after the registration; then those it holds that
    /// are newer than what a snapshot tells, if there are any (rule 25).
    Held {
        /// The incarnation that the registration was answered with.
        incarnation: u64,
        /// What it holds.
        partitions: Vec<HeldPartition>,
    },
    /// A leader wishes other in-sync replicas (rule 10). Accepted proposals are answered by the update that carries the
    /// new record, the others by [`FromController::IsrRefused`].
    ProposeIsr {
        /// The incarnation that the registration was answered with.
        incarnation: u64,
        /// At most one per partition is in flight.
        proposals: Vec<IsrProposal>,
    },
    /// How the broker's replicas are: at once where the state of a log changed, else every few seconds what changed.
    Health {
        /// The incarnation that the registration was answered with.
        incarnation: u64,
        /// This is all; what is not in it is well or not here.
        full: bool,
        /// The replicas.
        replicas: Vec<ReplicaHealth>,
    },
    /// The answer to [`FromController::QueryLogEnds`].
    LogEnds {
        /// The incarnation that the registration was answered with.
        incarnation: u64,
        /// The query's id.
        query_id: u64,
        /// One for each partition asked for whose log is there and sound.
        ends: Vec<LogEnd>,
    },
    /// How large the partitions are that the broker leads: all of them in each session, then those whose size has changed
    /// noticeably. Only for a controller with the feature [`PARTITION_SIZES`].
    PartitionSizes {
        /// The incarnation that the registration was answered with.
        incarnation: u64,
        /// The sizes.
        partitions: Vec<PartitionSize>,
    },
    /// How the broker's log directories are: in each session, and when one is another. For people: what follows for partitions
    /// is told with [`ToController::Health`]. Only for a controller with the feature [`LOG_DIRS`].
    LogDirs {
        /// The incarnation that the registration was answered with.
        incarnation: u64,
        /// Those that take no writes; with all others nothing is wrong.
        dirs: Vec<LogDirHealth>,
    },
    /// The broker is about to stop and asks that leadership leaves it.
    ControlledShutdown {
        /// The incarnation that the registration was answered with.
        incarnation: u64,
    },
    /// A request that only the controller can decide.
    Request {
        /// Chosen by the broker; comes back in the response.
        request_id: u64,
        /// What is asked.
        request: ControllerRequest,
    },
}

/// A message from controller to broker.
#[derive(Debug, Clone, PartialEq)]
pub enum FromController {
    /// The registration succeeded.
    Registered {
        /// The cluster's id, which a new broker notes in `meta.properties`.
        cluster_id: String,
        /// The incarnation of this broker process (rule 9).
        incarnation: u64,
        /// The failure domain that the broker has from now on; in Kubernetes the controller knows it better.
        rack: Option<String>,
        /// Where clients are told to reach the broker from now on, by listener.
        endpoints: Vec<Endpoint>,
        /// What the controller can do beyond the contract's version, by name.
        features: Vec<String>,
    },
    /// This controller is not the active one. The session ends.
    Redirect {
        /// The active controller's address (`http://HOST:PORT`); `None` if it is not known.
        active: Option<String>,
    },
    /// The broker is not wanted, for good: its registration was refused, or another process has its id now. A sentence
    /// says why and what to do. The session ends, and the broker stops.
    Refused {
        /// The sentence.
        reason: String,
    },
    /// The cluster's state or a change of it.
    Update(Arc<ClusterUpdate>),
    /// The answer to [`ToController::Request`].
    Response {
        /// The request's id.
        request_id: u64,
        /// The answer.
        response: ControllerResponse,
    },
    /// ISR proposals that were not taken: the leader looks at its newest record and proposes again where it still wishes
    /// to (rule 10).
    IsrRefused {
        /// The proposals.
        refused: Vec<RefusedIsr>,
    },
    /// How far do these logs reach? Asked before an election that may lose records (rules 4, 17).
    QueryLogEnds {
        /// Comes back in the answer.
        query_id: u64,
        /// Topic id and partition.
        partitions: Vec<(Uuid, i32)>,
    },
    /// The broker may stop: nothing is led by it any more that another could lead.
    ShutdownGranted,
}

/// A record that a broker acted on, or told clients of (rules 25, 31).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPartition {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The record's creation.
    pub creation: u64,
    /// The record's leader epoch.
    pub leader_epoch: i32,
    /// The record's partition epoch: in-sync replicas change without a new leader too.
    pub partition_epoch: i32,
    /// The record's replicas, by broker id; none from a broker of an earlier release.
    pub replicas: Vec<i32>,
}

/// The in-sync replicas that a leader wishes for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IsrProposal {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The epoch that the leader leads in.
    pub leader_epoch: i32,
    /// The partition epoch of the record that it is made on.
    pub partition_epoch: i32,
    /// The whole new ISR. The same as the present one is a proposal too: it makes sure that an earlier one is void.
    pub isr: Vec<Member>,
}

/// A proposal that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedIsr {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The partition epoch that the proposal carried.
    pub partition_epoch: i32,
    /// Why.
    pub reason: IsrRefusal,
}

/// Why a proposal was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsrRefusal {
    /// There is no such partition.
    UnknownPartition,
    /// The record has another partition epoch or leader epoch by now.
    StaleEpoch,
    /// The record names another leader.
    NotLeader,
    /// A member is not a replica, is fenced, or is not in the incarnation that is registered.
    Ineligible,
}

/// How one replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaHealth {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The leader epoch that the replica acts under.
    pub leader_epoch: i32,
    /// Whether there is a log that takes writes.
    pub log: LogState,
    /// The offset that the next record gets.
    pub log_end_offset: i64,
    /// On a leader: how far each follower is behind. Empty on a follower.
    pub followers: Vec<FollowerLag>,
}

/// What has become of a replica's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogState {
    /// It is there and takes writes.
    Online,
    /// The record names this replica as one that has a log, and there is none (rule 30).
    Missing,
    /// It takes no writes any more, or cannot be opened.
    Failed {
        /// The sentence that the broker logged.
        reason: String,
    },
}

/// A log directory that takes no writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirHealth {
    /// Where it is.
    pub path: String,
    /// Why.
    pub state: LogDirState,
    /// The sentence that the broker logged.
    pub reason: String,
}

/// Why a log directory takes no writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogDirState {
    /// There is no room for records. It takes writes again by itself when there is.
    Full,
    /// It is out of service until the broker is started again.
    Failed,
}

/// How far a follower is behind its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerLag {
    /// The follower.
    pub broker_id: i32,
    /// Records that it lacks.
    pub records: i64,
    /// For how long it has not been caught up, in milliseconds; 0 when it is.
    pub ms: i64,
}

/// How far a log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The leader epoch of the last record, or a later one that the broker led in with this log; -1 if there is neither.
    pub last_epoch: i32,
    /// The offset that the next record gets.
    pub end_offset: i64,
}

/// How large a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionSize {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// Of all segments of the leader's log.
    pub size_bytes: u64,
}

/// The whole state that concerns a broker, or what changed of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterUpdate {
    /// Grows with every update of one controller.
    pub version: u64,
    /// This is the whole state; what is neither in it nor in the slices of `unchanged_slices` does not exist.
    pub snapshot: bool,
    /// In a snapshot: slices of the topics that are left out, as the broker registered with what is in them.
    pub unchanged_slices: Vec<u32>,
    /// Brokers that appeared or changed.
    pub brokers: Vec<BrokerRecord>,
    /// Brokers that are gone.
    pub removed_brokers: Vec<i32>,
    /// Topics that appeared or changed.
    pub topics: Vec<TopicRecord>,
    /// Topics that are gone, by id.
    pub removed_topics: Vec<Uuid>,
    /// Partitions that appeared or changed.
    pub partitions: Vec<PartitionRecord>,
    /// Dynamic broker configuration that changed; in a snapshot all there is.
    pub broker_configs: Vec<BrokerConfigRecord>,
    /// Which objects wish for topics, by topic id, where that changed. For those who watch in the controller's process;
    /// brokers have no use for it, and it is not sent to them.
    pub wishes: Vec<(Uuid, Option<TopicWish>)>,
}

/// The object, outside of the cluster, that wishes for a topic: a `Topic` in Kubernetes. It is remembered with the topic,
/// so that an object that went while nobody looked is missed all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicWish {
    /// The object's name.
    pub object: String,
    /// The object's uid: one made again under the name has another.
    pub uid: String,
    /// What is to become of the topic without the object.
    pub after: AfterWish,
    /// Since when the object is gone, in milliseconds since 1970; `None` while nobody knows that it is.
    pub gone_since_ms: Option<u64>,
    /// The configuration that the object sets, or has set and that is to be reset.
    pub config_keys: BTreeSet<String>,
}

/// What becomes of a topic whose object is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterWish {
    /// It is deleted after a grace period.
    Delete,
    /// It stays.
    Retain,
    /// It was to be deleted, but it is not certain that a person deleted the object: it stays until a person decides.
    Hold,
}

/// Dynamic configuration of one broker or of all (KIP-226).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfigRecord {
    /// The broker; `None` for what holds for every broker that does not say otherwise.
    pub broker_id: Option<i32>,
    /// All that is set. Empty: nothing is set any more.
    pub config: BTreeMap<String, String>,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRecord {
    /// The broker's id.
    pub broker_id: i32,
    /// Its current incarnation.
    pub incarnation: u64,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// Its failure domain.
    pub rack: Option<String>,
    /// A fenced broker leads nothing and is not named to clients.
    pub fenced: bool,
    /// Where other brokers reach it.
    pub peer_address: Option<SocketAddr>,
    /// What its replicas' connections open with; `None` while the controller has not heard it: then the one that is known
    /// for the same incarnation goes on to hold.
    pub peer_token: Option<Uuid>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRecord {
    /// The name.
    pub name: Arc<str>,
    /// The id, drawn by the controller; a topic made again under the same name has another one.
    pub topic_id: Uuid,
    /// Grows with every topic made in the cluster (rule 2).
    pub creation: u64,
    /// Configuration that was set on the topic itself.
    pub config: BTreeMap<String, String>,
    /// How many partitions it has.
    pub partition_count: i32,
}

/// One partition's record (REPLICATION.md, section State).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionRecord {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The topic's `creation`, which orders records of equal names.
    pub creation: u64,
    /// Broker ids; the first is the preferred leader.
    pub replicas: Vec<i32>,
    /// Broker id and incarnation of the leader.
    pub leader: Option<Member>,
    /// Grows at every change of leader.
    pub leader_epoch: i32,
    /// Grows at every change of this record.
    pub partition_epoch: i32,
    /// In-sync replicas.
    pub isr: Vec<Member>,
    /// Eligible leader replicas outside the ISR (KIP-966).
    pub elr: Vec<Member>,
    /// The smaller of `min.insync.replicas` and the number of replicas (rule 23).
    pub min_isr: i32,
    /// Replicas that a reassignment adds; they are in `replicas`.
    pub adding: Vec<i32>,
    /// Replicas that a reassignment removes; they are in `replicas` until it ends.
    pub removing: Vec<i32>,
    /// Leader epoch of the last election that may have lost records (rules 4, 13, 17).
    pub unclean_epoch: Option<i32>,
}

/// A broker in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The broker's id.
    pub broker_id: i32,
    /// The incarnation that is meant.
    pub incarnation: u64,
}

/// A request that only the controller can decide.
#[derive(Debug, Clone, PartialEq)]
pub enum ControllerRequest {
    /// Make topics.
    CreateTopics {
        /// One answer is given for each, in this order.
        topics: Vec<NewTopic>,
        /// Check everything and change nothing.
        validate_only: bool,
    },
    /// Delete topics.
    DeleteTopics {
        /// One answer is given for each, in this order.
        topics: Vec<TopicRef>,
    },
    /// Add partitions to topics.
    CreatePartitions {
        /// One answer is given for each, in this order.
        topics: Vec<MorePartitions>,
        /// Check everything and change nothing.
        validate_only: bool,
    },
    /// A block of producer ids that nobody else gets.
    AllocateProducerIds,
    /// Change the configuration of topics and brokers (KIP-339). The asking broker has checked keys and values of brokers;
    /// the controller checks those of topics.
    AlterConfigs {
        /// One answer is given for each, in this order.
        changes: Vec<ConfigChange>,
        /// Check everything and change nothing.
        validate_only: bool,
    },
    /// Elect leaders (KIP-460).
    ElectLeaders {
        /// Which leaders may be taken.
        kind: ElectionKind,
        /// One answer is given for each, in this order. `None`: every partition that is not led by its preferred replica,
        /// or that has no leader; the answer then names those it concerned.
        partitions: Option<Vec<(String, i32)>>,
    },
    /// Move partitions to other replicas, or cancel a move (KIP-455).
    AlterReassignments {
        /// One answer is given for each, in this order.
        partitions: Vec<Reassignment>,
        /// Whether the number of replicas may change (KIP-860).
        allow_replication_factor_change: bool,
    },
    /// Forget a broker that is gone for good.
    UnregisterBroker {
        /// Its id.
        broker_id: i32,
    },
}

/// What a configuration belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A broker; `None` for the default of all brokers.
    Broker(Option<i32>),
}

/// A change of one resource's configuration: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// What it is changed of.
    pub resource: ConfigResource,
    /// What is set before is dropped first (the older AlterConfigs).
    pub replace: bool,
    /// What is done, in order.
    pub ops: Vec<(String, ConfigOp)>,
}

/// What is done with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOp {
    /// Set it.
    Set(String),
    /// Back to the default.
    Delete,
    /// Add elements to a list.
    Append(String),
    /// Take elements out of a list.
    Subtract(String),
}

/// Which leaders an election may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first of the replicas, if it is in the ISR.
    Preferred,
    /// Anybody, where there is no leader: records may be lost.
    Unclean,
}

/// Where a partition shall live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassignment {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The replicas it shall have; `None` cancels the move under way.
    pub replicas: Option<Vec<i32>>,
}

/// What became of one partition that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOutcome {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// How it ended.
    pub result: Result<(), ApiError>,
}

/// A topic named or identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(Uuid),
}

/// A topic to be made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// Number of partitions; `None` takes the cluster's `num.partitions`.
    pub partitions: Option<i32>,
    /// Replicas of each partition; `None` takes the cluster's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// Replicas by hand: one list of brokers per partition, in order. Empty: the controller places them.
    pub assignments: Vec<Vec<i32>>,
    /// Configuration to set on the topic.
    pub config: BTreeMap<String, String>,
}

/// A topic to be grown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitions {
    /// The topic's name.
    pub name: String,
    /// The number of partitions it shall have.
    pub total_count: i32,
    /// Replicas of each new partition by hand; empty: the controller places them.
    pub assignments: Vec<Vec<i32>>,
}

/// A refusal in Kafka's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Kafka's error code.
    pub code: ErrorCode,
    /// What failed, on what, why and what to do.
    pub message: String,
}

/// What became of one topic that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOutcome {
    /// The topic's name, where it is known.
    pub name: Option<String>,
    /// The topic's id; zero where there is none.
    pub topic_id: Uuid,
    /// How many partitions the topic has now.
    pub partition_count: i32,
    /// How many replicas each partition has.
    pub replication_factor: i16,
    /// Configuration set on the topic itself.
    pub config: BTreeMap<String, String>,
}

/// The answer to a [`ControllerRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum ControllerResponse {
    /// For `CreateTopics`, `DeleteTopics` and `CreatePartitions`: one entry per topic asked for, in order.
    Topics(Vec<Result<TopicOutcome, ApiError>>),
    /// For `AllocateProducerIds`: the first id and how many follow it.
    ProducerIds {
        /// First id of the block.
        first: i64,
        /// Length of the block.
        count: i32,
    },
    /// For `ElectLeaders` and `AlterReassignments`.
    Partitions(Vec<PartitionOutcome>),
    /// For `AlterConfigs`: one entry per change, in order.
    Configs(Vec<Result<(), ApiError>>),
    /// For `UnregisterBroker`: it is done.
    Done,
    /// The request as a whole was refused.
    Failed(ApiError),
}
