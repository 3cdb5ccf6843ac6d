//! Brokers that come and go.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use taffrail_control::session::PartitionRecord;
use taffrail_protocol::messages::{MetadataRequest, MetadataResponse};

use crate::clients::{client, consume, create_topic, numbers, produce, producer};
use crate::harness::{Cluster, PATIENCE};
use crate::scripted::{ME, OTHER, Scripted, led, topic};
use crate::wire::Connection;

#[test]
fn what_is_acknowledged_is_on_all_in_sync_replicas() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    produce(&producer(&cluster), "t", &numbers(0..1000)).unwrap();
    for id in 0..3 {
        let replica = cluster.replica(id, "t", 0).unwrap();
        let end = replica.lock().log().log_end_offset();
        assert_eq!(end, 1000, "broker {id} has everything before anybody was told");
    }
    cluster.in_sync("t", 0);
    assert_eq!(consume(&cluster, "t", &[]), numbers(0..1000));
}

#[test]
fn a_leader_that_stops_in_good_order_takes_nothing_along() {
    leaders_go("orderly", Cluster::stop_broker);
}

#[test]
fn a_leader_that_is_lost_takes_nothing_along() {
    leaders_go("lost", Cluster::lose_broker);
}

/// Leaders go in turn while a producer goes on, and come back; in the end everything is there once and in order.
fn leaders_go(topic: &str, go: fn(&mut Cluster, usize)) {
    let mut cluster = Cluster::start();
    create_topic(&cluster, topic, 1, &[]);
    let producer = producer(&cluster);
    for round in 0..3 {
        produce(&producer, topic, &numbers(round * 200..round * 200 + 100)).unwrap();
        let leader = cluster.leader(topic, 0);
        go(&mut cluster, leader);
        produce(&producer, topic, &numbers(round * 200 + 100..round * 200 + 200)).unwrap();
        cluster.start_broker(leader);
        cluster.in_sync(topic, 0);
    }
    assert_eq!(consume(&cluster, topic, &[]), numbers(0..600));
}

#[test]
fn without_enough_in_sync_replicas_nothing_is_acknowledged_until_they_are_back() {
    let mut cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    let producer = producer(&cluster);
    produce(&producer, "t", &numbers(0..10)).unwrap();
    let leader = cluster.leader("t", 0);
    let followers: Vec<usize> = (0..3).filter(|id| *id != leader).collect();
    for follower in &followers {
        cluster.lose_broker(*follower);
    }
    cluster.eventually("the in-sync replicas shrink", || {
        cluster.replica(leader, "t", 0).unwrap().lock().is_under_min_isr()
    });
    let impatient = client(&cluster, &[("acks", "all"), ("message.timeout.ms", "500")]);
    produce(&impatient, "t", &["never acknowledged".to_owned()]).unwrap_err();
    cluster.start_broker(followers[0]);
    cluster.eventually("a follower is in sync again", || {
        !cluster.replica(leader, "t", 0).unwrap().lock().is_under_min_isr()
    });
    produce(&producer, "t", &numbers(10..20)).unwrap();
    let found = consume(&cluster, "t", &[]);
    let acknowledged: Vec<_> = found.into_iter().filter(|value| value != "never acknowledged").collect();
    assert_eq!(acknowledged, numbers(0..20));
}

#[test]
fn a_topic_that_asks_for_it_has_every_record_on_the_disks_before_anybody_is_told() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[("flush.messages", "1")]);
    produce(&producer(&cluster), "t", &numbers(0..50)).unwrap();
    for id in 0..3 {
        let replica = cluster.replica(id, "t", 0).unwrap();
        assert_eq!(replica.lock().log().recovery_point(), 50, "broker {id} has synced");
    }
}

#[test]
fn committed_offsets_outlive_their_coordinator() {
    let mut cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    let consumer: BaseConsumer = client(&cluster, &[("group.id", "group"), ("enable.auto.commit", "false")]);
    let mut offsets = TopicPartitionList::new();
    for offset in [5, 7] {
        offsets.add_partition_offset("t", 0, Offset::Offset(offset)).unwrap();
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
        let coordinators = |id: &usize| {
            (0..4).any(|partition| {
                let replica = cluster.replica(*id, "__consumer_offsets", partition);
                replica.is_some_and(|replica| {
                    let replica = replica.lock();
                    replica.led_epoch().is_some() && replica.log().log_end_offset() > 0
                })
            })
        };
        let coordinator = (0..3).find(coordinators).unwrap();
        cluster.lose_broker(coordinator);
        let fresh: BaseConsumer = client(&cluster, &[("group.id", "group")]);
        let mut asked = TopicPartitionList::new();
        asked.add_partition("t", 0);
        let committed = fresh.committed_offsets(asked, PATIENCE).unwrap();
        assert_eq!(committed.elements()[0].offset(), Offset::Offset(offset));
        cluster.start_broker(coordinator);
        (0..4).for_each(|partition| cluster.in_sync("__consumer_offsets", partition));
        offsets = TopicPartitionList::new();
    }
}

#[test]
fn a_broker_is_missed_that_nobody_follows_and_that_follows_nobody() {
    let mut cluster = Cluster::start();
    cluster.lose_broker(1);
    for id in [0, 2] {
        cluster.eventually("the broker is seen to be gone", || {
            let lost = cluster.broker(id).broker.cluster.lost(Instant::now());
            lost.iter().any(|member| member.broker_id == 1)
        });
    }
}

/// Who leads partition 0, by an answer.
fn leader_in(response: &MetadataResponse<'_>) -> i32 {
    response.topics[0].partitions[0].leader_id
}

#[test]
fn who_asks_for_a_leader_that_has_just_died_is_told_the_next_one() {
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    // An attempt during which this machine stood still for long says nothing.
    let attempt = || {
        let record = |leader, epoch| PartitionRecord {
            leader: Some(leader),
            leader_epoch: epoch,
            partition_epoch: epoch,
            ..led(0, &[OTHER, ME])
        };
        let mut scripted = Scripted::start(&[], topic(&[], vec![record(OTHER, 1)]));
        let mut connection = Connection::to(scripted.address);
        scripted.lose_other();
        let begun = Instant::now();
        let asked = connection.send(&request, 12);
        scripted.update(topic(&[], vec![record(ME, 2)]));
        let answer: MetadataResponse<'_> = connection.receive(asked);
        let told = begun.elapsed() < Duration::from_millis(500);
        assert!(!told || leader_in(&answer) == ME.broker_id, "{answer:?}");
        told
    };
    assert!((0..20).any(|_| attempt()));
}

#[test]
fn who_asks_for_a_leader_is_told_that_there_is_none_when_none_is_elected_in_time() {
    let record = PartitionRecord { leader: Some(OTHER), ..led(0, &[OTHER, ME]) };
    let scripted = Scripted::start(&[], topic(&[], vec![record]));
    let mut connection = Connection::to(scripted.address);
    scripted.lose_other();
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let answer: MetadataResponse<'_> = connection.ask(&request, 12);
    assert_eq!(leader_in(&answer), -1);
}
