//! What follows from a committed object: read off by comparing it with what was committed before.

use std::collections::BTreeSet;

use taffrail_protocol::{ErrorCode, Uuid};

use crate::configs;
use crate::controller::Controller;
use crate::message::{Event, Output, SessionId};
use crate::model::{ClusterState, Member, ObjectKey, PartitionSlice, TopicEntry, TopicSlice};
use crate::partitions::{self, PartitionDecision, PartitionIntent};
use crate::publish::Published;
use crate::reassignment;
use crate::registration::{CREATION_BLOCK, ClusterIntent, ClusterOutcome, PRODUCER_ID_BLOCK};
use crate::requests::Success;
use crate::topics::TopicIntent;
use crate::turns::forget;
use taffrail_control::session::{
    ApiError, CONTROLLER_FEATURES, ControllerResponse, FromController, SliceDigest,
};
use taffrail_control::slices::topic_slice;

impl Controller {
    /// Brokers changed: every record is looked at, and brokers are told.
    pub(crate) fn on_cluster_committed(&mut self, before: &ClusterState) {
        self.publish_broker_configs(before);
        let cluster = self.cluster.committed();
        let changed = cluster.brokers.iter().filter(|broker| before.broker(broker.broker_id) != Some(broker));
        let changed: Vec<_> = changed.cloned().collect();
        let gone = before.brokers.iter().map(|broker| broker.broker_id);
        let gone: Vec<i32> = gone.filter(|id| cluster.broker(*id).is_none()).collect();
        for broker_id in gone {
            self.published.remove_broker(broker_id);
            self.liveness.forget(broker_id);
            self.peer_tokens.retain(|member, _| member.broker_id != broker_id);
            self.event(Event::BrokerForgotten { broker_id });
        }
        if changed.is_empty() {
            return;
        }
        for broker in &changed {
            self.published.broker(broker, self.peer_tokens.get(&broker.member()).copied());
        }
        self.mend_all();
        self.contests.stir_all();
        (self.liveness.stirred, self.shutdowns_stirred) = (true, true);
        // What could not be placed before perhaps can be now.
        self.dirty.extend(self.names.keys().filter(|id| self.published.count(**id) == 0));
    }

    /// Tells brokers what was set of their configuration. What is set for all of them gives topics their defaults.
    fn publish_broker_configs(&mut self, before: &ClusterState) {
        let cluster = self.cluster.committed();
        if cluster.broker_configs == before.broker_configs {
            return;
        }
        let owners: BTreeSet<Option<i32>> = before
            .broker_configs
            .iter()
            .chain(&cluster.broker_configs)
            .map(|config| config.broker_id)
            .collect();
        for broker_id in owners {
            let now = cluster.broker_config(broker_id);
            if now != before.broker_config(broker_id) {
                self.published.broker_config(broker_id, now.cloned().unwrap_or_default());
            }
        }
        if cluster.broker_config(None) != before.broker_config(None) {
            self.dirty.extend(self.names.keys());
            self.contests.stir_all();
        }
    }

    /// What was decided on the cluster state is there.
    pub(crate) fn on_cluster_outcome(&mut self, intent: ClusterIntent, outcome: ClusterOutcome) {
        match (intent, outcome) {
            (
                ClusterIntent::Register { session, registration },
                ClusterOutcome::Registered { member, kept_everything, again },
            ) => {
                self.event(Event::BrokerRegistered { broker: member, kept_everything, again });
                self.learn_peer_token(member, registration.peer_token);
                self.admit(session, member, again, &registration.slices);
            }
            (ClusterIntent::Register { session, registration }, ClusterOutcome::Refused { reason }) => {
                self.refuse_session(session, registration.broker_id, reason);
            }
            (ClusterIntent::AllocateProducerIds { session, request_id }, outcome) => {
                let response = match outcome {
                    ClusterOutcome::ProducerIds { first } => {
                        ControllerResponse::ProducerIds { first, count: PRODUCER_ID_BLOCK }
                    }
                    _ => ControllerResponse::Failed(ApiError {
                        code: ErrorCode::POLICY_VIOLATION,
                        message: "all producer ids have been handed out".to_owned(),
                    }),
                };
                self.send(session, FromController::Response { request_id, response });
            }
            (ClusterIntent::LiftCounters { above }, _) => {
                self.creations.skip(above);
                self.on_counters_lifted();
            }
            (ClusterIntent::ReserveCreations, ClusterOutcome::Creations { first }) => {
                self.creations.next = first;
                self.creations.end = first + CREATION_BLOCK;
                let waiting = |cell: &&crate::controller::TopicCell| {
                    cell.has(|intent| matches!(intent, TopicIntent::Create { .. }))
                };
                let keys: Vec<ObjectKey> = self.topics.iter().filter(waiting).map(|cell| cell.key).collect();
                self.ready.extend(keys);
            }
            (
                ClusterIntent::Configure { ticket, .. } | ClusterIntent::Unregister { ticket, .. },
                ClusterOutcome::Through(result),
            ) => {
                self.requests.settle(ticket, result.map(|()| Success::Done));
            }
            (ClusterIntent::Fence { broker, why }, outcome) => {
                self.going.remove(&broker);
                if outcome == ClusterOutcome::Fenced {
                    self.event(Event::BrokerFenced { broker, why });
                }
            }
            _ => {}
        }
    }

    /// Only what is new is told: the broker's record as such may not have changed.
    fn learn_peer_token(&mut self, member: Member, token: Uuid) {
        if self.peer_tokens.get(&member) == Some(&token) {
            return;
        }
        self.peer_tokens.retain(|other, _| other.broker_id != member.broker_id);
        self.peer_tokens.insert(member, token);
        if let Some(broker) = self.cluster.committed().broker(member.broker_id) {
            self.published.broker(broker, Some(token));
        }
    }

    /// A registration succeeded: the session is the broker's, and any other session of the broker is not. It is told what
    /// it does not hold already.
    fn admit(&mut self, session: SessionId, member: Member, again: bool, held: &[SliceDigest]) {
        let others: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(id, other)| {
                **id != session && other.broker.is_some_and(|b| b.broker_id == member.broker_id)
            })
            .map(|(id, _)| *id)
            .collect();
        for other in others {
            let same_process = self.sessions.get(&other).is_some_and(|other| other.broker == Some(member));
            if same_process {
                // It has lost the older session, or is about to notice.
                self.close_session(other);
            } else {
                let reason = format!(
                    "another process has registered as broker {}; give each broker an id of its own",
                    member.broker_id
                );
                self.refuse_session(other, member.broker_id, reason);
            }
        }
        // What is pending goes to the sessions that were there before; the snapshot holds it for this one.
        self.tell_pending();
        self.liveness.admitted(member, self.clock.now_ms());
        if !again {
            self.forget_health(member.broker_id);
        }
        let Some(admitted) = self.sessions.get_mut(&session) else { return };
        admitted.broker = Some(member);
        // It can be asked how far its logs reach.
        self.contests.stir_all();
        let cluster = self.cluster.committed();
        let cluster_id = cluster.cluster_id.clone();
        let me = cluster.broker(member.broker_id);
        let rack = me.and_then(|broker| broker.rack.clone());
        let endpoints = me.map(crate::publish::endpoints).unwrap_or_default();
        let snapshot = self.snapshot(held);
        let incarnation = member.incarnation;
        let features = CONTROLLER_FEATURES.map(str::to_owned).to_vec();
        self.outputs.push(Output::Send {
            session,
            message: FromController::Registered { cluster_id, incarnation, rack, endpoints, features },
        });
        self.outputs.push(Output::Send { session, message: FromController::Update(snapshot) });
    }

    /// Topics came, changed or went.
    pub(crate) fn on_topics_committed(&mut self, slice: u32, before: &TopicSlice) {
        let mut gone = Vec::new();
        let after = self.topics[slice as usize].committed();
        for (name, entry) in &before.topics {
            if after.topics.get(name).is_none_or(|now| now.topic_id != entry.topic_id) {
                gone.push((entry.topic_id, name.clone()));
            }
        }
        for (name, entry) in &after.topics {
            if before.topics.get(name) != Some(entry) {
                self.names.insert(entry.topic_id, name.clone());
                self.dirty.insert(entry.topic_id);
                // It may allow now what it did not before.
                self.contests.stir_topic(entry.topic_id);
            }
        }
        if !gone.is_empty() {
            self.load = None;
        }
        for (topic_id, name) in gone {
            self.names.remove(&topic_id);
            self.health.forget_topic(topic_id);
            self.sizes.forget_topic(topic_id);
            self.dirty.insert(topic_id);
            self.event(Event::TopicDeleted { name, topic_id });
        }
    }

    /// Records came, changed or went.
    pub(crate) fn on_partitions_committed(&mut self, slice: u32, before: &PartitionSlice) {
        let Some(cell) = self.partitions.get(&slice) else { return };
        (self.shutdowns_stirred, self.leaders_stirred) = (true, true);
        let after = cell.committed();
        let (mut moved, mut without_leader, mut unclean) = (0, 0, Vec::new());
        let mut told = Vec::new();
        for topic in &after.topics {
            let old = before.topic(topic.topic_id);
            if old == Some(topic) {
                continue;
            }
            self.touched.insert((topic.topic_id, slice));
            for record in &topic.partitions {
                self.contests.note(topic.topic_id, record);
            }
            told.extend(old.map(|old| reassignment::events(old, topic)));
            let known = topic.partitions.iter().filter_map(|p| Some((p, old?.partition(p.partition)?)));
            for (record, was) in known.filter(|(record, was)| &***record != *was) {
                moved += 1;
                without_leader += usize::from(record.leader.is_none());
                if let Some(leader) = record.leader.filter(|_| record.unclean_epoch != was.unclean_epoch) {
                    let (topic, partition) = (topic.name.clone(), record.partition);
                    let (leader, leader_epoch) = (leader.broker_id, record.leader_epoch);
                    unclean.push(Event::UncleanElection { topic, partition, leader, leader_epoch });
                }
            }
        }
        for topic in before.topics.iter().filter(|topic| after.topic(topic.topic_id).is_none()) {
            self.dirty.insert(topic.topic_id);
            self.contests.forget(topic);
        }
        if moved > 0 {
            self.event(Event::LeadersMoved { slice, partitions: moved, without_leader });
        }
        unclean.into_iter().chain(told.into_iter().flatten()).for_each(|event| self.event(event));
        if self.is_ready() {
            self.enqueue_end_of_moves(slice);
        }
    }

    /// A partition intent was decided, and if that changed its slice, the change is stored.
    pub(crate) fn on_partition_decision(&mut self, intent: PartitionIntent, decision: PartitionDecision) {
        match (intent, decision) {
            (PartitionIntent::Add { topic_id } | PartitionIntent::Remove { topic_id }, _) => {
                self.dirty.insert(topic_id);
            }
            (PartitionIntent::Reassign { ticket, .. }, PartitionDecision::Through(result)) => {
                self.requests.settle(ticket, result.map(|()| Success::Done));
            }
            (PartitionIntent::Lift { told }, PartitionDecision::Fulfilled) => self.on_lifted(&told),
            (PartitionIntent::Propose { session, proposal, .. }, PartitionDecision::Refused(reason)) => {
                self.refuse_isr(session, &proposal, reason);
            }
            (
                PartitionIntent::Prefer { ticket: Some(ticket), .. }
                | PartitionIntent::ElectByLog { ticket: Some(ticket), .. },
                PartitionDecision::Through(result),
            ) => {
                self.requests.settle(ticket, result.map(|()| Success::Done));
            }
            _ => {}
        }
    }

    /// Who is there has changed.
    pub(crate) fn mend_all(&mut self) {
        let slices: Vec<u32> = self.partitions.keys().copied().collect();
        slices.into_iter().for_each(|slice| self.enqueue_mend(slice));
    }

    /// If the slice holds a record that is not as it should be.
    pub(crate) fn enqueue_mend(&mut self, slice: u32) {
        let Some(cell) = self.partitions.get(&slice) else { return };
        // While a write is in flight the committed content is about to be replaced: looked at when that is through.
        if !cell.is_idle() || partitions::needs_mending(cell.committed(), &self.outlook()) {
            self.enqueue_partitions(slice, PartitionIntent::Mend);
        }
        self.enqueue_end_of_moves(slice);
    }

    /// Sees to each topic whose objects changed: the table in [`crate::controller`].
    pub(crate) fn follow_up_topics(&mut self) {
        let mut published = std::mem::take(&mut self.published);
        while let Some((topic_id, slice)) = self.touched.pop_first() {
            if !self.dirty.contains(&topic_id) && !self.publish_slice(&mut published, topic_id, slice) {
                self.dirty.insert(topic_id);
            }
        }
        self.published = published;
        while let Some(topic_id) = self.dirty.pop_first() {
            match self.entry(topic_id).map(|(_, entry)| entry.deleting_since_ms.is_some()) {
                Some(false) => self.follow_up_living(topic_id),
                Some(true) => self.follow_up_deleting(topic_id),
                None => {
                    self.published.remove(topic_id);
                }
            }
            self.settle_waiters(topic_id);
        }
    }

    /// Publishes a known topic's records of one slice, so that a change there does not cost a look at all of a large topic.
    /// `false` if there is more to be seen to.
    fn publish_slice(&self, published: &mut Published, topic_id: Uuid, slice: u32) -> bool {
        let count = published.count(topic_id);
        let Some((name, entry)) = self.entry(topic_id) else { return false };
        let Some(wanted) = self.min_insync_replicas(topic_id) else { return false };
        let Some(content) = self.partitions.get(&slice).map(|cell| cell.committed()) else { return false };
        let Some(topic) = content.topic(topic_id) else { return false };
        let here = entry.pieces.iter().filter(|piece| piece.slice == slice);
        let mut partitions = here.flat_map(|piece| piece.partitions());
        let is_known = count == entry.partition_count
            && partitions.clone().all(|partition| topic.partition(partition).is_some())
            && !partitions::needs_min_isr(content, topic_id, wanted);
        if is_known {
            published.refresh(name, entry, count, &mut partitions, |partition| topic.partition(partition));
        }
        is_known
    }

    fn follow_up_living(&mut self, topic_id: Uuid) {
        let Some((name, entry)) = self.entry(topic_id) else { return };
        let (name, entry) = (name.to_owned(), entry.clone());
        let slice_of = |slice: u32| self.partitions.get(&slice).map(|cell| cell.committed());
        let visible = partitions::visible_count(&entry, slice_of);
        let may_add = !self.doubted.contains(&topic_id) && !self.cluster.committed().brokers.is_empty();
        if visible < entry.partition_count && may_add {
            let missing = entry.pieces.iter().filter(|piece| {
                let topic = slice_of(piece.slice).and_then(|slice| slice.topic(topic_id));
                topic.is_none_or(|topic| piece.partitions().any(|p| topic.partition(p).is_none()))
            });
            let slices: Vec<u32> = missing.map(|piece| piece.slice).collect();
            slices.into_iter().for_each(|s| self.enqueue_partitions(s, PartitionIntent::Add { topic_id }));
        }
        let before = self.published.count(topic_id);
        if visible == 0 || visible < before {
            return;
        }
        let mut published = std::mem::take(&mut self.published);
        published.refresh(&name, &entry, visible, 0..visible, |partition| self.record(&entry, partition));
        self.published = published;
        self.tell_of_topic(topic_id, &name, before, visible);
        self.follow_up_min_isr(topic_id);
    }

    fn follow_up_deleting(&mut self, topic_id: Uuid) {
        let Some((name, entry)) = self.entry(topic_id) else { return };
        let name = name.to_owned();
        let mut slices: Vec<u32> = entry.pieces.iter().map(|piece| piece.slice).collect();
        slices.sort_unstable();
        slices.dedup();
        let of_topic = |intent: &PartitionIntent| match intent {
            PartitionIntent::Add { topic_id: id } | PartitionIntent::Remove { topic_id: id } => {
                *id == topic_id
            }
            _ => false,
        };
        let (mut holding, mut busy) = (Vec::new(), false);
        for slice in slices {
            let Some(cell) = self.partitions.get(&slice) else { continue };
            if cell.committed().topic(topic_id).is_some() {
                holding.push(slice);
            } else {
                // Records of it may be on their way; when that is through, the topic is looked at again.
                busy |= cell.has(of_topic);
            }
        }
        if self.published.remove(topic_id).is_some() {
            self.event(Event::TopicDeleting { name: name.clone(), topic_id });
        }
        if holding.is_empty() && !busy {
            let cell = &self.topics[topic_slice(&name) as usize];
            let is_forget =
                |i: &TopicIntent| matches!(i, TopicIntent::Forget { topic_id: id, .. } if *id == topic_id);
            if !cell.has(is_forget) {
                self.enqueue_topic(&name, forget(&name, topic_id));
            }
        }
        holding.into_iter().for_each(|s| self.enqueue_partitions(s, PartitionIntent::Remove { topic_id }));
    }

    /// Notes topics that should have records in the slice, which was read again, and have not, or have some that follow
    /// another configuration: somebody else knows the topic otherwise.
    pub(crate) fn doubt_missing(&mut self, slice: u32) {
        let Some(cell) = self.partitions.get(&slice) else { return };
        let lacks = |entry: &TopicEntry| {
            let topic = cell.committed().topic(entry.topic_id);
            let mut here = entry.pieces.iter().filter(|piece| piece.slice == slice);
            here.any(|piece| topic.is_none_or(|t| piece.partitions().any(|p| t.partition(p).is_none())))
        };
        let differs = |entry: &TopicEntry| {
            let wanted = configs::min_insync_replicas(entry, self.cluster.committed(), &self.policy);
            partitions::needs_min_isr(cell.committed(), entry.topic_id, wanted)
        };
        let entries = self.topics.iter().flat_map(|cell| &cell.committed().topics);
        let doubtful = |entry: &TopicEntry| lacks(entry) || differs(entry);
        let missing = entries.filter(|(_, entry)| entry.deleting_since_ms.is_none() && doubtful(entry));
        let doubted: Vec<(u32, Uuid)> =
            missing.map(|(name, entry)| (topic_slice(name), entry.topic_id)).collect();
        for (topic_slice, topic_id) in doubted {
            self.doubted.insert(topic_id);
            self.topics[topic_slice as usize].reread();
            self.ready.insert(ObjectKey::Topics(topic_slice));
        }
    }

    /// The topic slice was read again: what it says of the doubted topics is so.
    pub(crate) fn believe_doubted(&mut self, slice: u32) {
        let of_slice = |id: &Uuid| self.names.get(id).is_none_or(|name| topic_slice(name) == slice);
        let believed: Vec<Uuid> = self.doubted.iter().copied().filter(of_slice).collect();
        for topic_id in believed {
            self.doubted.remove(&topic_id);
            self.dirty.insert(topic_id);
        }
    }

    /// Notes records in the slice whose topic is not known. Another controller may have made it: its entry was written
    /// before the records, so whoever reads the topic slice now sees it if it is still there.
    pub(crate) fn suspect_strangers(&mut self, slice: u32) {
        let Some(cell) = self.partitions.get(&slice) else { return };
        let unknown = cell.committed().topics.iter().filter(|topic| self.entry(topic.topic_id).is_none());
        let suspects: Vec<(u32, u32, Uuid)> =
            unknown.map(|topic| (topic_slice(&topic.name), slice, topic.topic_id)).collect();
        for suspect in suspects {
            if self.suspects.insert(suspect) && self.is_ready() {
                self.topics[suspect.0 as usize].reread();
                self.ready.insert(ObjectKey::Topics(suspect.0));
            }
        }
    }

    /// The topic slice was read after the records were seen: those whose topic is still not known belong to none.
    pub(crate) fn judge_suspects(&mut self, topic_slice: u32) {
        let range = (topic_slice, 0, Uuid::ZERO)..=(topic_slice, u32::MAX, Uuid([u8::MAX; 16]));
        let suspects: Vec<(u32, u32, Uuid)> = self.suspects.range(range).copied().collect();
        for suspect in suspects {
            self.suspects.remove(&suspect);
            let (_, slice, topic_id) = suspect;
            if self.entry(topic_id).is_none() {
                self.enqueue_partitions(slice, PartitionIntent::Remove { topic_id });
            }
        }
    }
}
