//! What a cluster's controller takes from its configuration.

use taffrail_control::broker_config::BrokerKey;
use taffrail_control::config_value::{ConfigValue, parse};
use taffrail_controller_service::ClusterDefaults;
use taffrail_crds::config::Config;

/// From the resolved configuration of a LogCluster. A value that cannot be is passed over for Kafka's default: what is
/// wrong stands in a condition, and a cluster that runs has to have a controller all the same.
pub fn cluster_defaults(config: &Config) -> ClusterDefaults {
    let value = |name: &str| -> Option<ConfigValue> {
        let key = BrokerKey::find(name)?;
        let set = config.get(name).and_then(|value| parse(key.config_type, key.accepts, &value.to_string()));
        set.or_else(|| key.default_value())
    };
    let integer = |name: &str| value(name).and_then(|value| value.as_integer());
    let boolean = |name: &str| value(name).and_then(|value| value.as_bool());
    let usual = ClusterDefaults::default();
    let or = |usual: i32, name: &str| integer(name).and_then(|value| value.try_into().ok()).unwrap_or(usual);
    let millis = |usual: u64, name: &str, factor: u64| {
        integer(name)
            .and_then(|value| u64::try_from(value).ok())
            .map_or(usual, |value| value.saturating_mul(factor))
    };
    ClusterDefaults {
        num_partitions: or(usual.num_partitions, "num.partitions"),
        default_replication_factor: integer("default.replication.factor")
            .and_then(|value| value.try_into().ok())
            .unwrap_or(usual.default_replication_factor),
        min_insync_replicas: or(usual.min_insync_replicas, "min.insync.replicas"),
        unclean_leader_election: boolean("unclean.leader.election.enable")
            .unwrap_or(usual.unclean_leader_election),
        auto_leader_rebalance: boolean("auto.leader.rebalance.enable").unwrap_or(usual.auto_leader_rebalance),
        leader_imbalance_check_ms: millis(
            usual.leader_imbalance_check_ms,
            "leader.imbalance.check.interval.seconds",
            1000,
        ),
        session_timeout_ms: millis(usual.session_timeout_ms, "broker.session.timeout.ms", 1),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_crds::LogClusterSpec;
    use taffrail_crds::config::ConfigValue;

    use super::*;

    #[test]
    fn an_empty_spec_gives_the_usual_with_the_replicas_of_three_brokers() {
        let expected = ClusterDefaults {
            default_replication_factor: 3,
            min_insync_replicas: 2,
            ..ClusterDefaults::default()
        };
        assert_eq!(cluster_defaults(&LogClusterSpec::default().resolved_config()), expected);
    }

    #[test]
    fn what_is_set_is_taken_and_what_cannot_be_is_not() {
        let config: Config = [
            ("num.partitions", ConfigValue::from(6)),
            ("auto.leader.rebalance.enable", "false".into()),
            ("leader.imbalance.check.interval.seconds", "7".into()),
            ("broker.session.timeout.ms", "soon".into()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let expected = ClusterDefaults {
            num_partitions: 6,
            auto_leader_rebalance: false,
            leader_imbalance_check_ms: 7000,
            ..ClusterDefaults::default()
        };
        assert_eq!(cluster_defaults(&config), expected);
    }
}
