//! A whole cluster in one thread under a seed: the controller, partitions and disk notes that ship, with a network, disks,
//! clocks and a store that do what the seed says, producers and consumers, and a check for each invariant.
//!
//! Nothing here is part of the broker: the shell around the shipped types is as thin as the broker's own.

mod admin;
mod broker;
pub mod checks;
mod clients;
mod controllers;
mod faults;
mod healing;
pub mod mutation;
mod net;
mod queue;
mod rng;
pub mod scenario;
mod session;
mod store;
mod trace;
mod world;

use std::collections::BTreeMap;

use checks::Violation;
use mutation::Mutation;
use scenario::{Promise, Scenario};
use world::World;

/// What became of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Stands for all that happened.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// For how long, in the cluster's time. Milliseconds.
    pub lasted_ms: u64,
    /// Records acknowledged with acks=all.
    pub acknowledged: usize,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What is played of a seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Play {
    /// A breakage of the protocol.
    pub mutation: Option<Mutation>,
    /// What must survive; drawn where it is not said.
    pub promise: Option<Promise>,
    /// Print everything that happens.
    pub print: bool,
}

/// Plays one seed.
pub fn play(seed: u64, Play { mutation, promise, print }: Play) -> Outcome {
    let mut scenario = Scenario::draw(seed, promise);
    if let Some(mutation) = mutation {
        mutation.bend_scenario(&mut scenario);
    }
    if print {
        println!("{scenario:?}");
    }
    let mut world = World::new(scenario, mutation, print);
    world.play();
    Outcome {
        seed,
        violation: world.violation,
        hash: world.trace.hash(),
        events: world.trace.events(),
        lasted_ms: world.now_ms,
        acknowledged: world.checks.acknowledged.count(),
        counts: world.counts,
    }
}
