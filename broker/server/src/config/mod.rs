//! What the broker is told: the command line ([`cli`]), Kafka's broker keys ([`keys`], [`BrokerConfig`], and as they are
//! set while it runs [`live`]) and how much memory there is ([`memory`]).

pub mod cli;
pub mod cluster_options;
pub mod file;
pub mod keys;
pub mod live;
pub mod memory;
pub mod size;

mod broker;

pub use broker::{BrokerConfig, ConfigError, Lowered, dev_settings};
