//! What another session of the same process is told: what has changed, at whichever controller.

use taffrail_control::session::{
    ClusterUpdate, ControllerRequest, ControllerResponse, LogClaim, SliceDigest, ToController, TopicRef,
};
use taffrail_control::slices::{digests, topic_slice};
use taffrail_controller::Policy;
use taffrail_controller::message::Input;
use taffrail_controller::store::Store;
use taffrail_protocol::Uuid;

use crate::cluster::Cluster;

/// Broker 1 opens another session of the same process, holding what is in `held`; what it is told.
fn reconnect(cluster: &mut Cluster, held: &ClusterUpdate) -> ClusterUpdate {
    cluster.brokers.get_mut(&1).unwrap().slices = digests(&held.topics, &held.partitions);
    cluster.connect(1, LogClaim::Clean);
    ClusterUpdate::clone(&cluster.snapshot(1))
}

fn whole(cluster: &mut Cluster) -> ClusterUpdate {
    reconnect(cluster, &ClusterUpdate::default())
}

fn names(update: &ClusterUpdate) -> Vec<&str> {
    let mut names: Vec<&str> = update.topics.iter().map(|topic| &*topic.name).collect();
    names.sort_unstable();
    names
}

/// Topics a, b and c, in slices of their own.
fn three_topics() -> (Cluster, [Uuid; 3]) {
    let mut cluster = Cluster::start(2, Policy::default());
    let topics = ["a", "b", "c"].map(|name| cluster.create(name, &[&[1, 2], &[2, 1]], &[]));
    (cluster, topics)
}

#[test]
fn only_slices_that_changed_are_told_again() {
    let (mut cluster, [_, b, _]) = three_topics();
    let held = whole(&mut cluster);
    assert_eq!((names(&held), held.unchanged_slices.len()), (vec!["a", "b", "c"], 0));
    let again = reconnect(&mut cluster, &held);
    assert_eq!((again.topics.len(), again.partitions.len()), (0, 0));
    let mut all = ["a", "b", "c"].map(topic_slice);
    all.sort_unstable();
    assert_eq!(again.unchanged_slices, all);
    assert_eq!(again.brokers.len(), 2, "brokers are told whole");

    // One partition changes, one topic goes, one comes.
    let isr = cluster.members(&[1]);
    let proposal = cluster.proposal(b, 0, &isr);
    assert_eq!(cluster.propose(1, vec![proposal]), []);
    let topics = vec![TopicRef::Name("c".into())];
    let deleted = cluster.request(ControllerRequest::DeleteTopics { topics });
    assert!(matches!(deleted, Some(ControllerResponse::Topics(results)) if results[0].is_ok()));
    cluster.create("d", &[&[1]], &[]);
    let changed = reconnect(&mut cluster, &held);
    assert_eq!((names(&changed), changed.partitions.len()), (vec!["b", "d"], 3));
    assert_eq!(changed.unchanged_slices, [topic_slice("a")], "what is empty now is not unchanged");
}

#[test]
fn another_controller_over_the_same_store_tells_no_more_than_the_one_before() {
    let (mut cluster, [a, ..]) = three_topics();
    let held = whole(&mut cluster);
    cluster.restart_controller(Policy::default());
    cluster.connect(2, LogClaim::Clean);
    let again = reconnect(&mut cluster, &held);
    assert_eq!((again.topics.len(), again.unchanged_slices.len()), (0, 3));
    let isr = cluster.members(&[1]);
    let proposal = cluster.proposal(a, 0, &isr);
    assert_eq!(cluster.propose(1, vec![proposal]), []);
    cluster.restart_controller(Policy::default());
    assert_eq!(names(&reconnect(&mut cluster, &held)), ["a"]);
}

#[test]
fn rule_25_a_store_that_was_restored_tells_what_it_holds_though_its_versions_have_been_there_before() {
    let (mut cluster, [a, ..]) = three_topics();
    let backup = cluster.store.clone();
    let isr = cluster.members(&[1]);
    let proposal = cluster.proposal(a, 0, &isr);
    assert_eq!(cluster.propose(1, vec![proposal]), []);
    let held = whole(&mut cluster);
    cluster.store = backup;
    cluster.restart_controller(Policy::default());
    // As many writes as before, and another content.
    cluster.connect(2, LogClaim::Clean);
    let isr = cluster.members(&[2]);
    let proposal = cluster.proposal(a, 1, &isr);
    assert_eq!(cluster.propose(2, vec![proposal]), []);
    let again = reconnect(&mut cluster, &held);
    assert_eq!((names(&again), again.unchanged_slices.len()), (vec!["a"], 2));
}

#[test]
fn a_topic_that_is_not_published_any_more_is_not_taken_for_held() {
    let (mut cluster, _) = three_topics();
    let held = whole(&mut cluster);
    let request = ControllerRequest::DeleteTopics { topics: vec![TopicRef::Name("a".into())] };
    cluster.say(1, ToController::Request { request_id: 77, request });
    // The topic is marked as deleted, and its records are still there.
    let batch = std::mem::take(&mut cluster.asked);
    for answer in cluster.store.execute(batch) {
        cluster.input(Input::Store(answer));
    }
    assert!(!cluster.asked.is_empty());
    cluster.brokers.get_mut(&1).unwrap().slices = digests(&held.topics, &held.partitions);
    cluster.register(1, LogClaim::Clean);
    let snapshot = cluster.snapshot(1);
    assert_eq!((snapshot.topics.len(), snapshot.unchanged_slices.len()), (0, 2));
}

#[test]
fn slices_that_nobody_knows_are_passed_over() {
    let (mut cluster, _) = three_topics();
    cluster.brokers.get_mut(&1).unwrap().slices =
        vec![SliceDigest { slice: u32::MAX, digest: 7 }, SliceDigest { slice: topic_slice("a"), digest: 7 }];
    cluster.connect(1, LogClaim::Clean);
    let snapshot = cluster.snapshot(1);
    assert_eq!((snapshot.topics.len(), &snapshot.unchanged_slices[..]), (3, &[][..]));
}
