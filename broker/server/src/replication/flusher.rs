//! Syncs for topics that ask for them before anybody counts on a record (`flush.messages`, rule 26): many partitions side
//! by side, none of them held meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;

use taffrail_replication::partition::Effects;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::clock;
use crate::cluster::{PartitionKey, Replica};
use crate::waiter::carry_out;

/// Syncs that run at a time. A disk merges what arrives together.
const AT_ONCE: usize = 16;

/// Syncs until `stop` changes. What comes in while a partition is being synced shares its next sync.
pub async fn run(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    let mut running = JoinSet::new();
    let mut waiting: BTreeSet<PartitionKey> = BTreeSet::new();
    let mut busy: BTreeSet<PartitionKey> = BTreeSet::new();
    loop {
        let startable: Vec<_> = waiting
            .iter()
            .filter(|key| !busy.contains(*key))
            .take(AT_ONCE.saturating_sub(running.len()))
            .copied()
            .collect();
        for key in startable {
            waiting.remove(&key);
            let Some(replica) = broker.cluster.replica(key) else { continue };
            busy.insert(key);
            running.spawn_blocking(move || {
                flush(&replica);
                key
            });
        }
        tokio::select! {
            keys = broker.errands.flushes.take() => waiting.extend(keys),
            Some(done) = running.join_next() => match done {
                Ok(key) => { busy.remove(&key); }
                // The runtime is stopping, or it panicked and told so.
                Err(_) => return,
            },
            _ = stop.changed() => break,
        }
    }
    while running.join_next().await.is_some() {}
}

/// Syncs a replica's log without holding the replica meanwhile, and lets it count what is on the disk now.
pub fn flush(replica: &Replica) {
    let mut effects = Effects::new();
    let begun = replica.lock().begin_flush(&mut effects);
    // That a log failed is an effect, which has it told.
    if let Ok(Some(flush)) = begun {
        let flushed = flush.run();
        let _ = replica.lock().finish_flush(clock::now_ms(), flushed, &mut effects);
    }
    carry_out(&mut effects);
}
