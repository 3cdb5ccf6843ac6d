//! A desk with a session of its cluster's controller: looks at topics, and finds out what is to be done about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use taffrail_control::session::{ApiError, BrokerEnd, FromController, Reassignment, TopicWish};
use taffrail_crds::Topic;
use taffrail_protocol::{ErrorCode, Uuid};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::asks::Part;
use super::desk::{Desk, PATIENCE, Stirred};
use super::objects::Wishes;
use super::plan::{Ask, ObjectStep, Plan, Scene, Standing, Vanished, plan};
use super::refusals::Refusals;
use super::sizes::{Known, Sizes};
use super::spread::Counting;
use super::status::Seen;
use crate::calls::CallError;
use crate::fleet::Running;

/// How long the controller may take. Then it is asked in another session.
const DEADLINE: Duration = Duration::from_secs(120);

/// How often it is looked at how large topics are.
const SIZES: Duration = Duration::from_secs(30);

/// What is kept of a topic that something is done about.
#[derive(Debug, Default)]
pub(super) struct Note {
    pub(super) refusals: Refusals,
    pub(super) busy_since: Option<Instant>,
    /// What the controller was last given to remember, and when.
    pub(super) wished: Option<(TopicWish, Instant)>,
    /// How often in a row a call about an object failed.
    pub(super) failures: u32,
}

impl Note {
    fn is_blank(&self) -> bool {
        self.refusals.is_empty() && self.busy_since.is_none() && self.wished.is_none() && self.failures == 0
    }
}

/// A request that is out.
pub(super) struct Flight {
    pub(super) since: Instant,
    pub(super) parts: Vec<Part>,
}

/// What a pass found to be done.
#[derive(Default)]
pub(super) struct Found {
    pub(super) parts: Vec<Part>,
    pub(super) moves: Vec<Reassignment>,
    pub(super) wishes: Vec<(Arc<str>, Uuid, TopicWish)>,
    pub(super) steps: Vec<(Arc<str>, ObjectStep, bool)>,
    pub(super) asks_why: Vec<Arc<str>>,
}

/// What became of a topic's object.
pub(super) type Stepped = Result<Option<Arc<Topic>>, CallError>;

/// A desk with a session of its controller.
pub(super) struct Sitting<'a> {
    pub(super) desk: &'a Desk,
    pub(super) running: Running,
    pub(super) notes: BTreeMap<Arc<str>, Note>,
    pub(super) due: BTreeSet<(Instant, Arc<str>)>,
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) next_request: u64,
    pub(super) steps: JoinSet<(Arc<str>, Stepped)>,
    /// Topics that a request or a call is out for: they are looked at when that has come back.
    pub(super) busy: BTreeMap<Arc<str>, usize>,
    /// The version of the last update that was heard in this session: an answer is about what it told.
    pub(super) heard: u64,
    /// Topics without the objects that they had, and since when it is these.
    pub(super) missing: (BTreeSet<Arc<str>>, Instant),
    sizes: Sizes,
}

impl<'a> Sitting<'a> {
    pub(super) fn new(desk: &'a Desk, running: Running) -> Self {
        Self {
            desk,
            running,
            notes: BTreeMap::new(),
            due: BTreeSet::new(),
            flights: BTreeMap::new(),
            next_request: 0,
            steps: JoinSet::new(),
            busy: BTreeMap::new(),
            heard: 0,
            missing: (BTreeSet::new(), Instant::now()),
            sizes: Sizes::default(),
        }
    }

    /// Until the session ends; whether it told anything.
    pub(super) async fn run(mut self, mut session: BrokerEnd) -> bool {
        self.desk.inbox.stir_all();
        let mut told = false;
        let mut sizes = interval_at(Instant::now() + SIZES, SIZES);
        sizes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self.due.first().map(|(at, _)| *at);
            let deadline = self.flights.values().map(|flight| flight.since + DEADLINE).min();
            let next = next.into_iter().chain(deadline).min();
            tokio::select! {
                message = session.receiver.recv() => match message {
                    None => return told,
                    Some(FromController::Update(update)) => {
                        (told, self.heard) = (true, update.version);
                    }
                    Some(FromController::Response { request_id, response }) => self.answered(request_id, response),
                    Some(_) => {}
                },
                Some(done) = self.steps.join_next(), if !self.steps.is_empty() => {
                    if let Ok((name, outcome)) = done {
                        self.stepped(&name, outcome);
                    }
                }
                () = self.desk.inbox.wake.notified() => {}
                _ = sizes.tick() => self.look_at_sizes().await,
                () = sleep_until(next) => {}
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                tracing::warn!("the controller of {} does not answer; it is asked again", self.desk.key);
                return told;
            }
            if self.look(&session).await.is_none() {
                return told;
            }
        }
    }

    /// Asks how large topics are, and has those looked at whose objects are to say something new.
    async fn look_at_sizes(&mut self) {
        let Some(sizes) = self.running.handle.topic_sizes().await else { return };
        let view = self.running.view.lock();
        let objects = self.desk.shared.objects.lock();
        let Some(cluster) = objects.cluster(&self.desk.key) else { return };
        let known = cluster.topics.iter().filter_map(|(name, wishes)| {
            let topic_id = view.topics.get(name)?.record.topic_id;
            let size_bytes = i64::try_from(*sizes.get(&topic_id)?).unwrap_or(i64::MAX);
            let status = first(&wishes.objects)?.status.as_ref();
            let status = status.filter(|it| it.topic_id.as_ref() == Some(&topic_id.to_string()));
            let says = status.and_then(|status| status.size_bytes);
            Some(Known { name: Arc::clone(name), topic_id, size_bytes, says })
        });
        self.desk.inbox.stir(self.sizes.look(known, Instant::now()));
    }

    /// Looks at all that is to be looked at. `None` if the session has ended.
    async fn look(&mut self, session: &BrokerEnd) -> Option<()> {
        let begun = Instant::now();
        let view_is_behind = {
            let view = self.running.view.lock();
            !view.is_current || view.version < self.heard
        };
        if view_is_behind {
            // What it does not show yet would be asked for a second time.
            self.due.insert((begun + Duration::from_millis(10), Arc::from("")));
            return Some(());
        }
        let names = self.names(begun);
        if names.is_empty() {
            return Some(());
        }
        let mut found = self.pass(&names, Vanished::Unknown);
        if !found.asks_why.is_empty() {
            let why = self.why(&found.asks_why).await;
            if why != Vanished::Unknown {
                let names: Vec<_> = std::mem::take(&mut found.asks_why);
                let more = self.pass(&names.into_iter().collect(), why);
                found.parts.extend(more.parts);
                found.wishes.extend(more.wishes);
            }
        }
        self.remember(found.wishes).await;
        for (name, step, is_taken) in found.steps {
            self.step(name, step, is_taken);
        }
        self.ask(session, found.parts, found.moves).await?;
        let each = begun.elapsed().as_secs_f64() / names.len() as f64;
        for name in &names {
            let is_well = self.notes.get(name).is_none_or(|note| note.refusals.is_empty());
            self.desk.shared.context.metrics.reconciled("Topic", is_well, each);
        }
        Some(())
    }

    /// What is to be looked at now.
    fn names(&mut self, now: Instant) -> BTreeSet<Arc<str>> {
        let Stirred { all, mut topics } = std::mem::take(&mut *self.desk.inbox.stirred.lock());
        if all {
            topics.extend(self.running.view.lock().topics.keys().cloned());
            let objects = self.desk.shared.objects.lock();
            topics
                .extend(objects.cluster(&self.desk.key).into_iter().flat_map(|it| it.topics.keys().cloned()));
            // There may be other brokers, or other settings.
            self.notes.values_mut().for_each(|note| note.refusals.ask_again(now));
        }
        while let Some((at, name)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, name));
                break;
            }
            topics.insert(name);
        }
        topics.remove("");
        topics.retain(|name| !self.busy.contains_key(name));
        topics
    }

    /// Plans each of the topics, and has their objects say how they stand.
    fn pass(&mut self, names: &BTreeSet<Arc<str>>, vanished: Vanished) -> Found {
        let desk = self.desk;
        let (running, now) = (self.running.clone(), Instant::now());
        let view = running.view.lock();
        let mut objects = desk.shared.objects.lock();
        let mut found = Found::default();
        let nothing = Wishes::default();
        let mut over = Vec::new();
        let Some((cluster, log_cluster)) =
            objects.cluster(&desk.key).and_then(|cluster| Some((cluster, cluster.object.as_ref()?)))
        else {
            return found;
        };
        if log_cluster.metadata.deletion_timestamp.is_some() {
            return found;
        }
        let mut counting = Counting::new(&view, log_cluster.spec.brokers.replicas);
        for name in names {
            let wishes = cluster.topics.get(name).unwrap_or(&nothing);
            let topic = view.topics.get(name);
            let plan = plan(&Scene {
                name,
                now_ms: now_ms(),
                cluster: &log_cluster.spec,
                objects: &wishes.objects,
                last: wishes.last.as_deref(),
                topic,
                vanished,
                brokers: view.brokers.len(),
            });
            if wishes.objects.is_empty() && topic.is_none() {
                over.push(Arc::clone(name));
            }
            if plan.asks_why && vanished == Vanished::Unknown {
                found.asks_why.push(Arc::clone(name));
            }
            if let Some(object) = first(&wishes.objects) {
                for younger in wishes.objects.iter().filter(|other| other.uid() != object.uid()) {
                    desk.say(younger, &overruled(object, name), None);
                }
            }
            let is_taken = plan.object.is_some() && objects.is_taken(&desk.key.namespace, name);
            found.steps.extend(plan.object.clone().map(|step| (Arc::clone(name), step, is_taken)));
            let standing = self.take_up(name, plan, &mut counting, &mut found, now);
            if let (Some(object), Some(standing)) = (first(&wishes.objects), standing) {
                let seen = topic.map(|topic| {
                    let size_bytes = self.sizes.of(topic.record.topic_id);
                    Seen { topic, brokers: &view.brokers, size_bytes }
                });
                desk.say(object, &standing, seen);
            }
        }
        for name in over {
            objects.forget_last(&desk.key, &name);
            self.notes.remove(&name);
        }
        found
    }

    /// Takes up what is planned for a topic; what is to be said of it.
    fn take_up(
        &mut self,
        name: &Arc<str>,
        plan: Plan,
        counting: &mut Counting<'_>,
        found: &mut Found,
        now: Instant,
    ) -> Option<Standing> {
        if let Some(again_ms) = plan.again_ms {
            let rest = Duration::from_millis(again_ms.saturating_sub(now_ms()).max(1));
            self.due.insert((now + rest, Arc::clone(name)));
        }
        let mut note = self.notes.remove(name).unwrap_or_default();
        note.refusals.keep(plan.asks.iter().map(|(ask, _)| ask));
        match plan.wish {
            None => note.wished = None,
            Some((topic_id, wish)) => {
                let is_out = |(sent, at): &(TopicWish, Instant)| *sent == wish && at.elapsed() < PATIENCE;
                if !note.wished.as_ref().is_some_and(is_out) {
                    note.wished = Some((wish.clone(), now));
                    found.wishes.push((Arc::clone(name), topic_id, wish));
                }
                self.due.insert((now + PATIENCE, Arc::clone(name)));
            }
        }
        for (ask, news) in plan.asks {
            if let Some(until) = note.refusals.until(&ask, now) {
                self.due.insert((until, Arc::clone(name)));
                continue;
            }
            if let (Ask::Spread(factor), Some(topic)) = (&ask, counting.view.topics.get(name)) {
                match counting.loads().reassignments(topic, *factor) {
                    Ok(moves) if moves.is_empty() => continue,
                    Ok(moves) => found.moves.extend(moves),
                    Err(message) => {
                        let error = ApiError { code: ErrorCode::INVALID_REPLICATION_FACTOR, message };
                        let until = note.refusals.note(&ask, error, now);
                        self.due.insert((until, Arc::clone(name)));
                        continue;
                    }
                }
            }
            found.parts.push(Part { name: Arc::clone(name), ask, news });
        }
        let standing = self.patient(name, &mut note, plan.standing, now);
        if !note.is_blank() {
            self.notes.insert(Arc::clone(name), note);
        }
        standing
    }

    /// What is to be said now: of what is on its way, nothing for a while.
    fn patient(
        &mut self,
        name: &Arc<str>,
        note: &mut Note,
        standing: Standing,
        now: Instant,
    ) -> Option<Standing> {
        let standing = note.refusals.standing().unwrap_or(standing);
        match standing {
            Standing::Unsaid => None,
            Standing::Busy(..) => {
                let since = *note.busy_since.get_or_insert(now);
                if now < since + PATIENCE {
                    self.due.insert((since + PATIENCE, Arc::clone(name)));
                    return None;
                }
                Some(standing)
            }
            Standing::Ready | Standing::Refused(..) => {
                note.busy_since = None;
                Some(standing)
            }
        }
    }
}

/// The object whose word counts.
fn first(objects: &[Arc<Topic>]) -> Option<&Arc<Topic>> {
    objects.iter().find(|object| object.metadata.deletion_timestamp.is_none())
}

fn overruled(older: &Topic, topic: &str) -> Standing {
    let message = format!(
        "Topic {}, which is older, wishes for the topic {topic} too, and its word counts: delete one of the two",
        older.name_any()
    );
    Standing::Refused("OlderObject", message)
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
