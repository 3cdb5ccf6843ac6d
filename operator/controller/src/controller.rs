//! The state machine: one input, some outputs.
//!
//! Every change goes the same way. An input puts *intents* into the queue of the stored object that they concern
//! ([`crate::cell`]). When the object is free, all that waits is decided on its committed content and written in one
//! compare-and-swap. When the store answers that this is done, and not before, the new content is committed, and what
//! follows from it is worked out by comparing: what brokers are told ([`crate::publish`]), which requests are answered,
//! and which intents come next. As the next steps are read off the committed objects, a controller that has just loaded
//! them goes on where another ended.
//!
//! | topic's entry | its partition records | next |
//! |---|---|---|
//! | there | some missing | write them |
//! | there | all there | publish, answer |
//! | being deleted | some there | unpublish, remove them |
//! | being deleted | none | remove the entry |
//! | none | some there | remove them |
//!
//! As objects are read one by one, what a slice that somebody else wrote lacks or has too much says nothing yet: the
//! topic's entry is read again first. An entry is written before its records are made, and marked before they are removed,
//! so an entry that was read after the records tells what is to become of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taffrail_protocol::Uuid;

use crate::cell::Cell;
use crate::clock::Clock;
use crate::coalesce::Coalescing;
use crate::contest::Contests;
use crate::directory::Directory;
use crate::health::Health;
use crate::held::Gathering;
use crate::liveness::Liveness;
use crate::message::{Event, Input, Output, SessionId};
use crate::model::{ClusterState, Member, ObjectKey, PartitionSlice, PartitionState, TopicSlice};
use crate::partitions::{PartitionDecision, PartitionIntent};
use crate::policy::Policy;
use crate::publish::Published;
use crate::registration::{ClusterIntent, ClusterOutcome};
use crate::requests::{Requests, Waiter};
use crate::sizes::Sizes;
use crate::store::{ObjectKind, StoreAction, StoreRequest, StoreRequestId};
use crate::topics::{Creations, TopicDecision, TopicIntent};
use taffrail_control::session::{
    CONTRACT_VERSION, ClusterUpdate, ControllerRequest, FromController, RefusedIsr, Registration,
    SliceDigest, ToController, TopicWish, is_contract_understood,
};
use taffrail_control::slices::{TOPIC_SLICES, topic_slice};

/// What a step may use besides its input.
pub struct Surroundings<'a> {
    /// Milliseconds since 1970. May stand still or jump; nothing that must be right rests on it.
    pub now_ms: u64,
    /// Draws 16 random bytes.
    pub random: &'a mut dyn FnMut() -> [u8; 16],
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

pub(crate) type ClusterCell = Cell<ClusterState, ClusterIntent, ClusterOutcome>;
pub(crate) type TopicCell = Cell<TopicSlice, TopicIntent, TopicDecision>;
pub(crate) type PartitionCell = Cell<PartitionSlice, PartitionIntent, PartitionDecision>;

/// How far a controller is with reading its store. Partition slices are read before topic slices: what a record's
/// topic is must be looked for after the record was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    New,
    Loading { kind: ObjectKind, request: Option<StoreRequestId> },
    Ready,
}

/// A session with a broker, or with one who watches.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Set once it is registered.
    pub(crate) broker: Option<Member>,
    /// It is no broker's: it is told what brokers are, and may ask what they may.
    watches: bool,
    /// When it asked to stop.
    pub(crate) stopping_since_ms: Option<u64>,
    /// It was told that it may.
    pub(crate) granted: bool,
    /// Something was said in it under another incarnation.
    pub(crate) misspoke: bool,
}

impl Session {
    /// Whether whoever is there is told what is new, and may ask for something.
    fn is_told(&self) -> bool {
        self.broker.is_some() || self.watches
    }
}

/// The cluster controller. See the module's documentation.
#[derive(Debug)]
pub struct Controller {
    pub(crate) policy: Policy,
    /// Where brokers are sent while this controller is not the active one.
    active: Option<String>,
    pub(crate) phase: Phase,
    pub(crate) directory: Directory,
    pub(crate) cluster: ClusterCell,
    pub(crate) topics: Vec<TopicCell>,
    pub(crate) partitions: BTreeMap<u32, PartitionCell>,
    /// Names of committed topics.
    pub(crate) names: BTreeMap<Uuid, String>,
    pub(crate) creations: Creations,
    /// Partitions that each slice holds or is promised; `None` when it has to be counted anew.
    pub(crate) load: Option<BTreeMap<u32, i32>>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) liveness: Liveness,
    /// Brokers that are heard before anything is decided.
    pub(crate) gathering: Gathering,
    /// Something has changed that a broker may wait for that wants to stop.
    pub(crate) shutdowns_stirred: bool,
    /// Random tokens that brokers open connections to one another with.
    pub(crate) peer_tokens: BTreeMap<Member, Uuid>,
    /// Members whose fencing is on its way.
    pub(crate) going: BTreeSet<Member>,
    pub(crate) health: Health,
    pub(crate) sizes: Sizes,
    pub(crate) contests: Contests,
    pub(crate) clock: Clock,
    /// Slices whose proposals wait for one another.
    pub(crate) coalescing: Coalescing,
    /// When the balance of leaders was last looked at.
    pub(crate) balanced_ms: u64,
    /// When it is looked at before it is due: clients will know then where to find a broker that leads too few.
    pub(crate) balance_again_ms: Option<u64>,
    /// Records or the directory have changed: brokers that yield may be relieved. Who is in an ISR and not fit is taken out of
    /// it, so that nobody becomes fit to take over without a change of the record.
    pub(crate) leaders_stirred: bool,
    /// Proposals whose leaders are yet to be told that they were not taken.
    pub(crate) refused_isrs: BTreeMap<SessionId, Vec<RefusedIsr>>,
    pub(crate) requests: Requests,
    pub(crate) waiters: BTreeMap<Uuid, Vec<Waiter>>,
    pub(crate) published: Published,
    /// Topics whose objects changed in this step.
    pub(crate) dirty: BTreeSet<Uuid>,
    /// Topics whose records changed in this step, by the slice that holds them.
    pub(crate) touched: BTreeSet<(Uuid, u32)>,
    /// Records whose topic is not known, by the topic slice to look into and the partition slice they are in.
    pub(crate) suspects: BTreeSet<(u32, u32, Uuid)>,
    /// Topics whose records are missing in a slice that another controller wrote. They may have been deleted: nothing is
    /// added for them before their entry was read again.
    pub(crate) doubted: BTreeSet<Uuid>,
    /// Cells whose turn has come.
    pub(crate) ready: BTreeSet<ObjectKey>,
    pub(crate) next_store_request: u64,
    pub(crate) outputs: Vec<Output>,
}

impl Controller {
    /// A controller that knows nothing yet; its first input is [`Input::Start`].
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            active: None,
            phase: Phase::New,
            directory: Directory::default(),
            cluster: Cell::new(ObjectKey::Cluster),
            topics: (0..TOPIC_SLICES).map(|slice| Cell::new(ObjectKey::Topics(slice))).collect(),
            partitions: BTreeMap::new(),
            names: BTreeMap::new(),
            creations: Creations::default(),
            load: None,
            sessions: BTreeMap::new(),
            liveness: Liveness::default(),
            gathering: Gathering::default(),
            shutdowns_stirred: false,
            peer_tokens: BTreeMap::new(),
            going: BTreeSet::new(),
            health: Health::default(),
            sizes: Sizes::default(),
            contests: Contests::default(),
            clock: Clock::default(),
            coalescing: Coalescing::default(),
            balanced_ms: 0,
            balance_again_ms: None,
            leaders_stirred: true,
            refused_isrs: BTreeMap::new(),
            requests: Requests::default(),
            waiters: BTreeMap::new(),
            published: Published::default(),
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
            suspects: BTreeSet::new(),
            doubted: BTreeSet::new(),
            ready: BTreeSet::new(),
            next_store_request: 0,
            outputs: Vec::new(),
        }
    }

    /// Whether the store has been read. Brokers that come earlier are sent away.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Takes one input and says what is to be done, in order.
    pub fn step(&mut self, input: Input, surroundings: &mut Surroundings<'_>) -> Vec<Output> {
        self.clock.advance(surroundings.now_ms);
        match input {
            Input::Start => {
                if self.phase == Phase::New {
                    self.list(ObjectKind::Partitions);
                }
            }
            Input::Store(answer) => self.on_store_answer(answer),
            Input::Changed { key, version } => self.on_changed(key, version),
            Input::Said { session, message } => self.on_said(session, message),
            Input::Deposed { active } => self.step_down(active),
            Input::Watch { session } => self.on_watch(session, true),
            Input::Attend { session } => self.on_watch(session, false),
            Input::Wished { topic, topic_id, wish } => self.on_wished(topic, topic_id, wish),
            Input::Configured(policy) => self.on_configured(policy),
            Input::Directory(directory) => self.on_directory(directory),
            Input::SessionEnded { session } => self.on_session_ended(session),
            Input::Tick => self.on_tick(),
        }
        self.settle(surroundings);
        std::mem::take(&mut self.outputs)
    }

    /// Time passed.
    fn on_tick(&mut self) {
        self.retry_reads();
        if self.is_ready() {
            self.gather();
            self.liveness.stirred = true;
            self.see_to_shutdowns();
            self.contests.pass(self.clock.now_ms(), self.policy.log_ends_timeout_ms);
            self.relieve_leaders();
            self.balance_leaders();
            self.end_coalescing();
        }
    }

    /// Somebody wants to see the cluster, all of it or what changes from now on.
    fn on_watch(&mut self, session: SessionId, all: bool) {
        if !self.is_ready() {
            return self.close_session(session);
        }
        self.tell_pending();
        self.sessions.insert(session, Session { watches: true, ..Session::default() });
        let update = if all { self.snapshot(&[]) } else { self.published.now() };
        self.outputs.push(Output::Send { session, message: FromController::Update(update) });
    }

    fn on_wished(&mut self, name: String, topic_id: Uuid, wish: Option<TopicWish>) {
        if self.is_ready() {
            let wish = wish.map(|wish| Box::new(wish.into()));
            self.enqueue_topic(&name.clone(), TopicIntent::Wish { name, topic_id, wish });
        }
    }

    /// Topics that do not set something themselves follow what is set for all (rule 23).
    fn on_configured(&mut self, policy: Policy) {
        self.policy = policy;
        if self.is_ready() {
            self.dirty.extend(self.names.keys());
            self.contests.stir_all();
            self.liveness.stirred = true;
        }
    }

    /// Brokers that are registered already are corrected.
    fn on_directory(&mut self, directory: Directory) {
        if self.directory != directory {
            self.directory = directory;
            self.leaders_stirred = true;
            // What is in flight was decided by what was known before.
            if self.is_ready() && !self.cluster.waits(|waiting| matches!(waiting, ClusterIntent::Correct)) {
                self.enqueue_cluster(ClusterIntent::Correct);
            }
        }
    }

    fn on_said(&mut self, session: SessionId, message: ToController) {
        self.on_heard(session);
        match message {
            ToController::Register(registration) => self.on_register(session, registration),
            ToController::Heartbeat { incarnation, .. } => self.on_heartbeat(session, incarnation),
            ToController::ControlledShutdown { incarnation } => self.on_shutdown(session, incarnation),
            ToController::Request { request_id, request } => self.on_request(session, request_id, request),
            ToController::ProposeIsr { incarnation, proposals } => {
                self.on_propose_isr(session, incarnation, proposals);
            }
            ToController::Health { incarnation, full, replicas } => {
                self.on_health(session, incarnation, full, replicas);
            }
            ToController::LogDirs { incarnation, dirs } => self.on_log_dirs(session, incarnation, dirs),
            ToController::PartitionSizes { incarnation, partitions } => {
                self.on_partition_sizes(session, incarnation, partitions);
            }
            ToController::LogEnds { incarnation, query_id, ends } => {
                self.on_log_ends(session, incarnation, query_id, ends);
            }
            ToController::Held { incarnation, partitions } => self.on_held(session, incarnation, partitions),
        }
    }

    fn on_register(&mut self, session: SessionId, registration: Registration) {
        let (broker_id, theirs) = (registration.broker_id, registration.contract_version);
        if !is_contract_understood(theirs) {
            let reason = format!(
                "broker {broker_id} speaks version {theirs} of the session contract and this controller speaks \
                 {CONTRACT_VERSION}; run releases that are at most one apart"
            );
            self.refuse_session(session, broker_id, reason);
        } else if !self.is_ready() {
            // It will be the active one in a moment, or another is.
            let active = self.active.clone();
            self.outputs.push(Output::Send { session, message: FromController::Redirect { active } });
            self.close_session(session);
        } else {
            self.sessions.entry(session).or_default();
            self.expect_held(broker_id);
            let registration = Box::new(registration);
            self.enqueue_cluster(ClusterIntent::Register { session, registration });
            // In the same write, so that the first topic need not wait for one of its own.
            if self.creations.is_empty() {
                self.reserve_creations();
            }
        }
    }

    /// Follows up on what this step changed until nothing is left to do but wait for the store.
    fn settle(&mut self, surroundings: &mut Surroundings<'_>) {
        if !self.is_ready() {
            return;
        }
        self.watch_brokers();
        loop {
            self.follow_up_topics();
            self.hold_contests();
            let Some(key) = self.ready.pop_first() else { break };
            self.give_turn(key, surroundings);
        }
        self.wake_for_proposals();
        self.tell_brokers();
        self.grant_shutdowns();
    }

    /// Tells the brokers what is new, and answers requests that waited for it. The update goes first: a broker that has
    /// its answer already serves the new state.
    pub(crate) fn tell_brokers(&mut self) {
        if let Some(update) = self.published.flush() {
            for (session, _) in self.sessions.iter().filter(|(_, session)| session.is_told()) {
                let message = FromController::Update(update.clone());
                self.outputs.push(Output::Send { session: *session, message });
            }
        }
        self.tell_refused_isrs();
        self.answer_complete_requests();
    }

    /// Tells those who are here what has been published, so that a snapshot for one who comes now is not told before it.
    pub(crate) fn tell_pending(&mut self) {
        self.follow_up_topics();
        self.tell_brokers();
    }

    /// All that is published, but for what `held` names.
    pub(crate) fn snapshot(&self, held: &[SliceDigest]) -> Arc<ClusterUpdate> {
        self.published.snapshot(self.cluster.committed(), &self.peer_tokens, held, |name, partition| {
            let entry = self.topics[topic_slice(name) as usize].committed().topics.get(name)?;
            self.record(entry, partition)
        })
    }

    /// The broker that speaks in the session, if it is registered there under that incarnation.
    pub(crate) fn speaker(&mut self, session: SessionId, incarnation: u64) -> Option<Member> {
        let speaking = self.sessions.get_mut(&session)?;
        let broker = speaking.broker?;
        if broker.incarnation == incarnation {
            return Some(broker);
        }
        // Who says one thing so says more.
        if !std::mem::replace(&mut speaking.misspoke, true) {
            self.event(Event::StaleMessage { broker, incarnation });
        }
        None
    }

    pub(crate) fn send(&mut self, session: SessionId, message: FromController) {
        if self.sessions.contains_key(&session) {
            self.outputs.push(Output::Send { session, message });
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push(Output::Event(event));
    }

    /// Ends a session that was not or is no longer its broker's.
    pub(crate) fn refuse_session(&mut self, session: SessionId, broker_id: i32, reason: String) {
        self.event(Event::BrokerRefused { broker_id, reason: reason.clone() });
        self.outputs.push(Output::Send { session, message: FromController::Refused { reason } });
        self.close_session(session);
    }

    /// Ends all sessions, so that brokers find the active controller (rule 32).
    pub(crate) fn send_brokers_away(&mut self, active: Option<String>) {
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            let message = FromController::Redirect { active: active.clone() };
            self.outputs.push(Output::Send { session, message });
            self.close_session(session);
        }
    }

    /// Another controller is the active one. All that is known may be outdated by now.
    fn step_down(&mut self, active: Option<String>) {
        self.send_brokers_away(active.clone());
        let outputs = std::mem::take(&mut self.outputs);
        let next_store_request = self.next_store_request;
        let directory = std::mem::take(&mut self.directory);
        *self = Self { active, outputs, next_store_request, directory, ..Self::new(self.policy) };
    }

    /// Ends a session. Its broker may come back.
    pub(crate) fn close_session(&mut self, session: SessionId) {
        self.outputs.push(Output::Close { session });
        self.sessions.remove(&session);
        self.contests.hang_up(session);
    }

    pub(crate) fn enqueue_cluster(&mut self, intent: ClusterIntent) {
        self.cluster.enqueue(intent);
        self.ready.insert(ObjectKey::Cluster);
    }

    pub(crate) fn enqueue_topic(&mut self, name: &str, intent: TopicIntent) {
        let slice = topic_slice(name);
        self.topics[slice as usize].enqueue(intent);
        self.ready.insert(ObjectKey::Topics(slice));
    }

    pub(crate) fn reserve_creations(&mut self) {
        if !self.cluster.has(|intent| matches!(intent, ClusterIntent::ReserveCreations)) {
            self.enqueue_cluster(ClusterIntent::ReserveCreations);
        }
    }

    /// A wish for a state is not noted twice. What is in flight does not count: it was decided on what was known then.
    pub(crate) fn enqueue_partitions(&mut self, slice: u32, intent: PartitionIntent) {
        let cell = self.partitions.entry(slice).or_insert_with(|| Cell::new(ObjectKey::Partitions(slice)));
        if !intent.is_wish() || !cell.waits(|waiting| *waiting == intent) {
            match intent {
                // What else waits may be about the records that it makes.
                PartitionIntent::Add { .. } => cell.enqueue_first(intent),
                _ => cell.enqueue(intent),
            }
            self.ready.insert(ObjectKey::Partitions(slice));
        }
    }

    pub(crate) fn ask_store(&mut self, action: StoreAction) -> StoreRequestId {
        self.next_store_request += 1;
        let id = StoreRequestId(self.next_store_request);
        self.outputs.push(Output::Store(StoreRequest { id, action }));
        id
    }

    pub(crate) fn list(&mut self, kind: ObjectKind) {
        let request = Some(self.ask_store(StoreAction::List(kind)));
        self.phase = Phase::Loading { kind, request };
    }

    /// A committed topic's entry, by id.
    pub(crate) fn entry(&self, topic_id: Uuid) -> Option<(&str, &crate::model::TopicEntry)> {
        let name = self.names.get(&topic_id)?;
        let entry = self.topics[topic_slice(name) as usize].committed().topics.get(name)?;
        (entry.topic_id == topic_id).then_some((name.as_str(), entry))
    }

    /// The slice that holds the partition's record, unless the topic is not there to stay.
    pub(crate) fn home_of(&self, topic_id: Uuid, partition: i32) -> Option<u32> {
        let (_, entry) = self.entry(topic_id).filter(|(_, entry)| entry.deleting_since_ms.is_none())?;
        entry.pieces.iter().find(|piece| piece.partitions().contains(&partition)).map(|piece| piece.slice)
    }

    /// A committed partition record. Only the slice that the topic's entry names is looked into (rule 21).
    pub(crate) fn record(&self, entry: &crate::model::TopicEntry, partition: i32) -> Option<&PartitionState> {
        let piece = entry.pieces.iter().find(|piece| piece.partitions().contains(&partition))?;
        self.partitions.get(&piece.slice)?.committed().topic(entry.topic_id)?.partition(partition)
    }

    fn on_request(&mut self, session: SessionId, request_id: u64, request: ControllerRequest) {
        match self.sessions.get(&session) {
            Some(speaking) if speaking.is_told() => self.take_request(session, request_id, request),
            _ => self.refuse_request(session, request_id),
        }
    }
}
