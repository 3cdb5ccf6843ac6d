//! A broker: a disk that outlives its processes, and the shell around the shipped types that a process is.

mod compacting;
mod deleting;
pub mod fetching;
mod lifecycle;
mod mending;
mod observing;
mod serving;
mod updates;

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::{LogState, Member, PartitionRecord, Registration, TopicRecord};
use taffrail_log::{LogDir, MemoryStorage};
use taffrail_protocol::Uuid;
use taffrail_replication::brokers::KnownBrokers;
use taffrail_replication::disk::claim::Claim;
use taffrail_replication::disk::logs::{RecoveredLogs, ReplicaLogs};
use taffrail_replication::partition::Partition;
use taffrail_replication::topics::TopicLedger;

use crate::checks::Tp;
use crate::session::ConnId;

pub use observing::{batches_in, batches_of, bytes_of, made_whole};

/// Who an effect of a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The partition itself.
    Reporter(Tp),
    /// A produce request that is parked.
    Produce(u64),
}

/// A machine.
pub struct Broker {
    /// Its disk.
    pub storage: MemoryStorage,
    /// Which disk that is: another number when it may have lost something.
    pub disk: u64,
    /// Which boot of the machine this is.
    pub boot: u64,
    /// What runs on it.
    pub process: Option<Process>,
}

impl Broker {
    /// A machine with an empty disk.
    pub fn new() -> Self {
        Self { storage: MemoryStorage::new(), disk: 0, boot: 0, process: None }
    }

    /// The process, where it serves.
    pub fn serving(&self) -> Option<&Serving> {
        match self.process.as_ref().map(|process| &process.stage) {
            Some(Stage::Serving(serving)) => Some(serving),
            _ => None,
        }
    }

    /// The same, to be stepped.
    pub fn serving_mut(&mut self) -> Option<&mut Serving> {
        match self.process.as_mut().map(|process| &mut process.stage) {
            Some(Stage::Serving(serving)) => Some(serving),
            _ => None,
        }
    }

    /// Whether this is the process that runs.
    pub fn runs(&self, run: u64) -> bool {
        self.process.as_ref().is_some_and(|process| process.run == run)
    }
}

/// One life of a broker.
pub struct Process {
    /// Which one.
    pub run: u64,
    /// What it says when it registers.
    pub registration: Registration,
    /// Its connection with a controller.
    pub conn: Option<ConnId>,
    /// The controller has answered the registration on this connection.
    pub registered: bool,
    /// Which controller it tries next.
    pub next_controller: usize,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a process has come.
pub enum Stage {
    /// The disk was looked at, and nobody has registered it yet.
    Recovered(Box<Recovered>),
    /// It serves.
    Serving(Box<Serving>),
}

/// A disk that was looked at.
pub struct Recovered {
    /// The directory; `None` while it is empty.
    pub dir: Option<LogDir<MemoryStorage>>,
    /// The logs in it.
    pub logs: RecoveredLogs<MemoryStorage>,
    /// What it is worth.
    pub claim: Claim,
}

/// A broker that serves.
pub struct Serving {
    /// Who it is.
    pub me: Member,
    /// Its logs.
    pub logs: ReplicaLogs<MemoryStorage>,
    /// Which topics it believes in.
    pub ledger: TopicLedger,
    /// The brokers that it knows.
    pub brokers: KnownBrokers,
    /// The topics that it knows.
    pub topics: BTreeMap<Uuid, TopicRecord>,
    /// The records that it knows.
    pub records: BTreeMap<Tp, PartitionRecord>,
    /// The replicas that it has.
    pub replicas: BTreeMap<Tp, Replica>,
    /// The replicas that it should have and cannot act on.
    pub unwell: BTreeMap<Tp, LogState>,
    /// What was last told to the controller about each log.
    pub told: BTreeMap<Tp, LogState>,
    /// By leader: what it is asked.
    pub fetchers: BTreeMap<i32, Fetcher>,
    /// Produce requests that are parked.
    pub waiting: BTreeMap<u64, Waiting>,
    /// The highest update applied.
    pub applied_version: u64,
    /// The first snapshot of this session was not applied yet.
    pub renewing: bool,
    /// Asked to stop; it waits no longer than until then.
    pub stopping_until_ms: Option<u64>,
    /// A flush is on its way.
    pub flushing: bool,
    /// Replicas whose log starts elsewhere than is written down.
    pub starts_moved: BTreeSet<Tp>,
    /// A compaction that is under way.
    pub compacting: Option<compacting::Compacting>,
    /// A log that is being mended.
    pub mending: Option<mending::Mending>,
}

/// A replica, and how far the checks have looked at it.
pub struct Replica {
    /// The shipped type.
    pub partition: Partition<MemoryStorage, Token>,
    /// The topic's name.
    pub name: String,
    /// Up to here its committed batches were compared.
    pub seen: i64,
    /// Tells it from one that this process had before.
    pub life: u64,
}

/// What is asked of one leader.
#[derive(Debug, Default)]
pub struct Fetcher {
    /// The request that was not answered yet, and until when it may take.
    pub in_flight: Option<(u64, u64)>,
}

/// A produce request that waits for its commit.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The client's number for it.
    pub number: u64,
    /// The client.
    pub client: usize,
    /// The partition.
    pub tp: Tp,
    /// Where its batch is.
    pub base_offset: i64,
    /// The values of its records.
    pub values: Vec<u64>,
    /// Whether all in-sync replicas were asked for.
    pub all: bool,
}
