//! The cluster controller of Taffrail on Kubernetes.
