//! Deletes topics.

use std::borrow::Cow;

use crate::{ErrorCode, Message, Uuid};

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(request = "DeleteTopics", versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsRequest<'a> {
    /// The topics to delete, by name or by id.
    #[kafka(versions = "6+")]
    pub topics: Vec<DeleteTopicState<'a>>,
    /// The topics to delete, by name.
    #[kafka(versions = "0-5", ignorable)]
    pub topic_names: Vec<Cow<'a, str>>,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: i32,
}

/// A topic to delete.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteTopicState<'a> {
    /// The topic's name; null if it is named by id.
    #[kafka(versions = "6+", default = "null")]
    pub name: Option<Cow<'a, str>>,
    /// The topic's id; zero if it is named by name.
    #[kafka(versions = "6+")]
    pub topic_id: Uuid,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(response = "DeleteTopics", versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsResponse<'a> {
    /// How long the client is asked to pause for its quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// One answer per topic.
    pub responses: Vec<DeletableTopicResult<'a>>,
}

/// How it went for one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeletableTopicResult<'a> {
    /// The topic's name.
    #[kafka(nullable = "6+")]
    pub name: Option<Cow<'a, str>>,
    /// The topic's id.
    #[kafka(versions = "6+", ignorable)]
    pub topic_id: Uuid,
    /// What went wrong, or `NONE`.
    pub error_code: ErrorCode,
    /// What went wrong, in words; null if nothing did.
    #[kafka(versions = "5+", default = "null", ignorable)]
    pub error_message: Option<Cow<'a, str>>,
}
