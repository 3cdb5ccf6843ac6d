//! Every broker configuration key of Apache Kafka 4.1 (`kafka.server.KafkaConfig`), internal ones included: those that
//! Taffrail acts on ([`honoured`]) and those that it knows and refuses to change ([`later`]). Beside these, the keys that
//! can only be set while a broker runs ([`dynamic`]), and those that are not Kafka's ([`own`]).

mod check;
mod dynamic;
mod honoured;
mod later;
mod own;

use crate::config_value::{Accepts, ConfigType, ConfigValue, parse};
use crate::topic_config::TopicKey;

pub use check::{ConfigError, check, check_value, suggestion};
pub use honoured::RACK_AWARE_SELECTOR;

/// One broker configuration key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BrokerKey {
    /// The key.
    pub name: &'static str,
    /// The type of its value.
    pub config_type: ConfigType,
    /// Kafka's default; `None` where a key has no value until somebody sets one.
    pub default: Option<&'static str>,
    /// What it accepts beyond its type.
    pub accepts: Accepts,
    /// What Taffrail makes of it.
    pub handling: Handling,
    /// What it does, in a sentence or two.
    pub documentation: &'static str,
}

/// What Taffrail makes of a broker key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Every accepted value acts.
    Honoured,
    /// Only the default is what Taffrail does, for the reason given; any other value is refused.
    OnlyDefault(&'static str),
    /// The sentence says which option of the command, or which part of the cluster, decides instead.
    DecidedElsewhere(&'static str),
}

/// When a broker key can be set (KIP-226).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settable {
    /// At the broker's start only.
    AtStart,
    /// While brokers run, for one or for all of them.
    WhileRunning,
    /// While brokers run, for all of them only: it is the controller that acts on it.
    ForAllBrokers,
}

impl BrokerKey {
    /// Its default as a value.
    pub fn default_value(&self) -> Option<ConfigValue> {
        parse(self.config_type, self.accepts, self.default?)
    }

    /// When it can be set.
    pub fn settable(&self) -> Settable {
        let gives_default =
            |key: &TopicKey| key.broker_synonyms.iter().any(|synonym| synonym.key == self.name);
        match self.name {
            "min.insync.replicas" | "unclean.leader.election.enable" => Settable::ForAllBrokers,
            "log.cleaner.backoff.ms"
            | "log.cleaner.dedupe.buffer.size"
            | "log.cleaner.io.buffer.load.factor"
            | "log.cleaner.io.buffer.size"
            | "log.cleaner.io.max.bytes.per.second"
            | "log.cleaner.threads"
            | "log.dir.reserved.free.bytes"
            | "max.connections"
            | "max.connections.per.ip"
            | "producer.id.expiration.ms" => Settable::WhileRunning,
            _ if Self::only_dynamic().any(|key| key == self) => Settable::WhileRunning,
            _ if TopicKey::all().iter().any(gives_default) => Settable::WhileRunning,
            _ => Settable::AtStart,
        }
    }

    /// The keys that cannot be set at the start, ordered by name.
    pub fn only_dynamic() -> impl Iterator<Item = &'static BrokerKey> {
        dynamic::KEYS.iter()
    }

    /// The key of this name, those that cannot be set at the start among them.
    pub fn find_any(name: &str) -> Option<&'static BrokerKey> {
        Self::find(name).or_else(|| Self::only_dynamic().find(|key| key.name == name))
    }

    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static BrokerKey> {
        [honoured::KEYS.as_slice(), later::KEYS.as_slice(), own::KEYS.as_slice()]
            .into_iter()
            .find_map(|keys| keys.binary_search_by(|key| key.name.cmp(name)).ok().map(|index| &keys[index]))
    }

    /// Every key; those acted on first, each part ordered by name.
    pub fn all() -> impl Iterator<Item = &'static BrokerKey> {
        honoured::KEYS.iter().chain(later::KEYS.iter()).chain(own::KEYS.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Apache Kafka 4.1.1's `KafkaConfig`: name, type, default (`-` for none).
    const KAFKA_4_1: &str = include_str!("kafka_4_1.txt");

    /// Kafka's default where ours is another.
    const DIFFERENT: [(&str, &str); 2] =
        [("broker.heartbeat.interval.ms", "2000"), ("broker.session.timeout.ms", "9000")];

    #[test]
    fn the_tables_hold_exactly_kafkas_keys_types_and_defaults() {
        let mut ours: Vec<String> = BrokerKey::all()
            .filter(|key| !own::KEYS.contains(key))
            .map(|key| {
                let config_type = format!("{:?}", key.config_type).to_uppercase();
                let different = DIFFERENT.iter().find(|(name, _)| *name == key.name);
                let default = different.map(|(_, of_kafka)| *of_kafka).or(key.default);
                format!("{}|{config_type}|{}", key.name, default.unwrap_or("-"))
            })
            .collect();
        ours.sort();
        let mut of_kafka: Vec<&str> = KAFKA_4_1.lines().collect();
        of_kafka.sort_unstable();
        for (ours, of_kafka) in ours.iter().zip(&of_kafka) {
            assert_eq!(ours, of_kafka);
        }
        assert_eq!(ours.len(), of_kafka.len());
    }

    #[test]
    fn the_tables_are_ordered_and_every_default_is_valid() {
        assert!(honoured::KEYS.is_sorted_by(|a, b| a.name < b.name));
        assert!(later::KEYS.is_sorted_by(|a, b| a.name < b.name));
        assert!(own::KEYS.is_sorted_by(|a, b| a.name < b.name));
        for key in BrokerKey::all() {
            assert_eq!(BrokerKey::find(key.name), Some(key));
            assert!(key.documentation.ends_with('.'), "{}", key.name);
            if let Some(default) = key.default {
                assert!(parse(key.config_type, key.accepts, default).is_some(), "{}", key.name);
            }
        }
    }

    #[test]
    fn what_can_be_set_while_a_broker_runs_acts_then() {
        let settable = |name: &str| BrokerKey::find_any(name).unwrap().settable();
        assert_eq!(settable("log.roll.hours"), Settable::WhileRunning);
        assert_eq!(settable("log.dir.reserved.free.bytes"), Settable::WhileRunning);
        assert_eq!(settable("leader.replication.throttled.rate"), Settable::WhileRunning);
        assert_eq!(settable("min.insync.replicas"), Settable::ForAllBrokers);
        assert_eq!(settable("num.io.threads"), Settable::AtStart);
        assert!(BrokerKey::only_dynamic().all(|key| BrokerKey::find(key.name).is_none()));
        assert!(BrokerKey::only_dynamic().is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn every_key_that_gives_a_topic_its_default_is_known_with_the_same_default_and_standing() {
        for topic_key in TopicKey::all() {
            for synonym in topic_key.broker_synonyms {
                let key = BrokerKey::find(synonym.key).unwrap();
                assert_eq!(key.default, synonym.default, "{}", synonym.key);
                assert_eq!(
                    key.handling == Handling::Honoured,
                    topic_key.honoured == crate::topic_config::Honoured::Fully,
                    "{}",
                    synonym.key
                );
            }
        }
    }
}
