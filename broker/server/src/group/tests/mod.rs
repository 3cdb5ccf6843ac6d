//! Scenarios of the coordinator.

mod committed_state;
mod harness;
mod membership;
mod offsets;
mod replay;
mod static_members;
