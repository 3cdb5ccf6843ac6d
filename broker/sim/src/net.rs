//! The network: who reaches whom, how long it takes, and what is lost.

use std::collections::BTreeSet;

use crate::rng::Rng;

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// One of the two controllers.
    Controller(usize),
    /// A broker, by id.
    Broker(i32),
    /// All clients.
    Clients,
}

/// How the network is at the moment.
#[derive(Debug)]
pub struct Net {
    /// Directions in which nothing gets through.
    blocked: BTreeSet<(Node, Node)>,
    /// Of a thousand messages, so many are lost.
    loss_permille: u64,
    /// Of a thousand messages, so many arrive twice.
    twice_permille: u64,
    /// What a message takes at most, most of the time. Milliseconds.
    delay_ms: u64,
}

impl Net {
    /// One in which everybody reaches everybody.
    pub fn new(loss_permille: u64, twice_permille: u64, delay_ms: u64) -> Self {
        Self { blocked: BTreeSet::new(), loss_permille, twice_permille, delay_ms }
    }

    /// Cuts one direction.
    pub fn block(&mut self, from: Node, to: Node) {
        self.blocked.insert((from, to));
    }

    /// Mends one direction.
    pub fn unblock(&mut self, from: Node, to: Node) {
        self.blocked.remove(&(from, to));
    }

    /// Mends everything.
    pub fn heal(&mut self) {
        self.blocked.clear();
        self.loss_permille = 0;
        self.twice_permille = 0;
        self.delay_ms = 5;
    }

    /// Whether a message gets through.
    pub fn reaches(&self, from: Node, to: Node) -> bool {
        !self.blocked.contains(&(from, to))
    }

    /// How long the next message takes. Some take much longer.
    pub fn delay(&self, rng: &mut Rng) -> u64 {
        match rng.below(100) {
            0 => rng.between(1, 40 * self.delay_ms.max(1)),
            1..5 => rng.between(1, 8 * self.delay_ms.max(1)),
            _ => rng.between(1, self.delay_ms.max(1)),
        }
    }

    /// When the copies of a message arrive, if at all: delays from now.
    pub fn arrivals(&self, rng: &mut Rng) -> Vec<u64> {
        if rng.permille(self.loss_permille) {
            return Vec::new();
        }
        let mut arrivals = vec![self.delay(rng)];
        if rng.permille(self.twice_permille) {
            arrivals.push(self.delay(rng) + rng.below(500));
        }
        arrivals
    }
}
