//! Kafka configuration inside a custom resource: keys with values that are numbers or text.
//!
//! The API server checks the shape of the values that people set most. All keys and values are checked by the operator,
//! which knows them; what it refuses becomes a condition.

use std::collections::BTreeMap;
use std::fmt;

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Configuration: Kafka's keys and their values.
pub type Config = BTreeMap<String, ConfigValue>;

/// The value of a configuration key. YAML makes a number of what looks like one, so both are taken and mean the same;
/// `true` and `false` have to be quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ConfigValue {
    /// A number.
    Number(i64),
    /// Anything else, or a number in quotes.
    Text(String),
}

impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<i64> for ConfigValue {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for ConfigValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The number under `key`, if one is there.
pub(crate) fn number(config: &Config, key: &str) -> Option<i64> {
    config.get(key).and_then(|value| value.to_string().parse().ok())
}

/// What the values of a key look like.
#[derive(Clone, Copy)]
enum Shape {
    /// `true` or `false`.
    Boolean,
    /// 0 or more.
    Natural,
    /// 1 or more.
    Positive,
    /// -1 or more.
    NaturalOrNone,
    /// What Kafka takes for a number of replicas.
    Replicas,
    /// A regular expression, and what it stands for.
    Pattern(&'static str, &'static str),
}

impl Shape {
    fn pattern(self) -> &'static str {
        match self {
            Self::Boolean => "true|false",
            Self::Natural => "[0-9]{1,19}",
            Self::Positive => "0*[1-9][0-9]{0,18}",
            Self::NaturalOrNone => "-1|[0-9]{1,19}",
            Self::Replicas => "[1-9][0-9]{0,4}",
            Self::Pattern(pattern, _) => pattern,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Boolean => "'true' or 'false', in quotes",
            Self::Natural => "a whole number, 0 or more",
            Self::Positive => "a whole number, 1 or more",
            Self::NaturalOrNone => "a whole number, or -1 for no limit",
            Self::Replicas => "a number of replicas, 1 or more",
            Self::Pattern(_, expected) => expected,
        }
    }

    /// Values are turned into text first: one that is not a number must not make the rule itself fail.
    fn rule(self, key: &str) -> Rule {
        let pattern = self.pattern();
        let message = format!("{key} takes {}: set such a value, or leave the key out", self.expected());
        Rule::new(format!("!('{key}' in self) || string(self['{key}']).matches('^({pattern})$')"))
            .message(message.as_str())
    }
}

const CLEANUP: Shape = Shape::Pattern(
    "delete|compact|delete, ?compact|compact, ?delete",
    "delete, compact, or both with a comma",
);
const COMPRESSION: Shape = Shape::Pattern(
    "producer|uncompressed|gzip|snappy|lz4|zstd",
    "producer, uncompressed, gzip, snappy, lz4 or zstd",
);
const TIMESTAMP: Shape = Shape::Pattern("CreateTime|LogAppendTime", "CreateTime or LogAppendTime");
const SEGMENT: Shape = Shape::Pattern("1[4-9]|[2-9][0-9]|[1-9][0-9]{2,9}", "a number of bytes, 14 or more");

const TOPIC_KEYS: [(&str, Shape); 14] = [
    ("cleanup.policy", CLEANUP),
    ("compression.type", COMPRESSION),
    ("delete.retention.ms", Shape::Natural),
    ("flush.messages", Shape::Positive),
    ("flush.ms", Shape::Natural),
    ("max.message.bytes", Shape::Natural),
    ("message.timestamp.type", TIMESTAMP),
    ("min.insync.replicas", Shape::Replicas),
    ("preallocate", Shape::Boolean),
    ("retention.bytes", Shape::NaturalOrNone),
    ("retention.ms", Shape::NaturalOrNone),
    ("segment.bytes", SEGMENT),
    ("segment.ms", Shape::Positive),
    ("unclean.leader.election.enable", Shape::Boolean),
];

const BROKER_KEYS: [(&str, Shape); 16] = [
    ("auto.create.topics.enable", Shape::Boolean),
    ("auto.leader.rebalance.enable", Shape::Boolean),
    ("compression.type", COMPRESSION),
    ("default.replication.factor", Shape::Replicas),
    ("delete.topic.enable", Shape::Boolean),
    ("log.cleanup.policy", CLEANUP),
    ("log.message.timestamp.type", TIMESTAMP),
    ("log.retention.bytes", Shape::NaturalOrNone),
    ("log.retention.hours", Shape::NaturalOrNone),
    ("log.retention.ms", Shape::NaturalOrNone),
    ("log.segment.bytes", SEGMENT),
    ("message.max.bytes", Shape::Natural),
    ("min.insync.replicas", Shape::Replicas),
    ("num.partitions", Shape::Positive),
    ("offsets.topic.replication.factor", Shape::Replicas),
    ("unclean.leader.election.enable", Shape::Boolean),
];

/// Broker keys that follow from the rest of a LogCluster, and where from.
const OWNED_KEYS: [(&str, &str); 9] = [
    ("advertised.listeners", "spec.listeners"),
    ("broker.id", "the pod's ordinal"),
    ("broker.rack", "spec.brokers.rack"),
    ("inter.broker.listener.name", "spec.listeners"),
    ("listeners", "spec.listeners"),
    ("log.dir", "spec.brokers.storage"),
    ("log.dirs", "spec.brokers.storage"),
    ("node.id", "the pod's ordinal"),
    ("process.roles", "the operator, which is the controller"),
];

fn schema(keys: &[(&str, Shape)], owned: &[(&str, &str)], max_properties: u32) -> Schema {
    let shapes = keys.iter().map(|(key, shape)| shape.rule(key));
    let owned = owned.iter().map(|(key, owner)| {
        let message = format!("{key} follows from {owner}: leave it out of the configuration");
        Rule::new(format!("!('{key}' in self)")).message(message.as_str())
    });
    let rules: Vec<Rule> = shapes.chain(owned).collect();
    json_schema!({
        "type": "object",
        "maxProperties": max_properties,
        "additionalProperties": { "x-kubernetes-int-or-string": true, "maxLength": 4096 },
        "x-kubernetes-validations": rules,
    })
}

/// The schema of a topic's configuration.
pub(crate) fn topic_schema(_: &mut SchemaGenerator) -> Schema {
    schema(&TOPIC_KEYS, &[], 64)
}

/// The schema of the configuration of a cluster's brokers.
pub(crate) fn broker_schema(_: &mut SchemaGenerator) -> Schema {
    schema(&BROKER_KEYS, &OWNED_KEYS, 256)
}
