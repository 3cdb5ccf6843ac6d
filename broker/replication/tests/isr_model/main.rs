//! Every history of one partition on three brokers, within small bounds: the shipped leader, the shipped follower's
//! truncation and the shipped elections and ISR decisions, with messages that are late, lost or doubled, processes that
//! die and come back with or without their disk, and a controller that fences whom it likes.
//!
//! The simulator walks far at random; this walks everywhere, but not far.

mod cluster;
mod model;
mod node;

use model::{Bounds, Break, IsrModel};
use stateright::{Checker, Model};

/// Checks everything that can happen within `bounds`; how many states that were.
fn check(bounds: Bounds) -> usize {
    let checker = IsrModel { bounds, broken: None }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// What breaks when the protocol is broken on purpose.
fn found(bounds: Bounds, broken: Break) -> bool {
    let checker = IsrModel { bounds, broken: Some(broken) }.checker().threads(2).spawn_bfs().join();
    !checker.discoveries().is_empty()
}

#[test]
fn nothing_committed_is_lost_by_two_brokers() {
    for (min_isr, deaths) in [(1, 1), (2, 1)] {
        let states = check(Bounds {
            brokers: 2,
            min_isr,
            records: 1,
            deaths,
            disks_lost: 0,
            fencings: 1,
            proposals: 1,
        });
        eprintln!("{states} states with min_isr {min_isr}");
        assert!(states > 1_000, "{states} states are too few to mean anything");
    }
}

#[test]
fn nothing_committed_is_lost_by_three_brokers() {
    let states = check(Bounds {
        brokers: 3,
        min_isr: 2,
        records: 1,
        deaths: 0,
        disks_lost: 1,
        fencings: 0,
        proposals: 1,
    });
    eprintln!("{states} states with 3");
    assert!(states > 1_000, "{states} states are too few to mean anything");
}

#[test]
fn the_model_finds_a_high_watermark_that_does_not_wait_for_the_isr() {
    assert!(found(Bounds::SMALL, Break::CommitAlone));
}

#[test]
fn the_model_finds_a_high_watermark_that_forgets_proposed_members() {
    assert!(found(Bounds::SMALL, Break::ForgetProposed));
}

#[test]
fn the_model_finds_a_broker_that_keeps_its_place_without_its_disk() {
    let bounds = Bounds { deaths: 0, disks_lost: 1, fencings: 0, ..Bounds::SMALL };
    assert!(found(bounds, Break::KeepPlaceWithoutDisk));
}

#[test]
fn the_model_finds_followers_that_hide_where_they_diverge() {
    assert!(found(Bounds { records: 2, ..Bounds::SMALL }, Break::HideLastEpoch));
}
