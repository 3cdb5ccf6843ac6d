//! The cluster controller of Taffrail on Kubernetes.

pub mod store;
