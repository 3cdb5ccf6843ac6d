//! Tells which APIs and versions the broker serves (KIP-35, KIP-511).

use std::borrow::Cow;

use crate::{ErrorCode, Message};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "ApiVersions", versions = "0-4", flexible = "3+")]
pub struct ApiVersionsRequest<'a> {
    /// The client library's name.
    #[kafka(versions = "3+", ignorable)]
    pub client_software_name: Cow<'a, str>,
    /// The client library's version.
    #[kafka(versions = "3+", ignorable)]
    pub client_software_version: Cow<'a, str>,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "ApiVersions", versions = "0-4", flexible = "3+")]
pub struct ApiVersionsResponse<'a> {
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// The APIs that are served.
    pub api_keys: Vec<ApiVersion>,
    /// How long the client is asked to pause for its quota, in milliseconds.
    #[kafka(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// The features that the broker supports (KIP-584).
    #[kafka(versions = "3+", tag = 0, ignorable)]
    pub supported_features: Vec<SupportedFeatureKey<'a>>,
    /// The epoch of the finalized features; -1 if unknown.
    #[kafka(versions = "3+", tag = 1, default = "-1", ignorable)]
    pub finalized_features_epoch: i64,
    /// The features that the whole cluster has finalized.
    #[kafka(versions = "3+", tag = 2, ignorable)]
    pub finalized_features: Vec<FinalizedFeatureKey<'a>>,
    /// Whether a KRaft controller is ready for a migration from ZooKeeper.
    #[kafka(versions = "3+", tag = 3, ignorable)]
    pub zk_migration_ready: bool,
}

/// An API and the versions that are served.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ApiVersion {
    /// The API's code.
    pub api_key: i16,
    /// The lowest version.
    pub min_version: i16,
    /// The highest version.
    pub max_version: i16,
}

/// A feature that the broker supports.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct SupportedFeatureKey<'a> {
    /// The feature's name.
    #[kafka(versions = "3+")]
    pub name: Cow<'a, str>,
    /// The lowest version.
    #[kafka(versions = "3+")]
    pub min_version: i16,
    /// The highest version.
    #[kafka(versions = "3+")]
    pub max_version: i16,
}

/// A feature that the cluster has finalized.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct FinalizedFeatureKey<'a> {
    /// The feature's name.
    #[kafka(versions = "3+")]
    pub name: Cow<'a, str>,
    /// The highest level.
    #[kafka(versions = "3+")]
    pub max_version_level: i16,
    /// The lowest level.
    #[kafka(versions = "3+")]
    pub min_version_level: i16,
}
