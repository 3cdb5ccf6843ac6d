//! Whether a node is being drained of brokers, so that their leaders leave before they do.

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

/// What a cordoned node is tainted with.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Taints of nodes that Kubernetes does not hear of. Whether a broker there lives its session tells, sooner and better, and
/// an API server that hears of few nodes needs no writes for leaders that move.
const UNHEARD: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Whether `node` is cordoned, or `pod` is to be evicted from it, now or after a time that it tolerates.
pub fn drains(node: &Node, pod: &Pod) -> bool {
    let Some(spec) = &node.spec else { return false };
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let stays = |taint: &Taint| {
        let mut for_ever = tolerations.clone().filter(|toleration| toleration.toleration_seconds.is_none());
        for_ever.any(|toleration| tolerates(toleration, taint))
    };
    let evicts = |taint: &Taint| {
        taint.effect == "NoExecute" && !UNHEARD.contains(&taint.key.as_str()) && !stays(taint)
    };
    let mut taints = spec.taints.iter().flatten();
    spec.unschedulable == Some(true) || taints.any(|taint| taint.key == UNSCHEDULABLE || evicts(taint))
}

/// As the API server's documentation of tolerations has it.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let any = |said: &Option<String>| said.as_deref().unwrap_or_default().is_empty();
    let whatever_value = toleration.operator.as_deref() == Some("Exists");
    let of_key = toleration.key.as_deref() == Some(&taint.key) || whatever_value && any(&toleration.key);
    let of_value =
        || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    let of_effect = any(&toleration.effect) || toleration.effect.as_deref() == Some(&taint.effect);
    of_key && of_effect && (whatever_value || of_value())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn drained(spec: Value, tolerations: Value) -> bool {
        let node: Node = serde_json::from_value(json!({"spec": spec})).unwrap();
        let spec = json!({"containers": [], "tolerations": tolerations});
        drains(&node, &serde_json::from_value(json!({"spec": spec})).unwrap())
    }

    fn tainted(key: &str, value: &str, effect: &str) -> Value {
        json!({"taints": [{"key": "zone", "effect": "NoSchedule"}, {"key": key, "value": value, "effect": effect}]})
    }

    #[test]
    fn a_cordoned_node_is_drained_whatever_its_pods_tolerate() {
        assert!(!drained(json!({}), json!([])));
        for spec in [json!({"unschedulable": true}), tainted(UNSCHEDULABLE, "", "NoSchedule")] {
            assert!(drained(spec.clone(), json!([])));
            assert!(drained(spec, json!([{"operator": "Exists"}])));
        }
        assert!(!drained(json!({"unschedulable": false}), json!([])));
    }

    #[test]
    fn a_taint_that_evicts_drains_those_who_do_not_tolerate_it_for_ever() {
        let taint = || tainted("dedicated", "kafka", "NoExecute");
        let tolerated = [
            json!({"operator": "Exists"}),
            json!({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}),
            json!({"key": "dedicated", "value": "kafka"}),
            json!({"key": "dedicated", "operator": "Equal", "value": "kafka", "effect": ""}),
        ];
        for toleration in tolerated {
            assert!(
                !drained(taint(), json!([{"key": "x", "operator": "Exists"}, toleration])),
                "{toleration}"
            );
        }
        let not_tolerated = [
            json!({"key": "dedicated", "operator": "Exists", "tolerationSeconds": 300}),
            json!({"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}),
            json!({"key": "dedicated", "value": "other"}),
            json!({"key": "other", "operator": "Exists"}),
            json!({"value": "kafka"}),
        ];
        for toleration in not_tolerated {
            assert!(drained(taint(), json!([toleration])), "{toleration}");
        }
        assert!(!drained(tainted("dedicated", "kafka", "NoSchedule"), json!([])));
    }

    #[test]
    fn a_node_that_kubernetes_does_not_hear_of_is_not_drained() {
        for key in UNHEARD {
            assert!(!drained(tainted(key, "", "NoExecute"), json!([])));
        }
    }
}
