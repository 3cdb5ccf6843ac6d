//! Which brokers are in session, and what happens to those that are not (rule 6).

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::{Controller, Surroundings};
use crate::message::{Event, SessionId};
use crate::model::{Member, SliceTopic, TopicEntry};
use crate::partitions;
use crate::registration::ClusterIntent;
use taffrail_control::session::FromController;

impl Controller {
    pub(crate) fn on_heartbeat(
        &mut self,
        session: SessionId,
        incarnation: u64,
        surroundings: &Surroundings<'_>,
    ) {
        let Some((member, stopping)) = self.sessions.get(&session).map(|s| (s.broker, s.stopping)) else {
            return;
        };
        let Some(member) = member.filter(|member| member.incarnation == incarnation) else { return };
        self.heard_ms.insert(member.broker_id, surroundings.now_ms);
        let fenced = |b: &crate::model::BrokerState| b.incarnation == incarnation && b.fenced;
        let is_fenced = self.cluster.committed().broker(member.broker_id).is_some_and(fenced);
        let on_its_way =
            |i: &ClusterIntent| matches!(i, ClusterIntent::Unfence { broker } if *broker == member);
        if is_fenced && !stopping && !self.cluster.has(on_its_way) {
            self.enqueue_cluster(ClusterIntent::Unfence { broker: member });
        }
    }

    pub(crate) fn on_session_ended(&mut self, session: SessionId, surroundings: &Surroundings<'_>) {
        let Some(ended) = self.sessions.remove(&session) else { return };
        self.contests.hang_up(session);
        let Some(member) = ended.broker else { return };
        // From now on the grace counts, not the session time.
        self.heard_ms.insert(member.broker_id, surroundings.now_ms);
        self.ended.insert(member.broker_id);
    }

    /// A broker that is about to stop is fenced first, so that what it leads is led by others when it goes. The last
    /// one may go at once: nobody could take over from it.
    pub(crate) fn on_shutdown(&mut self, session: SessionId, incarnation: u64) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let Some(member) = state.broker.filter(|member| member.incarnation == incarnation) else { return };
        state.stopping = true;
        let brokers = &self.cluster.committed().brokers;
        if brokers.iter().any(|broker| !broker.fenced && broker.broker_id != member.broker_id) {
            self.enqueue_cluster(ClusterIntent::Fence { broker: member, why: "it asked to be shut down" });
        } else {
            state.granted = true;
            self.send(session, FromController::ShutdownGranted);
        }
    }

    /// Grants the shutdown of every broker that is fenced and from which all leadership has gone that can go.
    pub(crate) fn grant_shutdowns(&mut self) {
        let asking: Vec<(SessionId, Member)> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.stopping && !session.granted)
            .filter_map(|(id, session)| Some((*id, session.broker?)))
            .collect();
        if asking.is_empty() {
            return;
        }
        let outlook = self.outlook();
        let settled = self
            .partitions
            .values()
            .all(|cell| cell.is_idle() && !partitions::needs_mending(cell.committed(), &outlook));
        for (session, member) in asking {
            let fenced =
                self.cluster.committed().broker(member.broker_id).is_some_and(|broker| broker.fenced);
            if fenced && settled {
                self.send(session, FromController::ShutdownGranted);
                if let Some(state) = self.sessions.get_mut(&session) {
                    state.granted = true;
                }
            }
        }
    }

    pub(crate) fn on_tick(&mut self, surroundings: &Surroundings<'_>) {
        self.retry_reads();
        if self.is_ready() {
            self.fence_overdue(surroundings.now_ms);
            self.contests.pass(self.clock.now_ms(), self.policy.log_ends_timeout_ms);
            self.balance_leaders();
        }
    }

    /// Fences brokers that have been silent for too long, unless that would leave none: then it is rather the
    /// controller that hears nothing.
    fn fence_overdue(&mut self, now_ms: u64) {
        let in_session: BTreeSet<i32> =
            self.sessions.values().filter_map(|session| session.broker).map(|b| b.broker_id).collect();
        let cluster = self.cluster.committed();
        let unfenced = || cluster.brokers.iter().filter(|broker| !broker.fenced);
        let overdue: Vec<Member> = unfenced()
            .filter(|broker| {
                let heard_ms = self.heard_ms.get(&broker.broker_id).copied().unwrap_or(now_ms);
                let silent_ms = now_ms.saturating_sub(heard_ms);
                let ended = self.ended.contains(&broker.broker_id) && !in_session.contains(&broker.broker_id);
                let allowed_ms =
                    if ended { self.policy.session_grace_ms } else { self.policy.session_timeout_ms };
                silent_ms >= allowed_ms
            })
            .map(|broker| broker.member())
            .collect();
        let (brokers, all) = (overdue.len(), overdue.len() == unfenced().count());
        if overdue.is_empty() || !all {
            self.distrust_told = false;
        }
        if all && !overdue.is_empty() {
            if brokers > 1 && !std::mem::replace(&mut self.distrust_told, true) {
                self.event(Event::AllSilent { brokers });
            }
            return;
        }
        for broker in overdue {
            let fencing =
                |i: &ClusterIntent| matches!(i, ClusterIntent::Fence { broker: b, .. } if *b == broker);
            if !self.cluster.has(fencing) {
                self.enqueue_cluster(ClusterIntent::Fence {
                    broker,
                    why: "it has not been heard of for too long",
                });
            }
        }
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
