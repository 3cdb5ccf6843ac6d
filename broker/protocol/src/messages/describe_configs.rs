//! Reads the configuration of topics and brokers.

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DescribeConfigs", versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsRequest<'a> {
    /// The resources asked for.
    pub resources: Vec<DescribeConfigsResource<'a>>,
    /// Whether to list where else each value may come from.
    pub include_synonyms: bool,
    /// Whether to say what each key means.
    #[kafka(versions = "3+")]
    pub include_documentation: bool,
}

/// A resource whose configuration is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeConfigsResource<'a> {
    /// What it is (`ConfigResource.Type`): 2 a topic, 4 a broker.
    pub resource_type: i8,
    /// The resource's name: a topic's, or a broker's id.
    pub resource_name: Cow<'a, str>,
    /// The keys asked for; null for all.
    pub configuration_keys: Option<Vec<Cow<'a, str>>>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DescribeConfigs", versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The answers.
    pub results: Vec<DescribeConfigsResult<'a>>,
}

/// The configuration of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeConfigsResult<'a> {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    pub error_message: Option<Cow<'a, str>>,
    /// What it is (`ConfigResource.Type`): 2 a topic, 4 a broker.
    pub resource_type: i8,
    /// The resource's name: a topic's, or a broker's id.
    pub resource_name: Cow<'a, str>,
    /// The configuration.
    pub configs: Vec<DescribeConfigsResourceResult<'a>>,
}

/// A key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeConfigsResourceResult<'a> {
    /// The configuration key.
    pub name: Cow<'a, str>,
    /// The value; null if it has none or is a secret.
    pub value: Option<Cow<'a, str>>,
    /// Whether the value cannot be changed.
    pub read_only: bool,
    /// Where the value comes from (`DescribeConfigsResponse.ConfigSource`).
    #[kafka(default = "-1")]
    pub config_source: i8,
    /// Whether the value is withheld because it is a secret.
    pub is_sensitive: bool,
    /// Where the value may come from, the one in force first.
    pub synonyms: Vec<DescribeConfigsSynonym<'a>>,
    /// The value's type (`DescribeConfigsResponse.ConfigType`).
    #[kafka(versions = "3+", ignorable)]
    pub config_type: i8,
    /// What the key means.
    #[kafka(versions = "3+", ignorable)]
    pub documentation: Option<Cow<'a, str>>,
}

/// A place that the value may come from.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeConfigsSynonym<'a> {
    /// The synonym's key.
    pub name: Cow<'a, str>,
    /// The value; null if it has none or is a secret.
    pub value: Option<Cow<'a, str>>,
    /// Where the value comes from (`DescribeConfigsResponse.ConfigSource`).
    pub source: i8,
}
