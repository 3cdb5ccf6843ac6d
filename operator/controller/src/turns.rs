//! The way of a decision: decided on a cell's content, asked of the store, committed when the store says so.

use taffrail_control::slices::TOPIC_SLICES;
use taffrail_protocol::Uuid;

use crate::cell::{Cell, CellObject, Commit, Turn, Verdict};
use crate::controller::{Controller, PartitionCell, Phase, Surroundings};
use crate::message::Event;
use crate::model::{ObjectKey, PartitionSlice, TopicSlice};
use crate::partitions::{self, Outlook, PartitionDecision, PartitionIntent};
use crate::registration::{self, ClusterIntent};
use crate::store::{ObjectKind, StoreAnswer, StoreOutcome, Stored, Version};
use crate::topics::{self, Facts, TopicIntent};

impl Controller {
    /// Lets one cell decide what waits in it.
    pub(crate) fn give_turn(&mut self, key: ObjectKey, surroundings: &mut Surroundings<'_>) {
        match key {
            ObjectKey::Cluster => {
                let in_use = self.brokers_in_use();
                let gathers = self.awaits_brokers();
                let random = &mut *surroundings.random;
                let turn = self.cluster.turn(|state, intent| match intent {
                    // What was handed out since a backup is handed out again by a store that was restored from it.
                    ClusterIntent::AllocateProducerIds { .. } if gathers => Verdict::Later(intent),
                    intent => registration::decide(state, intent, random, &in_use, &self.directory),
                });
                match turn {
                    Turn::Nothing => {}
                    Turn::Ask(action) => {
                        let id = self.ask_store(action);
                        self.cluster.asked(id);
                    }
                    Turn::Settled(decided) => {
                        decided.into_iter().for_each(|(i, o)| self.on_cluster_outcome(i, o));
                    }
                }
            }
            ObjectKey::Topics(slice) => self.give_topic_turn(slice, surroundings),
            ObjectKey::Partitions(slice) => self.give_partition_turn(slice),
        }
    }

    fn give_topic_turn(&mut self, slice: u32, surroundings: &mut Surroundings<'_>) {
        if self.awaits_brokers() && !self.topics[slice as usize].wants_read() {
            return;
        }
        let load = self.load.take().unwrap_or_else(|| self.count_load());
        let names = &self.names;
        let random = &mut *surroundings.random;
        let mut new_topic_id = || draw_topic_id(random, |id| names.contains_key(id));
        let mut facts = Facts {
            policy: &self.policy,
            cluster: self.cluster.committed(),
            load,
            creations: &mut self.creations,
            now_ms: surroundings.now_ms,
            new_topic_id: &mut new_topic_id,
        };
        let mut short_of_creations = false;
        let turn = self.topics[slice as usize].turn(|content, intent| {
            let verdict = topics::decide(content, intent, &mut facts);
            short_of_creations |= matches!(verdict, Verdict::Later(_));
            verdict
        });
        self.load = Some(facts.load);
        if short_of_creations {
            self.reserve_creations();
        }
        match turn {
            Turn::Nothing => {}
            Turn::Ask(action) => {
                let id = self.ask_store(action);
                self.topics[slice as usize].asked(id);
            }
            Turn::Settled(decided) => decided.into_iter().for_each(|(i, d)| self.on_topic_decision(i, d)),
        }
    }

    fn give_partition_turn(&mut self, number: u32) {
        let gathers = self.awaits_brokers();
        let may_decide = |cell: &PartitionCell| !gathers || cell.wants_read();
        if !self.partitions.get(&number).is_some_and(may_decide) || self.coalesces(number) {
            return;
        }
        let Some(mut cell) = self.partitions.remove(&number) else { return };
        let turn = cell.turn(|slice, intent| self.decide_on_partitions(slice, number, intent));
        match turn {
            Turn::Nothing => {}
            Turn::Ask(action) => cell.asked(self.ask_store(action)),
            Turn::Settled(decided) => decided.into_iter().for_each(|(i, d)| self.on_partition_decision(i, d)),
        }
        self.partitions.insert(number, cell);
    }

    fn decide_on_partitions(
        &self,
        slice: &mut PartitionSlice,
        number: u32,
        intent: PartitionIntent,
    ) -> Verdict<PartitionIntent, PartitionDecision> {
        let outlook = self.outlook();
        let changed = match intent {
            PartitionIntent::Add { topic_id } => self.add_records(slice, number, topic_id),
            PartitionIntent::Remove { topic_id } => slice.remove_topic(topic_id),
            PartitionIntent::Mend => partitions::mend(slice, &outlook),
            PartitionIntent::Relieve => partitions::relieve(slice, &outlook),
            PartitionIntent::EndMoves => {
                partitions::end_moves(slice, &outlook, |topic_id| self.min_insync_replicas(topic_id))
            }
            PartitionIntent::SetMinIsr { topic_id } => self
                .min_insync_replicas(topic_id)
                .is_some_and(|wanted| partitions::set_min_isr(slice, topic_id, wanted)),
            PartitionIntent::Reassign { ticket, topic_id, wish } => {
                return self.reassign(slice, ticket, topic_id, wish);
            }
            PartitionIntent::Lift { ref told } => {
                let topic = slice.topic(told.topic_id);
                let is_there = topic.is_some_and(|topic| topic.partition(told.partition).is_some());
                // It is lifted in the write that makes it.
                if !is_there && self.home_of(told.topic_id, told.partition) == Some(number) {
                    return Verdict::Later(intent);
                }
                partitions::lift(slice, told)
            }
            PartitionIntent::Propose { session, sender, proposal } => {
                return partitions::propose(slice, session, sender, proposal, &outlook);
            }
            PartitionIntent::Prefer { .. } | PartitionIntent::ElectByLog { .. } => {
                return partitions::elect(slice, intent, &outlook);
            }
        };
        partitions::verdict(changed, intent)
    }

    /// What decisions on partitions rest on besides their records.
    pub(crate) fn outlook(&self) -> Outlook<'_> {
        Outlook {
            cluster: self.cluster.committed(),
            going: &self.going,
            health: &self.health,
            leaving: &self.directory.leaving,
            yielding: &self.directory.yielding,
        }
    }

    /// Only for a topic that is there and stays.
    fn add_records(&self, slice: &mut PartitionSlice, number: u32, topic_id: Uuid) -> bool {
        let Some((name, entry)) = self.entry(topic_id) else { return false };
        let stays = entry.deleting_since_ms.is_none() && !self.doubted.contains(&topic_id);
        stays && partitions::add(slice, number, name, entry, &self.outlook(), &self.policy)
    }

    /// Partitions that each slice holds or is promised, from all that is committed or may be.
    fn count_load(&self) -> std::collections::BTreeMap<u32, i32> {
        let mut load = std::collections::BTreeMap::new();
        let entries = self.topics.iter().flat_map(|cell| cell.latest().topics.values());
        for piece in entries.flat_map(|entry| &entry.pieces) {
            *load.entry(piece.slice).or_default() += piece.count;
        }
        load
    }

    pub(crate) fn on_store_answer(&mut self, answer: StoreAnswer) {
        if let Phase::Loading { kind, request: Some(request) } = self.phase {
            if request == answer.id {
                self.on_listed(kind, answer.outcome);
            }
            return;
        }
        let Some(key) = self.key_of(&answer) else { return };
        match answer.outcome {
            StoreOutcome::Done(version) => self.on_done(key, answer, version),
            StoreOutcome::Loaded(stored) => self.on_loaded(key, answer.id, stored),
            StoreOutcome::Conflict => self.on_failed(key, answer, false),
            StoreOutcome::Unknown | StoreOutcome::Listed(_) => self.on_failed(key, answer, true),
        }
    }

    /// The cell whose question this answers.
    fn key_of(&self, answer: &StoreAnswer) -> Option<ObjectKey> {
        if self.cluster.awaits(answer.id) {
            return Some(ObjectKey::Cluster);
        }
        let topics = self.topics.iter().find(|cell| cell.awaits(answer.id)).map(|cell| cell.key);
        topics.or_else(|| self.partitions.values().find(|cell| cell.awaits(answer.id)).map(|cell| cell.key))
    }

    fn on_done(&mut self, key: ObjectKey, answer: StoreAnswer, version: Version) {
        match key {
            ObjectKey::Cluster => {
                let Some(Commit { before, decided }) = self.cluster.done(answer.id, version) else { return };
                self.catch_up(key);
                self.on_cluster_committed(&before);
                decided.into_iter().for_each(|(i, o)| self.on_cluster_outcome(i, o));
            }
            ObjectKey::Topics(slice) => {
                let commit = self.topics[slice as usize].done(answer.id, version);
                let Some(Commit { before, decided }) = commit else { return };
                self.catch_up(key);
                self.on_topics_committed(slice, &before);
                decided.into_iter().for_each(|(i, d)| self.on_topic_decision(i, d));
            }
            ObjectKey::Partitions(slice) => {
                let commit = self.partitions.get_mut(&slice).and_then(|cell| cell.done(answer.id, version));
                let Some(Commit { before, decided }) = commit else { return };
                self.catch_up(key);
                self.on_partitions_committed(slice, &before);
                decided.into_iter().for_each(|(i, d)| self.on_partition_decision(i, d));
            }
        }
        self.ready.insert(key);
    }

    /// Rule 1: who fails to swap reads again before deciding again. A read that fails is tried again at the next tick.
    fn on_failed(&mut self, key: ObjectKey, answer: StoreAnswer, lost: bool) {
        let was_read = match key {
            ObjectKey::Cluster => self.cluster.failed(answer.id),
            ObjectKey::Topics(slice) => self.topics[slice as usize].failed(answer.id),
            ObjectKey::Partitions(slice) => {
                self.partitions.get_mut(&slice).is_some_and(|cell| cell.failed(answer.id))
            }
        };
        self.load = None;
        if was_read {
            return;
        }
        self.ready.insert(key);
        if lost {
            self.event(Event::SwapLost { object: key.to_string() });
        } else {
            self.on_overtaken(key);
        }
    }

    /// Another controller wrote, and may be the active one (rule 32).
    fn on_overtaken(&mut self, key: ObjectKey) {
        self.event(Event::WrittenByAnother { object: key.to_string() });
        self.send_brokers_away(None);
    }

    /// The store tells that an object was written. Without this a controller would not learn what another wrote, or a swap
    /// that was given up and arrived after all, before it has something to decide on that object itself: brokers would
    /// wait for a leader that the store names and nobody has told them of.
    pub(crate) fn on_changed(&mut self, key: ObjectKey, version: Version) {
        // What is listed later shows it.
        if self.phase == Phase::New {
            return;
        }
        match key {
            ObjectKey::Cluster => self.cluster.told_of(version),
            ObjectKey::Topics(slice) => {
                if let Some(cell) = self.topics.get_mut(slice as usize) {
                    cell.told_of(version);
                }
            }
            ObjectKey::Partitions(slice) => {
                let cell = self.partitions.entry(slice).or_insert_with(|| Cell::new(key));
                cell.told_of(version);
            }
        }
        self.catch_up(key);
    }

    /// Has the object read again if somebody else wrote it.
    fn catch_up(&mut self, key: ObjectKey) {
        if !self.is_ready() {
            return;
        }
        let behind = match key {
            ObjectKey::Cluster => self.cluster.catch_up(),
            ObjectKey::Topics(slice) => self.topics.get_mut(slice as usize).is_some_and(Cell::catch_up),
            ObjectKey::Partitions(slice) => self.partitions.get_mut(&slice).is_some_and(Cell::catch_up),
        };
        if behind {
            self.on_overtaken(key);
            self.ready.insert(key);
        }
    }

    fn on_loaded(&mut self, key: ObjectKey, id: crate::store::StoreRequestId, stored: Option<Stored>) {
        let (version, object) =
            stored.map_or((Version::ABSENT, None), |stored| (stored.version, Some(stored.object)));
        self.load = None;
        match key {
            ObjectKey::Cluster => {
                let content = object.and_then(CellObject::unwrap).unwrap_or_default();
                let Some(before) = self.cluster.loaded(id, version, content) else { return };
                self.catch_up(key);
                self.on_cluster_committed(&before);
            }
            ObjectKey::Topics(slice) => {
                let content = object.and_then(CellObject::unwrap).unwrap_or_default();
                let before = self.topics[slice as usize].loaded(id, version, content);
                let Some(before) = before else { return };
                self.catch_up(key);
                self.on_topics_committed(slice, &before);
                if self.topics[slice as usize].is_idle() {
                    self.judge_suspects(slice);
                    self.believe_doubted(slice);
                }
            }
            ObjectKey::Partitions(slice) => {
                let content = object.and_then(CellObject::unwrap).unwrap_or_default();
                let before = self.partitions.get_mut(&slice).and_then(|c| c.loaded(id, version, content));
                let Some(before) = before else { return };
                self.catch_up(key);
                self.on_partitions_committed(slice, &before);
                self.see_what_is_behind(slice);
                self.suspect_strangers(slice);
                self.doubt_missing(slice);
                self.enqueue_mend(slice);
            }
        }
        self.ready.insert(key);
    }

    /// Asks again for what could not be read.
    pub(crate) fn retry_reads(&mut self) {
        if let Phase::Loading { kind, request: None } = self.phase {
            self.list(kind);
        }
        let topics = self.topics.iter().filter(|cell| cell.wants_read()).map(|cell| cell.key);
        let partitions = self.partitions.values().filter(|cell| cell.wants_read()).map(|cell| cell.key);
        let cluster = self.cluster.wants_read().then_some(ObjectKey::Cluster);
        let keys: Vec<ObjectKey> = topics.chain(partitions).chain(cluster).collect();
        self.ready.extend(keys);
    }

    fn on_listed(&mut self, kind: ObjectKind, outcome: StoreOutcome) {
        let StoreOutcome::Listed(listed) = outcome else {
            self.phase = Phase::Loading { kind, request: None };
            return;
        };
        for Stored { key, version, object } in listed {
            match key {
                ObjectKey::Cluster => fill(&mut self.cluster, version, object),
                ObjectKey::Topics(slice) if slice < TOPIC_SLICES => {
                    fill(&mut self.topics[slice as usize], version, object);
                }
                ObjectKey::Topics(_) => {}
                ObjectKey::Partitions(slice) => {
                    let cell = self.partitions.entry(slice).or_insert_with(|| Cell::new(key));
                    fill(cell, version, object);
                }
            }
        }
        match kind {
            ObjectKind::Partitions => self.list(ObjectKind::Topics),
            ObjectKind::Topics => self.list(ObjectKind::Cluster),
            ObjectKind::Cluster => self.begin(),
        }
    }

    /// All is read: what is half done is gone on with, and what is not as it should be is mended.
    fn begin(&mut self) {
        self.phase = Phase::Ready;
        if !self.directory.brokers.is_empty() {
            self.enqueue_cluster(ClusterIntent::Correct);
        }
        self.begin_to_gather();
        let nothing = TopicSlice::default();
        (0..TOPIC_SLICES).for_each(|slice| self.on_topics_committed(slice, &nothing));
        let slices: Vec<u32> = self.partitions.keys().copied().collect();
        for slice in slices {
            self.suspect_strangers(slice);
            self.enqueue_mend(slice);
            let topics = self.partitions.get(&slice).into_iter().flat_map(|cell| &cell.committed().topics);
            topics.for_each(|topic| {
                topic.partitions.iter().for_each(|r| self.contests.note(topic.topic_id, r))
            });
        }
        // Topic slices were read after partition slices: who is not known now is not known at all.
        (0..TOPIC_SLICES).for_each(|slice| self.judge_suspects(slice));
        let cluster = self.cluster.committed();
        self.liveness.begin(cluster, self.clock.now_ms());
        let (cluster_id, brokers) = (cluster.cluster_id.clone(), cluster.brokers.len());
        self.follow_up_topics();
        let (topics, partitions) = self.published.totals();
        self.event(Event::Loaded { cluster_id, brokers, topics, partitions });
        // Who wrote while this controller was reading wrote before any broker came.
        let partitions = self.partitions.keys().copied().map(ObjectKey::Partitions);
        let topics = (0..TOPIC_SLICES).map(ObjectKey::Topics);
        let keys: Vec<ObjectKey> = partitions.chain(topics).chain([ObjectKey::Cluster]).collect();
        keys.into_iter().for_each(|key| self.catch_up(key));
    }
}

fn fill<T: CellObject, I, D>(cell: &mut Cell<T, I, D>, version: Version, object: crate::model::Object) {
    if let Some(content) = T::unwrap(object) {
        cell.fill(version, content);
    }
}

/// A topic id that no topic has. Kafka reserves the first two ids, and avoids those whose text begins with a dash,
/// which command-line tools would take for an option.
fn draw_topic_id(random: &mut dyn FnMut() -> [u8; 16], taken: impl Fn(&Uuid) -> bool) -> Uuid {
    for _ in 0..1_000 {
        let id = Uuid(random());
        let reserved = u128::from_be_bytes(id.0) < 2;
        if !reserved && !taken(&id) && !id.to_string().starts_with('-') {
            return id;
        }
    }
    panic!("a thousand random draws gave no unused topic id: the source of randomness is broken");
}

/// For a `TopicIntent` that nobody waits for.
pub(crate) fn forget(name: &str, topic_id: Uuid) -> TopicIntent {
    TopicIntent::Forget { name: name.to_owned(), topic_id }
}
