//! What the status of a LogCluster says. A summary for people: nothing is decided from it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use taffrail_control::session::LogDirState;
use taffrail_controller_service::LogDirs;
use taffrail_crds::LogCluster;
use taffrail_crds::condition::READY;
use taffrail_crds::logcluster::{
    BrokerPhase, BrokerStatus, ListenerSpec, ListenerStatus, ListenerType, LogClusterStatus,
};

use super::build::Release;
use super::build::names::{Names, listener_name};
use super::build::template::Templates;
use super::claims::Claims;
use super::disks;
use super::facts::Facts;
use super::pods::PodSeen;
use super::roll::RollStep;
use super::scale::Scale;
use crate::topic::protection::held_sentence;

/// Whether the operator is changing something, or waiting for what it changed.
pub const PROGRESSING: &str = "Progressing";
/// Whether the operator is told to change nothing. There only while it is.
pub const PAUSED: &str = "Paused";
/// Whether a roll failed and was taken back. There only until something else is asked for.
pub const ROLL_FAILED: &str = "RollFailed";

/// Whether topics are kept although their objects are gone. There only while some are.
pub const TOPICS_HELD: &str = "TopicsHeld";

/// Whether a broker's disk has no room for records. There only while one has not.
pub const DISK_FULL: &str = "DiskFull";
/// Whether a log directory of a broker is out of service. There only while one is.
pub const DISK_FAILED: &str = "DiskFailed";

/// All that a status follows from.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The time of day.
    pub now: Timestamp,
    /// The LogCluster, with its status so far.
    pub cluster: &'a LogCluster,
    /// What is wrong with its spec.
    pub problems: &'a [String],
    /// Why its children could not be brought to what they shall be.
    pub failure: Option<(&'a str, &'a str)>,
    /// What keeps its controller from working.
    pub controller_problem: Option<&'a str>,
    /// The id that clients know it by.
    pub cluster_id: Option<&'a str>,
    /// What its brokers shall run.
    pub release: Option<&'a Release>,
    /// What its pods are made by.
    pub templates: Option<&'a Templates>,
    /// How many brokers there are to be now.
    pub scale: &'a Scale,
    /// Its pods.
    pub pods: &'a BTreeMap<i32, PodSeen>,
    /// What is said of claims of its brokers.
    pub claims: &'a Claims,
    /// What its controller has published.
    pub facts: Option<&'a Facts>,
    /// The log directories that take no writes, where somebody tells.
    pub log_dirs: Option<&'a LogDirs>,
    /// What the roller does next.
    pub roll: &'a RollStep,
    /// Its Services, by name.
    pub services: &'a BTreeMap<String, Service>,
}

/// What the operator says of the cluster.
pub fn status(seen: &Seen<'_>) -> LogClusterStatus {
    let before = seen.cluster.status.as_ref();
    let brokers = brokers(seen);
    let ready = brokers.iter().filter(|broker| broker.phase == BrokerPhase::Ready).count();
    // What was counted last stands until something is counted again.
    let counted = |count: fn(&Facts) -> i32, last: fn(&LogClusterStatus) -> Option<i32>| {
        seen.facts.map(count).or_else(|| last(before?))
    };
    LogClusterStatus {
        observed_generation: seen.cluster.metadata.generation,
        conditions: conditions(seen, ready),
        cluster_id: seen.cluster_id.map(str::to_owned).or_else(|| before?.cluster_id.clone()),
        version: seen.release.map(|release| release.version.clone()),
        image: seen.release.map(|release| release.image.clone()),
        ready_brokers: i32::try_from(ready).ok(),
        brokers,
        topics: counted(|facts| facts.topics, |last| last.topics),
        partitions: counted(|facts| facts.partitions, |last| last.partitions),
        under_replicated_partitions: counted(
            |facts| facts.under_replicated,
            |last| last.under_replicated_partitions,
        ),
        under_min_isr_partitions: counted(|facts| facts.under_min_isr, |last| last.under_min_isr_partitions),
        offline_partitions: counted(|facts| facts.offline, |last| last.offline_partitions),
        listeners: seen
            .cluster
            .spec
            .listeners
            .iter()
            .map(|listener| listener_status(seen, listener))
            .collect(),
    }
}

fn brokers(seen: &Seen<'_>) -> Vec<BrokerStatus> {
    let registered = seen.facts.iter().flat_map(|facts| facts.brokers.keys());
    let ids: std::collections::BTreeSet<i32> =
        (0..seen.scale.replicas).chain(seen.pods.keys().copied()).chain(registered.copied()).collect();
    ids.into_iter().map(|id| broker(seen, id)).collect()
}

fn broker(seen: &Seen<'_>, id: i32) -> BrokerStatus {
    let pod = seen.pods.get(&id);
    let known = seen.facts.and_then(|facts| facts.brokers.get(&id));
    let told = seen.cluster.status.iter().flat_map(|status| &status.brokers);
    let last = told.into_iter().find(|broker| broker.id == id && seen.facts.is_none());
    // While the controller tells nothing, the broker's own word has to do: ready is who is registered.
    let serves = match seen.facts {
        Some(_) => known.is_some_and(|broker| !broker.fenced),
        None => pod.is_some_and(|pod| pod.ready),
    };
    let phase = match (pod, serves) {
        (Some(_), true) if id >= seen.cluster.spec.brokers.replicas => BrokerPhase::Draining,
        (Some(pod), true) if pod.ready => BrokerPhase::Ready,
        (Some(pod), _) if pod.running => BrokerPhase::Starting,
        _ if known.is_some() => BrokerPhase::Down,
        _ => BrokerPhase::Pending,
    };
    let problem = pod.and_then(|pod| pod.problem.as_ref()).or_else(|| seen.claims.problems.get(&id));
    let message = match phase {
        BrokerPhase::Ready | BrokerPhase::Draining => {
            let disks = seen.log_dirs.and_then(|dirs| disks::of_broker(dirs, id));
            disks.or_else(|| seen.claims.growing.get(&id).cloned())
        }
        BrokerPhase::Starting if problem.is_none() && known.is_some() && !serves => {
            Some("it is fenced".to_owned())
        }
        _ => problem.map(|problem| format!("{}: {}", problem.reason, problem.message)),
    };
    BrokerStatus {
        id,
        phase,
        message,
        version: pod.and_then(|pod| pod.version.clone()),
        rack: known.map_or_else(|| last?.rack.clone(), |broker| broker.rack.clone()),
        leaders: known.map_or_else(|| last?.leaders, |broker| Some(broker.leaders)),
        replicas: known.map_or_else(|| last?.replicas, |broker| Some(broker.replicas)),
    }
}

/// A condition before it is known since when it is so.
struct Said {
    name: &'static str,
    is: bool,
    reason: String,
    message: String,
}

impl Said {
    fn new(name: &'static str, is: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { name, is, reason: reason.to_owned(), message: message.into() }
    }

    /// Its time moves only when its status does.
    fn since(self, seen: &Seen<'_>) -> Condition {
        let status = if self.is { "True" } else { "False" };
        let before = seen.cluster.status.iter().flat_map(|status| &status.conditions);
        let same =
            before.into_iter().find(|condition| condition.type_ == self.name && condition.status == status);
        Condition {
            type_: self.name.to_owned(),
            status: status.to_owned(),
            reason: self.reason,
            message: shortened(self.message),
            observed_generation: seen.cluster.metadata.generation,
            last_transition_time: same
                .map_or(Time(seen.now), |condition| condition.last_transition_time.clone()),
        }
    }
}

/// The API server takes no message above 32 KiB, and nobody reads one.
fn shortened(message: String) -> String {
    match message.char_indices().nth(1000) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

fn conditions(seen: &Seen<'_>, ready: usize) -> Vec<Condition> {
    let progress = progressing(seen, ready);
    let mut all = vec![ready_condition(seen, ready, &progress), progress];
    if seen.cluster.spec.pause {
        let message = "spec.pause is true: nothing is changed in Kubernetes until it is false";
        all.push(Said::new(PAUSED, true, "Asked", message));
    }
    if let Some(refused) = seen.templates.and_then(|templates| templates.refused.as_ref()) {
        let message = format!(
            "{}. The pods are made as before; change the spec, and the brokers are rolled again",
            refused.why
        );
        all.push(Said::new(ROLL_FAILED, true, "PodFailed", message));
    }
    all.extend(held(seen));
    all.extend(disk_condition(seen, DISK_FULL, LogDirState::Full, "NoRoom"));
    all.extend(disk_condition(seen, DISK_FAILED, LogDirState::Failed, "OutOfService"));
    all.into_iter().map(|said| said.since(seen)).collect()
}

fn held(seen: &Seen<'_>) -> Option<Said> {
    let said = |message: String| Said::new(TOPICS_HELD, true, "ObjectsGone", message);
    match seen.facts {
        Some(facts) => (!facts.held.is_empty()).then(|| said(held_sentence(&facts.held))),
        None => said_before(seen, TOPICS_HELD).map(said),
    }
}

/// What was said last stands until the controller tells.
fn said_before(seen: &Seen<'_>, name: &str) -> Option<String> {
    let before = seen.cluster.status.iter().flat_map(|status| &status.conditions);
    let told = before.into_iter().find(|condition| condition.type_ == name);
    told.map(|told| told.message.clone())
}

fn disk_condition(seen: &Seen<'_>, name: &'static str, state: LogDirState, reason: &str) -> Option<Said> {
    let message = match seen.log_dirs {
        Some(dirs) => disks::sentence(dirs, state),
        None => said_before(seen, name),
    };
    message.map(|message| Said::new(name, true, reason, message))
}

fn progressing(seen: &Seen<'_>, ready: usize) -> Said {
    let said = |is, reason: &str, message: String| Said::new(PROGRESSING, is, reason, message);
    match seen.roll {
        RollStep::Begin if seen.pods.is_empty() => {
            said(true, "Creating", "the brokers are being made".to_owned())
        }
        RollStep::Begin => {
            said(true, "Rolling", "the brokers are about to be restarted one by one".to_owned())
        }
        RollStep::Delete(id) => said(true, "Rolling", format!("broker {id} is being restarted")),
        RollStep::Wait(waiting) => said(true, "Rolling", waiting.to_string()),
        RollStep::GiveBack(why) => said(true, "RollingBack", why.clone()),
        RollStep::Finish => said(true, "Rolling", "the last broker was restarted".to_owned()),
        RollStep::Rest if seen.scale.held_by.is_some() => {
            let (id, partitions) = seen.scale.held_by.unwrap_or_default();
            let message = format!(
                "broker {id} is to go and still holds replicas of {partitions} partitions: they have to be moved to other \
                 brokers first"
            );
            said(true, "ScalingDown", message)
        }
        RollStep::Rest if usize::try_from(seen.scale.replicas).is_ok_and(|replicas| ready < replicas) => {
            let message = format!("{ready} of {} brokers are ready", seen.scale.replicas);
            said(true, "WaitingForBrokers", message)
        }
        RollStep::Rest => said(false, "Settled", "every broker is as it shall be".to_owned()),
    }
}

/// The most important of what is not as it shall be.
fn ready_condition(seen: &Seen<'_>, ready: usize, progress: &Said) -> Said {
    let no = |reason: &str, message: String| Said::new(READY, false, reason, message);
    if !seen.problems.is_empty() {
        return no("Invalid", seen.problems.join("; "));
    }
    if let Some((reason, message)) = seen.failure {
        return no(reason, message.to_owned());
    }
    if let Some(problem) = seen.controller_problem {
        return no("ControllerNotReady", problem.to_owned());
    }
    if let Some(said) = broker_problems(seen) {
        return said;
    }
    if let Some(facts) = seen.facts {
        if facts.offline > 0 {
            return no("PartitionsOffline", format!("{} partitions have no leader", facts.offline));
        }
        if facts.under_min_isr > 0 {
            let message = format!("{} partitions take no write with acks=all", facts.under_min_isr);
            return no("PartitionsUnderMinIsr", message);
        }
    }
    if let Some(refused) = seen.templates.and_then(|templates| templates.refused.as_ref()) {
        return no(ROLL_FAILED, refused.why.clone());
    }
    if progress.is {
        return no(&progress.reason, progress.message.clone());
    }
    Said::new(READY, true, "AsWished", format!("{ready} brokers serve"))
}

/// What is wrong with pods and claims: the reason of the first broker, the words of all.
fn broker_problems(seen: &Seen<'_>) -> Option<Said> {
    let of = |id: i32| {
        let pod = seen.pods.get(&id).filter(|pod| !pod.ready);
        let claim = seen.claims.problems.get(&id);
        // A claim without a volume is why no node takes the pod.
        claim.or_else(|| pod?.problem.as_ref()).map(|problem| (id, problem))
    };
    let problems: Vec<_> = (0..seen.scale.replicas).filter_map(of).collect();
    let (_, first) = problems.first()?;
    let mut by_words: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (id, problem) in &problems {
        by_words.entry(problem.message.as_str()).or_default().push(id.to_string());
    }
    let sentences = by_words.iter().map(|(message, ids)| {
        let who = if ids.len() == 1 { "broker" } else { "brokers" };
        format!("{who} {}: {message}", ids.join(", "))
    });
    Some(Said::new(READY, false, &first.reason, sentences.collect::<Vec<_>>().join("; ")))
}

fn listener_status(seen: &Seen<'_>, listener: &ListenerSpec) -> ListenerStatus {
    let (namespace, name) = (seen.cluster.namespace().unwrap_or_default(), seen.cluster.name_any());
    let names = Names::new(&namespace, &name);
    let kafka_name = listener_name(&listener.name);
    let told = seen.cluster.status.iter().flat_map(|status| &status.listeners);
    let addresses: Vec<_> = match seen.facts {
        Some(facts) => {
            facts.brokers.values().filter_map(|it| it.endpoints.get(&kafka_name).cloned()).collect()
        }
        None => {
            told.filter(|last| last.name == listener.name).flat_map(|last| last.addresses.clone()).collect()
        }
    };
    let service = || seen.services.get(&names.external_bootstrap(&listener.name));
    let bootstrap = match listener.listener_type {
        ListenerType::Internal => Some(format!("{}:{}", names.host(&names.bootstrap()), listener.port)),
        ListenerType::LoadBalancer => {
            service().and_then(balancer_host).map(|host| format!("{host}:{}", listener.port))
        }
        // Every node passes connections on, those of brokers among them.
        ListenerType::NodePort => service().and_then(|service| {
            let port = service.spec.as_ref()?.ports.as_ref()?.first()?.node_port?;
            let host = addresses.first()?.rsplit_once(':')?.0;
            Some(format!("{host}:{port}"))
        }),
    };
    ListenerStatus { name: listener.name.clone(), bootstrap, addresses }
}

/// Where a load balancer is reached, once it is there.
pub fn balancer_host(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    ingress.hostname.clone().or_else(|| ingress.ip.clone())
}

/// Whether two statuses say the same; times are of no account.
pub fn says_the_same(one: &LogClusterStatus, other: &LogClusterStatus) -> bool {
    let timeless = |status: &LogClusterStatus| {
        let mut status = status.clone();
        status
            .conditions
            .iter_mut()
            .for_each(|condition| condition.last_transition_time = Time(Timestamp::UNIX_EPOCH));
        status
    };
    timeless(one) == timeless(other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::build::template::{Refused, Template};
    use super::super::facts::BrokerFacts;
    use super::super::pods::Problem;
    use super::super::roll::Waiting;
    use super::*;

    struct Scene {
        cluster: LogCluster,
        problems: Vec<String>,
        templates: Templates,
        pods: BTreeMap<i32, PodSeen>,
        claims: Claims,
        facts: Option<Facts>,
        log_dirs: Option<LogDirs>,
        roll: RollStep,
        scale: Scale,
        services: BTreeMap<String, Service>,
    }

    impl Scene {
        /// Two brokers that serve.
        fn new() -> Self {
            let cluster = json!({
                "apiVersion": "taffrail.dev/v1alpha1",
                "kind": "LogCluster",
                "metadata": {"name": "orders", "namespace": "shop", "generation": 4},
                "spec": {"brokers": {"replicas": 2}, "listeners": [
                    {"name": "plain", "type": "internal", "port": 9092},
                    {"name": "outside", "type": "nodeport", "port": 9094},
                    {"name": "world", "type": "loadbalancer", "port": 9095},
                ]},
            });
            let pod = PodSeen { ready: true, running: true, ..PodSeen::default() };
            let endpoints = [("OUTSIDE".to_owned(), "node-1:31000".to_owned())];
            let broker = BrokerFacts { endpoints: BTreeMap::from(endpoints), ..BrokerFacts::default() };
            let brokers = BTreeMap::from([(0, broker.clone()), (1, broker)]);
            let template = Template { wish: String::new(), version: String::new(), template: json!({}) };
            Self {
                cluster: serde_json::from_value(cluster).unwrap(),
                problems: Vec::new(),
                templates: Templates::first(template),
                pods: BTreeMap::from([(0, pod.clone()), (1, pod)]),
                claims: Claims::default(),
                facts: Some(Facts { brokers, topics: 5, partitions: 9, ..Facts::default() }),
                log_dirs: Some(LogDirs::new()),
                roll: RollStep::Rest,
                scale: Scale { replicas: 2, held_by: None },
                services: BTreeMap::new(),
            }
        }

        fn status(&self, now: i64) -> LogClusterStatus {
            status(&Seen {
                now: Timestamp::from_second(now).unwrap(),
                cluster: &self.cluster,
                problems: &self.problems,
                failure: None,
                controller_problem: None,
                cluster_id: None,
                release: None,
                templates: Some(&self.templates),
                scale: &self.scale,
                pods: &self.pods,
                claims: &self.claims,
                facts: self.facts.as_ref(),
                log_dirs: self.log_dirs.as_ref(),
                roll: &self.roll,
                services: &self.services,
            })
        }

        fn held(&self) -> Option<Condition> {
            self.status(0).conditions.into_iter().find(|condition| condition.type_ == TOPICS_HELD)
        }

        fn ready(&self) -> (String, String) {
            let condition =
                self.status(0).conditions.into_iter().find(|condition| condition.type_ == READY).unwrap();
            (condition.status, condition.reason)
        }
    }

    fn problem(reason: &str) -> Problem {
        Problem { reason: reason.to_owned(), message: format!("{reason} it is"), lasting: true }
    }

    fn no(reason: &str) -> (String, String) {
        ("False".to_owned(), reason.to_owned())
    }

    #[test]
    fn a_disk_without_room_is_a_condition_and_said_of_its_broker_and_stands_while_nobody_tells() {
        use taffrail_control::session::LogDirHealth;
        let mut scene = Scene::new();
        let dir = |state, reason: &str| LogDirHealth { path: "/data".into(), state, reason: reason.into() };
        let dirs = vec![dir(LogDirState::Full, "/data is full"), dir(LogDirState::Failed, "/more is gone")];
        scene.log_dirs = Some(LogDirs::from([(1, dirs)]));
        let said = |scene: &Scene| -> Vec<(String, String)> {
            let conditions = scene.status(0).conditions.into_iter();
            let disks = conditions.filter(|condition| condition.type_.starts_with("Disk"));
            disks.map(|condition| (condition.type_, condition.message)).collect()
        };
        let told = said(&scene);
        assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [DISK_FULL, DISK_FAILED]);
        assert!(told[0].1.starts_with("broker 1: /data is full. Nothing is appended"), "{told:?}");
        assert!(told[1].1.starts_with("broker 1: /more is gone. Others lead"), "{told:?}");
        let brokers = scene.status(0).brokers;
        assert_eq!(brokers[0].message, None);
        assert_eq!(brokers[1].message.as_deref(), Some("/data is full; /more is gone"));
        assert_eq!(scene.ready().0, "True", "it serves what it has");
        scene.cluster.status = Some(scene.status(0));
        scene.log_dirs = None;
        assert_eq!(said(&scene), told);
        scene.log_dirs = Some(LogDirs::new());
        assert_eq!(said(&scene), []);
    }

    #[test]
    fn a_volume_that_grows_is_said_of_its_broker() {
        let mut scene = Scene::new();
        scene.claims.growing.insert(1, "its volume grows".to_owned());
        let brokers = scene.status(0).brokers;
        assert_eq!((&brokers[0].message, brokers[1].message.as_deref()), (&None, Some("its volume grows")));
        assert_eq!(scene.ready().0, "True");
    }

    #[test]
    fn topics_without_objects_are_named_as_long_as_they_are_held() {
        let mut scene = Scene::new();
        assert_eq!(scene.held(), None);
        scene.facts.as_mut().unwrap().held = vec!["a".into(), "b".into()];
        let held = scene.held().unwrap();
        assert!(
            held.message.starts_with("2 topics are kept") && held.message.contains(": a, b."),
            "{held:?}"
        );
        assert_eq!(scene.ready().0, "True", "they serve all the same");
        scene.cluster.status = Some(scene.status(0));
        scene.facts = None;
        assert_eq!(scene.held().unwrap().message, held.message, "while the controller tells nothing");
        scene.facts = Some(Facts::default());
        assert_eq!(scene.held(), None);
    }

    #[test]
    fn a_cluster_whose_brokers_serve_is_ready() {
        let scene = Scene::new();
        assert_eq!(scene.ready(), ("True".to_owned(), "AsWished".to_owned()));
        let status = scene.status(0);
        assert_eq!((status.ready_brokers, status.topics, status.partitions), (Some(2), Some(5), Some(9)));
        assert_eq!(status.observed_generation, Some(4));
        assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(4)));
    }

    #[test]
    fn ready_names_the_most_important_of_what_is_wrong() {
        let mut scene = Scene::new();
        scene.roll = RollStep::Wait(Waiting::Ready(1));
        assert_eq!(scene.ready(), no("Rolling"));
        scene.facts.as_mut().unwrap().under_min_isr = 1;
        assert_eq!(scene.ready(), no("PartitionsUnderMinIsr"));
        scene.facts.as_mut().unwrap().offline = 1;
        assert_eq!(scene.ready(), no("PartitionsOffline"));
        let pod = PodSeen { problem: Some(problem("Unschedulable")), ..PodSeen::default() };
        scene.pods.insert(1, pod);
        assert_eq!(scene.ready(), no("Unschedulable"));
        scene.claims.problems.insert(1, problem("StorageClassNotFound"));
        assert_eq!(scene.ready(), no("StorageClassNotFound"));
        scene.problems.push("wrong".to_owned());
        assert_eq!(scene.ready(), no("Invalid"));
    }

    #[test]
    fn what_all_brokers_suffer_from_is_said_once() {
        let mut scene = Scene::new();
        let pod = PodSeen { problem: Some(problem("ErrImagePull")), ..PodSeen::default() };
        scene.pods = BTreeMap::from([(0, pod.clone()), (1, pod)]);
        assert_eq!(scene.status(0).conditions[0].message, "brokers 0, 1: ErrImagePull it is");
    }

    #[test]
    fn a_roll_that_failed_is_said_until_something_else_is_asked_for() {
        let mut scene = Scene::new();
        scene.templates.refused =
            Some(Refused { wish: "x".to_owned(), why: "broker 1: no such image".to_owned() });
        assert_eq!(scene.ready(), no(ROLL_FAILED));
        assert!(scene.status(0).conditions.iter().any(|condition| condition.type_ == ROLL_FAILED));
    }

    #[test]
    fn brokers_are_in_the_phase_that_pod_and_registration_make() {
        let mut scene = Scene::new();
        let phase = |scene: &Scene, id: usize| scene.status(0).brokers[id].phase;
        assert_eq!(phase(&scene, 1), BrokerPhase::Ready);
        scene.facts.as_mut().unwrap().brokers.get_mut(&1).unwrap().fenced = true;
        assert_eq!(phase(&scene, 1), BrokerPhase::Starting);
        scene.pods.remove(&1);
        assert_eq!(phase(&scene, 1), BrokerPhase::Down);
        scene.facts.as_mut().unwrap().brokers.remove(&1);
        assert_eq!(phase(&scene, 1), BrokerPhase::Pending);
        assert_eq!(scene.ready(), no("WaitingForBrokers"));
    }

    #[test]
    fn what_was_counted_last_stands_until_something_is_counted_again() {
        let mut scene = Scene::new();
        let first = scene.status(0);
        scene.cluster.status = Some(first.clone());
        scene.facts = None;
        let second = scene.status(0);
        assert!(says_the_same(&first, &second), "{first:?} {second:?}");
        scene.pods.remove(&1);
        assert_eq!(scene.status(0).brokers[1].phase, BrokerPhase::Pending);
    }

    #[test]
    fn times_move_only_with_the_status_of_their_condition() {
        let mut scene = Scene::new();
        let first = scene.status(100);
        scene.cluster.status = Some(first.clone());
        assert_eq!(scene.status(200), first);
        scene.facts.as_mut().unwrap().topics = 6;
        let second = scene.status(200);
        assert!(!says_the_same(&first, &second));
        assert_eq!(second.conditions, first.conditions);
        scene.facts.as_mut().unwrap().offline = 1;
        let third = scene.status(300);
        assert_eq!(third.conditions[0].last_transition_time, Time(Timestamp::from_second(300).unwrap()));
        assert_eq!(third.conditions[1].last_transition_time, first.conditions[1].last_transition_time);
        let mut timed = third.clone();
        timed.conditions[0].last_transition_time = Time(Timestamp::UNIX_EPOCH);
        assert!(says_the_same(&third, &timed));
    }

    #[test]
    fn listeners_say_where_clients_begin() {
        let mut scene = Scene::new();
        let service = |value: serde_json::Value| serde_json::from_value::<Service>(value).unwrap();
        let bootstrap = |scene: &Scene| -> Vec<_> {
            scene.status(0).listeners.into_iter().map(|listener| listener.bootstrap).collect()
        };
        let inside = Some("orders-bootstrap.shop.svc:9092".to_owned());
        assert_eq!(bootstrap(&scene), [inside.clone(), None, None]);
        scene.services.insert(
            "orders-outside-bootstrap".to_owned(),
            service(json!({"spec": {"ports": [{"port": 9094, "nodePort": 30999}]}})),
        );
        scene.services.insert(
            "orders-world-bootstrap".to_owned(),
            service(json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}})),
        );
        assert_eq!(
            bootstrap(&scene),
            [inside, Some("node-1:30999".to_owned()), Some("192.0.2.1:9095".to_owned())]
        );
        assert_eq!(scene.status(0).listeners[1].addresses, ["node-1:31000", "node-1:31000"]);
    }

    #[test]
    fn a_pause_is_a_condition_while_it_lasts() {
        let mut scene = Scene::new();
        let paused =
            |scene: &Scene| scene.status(0).conditions.iter().any(|condition| condition.type_ == PAUSED);
        assert!(!paused(&scene));
        scene.cluster.spec.pause = true;
        assert!(paused(&scene));
    }
}
