//! LogClusters: what they are made of, what is wrong with them, how they change.

pub mod build;
pub mod defaults;
pub mod facts;
pub mod news;
pub mod pods;
pub mod release;
pub mod roll;
pub mod status;
pub mod validate;
