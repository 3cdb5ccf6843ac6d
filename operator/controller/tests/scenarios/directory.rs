//! What is known of brokers better than by themselves.

use std::collections::BTreeMap;

use taffrail_control::session::{FromController, LogClaim};
use taffrail_controller::Policy;
use taffrail_controller::directory::{Directory, Listing};
use taffrail_controller::message::Input;

use crate::cluster::Cluster;

fn racks(of: &[(i32, &str)]) -> Input {
    let listing = |rack: &str| Listing { rack: Some(rack.to_owned()), endpoints: Vec::new() };
    let brokers: BTreeMap<_, _> = of.iter().map(|(id, rack)| (*id, listing(rack))).collect();
    Input::Directory(Directory { brokers, ..Directory::default() })
}

fn stored(cluster: &Cluster, id: i32) -> Option<String> {
    cluster.stored().broker(id).unwrap().rack.clone()
}

#[test]
fn racks_hold_for_brokers_that_are_there_and_for_those_that_come() {
    let mut cluster = Cluster::start(1, Policy::default());
    cluster.input(racks(&[(1, "a"), (2, "b")]));
    cluster.settle();
    assert_eq!(stored(&cluster, 1).as_deref(), Some("a"));
    let told = cluster.brokers[&1].inbox.iter().rev().find_map(|message| match message {
        FromController::Update(update) => update.brokers.iter().find(|broker| broker.broker_id == 1),
        _ => None,
    });
    assert_eq!(told.unwrap().rack.as_deref(), Some("a"));
    cluster.start_broker(2, LogClaim::Unclean);
    assert_eq!(stored(&cluster, 2).as_deref(), Some("b"));
    let registered = cluster.brokers[&2].inbox.iter().find_map(|message| match message {
        FromController::Registered { rack, .. } => Some(rack.clone()),
        _ => None,
    });
    assert_eq!(registered.unwrap().as_deref(), Some("b"));
}

#[test]
fn what_is_known_already_costs_no_write() {
    let mut cluster = Cluster::start(1, Policy::default());
    cluster.input(racks(&[(1, "a")]));
    cluster.settle();
    let writes = cluster.writes;
    cluster.input(racks(&[(1, "a")]));
    cluster.input(racks(&[(1, "a"), (9, "z")]));
    cluster.settle();
    assert_eq!(cluster.writes, writes);
}

#[test]
fn what_changes_while_a_write_is_on_its_way_is_written_after_it() {
    let mut cluster = Cluster::start(1, Policy::default());
    cluster.input(racks(&[(1, "a")]));
    cluster.input(racks(&[(1, "b")]));
    cluster.settle();
    assert_eq!(stored(&cluster, 1).as_deref(), Some("b"));
}

#[test]
fn a_controller_that_was_told_before_it_had_read_its_store_corrects_what_it_reads() {
    let mut cluster = Cluster::start(1, Policy::default());
    cluster.input(Input::Deposed { active: None });
    cluster.input(racks(&[(1, "a")]));
    cluster.input(Input::Start);
    cluster.settle();
    assert_eq!(stored(&cluster, 1).as_deref(), Some("a"));
}
