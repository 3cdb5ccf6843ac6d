//! Dynamic configuration (KIP-226, KIP-339): of topics in their entries, of brokers in the cluster state.
//!
//! A change is worked out on what is set when its object is written, so that additions to a list from two sides both
//! count. Carrying it out twice, after a lost answer, comes to the same.

use std::collections::BTreeMap;

use taffrail_control::config_value::ConfigType;
use taffrail_control::session::{ApiError, ConfigChange, ConfigOp, ConfigResource};
use taffrail_control::topic_config::TopicKey;
use taffrail_protocol::{ErrorCode, Uuid};

use crate::controller::Controller;
use crate::message::SessionId;
use crate::model::{ClusterState, TopicEntry};
use crate::policy::Policy;
use crate::registration::ClusterIntent;
use crate::requests::Form;
use crate::topics::TopicIntent;
use crate::validate::refuse;

/// Bytes that one resource's configuration may take: many topics share one stored object.
const MAX_CONFIG_BYTES: usize = 128 * 1024;

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";

/// The setting of `name` for a topic: its own, or what was set for all brokers while they run.
fn setting<'a>(name: &str, entry: &'a TopicEntry, cluster: &'a ClusterState) -> Option<&'a str> {
    let of_brokers = || cluster.broker_config(None).and_then(|config| config.get(name));
    entry.config.get(name).or_else(of_brokers).map(|value| value.trim())
}

/// `min.insync.replicas` of a topic; rule 23 bounds it by the number of replicas.
pub(crate) fn min_insync_replicas(entry: &TopicEntry, cluster: &ClusterState, policy: &Policy) -> i32 {
    let set = setting(MIN_INSYNC_REPLICAS, entry, cluster).and_then(|value| value.parse().ok());
    set.unwrap_or(policy.min_insync_replicas)
}

/// Whether a topic's partitions may be led by a replica that was not in sync (`unclean.leader.election.enable`).
pub(crate) fn unclean_leader_election(entry: &TopicEntry, cluster: &ClusterState, policy: &Policy) -> bool {
    let set = setting(UNCLEAN_LEADER_ELECTION, entry, cluster);
    set.map_or(policy.unclean_leader_election, |value| value.eq_ignore_ascii_case("true"))
}

/// What a topic's configuration becomes by `change`.
pub(crate) fn of_topic(
    name: &str,
    present: &BTreeMap<String, String>,
    change: &ConfigChange,
    policy: &Policy,
) -> Result<BTreeMap<String, String>, ApiError> {
    let list_default = |key: &str| {
        TopicKey::find(key).filter(|key| key.config_type == ConfigType::List).map(|key| key.default)
    };
    let wanted = changed(present, change, list_default)?;
    let invalid = |message| ApiError { code: ErrorCode::INVALID_CONFIG, message };
    let kept = (policy.check_config)(name, &wanted).map_err(invalid)?;
    within_bounds(kept)
}

/// What a broker's configuration becomes by `change`. Keys and values were checked by the broker that was asked; no list
/// of a broker's can be added to.
pub(crate) fn of_broker(
    present: &BTreeMap<String, String>,
    change: &ConfigChange,
) -> Result<BTreeMap<String, String>, ApiError> {
    within_bounds(changed(present, change, |_| None)?)
}

fn within_bounds(config: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError> {
    let bytes: usize = config.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_CONFIG_BYTES {
        return refuse(
            ErrorCode::INVALID_CONFIG,
            format!(
                "the configuration would take {bytes} bytes, and {MAX_CONFIG_BYTES} is the most; shorten its lists"
            ),
        );
    }
    Ok(config)
}

/// `list_default` gives a list's default, and `None` for a key that is no list.
fn changed(
    present: &BTreeMap<String, String>,
    change: &ConfigChange,
    list_default: impl Fn(&str) -> Option<&'static str>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut config = if change.replace { BTreeMap::new() } else { present.clone() };
    for (key, op) in &change.ops {
        match op {
            ConfigOp::Set(value) => {
                config.insert(key.clone(), value.clone());
            }
            ConfigOp::Delete => {
                config.remove(key);
            }
            ConfigOp::Append(elements) | ConfigOp::Subtract(elements) => {
                let Some(default) = list_default(key) else {
                    return refuse(
                        ErrorCode::INVALID_CONFIG,
                        format!("configuration {key} is not a list: set it instead of adding or taking away"),
                    );
                };
                let present = config.get(key).map_or(default, String::as_str);
                let appends = matches!(op, ConfigOp::Append(_));
                config.insert(key.clone(), edited(present, elements, appends));
            }
        }
    }
    Ok(config)
}

/// The list `present` with `elements` added, or taken out.
fn edited(present: &str, elements: &str, add: bool) -> String {
    let split = |list: &str| -> Vec<String> {
        list.split(',').map(str::trim).filter(|element| !element.is_empty()).map(str::to_owned).collect()
    };
    let (mut list, elements) = (split(present), split(elements));
    list.retain(|element| !elements.contains(element));
    if add {
        // Those that were there keep their places.
        list = split(present);
        for element in elements {
            if !list.contains(&element) {
                list.push(element);
            }
        }
    }
    list.join(",")
}

/// Decides a change of brokers' configuration on `state`; whether anything changed.
pub(crate) fn configure_brokers(
    state: &mut ClusterState,
    change: &ConfigChange,
    validate_only: bool,
) -> Result<bool, ApiError> {
    let ConfigResource::Broker(broker_id) = change.resource else {
        return refuse(ErrorCode::INVALID_REQUEST, "a topic's configuration is not kept with the brokers");
    };
    if let Some(unknown) = broker_id.filter(|id| state.broker(*id).is_none()) {
        return refuse(ErrorCode::BROKER_ID_NOT_REGISTERED, format!("broker {unknown} is not registered"));
    }
    let nothing = BTreeMap::new();
    let present = state.broker_config(broker_id).unwrap_or(&nothing);
    let wanted = of_broker(present, change)?;
    if validate_only || wanted == *present {
        return Ok(false);
    }
    state.set_broker_config(broker_id, wanted);
    Ok(true)
}

impl Controller {
    /// `min.insync.replicas` of a topic that is there and stays; `None` for any other.
    pub(crate) fn min_insync_replicas(&self, topic_id: Uuid) -> Option<i32> {
        let (_, entry) = self.entry(topic_id)?;
        let stays = entry.deleting_since_ms.is_none() && !self.doubted.contains(&topic_id);
        stays.then(|| min_insync_replicas(entry, self.cluster.committed(), &self.policy))
    }

    pub(crate) fn take_config_changes(
        &mut self,
        session: SessionId,
        request_id: u64,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) {
        let Some(ticket) = self.open_request(session, request_id, Form::Configs, changes.len()) else {
            return;
        };
        for (slot, change) in changes.into_iter().enumerate() {
            let (ticket, change) = (ticket(slot), Box::new(change));
            if let ConfigResource::Topic(name) = &change.resource {
                let name = name.clone();
                let topic_id = None;
                let intent =
                    TopicIntent::Configure { ticket, name: name.clone(), change, validate_only, topic_id };
                self.enqueue_topic(&name, intent);
            } else {
                self.enqueue_cluster(ClusterIntent::Configure { ticket, change, validate_only });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{cluster_of, entry_of};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn change(replace: bool, ops: &[(&str, ConfigOp)]) -> ConfigChange {
        let ops = ops.iter().map(|(key, op)| ((*key).to_owned(), op.clone())).collect();
        ConfigChange { resource: ConfigResource::Topic("t".into()), replace, ops }
    }

    fn topic(present: &[(&str, &str)], change: &ConfigChange) -> Result<BTreeMap<String, String>, ErrorCode> {
        of_topic("t", &map(present), change, &Policy::default()).map_err(|error| error.code)
    }

    fn set(value: &str) -> ConfigOp {
        ConfigOp::Set(value.to_owned())
    }

    #[test]
    fn an_incremental_change_leaves_the_rest_and_a_replacing_one_does_not() {
        let present = [("segment.ms", "1"), ("flush.ms", "2")];
        let incremental = change(false, &[("segment.ms", ConfigOp::Delete), ("flush.messages", set("3"))]);
        assert_eq!(topic(&present, &incremental), Ok(map(&[("flush.ms", "2"), ("flush.messages", "3")])));
        let replacing = change(true, &[("flush.messages", set("3"))]);
        assert_eq!(topic(&present, &replacing), Ok(map(&[("flush.messages", "3")])));
    }

    #[test]
    fn lists_are_added_to_and_taken_from_once() {
        const KEY: &str = "leader.replication.throttled.replicas";
        let append = change(false, &[(KEY, ConfigOp::Append("1:1, 2:2".into()))]);
        let once = topic(&[(KEY, "0:1,1:1")], &append).unwrap();
        assert_eq!(once[KEY], "0:1,1:1,2:2");
        let again = of_topic("t", &once, &append, &Policy::default()).unwrap();
        assert_eq!(again, once, "carried out twice it comes to the same");
        let subtract = change(false, &[(KEY, ConfigOp::Subtract("1:1".into()))]);
        assert_eq!(of_topic("t", &once, &subtract, &Policy::default()).unwrap()[KEY], "0:1,2:2");
        let unset = change(false, &[("cleanup.policy", ConfigOp::Append("compact".into()))]);
        assert_eq!(
            topic(&[], &unset).unwrap()["cleanup.policy"],
            "delete,compact",
            "the default is added to"
        );
    }

    #[test]
    fn what_is_no_list_cannot_be_added_to() {
        let append = change(false, &[("segment.ms", ConfigOp::Append("1".into()))]);
        assert_eq!(topic(&[], &append), Err(ErrorCode::INVALID_CONFIG));
    }

    #[test]
    fn the_policy_has_the_last_word_and_size_is_bounded() {
        let policy = Policy { check_config: |_, _| Err("never".into()), ..Policy::default() };
        let refused = of_topic("t", &BTreeMap::new(), &change(false, &[]), &policy).unwrap_err();
        assert_eq!((refused.code, &*refused.message), (ErrorCode::INVALID_CONFIG, "never"));
        let long = change(false, &[("follower.replication.throttled.replicas", set(&"0:1,".repeat(40_000)))]);
        assert_eq!(topic(&[], &long), Err(ErrorCode::INVALID_CONFIG));
    }

    #[test]
    fn the_topics_own_setting_wins_over_the_brokers_and_that_over_the_policy() {
        let mut cluster = cluster_of(1);
        let policy = Policy { min_insync_replicas: 2, ..Policy::default() };
        let mut entry = entry_of(&[]);
        assert_eq!(min_insync_replicas(&entry, &cluster, &policy), 2);
        assert!(!unclean_leader_election(&entry, &cluster, &policy));
        cluster
            .set_broker_config(None, map(&[(MIN_INSYNC_REPLICAS, "3"), (UNCLEAN_LEADER_ELECTION, "TRUE")]));
        assert_eq!(min_insync_replicas(&entry, &cluster, &policy), 3);
        assert!(unclean_leader_election(&entry, &cluster, &policy));
        entry.config = map(&[(MIN_INSYNC_REPLICAS, "4"), (UNCLEAN_LEADER_ELECTION, "false")]);
        assert_eq!(min_insync_replicas(&entry, &cluster, &policy), 4);
        assert!(!unclean_leader_election(&entry, &cluster, &policy));
    }

    #[test]
    fn brokers_have_configurations_of_their_own_and_one_for_all() {
        let mut state = cluster_of(2);
        let of = |broker_id, op: ConfigOp| ConfigChange {
            resource: ConfigResource::Broker(broker_id),
            replace: false,
            ops: vec![("message.max.bytes".into(), op)],
        };
        assert_eq!(configure_brokers(&mut state, &of(None, set("7")), true), Ok(false));
        assert_eq!(configure_brokers(&mut state, &of(None, set("7")), false), Ok(true));
        assert_eq!(configure_brokers(&mut state, &of(Some(2), set("8")), false), Ok(true));
        assert_eq!(state.broker_config(None), Some(&map(&[("message.max.bytes", "7")])));
        assert_eq!(state.broker_config(Some(2)), Some(&map(&[("message.max.bytes", "8")])));
        assert_eq!(configure_brokers(&mut state, &of(Some(2), ConfigOp::Delete), false), Ok(true));
        assert_eq!(state.broker_config(Some(2)), None, "nothing set is nothing kept");
        let unknown = configure_brokers(&mut state, &of(Some(9), set("8")), false).unwrap_err();
        assert_eq!(unknown.code, ErrorCode::BROKER_ID_NOT_REGISTERED);
    }
}
