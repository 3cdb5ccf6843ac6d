//! Which brokers are in session, and what happens to those that are not (rule 6).
//!
//! A broker is silent when its session has ended and the grace is over, or when nothing was heard in its session for the
//! session time. The grace is for a broker that lives and opens its next session at once: that costs nothing. A silent
//! broker is fenced if at least one other is in session and was heard of lately; else it is rather the controller that
//! hears nothing, and nobody could take over from it anyway. When brokers are heard of again after that, all of them get a
//! full session time to come back, as with a controller that has just started.
//!
//! Silence is counted by [`crate::clock::Clock`], so that neither a pause nor a clock that was set makes anybody silent.

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::Controller;
use crate::message::{Event, Output, SessionId};
use crate::model::{BrokerState, ClusterState, Member, SliceTopic, TopicEntry};
use crate::registration::ClusterIntent;

/// How much too early the shell may wake the controller.
const EARLY_MS: u64 = 20;

/// What is known of brokers' sessions. Times are the controller's own.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// When each broker was last heard of.
    heard_ms: BTreeMap<i32, u64>,
    /// When the last session of each broker ended that is in none.
    ended_ms: BTreeMap<i32, u64>,
    /// The incarnation that each broker was last in session in, and when that came first.
    met_ms: BTreeMap<i32, (u64, u64)>,
    /// All brokers looked dead at once, and none has been heard of since.
    distrusts_itself: bool,
    /// Something happened that a deadline may depend on.
    pub(crate) stirred: bool,
    /// When the shell was asked to give a tick.
    wake_ms: Option<u64>,
}

impl Liveness {
    /// A controller has read its store. Nobody is fenced for silence before one full session time has passed.
    pub(crate) fn begin(&mut self, cluster: &ClusterState, now_ms: u64) {
        self.heard_ms = cluster.brokers.iter().map(|broker| (broker.broker_id, now_ms)).collect();
        self.ended_ms.clear();
        self.stirred = true;
    }

    /// The broker said something.
    pub(crate) fn heard(&mut self, broker_id: i32, now_ms: u64) {
        self.heard_ms.insert(broker_id, now_ms);
        self.stirred |= self.distrusts_itself;
    }

    /// The broker has a session.
    pub(crate) fn admitted(&mut self, Member { broker_id, incarnation }: Member, now_ms: u64) {
        self.heard_ms.insert(broker_id, now_ms);
        self.ended_ms.remove(&broker_id);
        let met = self.met_ms.entry(broker_id).or_insert((incarnation, now_ms));
        if met.0 != incarnation {
            *met = (incarnation, now_ms);
        }
        self.stirred = true;
    }

    /// When the broker first came in the last incarnation it was in session in, as far as this controller knows.
    pub(crate) fn met_ms(&self, broker_id: i32) -> Option<u64> {
        self.met_ms.get(&broker_id).map(|(_, met_ms)| *met_ms)
    }

    /// The broker has no session any more.
    pub(crate) fn ended(&mut self, broker_id: i32, now_ms: u64) {
        self.ended_ms.insert(broker_id, now_ms);
        self.stirred = true;
    }

    /// The broker was unregistered.
    pub(crate) fn forget(&mut self, broker_id: i32) {
        self.heard_ms.remove(&broker_id);
        self.ended_ms.remove(&broker_id);
        self.met_ms.remove(&broker_id);
    }
}

impl Controller {
    /// Something was said in a session.
    pub(crate) fn on_heard(&mut self, session: SessionId) {
        if let Some(member) = self.sessions.get(&session).and_then(|session| session.broker) {
            self.liveness.heard(member.broker_id, self.clock.now_ms());
        }
    }

    pub(crate) fn on_heartbeat(&mut self, session: SessionId, incarnation: u64) {
        let Some(member) = self.speaker(session, incarnation) else { return };
        let stopping = self.sessions.get(&session).is_some_and(|session| session.stopping_since_ms.is_some());
        let fenced = |b: &BrokerState| b.incarnation == incarnation && b.fenced;
        let is_fenced = self.cluster.committed().broker(member.broker_id).is_some_and(fenced);
        let on_its_way =
            |i: &ClusterIntent| matches!(i, ClusterIntent::Unfence { broker } if *broker == member);
        if is_fenced && !stopping && !self.cluster.has(on_its_way) {
            self.enqueue_cluster(ClusterIntent::Unfence { broker: member });
        }
    }

    pub(crate) fn on_session_ended(&mut self, session: SessionId) {
        let Some(ended) = self.sessions.remove(&session) else { return };
        self.contests.hang_up(session);
        if let Some(member) = ended.broker {
            self.liveness.ended(member.broker_id, self.clock.now_ms());
        }
    }

    /// Fences the broker. What it leads is led by others without waiting for that write: both go to the store together.
    pub(crate) fn fence(&mut self, broker: Member, why: &'static str) {
        let same = |i: &ClusterIntent| matches!(i, ClusterIntent::Fence { broker: b, .. } if *b == broker);
        if self.cluster.has(same) {
            return;
        }
        self.enqueue_cluster(ClusterIntent::Fence { broker, why });
        self.going.insert(broker);
        self.mend_all();
    }

    /// Fences brokers that have been silent for too long, and has the shell wake the controller when the next would be.
    pub(crate) fn watch_brokers(&mut self) {
        if !std::mem::take(&mut self.liveness.stirred) {
            return;
        }
        let now_ms = self.clock.now_ms();
        let watched = self.watched();
        let silent: Vec<Member> = watched
            .iter()
            .filter(|broker| broker.deadline_ms <= now_ms)
            .map(|broker| broker.member)
            .collect();
        let next_ms = watched.iter().map(|broker| broker.deadline_ms).filter(|at_ms| now_ms < *at_ms).min();
        let trusts = watched.iter().any(|broker| broker.is_heard);
        if !trusts {
            let brokers = self.cluster.committed().brokers.len();
            let all = silent.len() == watched.len() && !silent.is_empty();
            if all && brokers > 1 && !self.liveness.distrusts_itself {
                self.event(Event::AllSilent { brokers });
            }
            self.liveness.distrusts_itself |= all;
        } else if std::mem::take(&mut self.liveness.distrusts_itself) {
            self.liveness.begin(self.cluster.committed(), now_ms);
            self.watch_brokers();
            return;
        } else {
            silent.into_iter().for_each(|broker| self.fence(broker, "it has not been heard of for too long"));
        }
        self.wake_at(next_ms);
    }

    fn wake_at(&mut self, next_ms: Option<u64>) {
        let now_ms = self.clock.now_ms();
        // A tick that comes a moment early must not be the last.
        let asked = self.liveness.wake_ms.filter(|at_ms| now_ms + EARLY_MS < *at_ms);
        self.liveness.wake_ms = asked;
        if let Some(at_ms) = next_ms.filter(|next_ms| asked.is_none_or(|asked| *next_ms < asked)) {
            self.liveness.wake_ms = Some(at_ms);
            self.outputs.push(Output::WakeIn { after_ms: at_ms - now_ms });
        }
    }

    /// The brokers that could be fenced.
    fn watched(&self) -> Vec<Watched> {
        let now_ms = self.clock.now_ms();
        let in_session: BTreeSet<i32> =
            self.sessions.values().filter_map(|session| session.broker).map(|b| b.broker_id).collect();
        let brokers = self.cluster.committed().brokers.iter().filter(|broker| !broker.fenced);
        let brokers = brokers.filter(|broker| !self.going.contains(&broker.member()));
        let watch = |broker: &BrokerState| {
            let heard_ms = self.liveness.heard_ms.get(&broker.broker_id).copied().unwrap_or(now_ms);
            let timeout_ms = self.policy.session_timeout_ms;
            let in_session = in_session.contains(&broker.broker_id);
            let ended_ms = self.liveness.ended_ms.get(&broker.broker_id).filter(|_| !in_session);
            let of_ended = ended_ms.map(|ended_ms| ended_ms + self.policy.session_grace_ms);
            Watched {
                member: broker.member(),
                deadline_ms: of_ended.unwrap_or(heard_ms + timeout_ms),
                // Heartbeats come several times in a session time: who misses them is about to be silent too.
                is_heard: in_session && now_ms < heard_ms + timeout_ms.div_ceil(2),
            }
        };
        brokers.map(watch).collect()
    }

    /// Why brokers that somebody wants forgotten must stay.
    pub(crate) fn brokers_in_use(&self) -> BTreeMap<i32, String> {
        let asked = self.cluster.waiting().filter_map(|intent| match intent {
            ClusterIntent::Unregister { broker_id, .. } => Some(*broker_id),
            _ => None,
        });
        asked.filter_map(|broker_id| Some((broker_id, self.in_use(broker_id)?))).collect()
    }

    fn in_use(&self, broker_id: i32) -> Option<String> {
        let in_session = self.sessions.values().any(|s| s.broker.is_some_and(|b| b.broker_id == broker_id));
        if in_session || self.cluster.committed().broker(broker_id).is_some_and(|broker| !broker.fenced) {
            return Some("it is alive, or was a moment ago; stop it first".to_owned());
        }
        // What is being written counts: it may be stored.
        let topics = self.partitions.values().flat_map(|cell| [cell.committed(), cell.latest()]);
        let mut topics = topics.flat_map(|slice| &slice.topics);
        let holds = |topic: &&SliceTopic| topic.partitions.iter().any(|p| p.replicas.contains(&broker_id));
        if let Some(topic) = topics.find(holds) {
            let name = &topic.name;
            return Some(format!(
                "it has replicas, of topic {name} for one; reassign its partitions to others first"
            ));
        }
        let entries = self.topics.iter().flat_map(|cell| [cell.committed(), cell.latest()]);
        let mut entries = entries.flat_map(|slice| &slice.topics);
        let being_made = |entry: &TopicEntry| self.published.count(entry.topic_id) < entry.partition_count;
        let named = |entry: &TopicEntry| {
            entry
                .pieces
                .iter()
                .flat_map(|piece| &piece.assignments)
                .any(|replicas| replicas.contains(&broker_id))
        };
        let (name, _) = entries.find(|(_, entry)| being_made(entry) && named(entry))?;
        Some(format!("topic {name}, which is being made, is to have replicas there"))
    }
}

/// A broker that is not fenced.
struct Watched {
    member: Member,
    /// When it is silent for too long.
    deadline_ms: u64,
    /// It is in session and was heard of lately.
    is_heard: bool,
}
