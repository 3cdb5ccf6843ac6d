//! Who follows whom: hands each replica that follows to the task that fetches from its leader. There is one for each other
//! broker that lives, also where nothing is to be fetched.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use taffrail_control::session::Member;
use taffrail_protocol::Uuid;
use taffrail_replication::partition::RoleKind;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::source::{self, Source, SourceInbox};
use crate::broker::Broker;
use crate::cluster::{PartitionKey, Replica};

/// A task that fetches from one broker.
struct Fetcher {
    inbox: Arc<SourceInbox>,
    task: JoinHandle<()>,
}

/// Follows until `stop` changes. `token` proves to others that this broker is `me`.
pub async fn run(broker: Arc<Broker>, me: Member, token: Uuid, mut stop: watch::Receiver<bool>) {
    let mut followed: HashMap<PartitionKey, i32> = HashMap::new();
    let mut fetchers: BTreeMap<i32, Fetcher> = BTreeMap::new();
    loop {
        let keys = tokio::select! {
            keys = broker.errands.fetchable.take() => keys,
            () = broker.errands.brokers.notified() => {
                for other in broker.cluster.brokers().iter().filter(|other| other.broker_id != me.broker_id) {
                    let start = || start(&broker, me, token, other.broker_id, &stop);
                    fetchers.entry(other.broker_id).or_insert_with(start).inbox.look_at_broker();
                }
                continue;
            }
            _ = stop.changed() => break,
        };
        for key in keys {
            let replica = broker.cluster.replica(key);
            let leader_id = replica.as_deref().and_then(followed_leader);
            let before = match leader_id {
                Some(id) => followed.insert(key, id),
                None => followed.remove(&key),
            };
            if let Some(before) = before.filter(|before| Some(*before) != leader_id)
                && let Some(fetcher) = fetchers.get(&before)
            {
                fetcher.inbox.remove(key);
            }
            if let (Some(id), Some(replica)) = (leader_id, replica) {
                let fetcher = fetchers.entry(id).or_insert_with(|| start(&broker, me, token, id, &stop));
                fetcher.inbox.look_at(key, replica);
            }
        }
    }
    for Fetcher { task, .. } in fetchers.into_values() {
        // A fetcher that panicked has told so.
        let _ = task.await;
    }
}

/// The broker that the replica follows, if it follows.
fn followed_leader(replica: &Replica) -> Option<i32> {
    let partition = replica.lock();
    let follows = partition.role() == RoleKind::Follower;
    partition.record().leader.filter(|_| follows).map(|leader| leader.broker_id)
}

fn start(broker: &Arc<Broker>, me: Member, token: Uuid, id: i32, stop: &watch::Receiver<bool>) -> Fetcher {
    let inbox = Arc::new(SourceInbox::default());
    let source = Source::new(Arc::clone(broker), me, token, id, Arc::clone(&inbox));
    Fetcher { inbox, task: tokio::spawn(source::run(source, stop.clone())) }
}
