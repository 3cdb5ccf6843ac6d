//! What goes into the controller and what comes out of it.
//!
//! The messages to and from brokers are those of the session contract.

use std::fmt;

use taffrail_control::session::{FromController, ToController, TopicWish};
use taffrail_protocol::Uuid;

use crate::directory::Directory;
use crate::model::{Member, ObjectKey};
use crate::policy::Policy;
use crate::store::{StoreAnswer, StoreRequest, Version};

/// A session with one broker or with one who watches, numbered by the shell. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// This controller is to be the active one: it asks the store for everything.
    Start,
    /// It is the active one no more (rule 32), until it is told to start again.
    Deposed {
        /// The active controller's address, where it is known.
        active: Option<String>,
    },
    /// The store answered.
    Store(StoreAnswer),
    /// An object has, or had, this version in the store: what a store tells that others write to as well. It may come late
    /// and repeatedly, and for this controller's own writes too; for the last write of an object it comes in the end. So it
    /// does when the object was deleted, with a version above its last.
    Changed {
        /// The object.
        key: ObjectKey,
        /// Its version.
        version: Version,
    },
    /// A broker says something.
    Said {
        /// Its session.
        session: SessionId,
        /// The message.
        message: ToController,
    },
    /// Somebody who is no broker wants to see the cluster: told a snapshot and then every update, and answered as a broker
    /// is. Before the store has been read the session is closed.
    Watch {
        /// The session.
        session: SessionId,
    },
    /// As [`Input::Watch`], for somebody who sees the cluster elsewhere: in place of the snapshot, an update with nothing but its
    /// version.
    Attend {
        /// The session.
        session: SessionId,
    },
    /// It is to be remembered which object wishes for a topic. Passed over if there is no such topic, or nothing can be
    /// decided now; who watches sees what came of it.
    Wished {
        /// The topic's name.
        topic: String,
        /// The topic's id.
        topic_id: Uuid,
        /// The object.
        wish: Option<TopicWish>,
    },
    /// What the controller is configured with has changed.
    Configured(Policy),
    /// A session is over.
    SessionEnded {
        /// The session.
        session: SessionId,
    },
    /// What is known of brokers better than by themselves has changed. Without it their own word holds.
    Directory(Directory),
    /// Time passed. Expected twice a second, and when [`Output::WakeIn`] asked for it.
    Tick,
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
        message: FromController,
    },
    /// End a session, after what was sent on it.
    Close {
        /// The session.
        session: SessionId,
    },
    /// Give an [`Input::Tick`] when so much time has passed, if none is due before: a broker may have to be fenced then.
    WakeIn {
        /// Milliseconds.
        after_ms: u64,
    },
    /// Tell the people who run the cluster.
    Event(Event),
}

/// What the people who run the cluster may want to know, as a sentence.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each event says in its sentence what its fields are")]
pub enum Event {
    Loaded { cluster_id: String, brokers: usize, topics: usize, partitions: usize },
    BrokerRegistered { broker: Member, kept_everything: bool, again: bool },
    BrokerRefused { broker_id: i32, reason: String },
    BrokerFenced { broker: Member, why: &'static str },
    BrokerForgotten { broker_id: i32 },
    StaleMessage { broker: Member, incarnation: u64 },
    AllSilent { brokers: usize },
    TopicCreated { name: String, topic_id: Uuid, partitions: i32 },
    TopicGrown { name: String, topic_id: Uuid, partitions: i32 },
    TopicDeleting { name: String, topic_id: Uuid },
    TopicDeleted { name: String, topic_id: Uuid },
    LeadersMoved { slice: u32, partitions: usize, without_leader: usize },
    UncleanElection { topic: String, partition: i32, leader: i32, leader_epoch: i32 },
    Reassigning { topic: String, partitions: usize },
    Reassigned { topic: String, partitions: usize, cancelled: bool },
    MinIsrChanged { topic: String, partitions: usize },
    StoreBehind { topic: String, partition: i32, leader_epoch: i32 },
    WrittenByAnother { object: String },
    SwapLost { object: String },
}

impl Event {
    /// Whether it is about something that someone should look at.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::BrokerRefused { .. }
            | Self::BrokerFenced { .. }
            | Self::StaleMessage { .. }
            | Self::AllSilent { .. }
            | Self::UncleanElection { .. }
            | Self::StoreBehind { .. }
            | Self::WrittenByAnother { .. }
            | Self::SwapLost { .. } => true,
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
            Self::BrokerForgotten { broker_id } => {
                write!(f, "broker {broker_id} was unregistered; its id is free")
            }
            Self::StaleMessage { broker, incarnation } => write!(
                f,
                "broker {} speaks as incarnation {incarnation} in the session of its incarnation {}; what it says so is \
                 ignored",
                broker.broker_id, broker.incarnation
            ),
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
            Self::Reassigning { topic, partitions } => {
                write!(f, "{partitions} partitions of topic {topic} are being moved to other replicas")
            }
            Self::Reassigned { topic, partitions, cancelled: false } => {
                write!(f, "{partitions} partitions of topic {topic} are where they were to be moved to")
            }
            Self::Reassigned { topic, partitions, cancelled: true } => {
                write!(
                    f,
                    "moving {partitions} partitions of topic {topic} was cancelled; they stay where they were"
                )
            }
            Self::MinIsrChanged { topic, partitions } => {
                write!(
                    f,
                    "{partitions} partitions of topic {topic} need another number of replicas in sync from now on"
                )
            }
            Self::StoreBehind { topic, partition, leader_epoch } => write!(
                f,
                "the store is behind what brokers know of partition {topic}-{partition}, as after a restore from a backup; \
                 it has epoch {leader_epoch} now and gets a leader when all of its replicas are back"
            ),
            Self::WrittenByAnother { object } => {
                write!(
                    f,
                    "{object} was written by somebody else; it is read again before anything is decided on it"
                )
            }
            Self::SwapLost { object } => {
                write!(
                    f,
                    "the answer to a write of {object} was lost; it is read again to see what became of it"
                )
            }
        }
    }
}
