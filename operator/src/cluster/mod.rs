//! LogClusters: what they are made of, what is wrong with them, how they change.

pub mod build;
pub mod defaults;
pub mod release;
pub mod validate;
