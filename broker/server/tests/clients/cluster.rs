//! Several brokers in one process.

use std::collections::BTreeSet;

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::{Broker, PATIENCE, eventually};
use crate::client::{admin, block_on, client, options};
use rdkafka::admin::{NewTopic, TopicReplication};

/// Of each partition of `topic`: the leader and how many replicas there are.
fn leaders(broker: &Broker, topic: &str) -> Vec<(i32, usize)> {
    let consumer: BaseConsumer = client(broker, &[("group.id", "observer")]);
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics()[0].partitions();
    partitions.iter().map(|partition| (partition.leader(), partition.replicas().len())).collect()
}

fn brokers(broker: &Broker) -> BTreeSet<i32> {
    let consumer: BaseConsumer = client(broker, &[("group.id", "observer")]);
    let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
    metadata.brokers().iter().map(|broker| broker.id()).collect()
}

#[test]
fn three_brokers_in_one_process_share_topics_and_stop_in_good_order() {
    let mut cluster = Broker::start_brokers(3);
    eventually("all brokers are known", || brokers(&cluster) == BTreeSet::from([0, 1, 2]));
    let banner = cluster.banner();
    let listening = banner.lines().find_map(|line| line.split_once("listening on ")).unwrap().1;
    assert_eq!(listening.split(", ").collect::<BTreeSet<_>>().len(), 3, "{banner}");
    // No number of replicas: there are three by default.
    let new = NewTopic::new("shared", 6, TopicReplication::Fixed(-1));
    block_on(admin(&cluster).create_topics([&new], &options())).unwrap().remove(0).unwrap();
    let leaders_of_all = leaders(&cluster, "shared");
    assert!(leaders_of_all.iter().all(|(_, replicas)| *replicas == 3), "{leaders_of_all:?}");
    let leading: BTreeSet<i32> = leaders_of_all.iter().map(|(leader, _)| *leader).collect();
    assert_eq!(leading, BTreeSet::from([0, 1, 2]));
    for id in 0..3 {
        assert!(cluster.data_dir().join(format!("brokers/{id}/shared-0")).is_dir());
    }

    cluster.stop();
    let log = cluster.log();
    assert!(!log.contains("did not take over leadership"), "{log}");
    for id in 0..3 {
        assert!(cluster.data_dir().join(format!("brokers/{id}/.kafka_cleanshutdown")).is_file(), "{log}");
    }
    cluster.start_again();
    eventually("all partitions are led again", || {
        leaders(&cluster, "shared").iter().all(|(leader, replicas)| *leader >= 0 && *replicas == 3)
    });
}
