//! Every configuration key that a topic of Apache Kafka 4.1 has (`org.apache.kafka.common.config.TopicConfig`): what it
//! is called, what it accepts, what it is when nobody sets it, and whether Taffrail acts on it today.
//!
//! A value is looked for on the topic, then under the key's names on the broker ([`BrokerSynonym`]), then in the table.
//! [`TopicConfig`] holds the values in effect; [`describe`] shows them with their sources, for DescribeConfigs.

mod resolved;
mod table;

use std::collections::BTreeMap;

pub use resolved::{BrokerLayer, CleanupPolicy, CompressionType, TimestampType, TopicConfig, describe};

use crate::config_value::{Accepts, ConfigType, ConfigValue, accepted, nearest, parse, shortened};

/// Topics that brokers make for themselves.
pub const INTERNAL_TOPICS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// One topic configuration key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopicKey {
    /// The key.
    pub name: &'static str,
    /// The type of its value.
    pub config_type: ConfigType,
    /// The value where neither topic nor broker sets one.
    pub default: &'static str,
    /// What it accepts beyond its type.
    pub accepts: Accepts,
    /// The broker keys that give its default, the most specific first.
    pub broker_synonyms: &'static [BrokerSynonym],
    /// Whether Taffrail acts on it.
    pub honoured: Honoured,
    /// What it does, in a sentence or two.
    pub documentation: &'static str,
}

/// Whether Taffrail acts on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honoured {
    /// Every accepted value acts.
    Fully,
    /// Only the default is what Taffrail does, for the reason given. Any other value is refused, because a setting
    /// that is taken and then not followed loses data or fills disks behind its owner's back.
    OnlyDefault(&'static str),
}

/// A broker key that gives a topic key its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerSynonym {
    /// The broker's key.
    pub key: &'static str,
    /// How many of the topic key's units one unit of the broker's key is: 3,600,000 from hours to milliseconds.
    pub factor: i64,
    /// The broker key's own default; `None` where it has none and the next synonym decides.
    pub default: Option<&'static str>,
}

/// Why a topic's configuration was refused. The protocol's code for each is INVALID_CONFIG.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// No such key.
    #[error("unknown topic configuration key {name:?}{}", suggestion(*nearest))]
    UnknownKey {
        /// What was asked for.
        name: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Not a value of this key.
    #[error("topic configuration {name}={value}: the value is not valid, expected {accepted}")]
    InvalidValue {
        /// The key.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What would have been taken.
        accepted: String,
    },
    /// A value that Kafka would follow and Taffrail does not follow yet.
    #[error(
        "topic configuration {name}={value} is not supported yet: {because}. \
         Leave the key out or set it to its default, {default:?}"
    )]
    NotHonoured {
        /// The key.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What is missing.
        because: &'static str,
        /// The only value that is taken today.
        default: &'static str,
    },
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

impl TopicKey {
    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static TopicKey> {
        let keys = Self::all();
        keys.binary_search_by(|key| key.name.cmp(name)).ok().map(|index| &keys[index])
    }

    /// Every key, ordered by name.
    pub fn all() -> &'static [TopicKey] {
        &table::KEYS
    }

    /// Reads a value, whether or not Taffrail acts on it.
    ///
    /// # Errors
    /// [`TopicConfigError::InvalidValue`].
    pub fn parse(&self, value: &str) -> Result<ConfigValue, TopicConfigError> {
        parse(self.config_type, self.accepts, value).ok_or_else(|| TopicConfigError::InvalidValue {
            name: self.name,
            value: shortened(value),
            accepted: accepted(self.config_type, self.accepts),
        })
    }

    /// Checks a value that somebody wants to set: it must be valid and one that Taffrail acts on.
    ///
    /// # Errors
    /// [`TopicConfigError::InvalidValue`] or [`TopicConfigError::NotHonoured`].
    pub fn check(&self, value: &str) -> Result<(), TopicConfigError> {
        let wanted = self.parse(value)?;
        match self.honoured {
            Honoured::Fully => Ok(()),
            Honoured::OnlyDefault(_) if Ok(&wanted) == self.parse(self.default).as_ref() => Ok(()),
            Honoured::OnlyDefault(because) => Err(TopicConfigError::NotHonoured {
                name: self.name,
                value: shortened(value),
                because,
                default: self.default,
            }),
        }
    }
}

/// Checks one setting that a client wants on a topic.
///
/// # Errors
/// Each [`TopicConfigError`].
pub fn validate(name: &str, value: &str) -> Result<(), TopicConfigError> {
    find_or_suggest(name)?.check(value)
}

/// Checks all settings asked for on a topic and returns those to keep, without white space around them. A null value
/// asks for the default and is left out; of a key given twice the last one counts.
///
/// # Errors
/// The first [`TopicConfigError`].
pub fn validate_topic<'a>(
    settings: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<BTreeMap<String, String>, TopicConfigError> {
    let mut kept = BTreeMap::new();
    for (name, value) in settings {
        let key = find_or_suggest(name)?;
        let Some(value) = value else {
            kept.remove(name);
            continue;
        };
        key.check(value)?;
        kept.insert(name.to_owned(), value.trim().to_owned());
    }
    Ok(kept)
}

fn find_or_suggest(name: &str) -> Result<&'static TopicKey, TopicConfigError> {
    TopicKey::find(name).ok_or_else(|| TopicConfigError::UnknownKey {
        name: shortened(name),
        nearest: of_broker_key(name).or_else(|| nearest(name, TopicKey::all().iter().map(|key| key.name))),
    })
}

/// The topic key whose default the broker key `name` gives.
fn of_broker_key(name: &str) -> Option<&'static str> {
    let gives_default = |key: &&TopicKey| key.broker_synonyms.iter().any(|synonym| synonym.key == name);
    TopicKey::all().iter().find(gives_default).map(|key| key.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Apache Kafka 4.1.1's `LogConfig`: name, type, default.
    const KAFKA_4_1: &str = "\
cleanup.policy|LIST|delete\n\
compression.gzip.level|INT|-1\n\
compression.lz4.level|INT|9\n\
compression.type|STRING|producer\n\
compression.zstd.level|INT|3\n\
delete.retention.ms|LONG|86400000\n\
file.delete.delay.ms|LONG|60000\n\
flush.messages|LONG|9223372036854775807\n\
flush.ms|LONG|9223372036854775807\n\
follower.replication.throttled.replicas|LIST|\n\
index.interval.bytes|INT|4096\n\
leader.replication.throttled.replicas|LIST|\n\
local.retention.bytes|LONG|-2\n\
local.retention.ms|LONG|-2\n\
max.compaction.lag.ms|LONG|9223372036854775807\n\
max.message.bytes|INT|1048588\n\
message.timestamp.after.max.ms|LONG|3600000\n\
message.timestamp.before.max.ms|LONG|9223372036854775807\n\
message.timestamp.type|STRING|CreateTime\n\
min.cleanable.dirty.ratio|DOUBLE|0.5\n\
min.compaction.lag.ms|LONG|0\n\
min.insync.replicas|INT|1\n\
preallocate|BOOLEAN|false\n\
remote.log.copy.disable|BOOLEAN|false\n\
remote.log.delete.on.disable|BOOLEAN|false\n\
remote.storage.enable|BOOLEAN|false\n\
retention.bytes|LONG|-1\n\
retention.ms|LONG|604800000\n\
segment.bytes|INT|1073741824\n\
segment.index.bytes|INT|10485760\n\
segment.jitter.ms|LONG|0\n\
segment.ms|LONG|604800000\n\
unclean.leader.election.enable|BOOLEAN|false";

    #[test]
    fn the_table_holds_exactly_kafkas_keys_types_and_defaults() {
        let of_kafka: Vec<Vec<&str>> = KAFKA_4_1.lines().map(|line| line.split('|').collect()).collect();
        let ours: Vec<Vec<String>> = TopicKey::all()
            .iter()
            .map(|key| {
                let config_type = format!("{:?}", key.config_type).to_uppercase();
                vec![key.name.to_owned(), config_type, key.default.to_owned()]
            })
            .collect();
        assert_eq!(ours, of_kafka);
    }

    #[test]
    fn the_table_is_ordered_and_every_default_is_valid() {
        assert!(TopicKey::all().is_sorted_by(|a, b| a.name < b.name));
        for key in TopicKey::all() {
            assert_eq!(TopicKey::find(key.name), Some(key));
            assert_eq!(key.check(key.default), Ok(()), "{}", key.name);
            assert!(key.documentation.ends_with('.'), "{}", key.name);
            for synonym in key.broker_synonyms {
                let default = synonym.default.and_then(|text| text.parse::<i64>().ok());
                if let Some(default) = default.filter(|_| key.config_type != ConfigType::Double) {
                    assert_eq!(
                        (default.saturating_mul(synonym.factor)).to_string(),
                        key.default,
                        "{}",
                        key.name
                    );
                }
            }
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        let message = |name| validate(name, "1").map_err(|error| error.to_string()).unwrap_err();
        assert_eq!(
            message("retention.mss"),
            "unknown topic configuration key \"retention.mss\"; did you mean retention.ms?"
        );
        assert_eq!(
            message("log.roll.hours"),
            "unknown topic configuration key \"log.roll.hours\"; did you mean segment.ms?"
        );
        assert_eq!(message("colour"), "unknown topic configuration key \"colour\"");
    }

    #[test]
    fn a_bad_value_is_answered_with_what_is_accepted() {
        let message = |name, value| validate(name, value).map_err(|error| error.to_string()).unwrap_err();
        assert_eq!(
            message("segment.bytes", "13"),
            "topic configuration segment.bytes=13: the value is not valid, \
             expected a whole number from 14 to 2147483647"
        );
        assert_eq!(
            message("message.timestamp.type", "Never"),
            "topic configuration message.timestamp.type=Never: the value is not valid, \
             expected one of CreateTime, LogAppendTime"
        );
    }

    #[test]
    fn how_long_and_how_much_is_kept_is_taken_as_kafka_takes_it() {
        for (name, value) in [
            ("retention.ms", "-1"),
            ("retention.ms", "0"),
            ("retention.bytes", "-1"),
            ("retention.bytes", "-9"),
        ] {
            assert_eq!(validate(name, value), Ok(()), "{name}={value}");
        }
        assert!(validate("retention.ms", "-2").is_err());
        assert!(validate("retention.bytes", "1.5").is_err());
    }

    #[test]
    fn what_is_not_honoured_is_refused_unless_it_is_the_default() {
        let message = validate("preallocate", "true").map_err(|error| error.to_string()).unwrap_err();
        assert!(
            message.starts_with("topic configuration preallocate=true is not supported yet: "),
            "{message}"
        );
        assert!(message.ends_with("Leave the key out or set it to its default, \"false\""), "{message}");
        assert_eq!(validate("preallocate", " false "), Ok(()));
        assert_eq!(validate("local.retention.ms", "-2"), Ok(()));
        assert!(validate("local.retention.ms", "1000").is_err());
        assert_eq!(validate("segment.bytes", "1024"), Ok(()));
    }

    #[test]
    fn a_null_value_asks_for_the_default() {
        let settings = [("segment.ms", Some("10")), ("flush.ms", Some(" 5 ")), ("segment.ms", None)];
        let kept = validate_topic(settings).unwrap();
        assert_eq!(kept, BTreeMap::from([("flush.ms".to_owned(), "5".to_owned())]));
        assert!(validate_topic([("no.such.key", None)]).is_err());
    }
}
