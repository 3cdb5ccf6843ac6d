//! What follows when the configuration of brokers changes while they run.

use std::sync::Arc;

use taffrail_control::session::ClusterUpdate;
use taffrail_replication::partition::Effects;

use crate::broker::Broker;
use crate::clock;
use crate::cluster::Topic;
use crate::lifecycle::accept_limits;
use crate::replicas::log_config;
use crate::waiter::carry_out;

/// Takes over what an update says of the brokers' configuration, before anything else of it. Whoever applies updates
/// does so one after the other.
pub fn apply(broker: &Broker, update: &ClusterUpdate) {
    let changed = broker.live.apply(&update.broker_configs, update.snapshot);
    if changed.is_empty() {
        return;
    }
    let config = broker.live.now();
    let keys = changed.into_iter().collect::<Vec<_>>().join(", ");
    tracing::info!("broker {} has other values from now on of {keys}", broker.id);
    broker.admission.set_limits(accept_limits(&config));
    for topic in broker.cluster.topics() {
        let of_topic = config.topic(&topic.record.config);
        let mut effects = Effects::new();
        for replica in topic.partitions.iter().filter_map(|partition| partition.replica.as_ref()) {
            replica.lock().update_config(clock::now_ms(), log_config(&of_topic, &config), &mut effects);
        }
        carry_out(&mut effects);
        if of_topic != topic.config {
            broker.cluster.put_topic(Arc::new(Topic {
                name: Arc::clone(&topic.name),
                id: topic.id,
                record: topic.record.clone(),
                config: of_topic,
                partitions: topic.partitions.clone(),
            }));
        }
    }
}
