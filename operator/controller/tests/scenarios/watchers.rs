//! Those who are no brokers: they see the cluster, and ask for what brokers ask for.

use std::sync::Arc;

use taffrail_control::session::{
    AfterWish, ClusterUpdate, ControllerRequest, ControllerResponse, FromController, LogClaim, NewTopic,
    ToController, TopicRef, TopicWish,
};
use taffrail_controller::message::Input;
use taffrail_controller::{Controller, Policy};
use taffrail_protocol::Uuid;

use crate::cluster::Cluster;

const WATCHER: i32 = 99;

#[test]
fn a_watcher_is_told_a_snapshot_and_then_what_changes() {
    let mut cluster = Cluster::start(2, Policy::default());
    let before = cluster.create("before", &[&[1, 2]], &[]);
    cluster.watch(WATCHER);
    let snapshot = cluster.snapshot(WATCHER);
    assert_eq!((snapshot.brokers.len(), snapshot.topics.len(), snapshot.partitions.len()), (2, 1, 1));
    let after = cluster.create("after", &[&[2, 1]], &[]);
    assert!(cluster.told(WATCHER, after, 0).is_some());
    cluster.kill(1, &[2]);
    assert_eq!(cluster.told(WATCHER, before, 0).unwrap().leader.unwrap().broker_id, 2);
    assert_eq!(cluster.controller.summary().sessions, 1, "a watcher is no broker");
}

#[test]
fn a_watcher_is_answered_after_it_was_told_what_came_of_its_request() {
    let mut cluster = Cluster::start(1, Policy::default());
    cluster.watch(WATCHER);
    let topics = vec![NewTopic { name: "t".into(), ..NewTopic::default() }];
    let request = ControllerRequest::CreateTopics { topics, validate_only: false };
    cluster.say(WATCHER, ToController::Request { request_id: 7, request });
    cluster.settle();
    let inbox = std::mem::take(&mut cluster.brokers.get_mut(&WATCHER).unwrap().inbox);
    let Some(FromController::Response { request_id: 7, response }) = inbox.last() else {
        panic!("{inbox:?}")
    };
    let ControllerResponse::Topics(results) = response else { panic!("{response:?}") };
    let topic_id = results[0].as_ref().unwrap().topic_id;
    let is_told = |message: &FromController| matches!(message, FromController::Update(update) if update.topics.iter().any(|t| t.topic_id == topic_id));
    assert!(inbox[..inbox.len() - 1].iter().any(is_told));
}

#[test]
fn an_attendant_is_told_no_snapshot_but_the_version_and_then_what_changes() {
    let mut cluster = Cluster::start(1, Policy::default());
    cluster.create("before", &[&[1]], &[]);
    cluster.watch(WATCHER);
    let version = cluster.snapshot(WATCHER).version;
    cluster.attend(WATCHER);
    let nothing = ClusterUpdate { version, ..ClusterUpdate::default() };
    assert_eq!(cluster.brokers[&WATCHER].inbox, [FromController::Update(Arc::new(nothing))]);
    let topics = vec![NewTopic { name: "after".into(), ..NewTopic::default() }];
    let request = ControllerRequest::CreateTopics { topics, validate_only: false };
    cluster.say(WATCHER, ToController::Request { request_id: 7, request });
    cluster.settle();
    let inbox = &cluster.brokers[&WATCHER].inbox;
    assert!(matches!(inbox.last(), Some(FromController::Response { request_id: 7, .. })), "{inbox:?}");
    assert!(matches!(&inbox[1], FromController::Update(update) if update.version > version), "{inbox:?}");
}

#[test]
fn a_controller_that_has_not_read_its_store_or_is_deposed_lets_nobody_watch() {
    let mut cluster = Cluster::start(1, Policy::default());
    cluster.watch(WATCHER);
    cluster.input(Input::Deposed { active: None });
    assert_eq!(cluster.brokers[&WATCHER].session, None);
    cluster.watch(WATCHER);
    assert_eq!(cluster.brokers[&WATCHER].session, None);
    cluster.controller = Controller::new(Policy::default());
    cluster.input(Input::Start);
    cluster.watch(WATCHER);
    assert_eq!(cluster.brokers[&WATCHER].session, None);
    cluster.watch(WATCHER);
    assert!(cluster.brokers[&WATCHER].session.is_some(), "the store was read meanwhile");
}

#[test]
fn what_a_controller_is_configured_with_may_change_while_it_runs() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let own = cluster.create("own", &[&[1, 2, 3]], &[("min.insync.replicas", "1")]);
    cluster.input(Input::Configured(Policy {
        default_partitions: 5,
        min_insync_replicas: 2,
        ..Policy::default()
    }));
    cluster.settle();
    let min_isr = |cluster: &Cluster, topic| {
        (cluster.record(topic, 0).min_isr, cluster.told(1, topic, 0).unwrap().min_isr)
    };
    assert_eq!((min_isr(&cluster, topic), min_isr(&cluster, own)), ((2, 2), (1, 1)), "rule 23");
    let topics = vec![NewTopic { name: "u".into(), ..NewTopic::default() }];
    let Some(ControllerResponse::Topics(made)) =
        cluster.request(ControllerRequest::CreateTopics { topics, validate_only: false })
    else {
        panic!("topics are asked for");
    };
    assert_eq!(made[0].as_ref().unwrap().partition_count, 5);
}

#[test]
fn what_wishes_for_a_topic_is_remembered_with_it_and_told_to_watchers() {
    let mut cluster = Cluster::start(1, Policy::default());
    let topic_id = cluster.create("t", &[&[1]], &[]);
    cluster.watch(WATCHER);
    let wish = |gone_since_ms| TopicWish {
        object: "t-object".into(),
        uid: "u".into(),
        after: AfterWish::Delete,
        gone_since_ms,
        config_keys: ["retention.ms".to_owned()].into(),
    };
    let told = |cluster: &Cluster| {
        let updates = cluster.brokers[&WATCHER].inbox.iter().filter_map(|message| match message {
            FromController::Update(update) => Some(update.wishes.clone()),
            _ => None,
        });
        updates.flatten().collect::<Vec<_>>()
    };
    let mut expected = Vec::new();
    for wish in [Some(wish(None)), Some(wish(Some(7)))] {
        for topic_id in [topic_id, Uuid([9; 16])] {
            let writes = cluster.writes;
            cluster.input(Input::Wished { topic: "t".into(), topic_id, wish: wish.clone() });
            cluster.settle();
            assert_eq!(
                cluster.writes - writes,
                usize::from(topic_id != Uuid([9; 16])),
                "a stranger is passed over"
            );
        }
        expected.push((topic_id, wish));
        assert_eq!(told(&cluster), expected);
    }
    cluster.restart_controller(Policy::default());
    cluster.watch(WATCHER);
    assert_eq!(told(&cluster), [(topic_id, Some(wish(Some(7))))]);
    cluster.start_broker(1, LogClaim::Clean);
    cluster.input(Input::Wished { topic: "t".into(), topic_id, wish: None });
    cluster.settle();
    assert_eq!(told(&cluster).last(), Some(&(topic_id, None)));
}

#[test]
fn a_watcher_outlives_brokers_and_may_delete() {
    let mut cluster = Cluster::start(2, Policy::default());
    cluster.create("t", &[&[1, 2]], &[]);
    cluster.watch(WATCHER);
    cluster.start_broker(1, LogClaim::Clean);
    let request = ControllerRequest::DeleteTopics { topics: vec![TopicRef::Name("t".into())] };
    cluster.say(WATCHER, ToController::Request { request_id: 1, request });
    cluster.settle();
    let gone = |message: &FromController| matches!(message, FromController::Update(update) if update.removed_topics.len() == 1);
    assert!(cluster.brokers[&WATCHER].inbox.iter().any(gone));
}
