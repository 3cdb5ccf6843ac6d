//! Replaces the whole configuration of topics and brokers (KIP-133). [`super::incremental_alter_configs`] has come
//! after it.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "AlterConfigs", versions = "0-2", flexible = "2+")]
pub struct AlterConfigsRequest<'a> {
    /// The resources.
    pub resources: Vec<AlterConfigsResource<'a>>,
    /// Whether to check and change nothing.
    pub validate_only: bool,
}

/// A resource and its new configuration.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterConfigsResource<'a> {
    /// What it is (`ConfigResource.Type`): 2 a topic, 4 a broker.
    pub resource_type: i8,
    /// The resource's name: a topic's, or a broker's id.
    pub resource_name: Cow<'a, str>,
    /// The configuration. Keys that it leaves out go back to their defaults.
    pub configs: Vec<AlterableConfig<'a>>,
}

/// A key and its new value.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterableConfig<'a> {
    /// The configuration key.
    pub name: Cow<'a, str>,
    /// The value.
    pub value: Option<Cow<'a, str>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "AlterConfigs", versions = "0-2", flexible = "2+")]
pub struct AlterConfigsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(ignorable)]
    pub throttle_time_ms: i32,
    /// One answer per resource.
    pub responses: Vec<AlterConfigsResourceResponse<'a>>,
}

/// How it went for one resource.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AlterConfigsResourceResponse<'a> {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
    /// What it is (`ConfigResource.Type`): 2 a topic, 4 a broker.
    pub resource_type: i8,
    /// The resource's name: a topic's, or a broker's id.
    pub resource_name: Cow<'a, str>,
}
