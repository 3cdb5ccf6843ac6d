//! What the broker is told: the command line ([`cli`]), the values of Kafka's broker keys ([`BrokerConfig`], and as they
//! are set while it runs [`live`]) and how much memory there is ([`memory`]).

pub mod cli;
pub mod cluster_options;
pub mod file;
pub mod live;
pub mod log_options;
pub mod memory;
pub mod size;

mod broker;

pub use broker::{BrokerConfig, Lowered, dev_settings};
