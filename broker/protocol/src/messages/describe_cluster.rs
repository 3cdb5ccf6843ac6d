//! Describes the cluster and its brokers (KIP-700).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DescribeCluster", versions = "0-2", flexible = "0+")]
pub struct DescribeClusterRequest {
    /// Whether to say what the client may do to the cluster.
    pub include_cluster_authorized_operations: bool,
    /// Which endpoints: 1 those of brokers, 2 those of controllers.
    #[kafka(versions = "1+", default = "1")]
    pub endpoint_type: i8,
    /// Whether to list fenced brokers too.
    #[kafka(versions = "2+")]
    pub include_fenced_brokers: bool,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DescribeCluster", versions = "0-2", flexible = "0+")]
pub struct DescribeClusterResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    #[kafka(default = "null")]
    pub error_message: Option<Cow<'a, str>>,
    /// Which endpoints these are: 1 those of brokers, 2 those of controllers.
    #[kafka(versions = "1+", default = "1")]
    pub endpoint_type: i8,
    /// The cluster's id.
    pub cluster_id: Cow<'a, str>,
    /// The broker to send administrative requests to; -1 if unknown.
    #[kafka(default = "-1")]
    pub controller_id: i32,
    /// The brokers of the cluster.
    pub brokers: Vec<DescribeClusterBroker<'a>>,
    /// What the client may do to the cluster, as a bit field; `i32::MIN` if not asked for.
    #[kafka(default = "i32::MIN")]
    pub cluster_authorized_operations: i32,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeClusterBroker<'a> {
    /// The broker's id.
    pub broker_id: i32,
    /// The host to connect to.
    pub host: Cow<'a, str>,
    /// The port to connect to.
    pub port: i32,
    /// The broker's rack; null if it has none.
    #[kafka(default = "null")]
    pub rack: Option<Cow<'a, str>>,
    /// Whether the broker is fenced.
    #[kafka(versions = "2+")]
    pub is_fenced: bool,
}
