//! What follows when the configuration of brokers changes while they run.

use std::sync::Arc;

use taffrail_control::session::ClusterUpdate;

use crate::broker::Broker;
use crate::cluster::Topic;
use crate::lifecycle::accept_limits;
use crate::replicas::{log_config, set_log_configs};

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
        set_log_configs(broker, topic.id, &topic.partitions, || log_config(&of_topic, &config));
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
