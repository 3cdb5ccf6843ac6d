//! What several tests are about.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use taffrail_control::session::{BrokerRecord, ClusterUpdate, Member, PartitionRecord, TopicRecord};
use taffrail_crds::Topic;
use taffrail_protocol::Uuid;

use crate::fleet::view::View;

/// A Topic of cluster `c` in namespace `n`, so many seconds old.
pub fn topic(name: &str, uid: &str, age: i64, partitions: i32) -> Topic {
    let spec = json!({"clusterRef": {"name": "c"}, "partitions": partitions});
    let mut topic = Topic::new(name, serde_json::from_value(spec).unwrap());
    topic.metadata.namespace = Some("n".to_owned());
    topic.metadata.uid = Some(uid.to_owned());
    topic.metadata.generation = Some(1);
    topic.metadata.creation_timestamp = Some(Time(Timestamp::from_second(1_000_000 - age).unwrap()));
    topic
}

/// Partitions with these replicas, all of them in sync.
pub fn with_replicas(partitions: &[&[i32]]) -> Vec<PartitionRecord> {
    let member = |id: &i32| Member { broker_id: *id, incarnation: 1 };
    let record = |(partition, replicas): (usize, &&[i32])| PartitionRecord {
        topic_id: Uuid([1; 16]),
        partition: partition as i32,
        creation: 1,
        replicas: replicas.to_vec(),
        leader: replicas.first().map(member),
        leader_epoch: 0,
        partition_epoch: 0,
        isr: replicas.iter().map(member).collect(),
        elr: Vec::new(),
        min_isr: 1,
        adding: Vec::new(),
        removing: Vec::new(),
        unclean_epoch: None,
    };
    partitions.iter().enumerate().map(record).collect()
}

/// What is published of one topic.
pub fn view(name: &str, partitions: Vec<PartitionRecord>) -> View {
    let record = TopicRecord {
        name: name.into(),
        topic_id: Uuid([1; 16]),
        creation: 1,
        config: BTreeMap::new(),
        partition_count: partitions.len() as i32,
    };
    let broker = |member: &Member| BrokerRecord {
        broker_id: member.broker_id,
        incarnation: member.incarnation,
        endpoints: Vec::new(),
        rack: None,
        fenced: false,
        peer_address: None,
        peer_token: None,
    };
    let brokers = partitions.iter().flat_map(|record| &record.isr).map(broker).collect();
    let mut view = View::default();
    view.apply(&ClusterUpdate {
        snapshot: true,
        brokers,
        topics: vec![record],
        partitions,
        ..ClusterUpdate::default()
    });
    view
}
