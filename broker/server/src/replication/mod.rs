//! What the replicas of this broker need done by others: fetching from leaders, proposing in-sync replicas to the
//! controller, telling it how they are and how large, and syncing.
//!
//! A step of a partition only notes down what is to be done ([`Errands`]); tasks of the broker do it.

mod connect;
mod fetchers;
mod flusher;
mod queue;
pub mod quota;
mod repair;
mod reporter;
mod sizes;
mod source;
mod source_session;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use taffrail_control::session::{IsrProposal, Member};
use taffrail_protocol::Uuid;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::broker::Broker;
use crate::cluster::PartitionKey;
use crate::replicas::Replicas;

pub use flusher::flush;
pub use queue::KeyQueue;
pub use reporter::{isr_refused, log_ends, session_begins, snapshot_applied};

/// So many segments that could not be read wait to be looked at.
const MOST_UNREADABLE: usize = 64;

/// What is to be done for the replicas that live here. Each queue holds a partition once, so none outgrows the number of
/// replicas.
#[derive(Debug, Default)]
pub struct Errands {
    /// Replicas that follow, or follow somebody else now, or may go on.
    pub fetchable: KeyQueue,
    /// Replicas that wait for a sync.
    pub flushes: KeyQueue,
    /// Replicas whose log takes no writes any more, or takes them again: to be told to the controller.
    pub reports: KeyQueue,
    /// Replicas with a batch that is corrupt.
    pub repairs: KeyQueue,
    /// Replicas whose log starts elsewhere by now.
    pub log_starts: KeyQueue,
    /// Replicas that are to keep other records than before.
    pub retention: KeyQueue,
    /// Replicas with files of segments that compaction has replaced.
    pub sweeps: KeyQueue,
    /// There are other brokers, or they are elsewhere.
    pub brokers: Notify,
    /// The checkpoints tell what is not so any more.
    pub checkpoint: Notify,
    proposals: Mutex<BTreeMap<PartitionKey, IsrProposal>>,
    proposed: Notify,
    /// Segments that could not be read.
    unreadable: Mutex<BTreeSet<PathBuf>>,
    unread: Notify,
    /// There is a new session with the controller.
    renewed: Notify,
}

impl Errands {
    /// A leader wishes for other in-sync replicas. A newer wish replaces an older one that has not left yet.
    pub fn propose(&self, key: PartitionKey, proposal: IsrProposal) {
        self.proposals.lock().insert(key, proposal);
        self.proposed.notify_one();
    }

    /// The file of a segment could not be read: which batch it is, and in whose log, is to be found out.
    pub fn unreadable(&self, segment: PathBuf) {
        let mut unreadable = self.unreadable.lock();
        // A disk that fails altogether is noticed elsewhere.
        if unreadable.len() < MOST_UNREADABLE {
            unreadable.insert(segment);
            self.unread.notify_one();
        }
    }

    fn take_proposals(&self) -> Vec<IsrProposal> {
        std::mem::take(&mut *self.proposals.lock()).into_values().collect()
    }
}

/// Starts the tasks that do it; they end when `stop` changes. `token` proves to other brokers that this one is `me`.
pub fn start(
    broker: &Arc<Broker>,
    replicas: &Arc<Replicas>,
    me: Member,
    token: Uuid,
    stop: &watch::Receiver<bool>,
) -> [JoinHandle<()>; 4] {
    let reporter = reporter::Reporter::new(Arc::clone(broker), me);
    let repairer = repair::Repairer { broker: Arc::clone(broker), replicas: Arc::clone(replicas), me, token };
    [
        tokio::spawn(fetchers::run(Arc::clone(broker), me, token, stop.clone())),
        tokio::spawn(flusher::run(Arc::clone(broker), stop.clone())),
        tokio::spawn(reporter::run(reporter, stop.clone())),
        tokio::spawn(repair::run(repairer, stop.clone())),
    ]
}
