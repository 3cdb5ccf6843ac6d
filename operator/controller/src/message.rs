//! What goes into the controller and what comes out of it.
//!
//! The messages to and from brokers mirror those of the session contract; the shell carries them across.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use taffrail_protocol::{ErrorCode, Uuid};

use crate::model::{BrokerState, Endpoint, Member, PartitionState};
use crate::store::{StoreAnswer, StoreRequest};

/// A session with one broker, numbered by the shell. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The first input: asks the store for everything.
    Start,
    /// The store answered.
    Store(StoreAnswer),
    /// A broker's first message.
    Register {
        /// Its session.
        session: SessionId,
        /// Who it is.
        registration: Registration,
    },
    /// A broker is alive.
    Heartbeat {
        /// Its session.
        session: SessionId,
        /// The incarnation that it was given.
        incarnation: u64,
    },
    /// A broker is about to stop.
    ControlledShutdown {
        /// Its session.
        session: SessionId,
        /// The incarnation that it was given.
        incarnation: u64,
    },
    /// A broker asks for a decision.
    Request {
        /// Its session.
        session: SessionId,
        /// Comes back in the response.
        request_id: u64,
        /// What is asked.
        request: Request,
    },
    /// A session is over.
    SessionEnded {
        /// The session.
        session: SessionId,
    },
    /// Time passed. Expected a few times a second.
    Tick,
}

/// Who a broker is and what became of its disks.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The cluster its disks belong to, if any.
    pub cluster_id: Option<String>,
    /// Its id.
    pub broker_id: i32,
    /// Drawn once per process (rule 16).
    pub process_id: Uuid,
    /// Whether its disks have lost nothing since `last_incarnation` (CLEAN or SAME_BOOT, rule 16).
    pub kept_everything: bool,
    /// The incarnation under which its disks were last served.
    pub last_incarnation: Option<u64>,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// Its failure domain.
    pub rack: Option<String>,
    /// Its log directories.
    pub log_dirs: Vec<Uuid>,
}

/// What a broker asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Make topics.
    CreateTopics {
        /// Answered one by one, in order.
        topics: Vec<NewTopic>,
        /// Check everything and change nothing.
        validate_only: bool,
    },
    /// Delete topics.
    DeleteTopics {
        /// Answered one by one, in order.
        topics: Vec<TopicRef>,
    },
    /// Add partitions to topics.
    CreatePartitions {
        /// Answered one by one, in order.
        topics: Vec<MorePartitions>,
        /// Check everything and change nothing.
        validate_only: bool,
    },
    /// A block of producer ids.
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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; `None` takes the default.
    pub partitions: Option<i32>,
    /// Replicas of each partition; `None` takes the default.
    pub replication_factor: Option<i16>,
    /// Replicas by hand, one list per partition; empty: the controller places them.
    pub assignments: Vec<Vec<i32>>,
    /// Configuration to set on it.
    pub config: BTreeMap<String, String>,
}

/// A topic to be grown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MorePartitions {
    /// Its name.
    pub name: String,
    /// How many partitions it shall have.
    pub total_count: i32,
    /// Replicas by hand of each new partition; empty: the controller places them.
    pub assignments: Vec<Vec<i32>>,
}

/// A refusal in Kafka's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Kafka's code.
    pub code: ErrorCode,
    /// What failed, on what, why and what to do.
    pub message: String,
}

/// What became of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOutcome {
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Its id; zero where there is none.
    pub topic_id: Uuid,
    /// How many partitions it has now.
    pub partition_count: i32,
    /// How many replicas each partition has.
    pub replication_factor: i16,
    /// Configuration set on it.
    pub config: BTreeMap<String, String>,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// One entry per topic asked for, in order.
    Topics(Vec<Result<TopicOutcome, ApiError>>),
    /// A block of producer ids that nobody else gets.
    ProducerIds {
        /// The first.
        first: i64,
        /// How many.
        count: i32,
    },
    /// Refused as a whole.
    Failed(ApiError),
}

/// What the shell is to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Ask the store.
    Store(StoreRequest),
    /// Tell a broker.
    Send {
        /// Its session.
        session: SessionId,
        /// The message.
        message: Message,
    },
    /// End a session, after what was sent on it.
    Close {
        /// The session.
        session: SessionId,
    },
    /// Tell the people who run the cluster.
    Event(Event),
}

/// A message to a broker.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// It is registered.
    Registered {
        /// The cluster's id.
        cluster_id: String,
        /// Its incarnation.
        incarnation: u64,
    },
    /// It is not, and why.
    Refused {
        /// A sentence.
        reason: String,
    },
    /// The state or a change of it.
    Update(Arc<Update>),
    /// The answer to a request.
    Response {
        /// The request.
        request_id: u64,
        /// The answer.
        response: Response,
    },
    /// Nothing is led by it that another could lead: it may stop.
    ShutdownGranted,
}

/// What brokers are told of the cluster: everything, or what changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Grows with every update.
    pub version: u64,
    /// This is everything.
    pub snapshot: bool,
    /// New and changed brokers.
    pub brokers: Vec<BrokerState>,
    /// New and changed topics.
    pub topics: Vec<PublishedTopic>,
    /// Topics that are gone.
    pub removed_topics: Vec<Uuid>,
    /// New and changed partitions.
    pub partitions: Vec<PublishedPartition>,
}

/// A topic as brokers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub topic_id: Uuid,
    /// Its creation.
    pub creation: u64,
    /// Configuration set on it.
    pub config: BTreeMap<String, String>,
    /// How many of its partitions are there.
    pub partition_count: i32,
}

/// A partition as brokers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedPartition {
    /// Its topic.
    pub topic_id: Uuid,
    /// Its topic's creation.
    pub creation: u64,
    /// Its record.
    pub state: PartitionState,
}

/// What the people who run the cluster may want to know, as a sentence.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each event says in its sentence what its fields are")]
pub enum Event {
    Loaded { cluster_id: String, brokers: usize, topics: usize, partitions: usize },
    BrokerRegistered { broker: Member, kept_everything: bool, again: bool },
    BrokerRefused { broker_id: i32, reason: String },
    BrokerFenced { broker: Member, why: &'static str },
    AllSilent { brokers: usize },
    TopicCreated { name: String, topic_id: Uuid, partitions: i32 },
    TopicGrown { name: String, topic_id: Uuid, partitions: i32 },
    TopicDeleting { name: String, topic_id: Uuid },
    TopicDeleted { name: String, topic_id: Uuid },
    LeadersMoved { slice: u32, partitions: usize, without_leader: usize },
    UncleanElection { topic: String, partition: i32, leader: i32, leader_epoch: i32 },
    SwapFailed { object: String, lost: bool },
}

impl Event {
    /// Whether it is about something that someone should look at.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::BrokerRefused { .. }
            | Self::BrokerFenced { .. }
            | Self::AllSilent { .. }
            | Self::UncleanElection { .. }
            | Self::SwapFailed { .. } => true,
            Self::LeadersMoved { without_leader, .. } => *without_leader > 0,
            _ => false,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded { cluster_id, .. } if cluster_id.is_empty() => {
                write!(f, "the controller's store is empty: a new cluster begins")
            }
            Self::Loaded { cluster_id, brokers, topics, partitions } => write!(
                f,
                "loaded cluster {cluster_id} with {brokers} brokers, {topics} topics and {partitions} partitions"
            ),
            Self::BrokerRegistered { broker, again: true, .. } => {
                write!(f, "broker {} is back in its incarnation {}", broker.broker_id, broker.incarnation)
            }
            Self::BrokerRegistered { broker, kept_everything, .. } => write!(
                f,
                "broker {} registered with incarnation {}; its disks {}",
                broker.broker_id,
                broker.incarnation,
                if *kept_everything { "have lost nothing" } else { "are new or may have lost records" },
            ),
            Self::BrokerRefused { broker_id, reason } => {
                write!(f, "broker {broker_id} was refused: {reason}")
            }
            Self::BrokerFenced { broker, why } => {
                write!(
                    f,
                    "broker {} (incarnation {}) was fenced: {why}",
                    broker.broker_id, broker.incarnation
                )
            }
            Self::AllSilent { brokers } => write!(
                f,
                "all {brokers} brokers look dead at once; the controller distrusts itself and fences none"
            ),
            Self::TopicCreated { name, topic_id, partitions } => {
                write!(f, "topic {name} was created with id {} and {partitions} partitions", topic_id)
            }
            Self::TopicGrown { name, topic_id, partitions } => {
                write!(f, "topic {name} ({}) was grown to {partitions} partitions", topic_id)
            }
            Self::TopicDeleting { name, topic_id } => {
                write!(f, "topic {name} ({}) is being deleted", topic_id)
            }
            Self::TopicDeleted { name, topic_id } => {
                write!(f, "topic {name} ({}) was deleted", topic_id)
            }
            Self::LeadersMoved { slice, partitions, without_leader } => write!(
                f,
                "{partitions} partitions of slice {slice} changed leader or ISR; {without_leader} of them have no leader"
            ),
            Self::UncleanElection { topic, partition, leader, leader_epoch } => write!(
                f,
                "partition {topic}-{partition} is led by broker {leader} from epoch {leader_epoch} on with what its disk \
                 has left: records may be missing"
            ),
            Self::SwapFailed { object, lost: false } => {
                write!(
                    f,
                    "{object} was written by somebody else; it is read again before anything is decided on it"
                )
            }
            Self::SwapFailed { object, lost: true } => {
                write!(
                    f,
                    "the answer to a write of {object} was lost; it is read again to see what became of it"
                )
            }
        }
    }
}
