//! The messages of a broker's session with the controller, and the channel that carries them in process.
//!
//! Order: the broker's first message is [`ToController::Register`]; the controller's first answer is
//! [`FromController::Registered`] or [`FromController::Refused`]; after `Registered` comes one update with
//! `snapshot: true`, then changes. A response to an administrative request is sent after the update that carries the
//! request's effect, so a broker that answers its client when the response arrives already serves the new state.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_protocol::{ErrorCode, Uuid};
use tokio::sync::mpsc;

/// The version of this contract, named in the first message of a session.
pub const CONTRACT_VERSION: u32 = 1;

/// Messages that may wait in either direction of an in-process session before the sender has to wait.
pub const SESSION_QUEUE: usize = 256;

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
}

/// A message from broker to controller.
#[derive(Debug, Clone, PartialEq)]
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
    },
    /// The registration was refused, with a sentence that says why and what to do. The session ends.
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
    /// The broker may stop: nothing is led by it any more that another could lead.
    ShutdownGranted,
}

/// The whole state that concerns a broker, or what changed of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterUpdate {
    /// Grows with every update of one controller.
    pub version: u64,
    /// This is the whole state; what is not in it does not exist.
    pub snapshot: bool,
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq)]
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
    /// The request as a whole was refused.
    Failed(ApiError),
}

/// One end of a session: what a broker (`Up = ToController`) or a controller (`Up = FromController`) holds.
#[derive(Debug)]
pub struct SessionEnd<Up, Down> {
    /// Messages to the other side. A full queue makes the sender wait.
    pub sender: mpsc::Sender<Up>,
    /// Messages from the other side; `None` when the session has ended.
    pub receiver: mpsc::Receiver<Down>,
}

/// The broker's end of a session.
pub type BrokerEnd = SessionEnd<ToController, FromController>;
/// The controller's end of a session.
pub type ControllerEnd = SessionEnd<FromController, ToController>;

/// A session within one process.
pub fn session() -> (BrokerEnd, ControllerEnd) {
    let (up_sender, up_receiver) = mpsc::channel(SESSION_QUEUE);
    let (down_sender, down_receiver) = mpsc::channel(SESSION_QUEUE);
    (
        SessionEnd { sender: up_sender, receiver: down_receiver },
        SessionEnd { sender: down_sender, receiver: up_receiver },
    )
}
