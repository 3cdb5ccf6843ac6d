//! What can be seen of a broker's pod, and what is wrong with it, in words.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;

use super::build::names::{POD_INDEX, TEMPLATE_HASH, VERSION};

/// A pod of a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Tells it from one of the same name before or after it.
    pub uid: String,
    /// The hash of the template that it was made by.
    pub template: String,
    /// The release that it runs.
    pub version: Option<String>,
    /// Its containers run.
    pub running: bool,
    /// The broker says that it is ready.
    pub ready: bool,
    /// Since when it is ready, or is not.
    pub since: Option<Timestamp>,
    /// It was told to go.
    pub stopping: bool,
    /// What is wrong with it.
    pub problem: Option<Problem>,
}

/// Something that is wrong, as a condition says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Waiting does not help: somebody has to change something.
    pub lasting: bool,
}

impl Problem {
    pub(super) fn new(reason: &str, message: String, lasting: bool) -> Self {
        Self { reason: reason.to_owned(), message, lasting }
    }
}

/// The pods of a cluster by the ids of their brokers.
pub fn seen<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> BTreeMap<i32, PodSeen> {
    pods.into_iter().filter_map(|pod| Some((broker_id(pod)?, PodSeen::of(pod)))).collect()
}

/// The broker that a pod runs.
pub fn broker_id(pod: &Pod) -> Option<i32> {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(POD_INDEX));
    label?.parse().ok()
}

impl PodSeen {
    fn of(pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        let annotation =
            |name: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(name)).cloned();
        let ready = condition(pod, "Ready");
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        let changed = ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0);
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            template: annotation(TEMPLATE_HASH).unwrap_or_default(),
            version: annotation(VERSION),
            running: pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running")),
            ready: ready.is_some_and(|ready| ready.status == "True"),
            since: changed.or(created),
            stopping: metadata.deletion_timestamp.is_some(),
            problem: problem(pod),
        }
    }
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == name)
}

/// What is wrong with a pod that is not ready.
fn problem(pod: &Pod) -> Option<Problem> {
    let status = pod.status.as_ref()?;
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|condition| condition.status == "False") {
        let message = scheduled.message.clone().unwrap_or_default();
        return Some(Problem::new("Unschedulable", format!("no node takes the pod: {message}"), false));
    }
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.as_deref().unwrap_or("PodFailed");
        return Some(Problem::new(reason, status.message.clone().unwrap_or_default(), false));
    }
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    init.iter().chain(containers).filter(|container| !container.ready).find_map(container_problem)
}

fn container_problem(container: &ContainerStatus) -> Option<Problem> {
    let ended = [&container.state, &container.last_state]
        .into_iter()
        .find_map(|state| state.as_ref()?.terminated.as_ref());
    if let Some(ended) = ended.filter(|ended| ended.reason.as_deref() == Some("OOMKilled")) {
        let message = format!(
            "its process was killed at {} as it needed more memory than brokers.resources.limits.memory: raise it",
            ended.finished_at.as_ref().map(|time| time.0.to_string()).unwrap_or_default()
        );
        return Some(Problem::new("OOMKilled", message, false));
    }
    let Some(ContainerState { waiting: Some(waiting), .. }) = &container.state else { return None };
    let reason = waiting.reason.as_deref()?;
    let said = waiting.message.as_deref().unwrap_or(reason);
    let (message, lasting) = match reason {
        // So it is called the first time; it may be the network.
        "ErrImagePull" => (format!("its image cannot be pulled: {said}"), false),
        "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "ErrImagePullBackOff" => {
            (format!("its image cannot be pulled: {said}"), true)
        }
        "CreateContainerConfigError" => (format!("something that it refers to is missing: {said}"), true),
        "CreateContainerError" | "RunContainerError" => {
            (format!("its container cannot be started: {said}"), true)
        }
        "CrashLoopBackOff" => {
            let code = ended.map(|ended| format!(" with code {}", ended.exit_code)).unwrap_or_default();
            (format!("its process ends again and again{code}: kubectl logs --previous tells why"), false)
        }
        _ => return None,
    };
    Some(Problem::new(reason, message, lasting))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> PodSeen {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "orders-1",
                "uid": "u",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"apps.kubernetes.io/pod-index": "1"},
                "annotations": {"taffrail.dev/template-hash": "abc", "taffrail.dev/version": "0.1.0"},
            },
            "status": status,
        }))
        .unwrap();
        seen([&pod]).remove(&1).unwrap()
    }

    fn reason(status: serde_json::Value) -> Option<(String, bool)> {
        pod(status).problem.map(|problem| (problem.reason, problem.lasting))
    }

    fn waiting(reason: &str) -> serde_json::Value {
        let waiting = json!({"waiting": {"reason": reason, "message": "why"}});
        json!({"phase": "Pending", "containerStatuses": [container(waiting, json!({}))]})
    }

    fn container(state: serde_json::Value, last: serde_json::Value) -> serde_json::Value {
        json!({"name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": state, "lastState": last})
    }

    #[test]
    fn a_ready_pod_is_ready_since_its_condition_says_so() {
        let ready = pod(json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}],
        }));
        assert!(ready.ready && ready.running && !ready.stopping);
        assert_eq!(ready.since, Some("2026-01-01T00:01:00Z".parse().unwrap()));
        assert_eq!((ready.template.as_str(), ready.version.as_deref()), ("abc", Some("0.1.0")));
        assert_eq!(ready.problem, None);
        assert_eq!(pod(json!({})).since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_named() {
        let some = |reason: &str, lasting| Some((reason.to_owned(), lasting));
        for (word, lasting) in [
            ("ErrImagePull", false),
            ("ImagePullBackOff", true),
            ("ErrImageNeverPull", true),
            ("CreateContainerConfigError", true),
            ("CrashLoopBackOff", false),
        ] {
            assert_eq!(reason(waiting(word)), some(word, lasting));
        }
        assert_eq!(reason(waiting("ContainerCreating")), None);
        let unschedulable = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
        assert_eq!(reason(unschedulable), some("Unschedulable", false));
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "disk"});
        assert_eq!(reason(evicted), some("Evicted", false));
    }

    #[test]
    fn too_little_memory_is_told_from_other_crashes() {
        let killed = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}});
        let failed = json!({"terminated": {"reason": "Error", "exitCode": 1}});
        let crashing = || json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let status = |last| json!({"phase": "Running", "containerStatuses": [container(crashing(), last)]});
        assert_eq!(reason(status(killed)).unwrap().0, "OOMKilled");
        let other = pod(status(failed)).problem.unwrap();
        assert_eq!(other.reason, "CrashLoopBackOff");
        assert!(other.message.contains("code 1"), "{}", other.message);
    }
}
