//! Sockets: accepting, reading frames, sending answers in order, and the memory all of it may hold.

pub mod connection;
pub mod listener;
pub mod memory;
pub mod outbox;
pub mod parked;
