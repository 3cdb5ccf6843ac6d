//! Which broker is restarted next, and whether one may be.
//!
//! A roll is over when every pod was made by the current template. Until then:
//!
//! | what is the case                                               | what is done                                   |
//! |----------------------------------------------------------------|------------------------------------------------|
//! | there is no StatefulSet                                        | it is made                                     |
//! | a pod of the new template fails, or is not ready for 5 minutes | the old template is put back, once and for all |
//! | a pod is not made for 5 minutes                                | the same                                       |
//! | a broker that serves nothing has a pod of an old template      | that pod goes, whatever the others do          |
//! | a broker of the new template is not back                       | it is waited for                               |
//! | a pod of an old template is not ready, and its broker serves   | that one is next                               |
//! | every other broker serves                                      | the one with the fewest leaders is next        |
//!
//! A broker is back when its pod is ready, it is registered and not fenced, it is in sync with all its partitions, and
//! clients have had the time to find its name at its new address. The next one goes only if no partition needs it.
//!
//! People who ask for other pods get a new template only when the first pod may go by it: whatever is deleted before then
//! comes back as it was.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::build::template::{Template, Templates};
use super::facts::Facts;
use super::pods::PodSeen;

/// How long a pod of a new template may take to be made, and then to be ready.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long nodes may take to send connections of a Service to a pod that has just become ready. Pods say in whole seconds
/// since when they are.
const REACHED_WITHIN: Duration = Duration::from_secs(3);

/// All that the next step follows from.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The time of day.
    pub now: Timestamp,
    /// Nobody is to be restarted.
    pub paused: bool,
    /// How many brokers there shall be.
    pub replicas: i32,
    /// What people ask for.
    pub wished: &'a Template,
    /// What the StatefulSet has, if there is one.
    pub templates: Option<&'a Templates>,
    /// The pods that there are.
    pub pods: &'a BTreeMap<i32, PodSeen>,
    /// For how long others are not there, that shall be.
    pub missing: &'a BTreeMap<i32, Duration>,
    /// What the controller has published, once it has.
    pub facts: Option<&'a Facts>,
    /// How long clients may remember where a name led.
    pub dns_ttl: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollStep {
    /// Nothing: every pod is as it shall be.
    Rest,
    /// The wished template becomes the StatefulSet's.
    Begin,
    /// The pod of this broker goes.
    Delete(i32),
    /// Later.
    Wait(Waiting),
    /// The old template is put back; why.
    GiveBack(String),
    /// The old template is forgotten.
    Finish,
}

/// What a roll waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// For people to take the pause away.
    Paused,
    /// For the controller to have read its state.
    Controller,
    /// For the pod of this broker to go, and come.
    Pod(i32),
    /// For this broker to be ready.
    Ready(i32),
    /// For this broker to be registered and not fenced.
    Registered(i32),
    /// For this broker to catch up with so many partitions.
    CaughtUp(i32, i32),
    /// For clients to find this broker's name at its new address.
    Name(i32, Duration),
    /// For so many partitions, which need this broker.
    Needed(i32, i32),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("brokers are to be restarted, and the cluster is paused"),
            Self::Controller => f.write_str("waiting for the controller to read its state"),
            Self::Pod(id) => write!(f, "waiting for broker {id}'s pod to be made again"),
            Self::Ready(id) => write!(f, "waiting for broker {id} to be ready"),
            Self::Registered(id) => write!(f, "waiting for broker {id} to be registered"),
            Self::CaughtUp(id, partitions) => {
                write!(f, "waiting for broker {id} to catch up with {partitions} partitions")
            }
            Self::Name(id, _) => {
                write!(f, "waiting for clients to find broker {id} at its new address (dnsTtlSeconds)")
            }
            Self::Needed(id, partitions) => write!(
                f,
                "broker {id} would be next, and {partitions} partitions would fall below min.insync.replicas without it: \
                 waiting for their other replicas"
            ),
        }
    }
}

/// The next step.
pub fn next(observed: &Observed<'_>) -> RollStep {
    let Some(templates) = observed.templates else { return RollStep::Begin };
    let waits = is_waiting(observed.wished, templates);
    if let Some(why) = failure(observed, templates) {
        return if observed.paused { RollStep::Wait(Waiting::Paused) } else { RollStep::GiveBack(why) };
    }
    let target = if waits { observed.wished.hash() } else { templates.current.hash() };
    let outdated: Vec<_> = observed.expected().filter(|(_, pod)| pod.template != target).collect();
    let missing = (0..observed.replicas).find(|id| !observed.pods.contains_key(id));
    if !waits && outdated.is_empty() {
        return match (&templates.previous, missing) {
            (None, _) => RollStep::Rest,
            (Some(_), Some(id)) => RollStep::Wait(Waiting::Pod(id)),
            (Some(_), None) => observed.unsettled(target).map_or(RollStep::Finish, RollStep::Wait),
        };
    }
    if observed.paused {
        return RollStep::Wait(Waiting::Paused);
    }
    // Pods that cannot be made need another template as well.
    if waits && (outdated.is_empty() || missing.is_some()) {
        return RollStep::Begin;
    }
    match candidate(observed, &outdated, target, missing) {
        Ok(_) if waits => RollStep::Begin,
        Ok(id) => RollStep::Delete(id),
        Err(waiting) => RollStep::Wait(waiting),
    }
}

/// Whether people ask for pods that a roll has not begun to make, and has not failed to.
fn is_waiting(wished: &Template, templates: &Templates) -> bool {
    let refused = templates.refused.as_ref().is_some_and(|refused| refused.wish == wished.wish);
    wished.wish != templates.current.wish && !refused
}

/// Why the roll that goes on cannot be brought to its end.
fn failure(observed: &Observed<'_>, templates: &Templates) -> Option<String> {
    templates.previous.as_ref()?;
    let minutes = PATIENCE.as_secs() / 60;
    if let Some((id, _)) = observed.missing.iter().find(|(_, since)| **since > PATIENCE) {
        return Some(format!(
            "broker {id}'s pod was not made for {minutes} minutes: kubectl describe statefulset tells why"
        ));
    }
    let rolled = observed.expected().filter(|(_, pod)| pod.template == templates.current.hash());
    let mut unready = rolled.filter(|(_, pod)| !pod.ready && !pod.stopping);
    unready.find_map(|(id, pod)| {
        let problem = pod.problem.as_ref();
        if let Some(problem) = problem.filter(|problem| problem.lasting) {
            return Some(format!("broker {id}: {}", problem.message));
        }
        let late = observed.since(pod).is_some_and(|since| since > PATIENCE);
        late.then(|| match problem {
            Some(problem) => format!("broker {id} was not ready for {minutes} minutes: {}", problem.message),
            None => format!("broker {id} was not ready for {minutes} minutes"),
        })
    })
}

/// Which of the `outdated` may go now.
fn candidate(
    observed: &Observed<'_>,
    outdated: &[(i32, &PodSeen)],
    target: &str,
    missing: Option<i32>,
) -> Result<i32, Waiting> {
    let facts = observed.facts.ok_or(Waiting::Controller)?;
    // A broker that is fenced or unknown is in no ISR that counts: its pod can go without anybody noticing.
    let serves = |id: i32| facts.brokers.get(&id).is_some_and(|broker| !broker.fenced);
    if let Some((id, _)) = outdated.iter().find(|(id, pod)| !pod.ready && !pod.stopping && !serves(*id)) {
        return Ok(*id);
    }
    let stopping = observed.expected().find(|(_, pod)| pod.stopping).map(|(id, _)| id);
    if let Some(id) = stopping.or(missing) {
        return Err(Waiting::Pod(id));
    }
    if let Some(waiting) = observed.unsettled(target) {
        return Err(waiting);
    }
    let order = |(id, pod): &&(i32, &PodSeen)| {
        (pod.ready, facts.brokers.get(id).map_or(0, |broker| broker.leaders), *id)
    };
    let needed = |id: i32| facts.brokers.get(&id).map_or(0, |broker| broker.needed);
    let Some((first, pod)) = outdated.iter().min_by_key(order) else { return Err(Waiting::Controller) };
    if needed(*first) == 0 {
        return Ok(*first);
    }
    // While one is not ready no other may be taken away.
    let others = outdated.iter().filter(|(id, _)| pod.ready && needed(*id) == 0);
    others.min_by_key(order).map(|(id, _)| *id).ok_or(Waiting::Needed(*first, needed(*first)))
}

impl<'a> Observed<'a> {
    /// The pods of brokers that there shall be.
    fn expected(&self) -> impl Iterator<Item = (i32, &'a PodSeen)> {
        let replicas = self.replicas;
        self.pods.iter().map(|(id, pod)| (*id, pod)).filter(move |(id, _)| *id < replicas)
    }

    /// For how long a pod is as it is.
    fn since(&self, pod: &PodSeen) -> Option<Duration> {
        Duration::try_from(self.now.duration_since(pod.since?)).ok()
    }

    /// What is still to be waited for of the brokers that have been restarted.
    fn unsettled(&self, target: &str) -> Option<Waiting> {
        let Some(facts) = self.facts else { return Some(Waiting::Controller) };
        self.expected().filter(|(_, pod)| pod.template == target).find_map(|(id, pod)| {
            if !pod.ready {
                return Some(Waiting::Ready(id));
            }
            let Some(broker) = facts.brokers.get(&id).filter(|broker| !broker.fenced) else {
                return Some(Waiting::Registered(id));
            };
            if broker.lagging > 0 {
                return Some(Waiting::CaughtUp(id, broker.lagging));
            }
            let rest = self.dns_ttl.max(REACHED_WITHIN).saturating_sub(self.since(pod).unwrap_or_default());
            (!rest.is_zero()).then_some(Waiting::Name(id, rest))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::facts::BrokerFacts;
    use super::super::pods::Problem;
    use super::*;

    fn template(name: &str) -> Template {
        let template = json!({"metadata": {"annotations": {"taffrail.dev/template-hash": name}}});
        Template { wish: name.to_owned(), version: "0.1.0".to_owned(), template }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// Three brokers that serve, ready since second 0 and made by `old`; it is second 1000.
    struct Scene {
        paused: bool,
        wished: Template,
        templates: Option<Templates>,
        pods: BTreeMap<i32, PodSeen>,
        missing: BTreeMap<i32, Duration>,
        facts: Option<Facts>,
    }

    impl Scene {
        fn new(wished: &str) -> Self {
            let pod = |id: i32| PodSeen {
                name: format!("orders-{id}"),
                template: "old".to_owned(),
                running: true,
                ready: true,
                since: Some(at(0)),
                ..PodSeen::default()
            };
            let broker =
                |id: i32| (id, BrokerFacts { leaders: 10 - id, replicas: 30, ..BrokerFacts::default() });
            let facts = Facts { brokers: (0..3).map(broker).collect(), ..Facts::default() };
            Self {
                paused: false,
                wished: template(wished),
                templates: Some(Templates::first(template("old"))),
                pods: (0..3).map(|id| (id, pod(id))).collect(),
                missing: BTreeMap::new(),
                facts: Some(facts),
            }
        }

        /// A roll from `old` to `new` goes on, and these brokers have been restarted.
        fn rolling(rolled: &[i32]) -> Self {
            let mut scene = Self::new("new");
            scene.templates = Some(Templates::first(template("old")).begin(template("new")));
            rolled.iter().for_each(|id| scene.pod(*id).template = "new".to_owned());
            scene
        }

        fn pod(&mut self, id: i32) -> &mut PodSeen {
            self.pods.get_mut(&id).unwrap()
        }

        fn broker(&mut self, id: i32) -> &mut BrokerFacts {
            self.facts.as_mut().unwrap().brokers.get_mut(&id).unwrap()
        }

        fn next(&self) -> RollStep {
            next(&Observed {
                now: at(1000),
                paused: self.paused,
                replicas: 3,
                wished: &self.wished,
                templates: self.templates.as_ref(),
                pods: &self.pods,
                missing: &self.missing,
                facts: self.facts.as_ref(),
                dns_ttl: Duration::from_secs(30),
            })
        }
    }

    fn wait(waiting: Waiting) -> RollStep {
        RollStep::Wait(waiting)
    }

    #[test]
    fn a_cluster_that_is_new_gets_what_is_wished() {
        let mut scene = Scene::new("new");
        (scene.templates, scene.facts) = (None, None);
        scene.pods.clear();
        assert_eq!(scene.next(), RollStep::Begin);
    }

    #[test]
    fn nothing_is_done_where_nothing_else_is_wished() {
        let mut scene = Scene::new("old");
        assert_eq!(scene.next(), RollStep::Rest);
        // Not if a broker is down either: restarting others does not mend it.
        scene.pod(1).ready = false;
        assert_eq!(scene.next(), RollStep::Rest);
        // A template that another operator would build from the same wish is no reason.
        scene.wished.template["metadata"]["annotations"]["taffrail.dev/template-hash"] = "other".into();
        assert_eq!(scene.next(), RollStep::Rest);
    }

    #[test]
    fn a_roll_begins_once_the_first_broker_may_go() {
        let mut scene = Scene::new("new");
        assert_eq!(scene.next(), RollStep::Begin);
        (0..3).for_each(|id| scene.broker(id).needed = 4);
        assert_eq!(scene.next(), wait(Waiting::Needed(2, 4)));
        scene.broker(1).needed = 0;
        assert_eq!(scene.next(), RollStep::Begin);
        scene.facts = None;
        assert_eq!(scene.next(), wait(Waiting::Controller));
    }

    #[test]
    fn a_roll_begins_at_once_where_a_broker_serves_nothing_or_cannot_be_made() {
        let mut scene = Scene::new("new");
        (0..3).for_each(|id| scene.broker(id).needed = 4);
        scene.pods.remove(&1);
        assert_eq!(scene.next(), RollStep::Begin);
        let mut scene = Scene::new("new");
        (0..3).for_each(|id| scene.broker(id).needed = 4);
        scene.pod(1).ready = false;
        scene.broker(1).fenced = true;
        assert_eq!(scene.next(), RollStep::Begin);
    }

    #[test]
    fn the_broker_with_the_fewest_leaders_goes_first() {
        assert_eq!(Scene::rolling(&[]).next(), RollStep::Delete(2));
        let mut scene = Scene::rolling(&[]);
        scene.broker(0).leaders = 0;
        assert_eq!(scene.next(), RollStep::Delete(0));
        assert_eq!(Scene::rolling(&[2]).next(), RollStep::Delete(1));
    }

    #[test]
    fn a_pod_that_is_not_ready_goes_before_all_others() {
        let mut scene = Scene::rolling(&[]);
        scene.pod(0).ready = false;
        assert_eq!(scene.next(), RollStep::Delete(0));
        // Its broker serves all the same, and is needed: then nobody goes.
        scene.broker(0).needed = 1;
        assert_eq!(scene.next(), wait(Waiting::Needed(0, 1)));
        // It does not serve: no partition can need it, and none of the others is waited for.
        scene.broker(0).fenced = true;
        scene.pod(1).stopping = true;
        assert_eq!(scene.next(), RollStep::Delete(0));
        scene.facts.as_mut().unwrap().brokers.clear();
        assert_eq!(scene.next(), RollStep::Delete(0));
    }

    #[test]
    fn nobody_goes_whom_a_partition_needs() {
        let mut scene = Scene::rolling(&[]);
        scene.broker(2).needed = 1;
        assert_eq!(scene.next(), RollStep::Delete(1));
        scene.broker(1).needed = 2;
        scene.broker(0).needed = 3;
        assert_eq!(scene.next(), wait(Waiting::Needed(2, 1)));
    }

    #[test]
    fn the_one_that_was_restarted_has_to_be_back_in_every_sense() {
        let mut scene = Scene::rolling(&[2]);
        scene.pod(2).since = Some(at(990));
        assert_eq!(scene.next(), wait(Waiting::Name(2, Duration::from_secs(20))));
        scene.broker(2).lagging = 5;
        assert_eq!(scene.next(), wait(Waiting::CaughtUp(2, 5)));
        scene.broker(2).fenced = true;
        assert_eq!(scene.next(), wait(Waiting::Registered(2)));
        scene.facts.as_mut().unwrap().brokers.remove(&2);
        assert_eq!(scene.next(), wait(Waiting::Registered(2)));
        scene.pod(2).ready = false;
        assert_eq!(scene.next(), wait(Waiting::Ready(2)));
        scene.pod(2).stopping = true;
        assert_eq!(scene.next(), wait(Waiting::Pod(2)));
        scene.pods.remove(&2);
        assert_eq!(scene.next(), wait(Waiting::Pod(2)));
    }

    #[test]
    fn a_roll_is_over_when_the_last_one_is_back() {
        let mut scene = Scene::rolling(&[0, 1, 2]);
        assert_eq!(scene.next(), RollStep::Finish);
        scene.pod(0).ready = false;
        scene.pod(0).since = Some(at(900));
        assert_eq!(scene.next(), wait(Waiting::Ready(0)));
        scene.pods.remove(&0);
        assert_eq!(scene.next(), wait(Waiting::Pod(0)));
    }

    #[test]
    fn a_roll_that_fails_is_taken_back_and_not_tried_again() {
        let problem =
            |lasting| Problem { reason: "R".to_owned(), message: "no such image".to_owned(), lasting };
        let mut scene = Scene::rolling(&[2]);
        scene.pod(2).ready = false;
        scene.pod(2).since = Some(at(990));
        scene.pod(2).problem = Some(problem(false));
        assert_eq!(scene.next(), wait(Waiting::Ready(2)));
        scene.pod(2).problem = Some(problem(true));
        let RollStep::GiveBack(why) = scene.next() else { panic!("{:?}", scene.next()) };
        assert_eq!(why, "broker 2: no such image");
        scene.templates = scene.templates.map(|templates| templates.give_back(why));
        // The failed pod is the one that is not as it shall be now.
        scene.broker(2).fenced = true;
        assert_eq!(scene.next(), RollStep::Delete(2));
        *scene.pod(2) =
            PodSeen { template: "old".to_owned(), ready: true, since: Some(at(999)), ..PodSeen::default() };
        scene.broker(2).fenced = false;
        assert_eq!(scene.next(), RollStep::Rest);
        // Another wish is another attempt.
        scene.wished = template("third");
        assert_eq!(scene.next(), RollStep::Begin);
    }

    #[test]
    fn a_pod_may_take_five_minutes() {
        let mut scene = Scene::rolling(&[2]);
        scene.pod(2).ready = false;
        scene.pod(2).since = Some(at(700));
        assert_eq!(scene.next(), wait(Waiting::Ready(2)));
        scene.pod(2).since = Some(at(699));
        assert_eq!(scene.next(), RollStep::GiveBack("broker 2 was not ready for 5 minutes".to_owned()));
        // One of the old template that fails meanwhile is no reason.
        let mut scene = Scene::rolling(&[]);
        scene.pod(1).ready = false;
        assert_eq!(scene.next(), RollStep::Delete(1));
    }

    #[test]
    fn a_roll_whose_pods_cannot_be_made_is_taken_back() {
        let mut scene = Scene::rolling(&[]);
        scene.pods.remove(&2);
        scene.missing.insert(2, PATIENCE);
        assert_eq!(scene.next(), wait(Waiting::Pod(2)));
        scene.missing.insert(2, PATIENCE + Duration::from_secs(1));
        let RollStep::GiveBack(why) = scene.next() else { panic!("{:?}", scene.next()) };
        assert!(why.starts_with("broker 2's pod was not made for 5 minutes"), "{why}");
        // Where nothing was changed there is nothing to take back.
        let mut scene = Scene::new("old");
        scene.pods.remove(&2);
        scene.missing.insert(2, PATIENCE * 2);
        assert_eq!(scene.next(), RollStep::Rest);
    }

    #[test]
    fn while_paused_nobody_goes_and_nothing_is_written() {
        for mut scene in [Scene::new("new"), Scene::rolling(&[]), Scene::rolling(&[1])] {
            scene.paused = true;
            assert_eq!(scene.next(), wait(Waiting::Paused));
        }
        let mut scene = Scene::rolling(&[2]);
        scene.paused = true;
        scene.pod(2).ready = false;
        assert_eq!(scene.next(), wait(Waiting::Paused));
        let mut scene = Scene::new("old");
        scene.paused = true;
        assert_eq!(scene.next(), RollStep::Rest);
    }

    #[test]
    fn brokers_beyond_the_number_that_is_wished_are_of_no_account() {
        let mut scene = Scene::new("old");
        let beyond = PodSeen { template: "other".to_owned(), stopping: true, ..PodSeen::default() };
        scene.pods.insert(3, beyond);
        assert_eq!(scene.next(), RollStep::Rest);
    }
}
