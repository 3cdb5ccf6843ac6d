//! Settings that brokers take over while they run.
//!
//! A broker reads its file when it starts. What changes in the file, and can be set while brokers run, is told to all of
//! them by way of the controller before the file is written: what the file says has been told, whenever the operator stops.

use std::collections::BTreeMap;

use taffrail_control::broker_config::{BrokerKey, Settable};
use taffrail_control::session::ConfigOp;

/// What is to be told where the settings `before` become those `after`. A setting that is taken away becomes the default:
/// brokers may have started with another.
pub fn changes(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<(String, ConfigOp)> {
    let running = |name: &str| BrokerKey::find(name).filter(|key| key.settable() != Settable::AtStart);
    let set = after.iter().filter(|(key, value)| before.get(*key) != Some(*value) && running(key).is_some());
    let set = set.map(|(key, value)| (key.clone(), ConfigOp::Set(value.clone())));
    let gone = before.keys().filter(|key| !after.contains_key(*key)).filter_map(|key| {
        let default = running(key)?.default;
        Some((key.clone(), default.map_or(ConfigOp::Delete, |default| ConfigOp::Set(default.to_owned()))))
    });
    set.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_can_be_set_while_brokers_run_is_told_and_the_rest_is_not() {
        let before =
            settings(&[("log.segment.bytes", "1000"), ("num.io.threads", "2"), ("max.connections", "7")]);
        let after =
            settings(&[("log.segment.bytes", "2000"), ("num.io.threads", "4"), ("num.partitions", "3")]);
        let set = |key: &str, value: &str| (key.to_owned(), ConfigOp::Set(value.to_owned()));
        assert_eq!(
            changes(&before, &after),
            [set("log.segment.bytes", "2000"), set("max.connections", "2147483647"),]
        );
        assert_eq!(changes(&after, &after), []);
    }

    #[test]
    fn a_setting_without_a_default_is_taken_away() {
        let before = settings(&[("log.roll.ms", "1000")]);
        assert_eq!(changes(&before, &settings(&[])), [("log.roll.ms".to_owned(), ConfigOp::Delete)]);
    }
}
