//! The cluster controller: one pure, synchronous state machine, and the contract of the store that is its memory.
//!
//! Nothing here knows a socket, a file, a thread or the time of day. [`Controller::step`] takes one [`message::Input`]
//! and answers what is to be done; time and random bytes are arguments. A shell carries the store's questions and
//! answers ([`store`]) and the brokers' messages ([`message`]), so the same machine runs over a local file, over
//! Kubernetes objects, and in a simulation.
//!
//! Rules named by number are those of the replication contract.

mod cell;
mod clock;
mod coalesce;
mod configs;
pub mod conformance;
mod contest;
mod controller;
pub mod directory;
mod election;
mod follow_up;
mod health;
mod held;
mod isr;
mod leaders;
mod liveness;
pub mod message;
pub mod model;
mod partitions;
mod placement;
mod policy;
mod publish;
mod reassignment;
mod registration;
mod requests;
mod shutdown;
mod sizes;
pub mod slicing;
pub mod store;
mod summary;
mod topics;
mod turns;
mod uuid_text;
mod validate;

#[cfg(test)]
mod test_support;

pub use controller::{Controller, Surroundings};
pub use election::{View, mend};
pub use health::{Health, Replica};
pub use isr::take as take_isr;
pub use policy::{CheckTopicConfig, Policy};
pub use registration::PRODUCER_ID_BLOCK;
pub use summary::Summary;
pub use validate::{MAX_TOPIC_NAME_LENGTH, topic_name};
