//! Brokers that are about to be taken away: leaders leave before.

use taffrail_control::session::{ElectionKind, LogClaim};
use taffrail_controller::Policy;
use taffrail_controller::directory::Directory;
use taffrail_controller::message::Input;
use taffrail_protocol::{ErrorCode, Uuid};

use crate::cluster::Cluster;

fn yielding(brokers: &[i32]) -> Input {
    Input::Directory(Directory { yielding: brokers.iter().copied().collect(), ..Directory::default() })
}

fn leaders(cluster: &Cluster, topic: Uuid, partitions: i32) -> Vec<i32> {
    (0..partitions).map(|partition| cluster.state(topic, partition).0.unwrap()).collect()
}

#[test]
fn leaders_leave_a_broker_that_yields_and_come_back_by_the_balance() {
    let policy = Policy { leader_imbalance_check_ms: 10_000, ..Policy::default() };
    let mut cluster = Cluster::start(3, policy);
    let topic = cluster.create("t", &[&[1, 2, 3], &[3, 1, 2], &[1, 3, 2]], &[]);
    let alone = cluster.create("alone", &[&[1]], &[]);
    cluster.pass(500, 500, &[1, 2, 3]);
    cluster.input(yielding(&[1]));
    cluster.pass(500, 500, &[1, 2, 3]);
    assert_eq!(leaders(&cluster, topic, 3), [2, 3, 3]);
    assert_eq!(leaders(&cluster, alone, 1), [1], "there is nobody else");
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![1, 2, 3], vec![]));
    let writes = cluster.writes;
    cluster.pass(30_000, 500, &[1, 2, 3]);
    assert_eq!(cluster.writes, writes, "the balance sends none there");
    let refused = cluster.elect(ElectionKind::Preferred, &[("t", 0)]).unwrap();
    assert_eq!(refused, [Err(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE.0)]);
    cluster.input(yielding(&[]));
    cluster.pass(11_000, 500, &[1, 2, 3]);
    assert_eq!(leaders(&cluster, topic, 3), [1, 3, 1]);
}

#[test]
fn a_replica_that_comes_into_sync_relieves_a_broker_that_yields() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    cluster.kill(2, &[1]);
    cluster.start_broker(2, LogClaim::Clean);
    cluster.input(yielding(&[1]));
    cluster.pass(2_000, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(1));
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1, 2]))]);
    cluster.pass(500, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![1, 2], vec![]));
}

#[test]
fn where_all_brokers_yield_nothing_moves() {
    let policy = Policy { leader_imbalance_check_ms: 1_000, ..Policy::default() };
    let mut cluster = Cluster::start(3, policy);
    let topic = cluster.create("t", &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]], &[]);
    cluster.input(yielding(&[1]));
    cluster.pass(1_000, 500, &[1, 2, 3]);
    let before = leaders(&cluster, topic, 3);
    let writes = cluster.writes;
    cluster.input(yielding(&[1, 2, 3]));
    cluster.pass(30_000, 500, &[1, 2, 3]);
    assert_eq!((leaders(&cluster, topic, 3), cluster.writes), (before, writes));
}

#[test]
fn leaders_of_some_slices_leave_at_a_time() {
    let mut cluster = Cluster::start(2, Policy::default());
    let replicas: Vec<&[i32]> = vec![&[1, 2]; 2_000];
    let topic = cluster.create("t", &replicas, &[]);
    cluster.input(yielding(&[1]));
    let moved = |cluster: &Cluster| leaders(cluster, topic, 2_000).iter().filter(|id| **id == 2).count();
    cluster.pass(500, 500, &[1, 2]);
    assert_eq!(moved(&cluster), 1_000);
    cluster.pass(500, 500, &[1, 2]);
    assert_eq!(moved(&cluster), 2_000);
}

#[test]
fn a_controller_that_takes_over_relieves_who_was_not_relieved_yet() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    cluster.input(yielding(&[1]));
    cluster.input(Input::Deposed { active: None });
    cluster.input(Input::Start);
    cluster.settle();
    [1, 2].into_iter().for_each(|id| cluster.connect(id, LogClaim::Clean));
    cluster.pass(500, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(2));
}

#[test]
fn new_partitions_are_led_elsewhere_and_live_where_they_would() {
    let mut cluster = Cluster::start(3, Policy::default());
    cluster.input(yielding(&[1]));
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    assert_eq!(leaders(&cluster, topic, 1), [2]);
    assert_eq!(cluster.record(topic, 0).replicas, [1, 2, 3]);
}
