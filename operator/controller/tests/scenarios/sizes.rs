//! What is known of the sizes of topics.

use taffrail_control::session::{
    ControllerRequest, ControllerResponse, FromController, LogClaim, MorePartitions, PARTITION_SIZES,
    PartitionSize, ToController, TopicRef,
};
use taffrail_controller::Policy;
use taffrail_protocol::Uuid;

use crate::cluster::Cluster;

/// `id` says how large partitions are.
fn tell(cluster: &mut Cluster, id: i32, topic_id: Uuid, sizes: &[(i32, u64)]) {
    let incarnation = cluster.brokers[&id].incarnation;
    let size = |&(partition, size_bytes): &(i32, u64)| PartitionSize { topic_id, partition, size_bytes };
    let partitions = sizes.iter().map(size).collect();
    cluster.say(id, ToController::PartitionSizes { incarnation, partitions });
    cluster.settle();
}

fn size(cluster: &Cluster, topic_id: Uuid) -> Option<u64> {
    cluster.controller.topic_sizes().get(&topic_id).copied()
}

#[test]
fn a_topic_is_as_large_as_the_leaders_of_all_its_partitions_say() {
    let mut cluster = Cluster::start(2, Policy::default());
    let greeting = &cluster.brokers[&1].inbox[0];
    assert!(
        matches!(greeting, FromController::Registered { features, .. } if features.contains(&PARTITION_SIZES.into())),
        "{greeting:?}"
    );
    let topic = cluster.create("t", &[&[1, 2], &[2, 1]], &[]);
    let writes = cluster.writes;
    tell(&mut cluster, 1, topic, &[(0, 10), (1, 99), (2, 99)]);
    assert_eq!(size(&cluster, topic), None, "who does not lead knows nothing, and one leader said nothing");
    tell(&mut cluster, 2, topic, &[(1, 5)]);
    assert_eq!(size(&cluster, topic), Some(15));
    tell(&mut cluster, 1, topic, &[(0, u64::MAX)]);
    assert_eq!(size(&cluster, topic), Some(u64::MAX));
    tell(&mut cluster, 1, topic, &[(0, 20)]);
    assert_eq!(cluster.writes, writes, "nothing of it is stored");

    let more = MorePartitions { name: "t".into(), total_count: 3, assignments: vec![vec![2, 1]] };
    let grow = ControllerRequest::CreatePartitions { topics: vec![more], validate_only: false };
    assert!(matches!(cluster.request(grow), Some(ControllerResponse::Topics(grown)) if grown[0].is_ok()));
    assert_eq!(size(&cluster, topic), None, "of the new partition nothing is known");
    tell(&mut cluster, 2, topic, &[(2, 1)]);
    assert_eq!(size(&cluster, topic), Some(26));

    // Its leader is lost, and the other leads.
    cluster.kill(1, &[2]);
    assert_eq!(size(&cluster, topic), Some(26), "what was said last stays");
    tell(&mut cluster, 2, topic, &[(0, 30)]);
    assert_eq!(size(&cluster, topic), Some(36));
}

fn delete(cluster: &mut Cluster, name: &str) {
    let topics = vec![TopicRef::Name(name.into())];
    let deleted = cluster.request(ControllerRequest::DeleteTopics { topics });
    assert!(matches!(deleted, Some(ControllerResponse::Topics(deleted)) if deleted[0].is_ok()));
}

#[test]
fn sizes_go_with_their_topics_and_with_the_controller() {
    let mut cluster = Cluster::start(1, Policy::default());
    let topics = ["a", "b"].map(|name| cluster.create(name, &[&[1]], &[]));
    for topic in topics {
        tell(&mut cluster, 1, topic, &[(0, 7)]);
    }
    delete(&mut cluster, "a");
    assert_eq!(topics.map(|topic| size(&cluster, topic)), [None, Some(7)]);

    cluster.restart_controller(Policy::default());
    cluster.connect(1, LogClaim::Clean);
    assert_eq!(size(&cluster, topics[1]), None);
    for topic in [topics[0], Uuid([9; 16])] {
        tell(&mut cluster, 1, topic, &[(0, 8)]);
    }
    let keeps_nothing = |cluster: &Cluster| format!("{:?}", cluster.controller).contains("sizes: Sizes({})");
    assert!(keeps_nothing(&cluster), "of what does not exist nothing is kept");
    tell(&mut cluster, 1, topics[1], &[(0, 7)]);
    assert_eq!(size(&cluster, topics[1]), Some(7));
    delete(&mut cluster, "b");
    assert!(keeps_nothing(&cluster), "nor of what has gone");
}
