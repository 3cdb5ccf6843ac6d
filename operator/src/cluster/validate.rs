//! What is wrong with a LogCluster that the API server could not see. Each problem is a sentence that says what to do.

use taffrail_control::broker_config;
use taffrail_crds::LogCluster;

use super::build::names::ADMIN_PORT_NAME;
use super::release::{Version, recorded};

/// All that is wrong with `cluster` in the eyes of an operator of this release.
pub fn problems(cluster: &LogCluster, operator: &str) -> Vec<String> {
    let spec = &cluster.spec;
    let settings = spec.config.iter().map(|(key, value)| broker_config::check(key, &value.to_string()));
    let mut problems: Vec<_> =
        settings.filter_map(|checked| Some(format!("spec.config: {}", checked.err()?))).collect();
    problems.extend(version_problem(cluster, operator));
    for listener in &spec.listeners {
        // The name of the port of metrics, and a word that Kafka takes for TLS.
        if [ADMIN_PORT_NAME, "ssl"].contains(&listener.name.as_str()) {
            problems.push(format!("a listener cannot be called {}: choose another name", listener.name));
        }
    }
    problems
}

/// A release is known if it is not later than the operator's own, fixes of the same minor release aside.
fn version_problem(cluster: &LogCluster, operator: &str) -> Option<String> {
    let version = recorded(cluster)?;
    let (wanted, own) = (Version::parse(version), Version::parse(operator)?);
    match wanted {
        Some(wanted) if wanted.minor_release() <= own.minor_release() => None,
        _ => Some(format!(
            "version {version} is not known to this operator, which is of release {operator}: upgrade the operator first"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems_of(spec: serde_json::Value) -> Vec<String> {
        let cluster: LogCluster = serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "LogCluster", "metadata": {"name": "orders"}, "spec": spec,
        }))
        .unwrap();
        problems(&cluster, "0.3.1")
    }

    #[test]
    fn what_is_right_has_no_problems() {
        assert_eq!(problems_of(json!({})), [""; 0]);
        assert_eq!(problems_of(json!({"version": "0.3.9", "config": {"num.partitions": "3"}})), [""; 0]);
        assert_eq!(problems_of(json!({"version": "0.1.0-rc.1"})), [""; 0]);
        let volumes =
            json!([{"name": "a", "size": "1Gi"}, {"name": "b", "size": "1Gi", "storageClass": "fast"}]);
        assert_eq!(problems_of(json!({"brokers": {"storage": {"volumes": volumes}}})), [""; 0]);
    }

    #[test]
    fn every_problem_is_named() {
        let spec = json!({
            "version": "0.4.0",
            "config": {"num.partition": 3, "num.io.threads": 0},
            "listeners": [{"name": "ssl", "type": "internal", "port": 9092}],
        });
        let problems = problems_of(spec);
        assert_eq!(
            problems[..3],
            [
                "spec.config: configuration num.io.threads=0: the value is not valid, expected a whole number from 1 to \
                 2147483647",
                "spec.config: unknown configuration key \"num.partition\"; did you mean num.partitions?",
                "version 0.4.0 is not known to this operator, which is of release 0.3.1: upgrade the operator first",
            ]
        );
        assert_eq!(problems[3], "a listener cannot be called ssl: choose another name");
        assert_eq!(problems.len(), 4);
    }
}
