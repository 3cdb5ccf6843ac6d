//! Configuration that changes while the broker runs (KIP-226).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use taffrail_control::broker_config::{BrokerKey, ConfigError, Settable, check_value, suggestion};
use taffrail_control::session::{ApiError, BrokerConfigRecord, ConfigOp};
use taffrail_protocol::ErrorCode;

use super::broker::BrokerConfig;

/// A broker's configuration as it is now.
pub struct LiveConfig {
    broker_id: i32,
    now: RwLock<Arc<BrokerConfig>>,
}

impl LiveConfig {
    /// For a broker that was started with `config`.
    pub fn new(broker_id: i32, config: &BrokerConfig) -> Self {
        Self { broker_id, now: RwLock::new(Arc::new(config.clone())) }
    }

    /// The configuration as it is now.
    pub fn now(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.now.read())
    }

    /// Takes over what the controller says of it: of a snapshot, all there is. The keys whose values changed.
    pub fn apply(&self, records: &[BrokerConfigRecord], snapshot: bool) -> BTreeSet<String> {
        let before = self.now();
        let told = |broker_id: Option<i32>, present: &BTreeMap<String, String>| {
            let record = records.iter().find(|record| record.broker_id == broker_id);
            match record {
                Some(record) => readable(&record.config),
                None if snapshot => BTreeMap::new(),
                None => present.clone(),
            }
        };
        let settings = before.settings();
        let of_all = told(None, &settings.of_all);
        let own = told(Some(self.broker_id), &settings.own);
        if (&of_all, &own) == (&settings.of_all, &settings.own) {
            return BTreeSet::new();
        }
        let after = Arc::new(before.with_dynamic(of_all, own));
        *self.now.write() = Arc::clone(&after);
        after.settings().different_from(before.settings())
    }
}

/// Without what only another release can read.
fn readable(config: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let known = config.iter().filter(|(name, value)| {
        let key = BrokerKey::find_any(name).filter(|key| key.settable() != Settable::AtStart);
        key.is_some_and(|key| check_value(key, value).is_ok())
    });
    known.map(|(name, value)| (name.clone(), value.trim().to_owned())).collect()
}

/// Checks a change of one key that somebody wants while brokers run, of one broker or of all (`None`).
///
/// # Errors
/// Kafka's code and a sentence.
pub fn check(broker_id: Option<i32>, name: &str, op: &ConfigOp) -> Result<(), ApiError> {
    let refuse = |code, message| Err(ApiError { code, message });
    let Some(key) = BrokerKey::find_any(name) else {
        let key = taffrail_control::config_value::shortened(name);
        let error = ConfigError::UnknownKey { key, nearest: suggestion(name) };
        return refuse(ErrorCode::INVALID_CONFIG, error.to_string());
    };
    match (key.settable(), broker_id) {
        (Settable::AtStart, _) => {
            let message =
                format!("configuration {name} is read when a broker starts: set it there and restart it");
            return refuse(ErrorCode::INVALID_REQUEST, message);
        }
        (Settable::ForAllBrokers, Some(broker_id)) => {
            let message = format!(
                "configuration {name} holds for all brokers alike and cannot be set for broker {broker_id} alone: set \
                 it as the brokers' default"
            );
            return refuse(ErrorCode::INVALID_REQUEST, message);
        }
        _ => {}
    }
    match op {
        ConfigOp::Delete => Ok(()),
        ConfigOp::Set(value) => check_value(key, value)
            .map_err(|error| ApiError { code: ErrorCode::INVALID_CONFIG, message: error.to_string() }),
        ConfigOp::Append(_) | ConfigOp::Subtract(_) => {
            let message =
                format!("configuration {name} is not a list: set it instead of adding or taking away");
            refuse(ErrorCode::INVALID_CONFIG, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(broker_id: Option<i32>, pairs: &[(&str, &str)]) -> BrokerConfigRecord {
        let config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        BrokerConfigRecord { broker_id, config }
    }

    fn started() -> LiveConfig {
        let mut config =
            BrokerConfig::from_settings([("max.connections", "5"), ("log.roll.ms", "9")]).unwrap();
        config.fit_into(64 << 20);
        LiveConfig::new(1, &config)
    }

    fn max_connections(live: &LiveConfig) -> (i32, i8) {
        let now = live.now();
        let entries = now.describe(&BTreeMap::new());
        let entry = entries.iter().find(|entry| entry.name == "max.connections").unwrap();
        assert_eq!(entry.value.as_deref(), Some(&*now.max_connections.to_string()));
        (now.max_connections, entry.source.id())
    }

    #[test]
    fn the_brokers_own_setting_wins_over_that_of_all_and_that_over_its_start() {
        let live = started();
        assert_eq!(max_connections(&live), (5, 4));
        let changed = BTreeSet::from(["max.connections".to_owned()]);
        assert_eq!(live.apply(&[record(None, &[("max.connections", "6")])], false), changed);
        assert_eq!(max_connections(&live), (6, 3));
        let own =
            [record(Some(1), &[("max.connections", "7")]), record(Some(2), &[("max.connections", "8")])];
        assert_eq!(live.apply(&own, false), changed);
        assert!(live.apply(&own, false).is_empty(), "nothing new");
        assert_eq!(max_connections(&live), (7, 2));
        assert_eq!(live.apply(&[record(Some(1), &[])], false), changed);
        assert_eq!(max_connections(&live), (6, 3));
        assert_eq!(live.apply(&[], true), changed, "a snapshot is all there is");
        assert_eq!(max_connections(&live), (5, 4));
    }

    #[test]
    fn what_was_lowered_at_the_start_stays_so() {
        let live = started();
        let lowered = live.now().socket_request_max_bytes;
        assert!(lowered < 100 << 20);
        live.apply(&[record(None, &[("max.connections", "6")])], false);
        assert_eq!(live.now().socket_request_max_bytes, lowered);
    }

    #[test]
    fn topics_get_their_defaults_from_it() {
        let live = started();
        live.apply(&[record(None, &[("log.roll.ms", "3"), ("min.insync.replicas", "2")])], false);
        let topic = live.now().topic(&BTreeMap::new());
        assert_eq!((topic.segment_ms, topic.min_insync_replicas), (3, 2));
        let described = live.now().describe_topic(&BTreeMap::new());
        let entry = described.iter().find(|entry| entry.name == "segment.ms").unwrap();
        assert_eq!((entry.value.as_deref(), entry.source.id()), (Some("3"), 3));
    }

    #[test]
    fn what_another_release_wrote_is_left_alone() {
        let live = started();
        let strange =
            record(None, &[("from.the.future", "1"), ("max.connections", "many"), ("num.io.threads", "3")]);
        assert!(live.apply(&[strange], false).is_empty());
    }

    #[test]
    fn only_what_acts_at_once_can_be_set_while_a_broker_runs() {
        let set = |broker, name: &str, value: &str| {
            check(broker, name, &ConfigOp::Set(value.to_owned())).map_err(|error| error.code)
        };
        assert_eq!(set(Some(1), "max.connections", "3"), Ok(()));
        assert_eq!(set(None, "leader.replication.throttled.rate", "1000"), Ok(()));
        assert_eq!(set(None, "min.insync.replicas", "2"), Ok(()));
        assert_eq!(set(Some(1), "min.insync.replicas", "2"), Err(ErrorCode::INVALID_REQUEST));
        assert_eq!(set(None, "num.io.threads", "2"), Err(ErrorCode::INVALID_REQUEST));
        assert_eq!(set(None, "max.connections", "many"), Err(ErrorCode::INVALID_CONFIG));
        assert_eq!(set(None, "max.conections", "2"), Err(ErrorCode::INVALID_CONFIG));
        assert_eq!(check(Some(1), "max.connections", &ConfigOp::Delete), Ok(()));
        let append = check(None, "max.connections", &ConfigOp::Append("1".into()));
        assert_eq!(append.map_err(|error| error.code), Err(ErrorCode::INVALID_CONFIG));
    }
}
