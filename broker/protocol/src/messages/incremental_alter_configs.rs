//! Changes single keys of the configuration of topics and brokers (KIP-339).

use std::borrow::Cow;

use super::alter_configs::AlterConfigsResourceResponse;
use crate::Message;

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "IncrementalAlterConfigs", versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsRequest<'a> {
    /// The resources.
    pub resources: Vec<AlterConfigsResource<'a>>,
    /// Whether to check and change nothing.
    pub validate_only: bool,
}

/// A resource and what to change of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterConfigsResource<'a> {
    /// What it is (`ConfigResource.Type`): 2 a topic, 4 a broker.
    pub resource_type: i8,
    /// The resource's name: a topic's, or a broker's id.
    pub resource_name: Cow<'a, str>,
    /// The changes.
    pub configs: Vec<AlterableConfig<'a>>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterableConfig<'a> {
    /// The configuration key.
    pub name: Cow<'a, str>,
    /// What to do with it (`AlterConfigOp.OpType`): 0 set, 1 delete, 2 append to a list, 3 subtract from a list.
    pub config_operation: i8,
    /// The value; null where it is deleted.
    pub value: Option<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "IncrementalAlterConfigs", versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// One answer per resource.
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
}
