//! Whether a broker would start with a setting, and a sentence that says why not.

use super::{BrokerKey, Handling};
use crate::config_value::{accepted, nearest, parse, shortened};
use crate::topic_config::TopicKey;

/// Why a broker does not start with the settings it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such key.
    #[error("unknown configuration key {key:?}{}", did_you_mean(*nearest))]
    UnknownKey {
        /// What was set.
        key: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Not a value of this key.
    #[error("configuration {key}={value}: the value is not valid, expected {accepted}")]
    InvalidValue {
        /// The key.
        key: &'static str,
        /// What was set.
        value: String,
        /// What would have been taken.
        accepted: String,
    },
    /// A value that Kafka would follow and Taffrail does not follow yet.
    #[error(
        "configuration {key}={value} is not supported yet: {because}. Leave the key out{}",
        or_set_it_to(*default)
    )]
    NotHonoured {
        /// The key.
        key: &'static str,
        /// What was set.
        value: String,
        /// What is missing.
        because: &'static str,
        /// The only value that is taken today, if there is one.
        default: Option<&'static str>,
    },
    /// Something other than this key decides.
    #[error("configuration {key} cannot be set: {decided}")]
    DecidedElsewhere {
        /// The key.
        key: &'static str,
        /// Which option or which part of the cluster decides.
        decided: &'static str,
    },
    /// Two settings that exclude each other.
    #[error("configuration {low}={low_value} is above {high}={high_value}; it must not be")]
    Conflict {
        /// The key that must have the lower value.
        low: &'static str,
        /// Its value.
        low_value: i64,
        /// The key that must have the higher value.
        high: &'static str,
        /// Its value.
        high_value: i64,
    },
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

fn or_set_it_to(default: Option<&'static str>) -> String {
    default.map(|default| format!(" or set it to its default, {default:?}")).unwrap_or_default()
}

/// Checks one setting that a broker is to be started with.
///
/// # Errors
///
/// Why a broker would not start with it.
pub fn check(name: &str, value: &str) -> Result<(), ConfigError> {
    let key = BrokerKey::find(name)
        .ok_or_else(|| ConfigError::UnknownKey { key: shortened(name), nearest: suggestion(name) })?;
    check_value(key, value)
}

/// Checks a value of a known key.
///
/// # Errors
///
/// Why it is not taken.
pub fn check_value(key: &'static BrokerKey, value: &str) -> Result<(), ConfigError> {
    if let Handling::DecidedElsewhere(decided) = key.handling {
        return Err(ConfigError::DecidedElsewhere { key: key.name, decided });
    }
    // A password that was mistyped must not end up in a log.
    let shown = || if key.config_type.is_sensitive() { "***".to_owned() } else { shortened(value) };
    let wanted = parse(key.config_type, key.accepts, value).ok_or_else(|| ConfigError::InvalidValue {
        key: key.name,
        value: shown(),
        accepted: accepted(key.config_type, key.accepts),
    })?;
    match key.handling {
        Handling::OnlyDefault(because) if Some(&wanted) != key.default_value().as_ref() => {
            Err(ConfigError::NotHonoured { key: key.name, value: shown(), because, default: key.default })
        }
        _ => Ok(()),
    }
}

/// The broker key that gives the topic key `name` its default, else the nearest broker key.
pub fn suggestion(name: &str) -> Option<&'static str> {
    let of_topic_key =
        TopicKey::find(name).and_then(|key| key.broker_synonyms.first()).map(|synonym| synonym.key);
    of_topic_key.or_else(|| nearest(name, BrokerKey::all().map(|key| key.name)))
}
