//! The desk of one cluster: looks at its topics that something happened to, and sees to it that what is planned is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use taffrail_control::session::{
    AfterWish, ApiError, BrokerEnd, ControllerResponse, FromController, Reassignment, ToController, TopicWish,
};
use taffrail_crds::Topic;
use taffrail_protocol::{ErrorCode, Uuid};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::asks::{Part, done, request, results};
use super::objects::Wishes;
use super::plan::{self, Ask, ObjectStep, Plan, Scene, Standing, Vanished, plan};
use super::protection::intact;
use super::refusals::Refusals;
use super::spread::Loads;
use super::status::status;
use super::{Shared, steps};
use crate::calls::CallError;
use crate::events::News;
use crate::fleet::view::View;
use crate::fleet::{ClusterKey, Running};

/// Parts of one request.
const AT_ONCE: usize = 200;

/// Calls about objects that are out at a time; topics above that are looked at later.
const STEPS: usize = 8;

/// How long the controller may take. Then it is asked in another session.
const DEADLINE: Duration = Duration::from_secs(120);

/// How soon a session is opened again, and how often it is seen whether there is a controller.
const REST: Duration = Duration::from_millis(200);

/// How long something may be on its way before the object says so: most is done sooner, and then nothing is written twice.
const PATIENCE: Duration = Duration::from_secs(3);

/// For how long no more objects may have gone before it is decided why they are gone.
const SETTLED: Duration = Duration::from_secs(2);

/// When to look again where it cannot be found out whether the namespace is there to stay.
const UNCERTAIN: Duration = Duration::from_secs(10);

/// What a desk is to look at. As large as there are topics at the most.
#[derive(Debug, Default)]
pub struct Inbox {
    stirred: Mutex<Stirred>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Stirred {
    all: bool,
    topics: BTreeSet<Arc<str>>,
}

impl Inbox {
    /// These topics are to be looked at.
    pub fn stir(&self, topics: impl IntoIterator<Item = Arc<str>>) {
        self.stirred.lock().topics.extend(topics);
        self.wake.notify_one();
    }

    /// All topics are to be looked at.
    pub fn stir_all(&self) {
        self.stirred.lock().all = true;
        self.wake.notify_one();
    }
}

/// See the module.
pub struct Desk {
    key: ClusterKey,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
}

impl Desk {
    /// Of the cluster `key`.
    pub fn new(key: ClusterKey, shared: Arc<Shared>, inbox: Arc<Inbox>) -> Self {
        Self { key, shared, inbox }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        let mut alone_since = Instant::now();
        loop {
            match self.shared.context.fleet.get(&self.key) {
                Some(running) => {
                    let session = running.handle.watch();
                    let told_something = Sitting::new(&self, running).run(session).await;
                    if told_something {
                        alone_since = Instant::now();
                    }
                }
                // Who is about to start may say so first.
                None if alone_since.elapsed() > PATIENCE => self.say_why_nothing_is_done(),
                None => {}
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// There is no controller.
    fn say_why_nothing_is_done(&self) {
        let objects = self.shared.objects.lock();
        let Some(cluster) = objects.cluster(&self.key) else { return };
        let ClusterKey { namespace, name } = &self.key;
        let standing = match &cluster.object {
            None => Standing::Refused(
                "ClusterNotFound",
                format!(
                    "there is no LogCluster {name} in namespace {namespace}: make it, or delete this object"
                ),
            ),
            Some(_) => Standing::Busy(
                "ControllerStarting",
                format!("the controller of LogCluster {name} does not run yet"),
            ),
        };
        let has_status =
            |object: &Topic| object.status.as_ref().is_some_and(|status| !status.conditions.is_empty());
        for object in cluster.topics.values().flat_map(|wishes| &wishes.objects) {
            // What was said stays true while an operator takes over.
            if cluster.object.is_none() || !has_status(object) {
                self.say(object, &standing, None);
            }
        }
    }

    /// Has an object say how its topic stands, and tells people of a refusal that is new.
    fn say(&self, object: &Topic, standing: &Standing, view: Option<&crate::fleet::view::TopicView>) {
        let now = Timestamp::now();
        let is_news = self.shared.writer.want(object, |before| status(object, standing, view, before, now));
        if let (true, Standing::Refused(reason, message)) = (is_news, standing) {
            let news = News {
                warning: true,
                reason: (*reason).to_owned(),
                action: "Reconcile",
                note: message.clone(),
            };
            self.shared.tell(object.object_ref(&()), news);
        }
    }
}

/// What is kept of a topic that something is done about.
#[derive(Debug, Default)]
struct Note {
    refusals: Refusals,
    busy_since: Option<Instant>,
    /// What the controller was last given to remember, and when.
    wished: Option<(TopicWish, Instant)>,
    /// How often in a row a call about an object failed.
    failures: u32,
}

impl Note {
    fn is_blank(&self) -> bool {
        self.refusals.is_empty() && self.busy_since.is_none() && self.wished.is_none() && self.failures == 0
    }
}

/// A request that is out.
struct Flight {
    since: Instant,
    parts: Vec<Part>,
}

/// What a pass found to be done.
#[derive(Default)]
struct Found {
    parts: Vec<Part>,
    moves: Vec<Reassignment>,
    wishes: Vec<(Arc<str>, Uuid, TopicWish)>,
    steps: Vec<(Arc<str>, ObjectStep, bool)>,
    asks_why: Vec<Arc<str>>,
}

/// What became of a topic's object.
type Stepped = Result<Option<Arc<Topic>>, CallError>;

/// A desk with a session of its controller.
struct Sitting<'a> {
    desk: &'a Desk,
    running: Running,
    notes: BTreeMap<Arc<str>, Note>,
    due: BTreeSet<(Instant, Arc<str>)>,
    flights: BTreeMap<u64, Flight>,
    next_request: u64,
    steps: JoinSet<(Arc<str>, Stepped)>,
    /// Topics that a request or a call is out for: they are looked at when that has come back.
    busy: BTreeMap<Arc<str>, usize>,
    /// The version of the last update that was heard in this session: an answer is about what it told.
    heard: u64,
    /// Topics without the objects that they had, and since when it is these.
    missing: (BTreeSet<Arc<str>>, Instant),
}

impl<'a> Sitting<'a> {
    fn new(desk: &'a Desk, running: Running) -> Self {
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
        }
    }

    /// Until the session ends; whether it told anything.
    async fn run(mut self, mut session: BrokerEnd) -> bool {
        self.desk.inbox.stir_all();
        let mut told = false;
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
        let mut loads = None;
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
            });
            if wishes.objects.is_empty() && topic.is_none() {
                over.push(Arc::clone(name));
            }
            if plan.asks_why && vanished == Vanished::Unknown {
                found.asks_why.push(Arc::clone(name));
            }
            if let Some(object) = wishes.objects.iter().find(|it| it.metadata.deletion_timestamp.is_none()) {
                for younger in wishes.objects.iter().filter(|other| other.uid() != object.uid()) {
                    desk.say(younger, &overruled(object, name), None);
                }
            }
            let is_taken = plan.object.is_some() && objects.is_taken(&desk.key.namespace, name);
            found.steps.extend(plan.object.clone().map(|step| (Arc::clone(name), step, is_taken)));
            let standing = self.take_up(name, plan, &view, &mut loads, &mut found, now);
            let first = wishes.objects.iter().find(|it| it.metadata.deletion_timestamp.is_none());
            if let (Some(object), Some(standing)) = (first, standing) {
                desk.say(object, &standing, topic);
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
        view: &View,
        loads: &mut Option<Loads>,
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
            if let (Ask::Spread(factor), Some(topic)) = (&ask, view.topics.get(name)) {
                let loads = loads.get_or_insert_with(|| Loads::of(view));
                match loads.reassignments(topic, *factor) {
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

    /// Why objects are gone. Looks again at their topics where that is not known.
    async fn why(&mut self, topics: &[Arc<str>]) -> Vanished {
        let stays = match intact(&self.desk.shared.context.client, &self.desk.key).await {
            Ok(stays) => Some(stays),
            Err(error) => {
                tracing::warn!("no topic of {} is deleted for now: {error}", self.desk.key);
                None
            }
        };
        let (missing, left) = self.missing();
        let now = Instant::now();
        if missing != self.missing.0 {
            self.missing = (missing, now);
        }
        let settled_at = self.missing.1 + SETTLED;
        let why = plan::vanished(stays, now >= settled_at, self.missing.0.len(), left);
        if why == Vanished::Unknown {
            let again = if stays.is_none() { now + UNCERTAIN } else { settled_at };
            self.due.extend(topics.iter().map(|name| (again, Arc::clone(name))));
        }
        why
    }

    /// Topics whose objects are gone, as nobody has decided yet or nobody could; and how many objects are left.
    fn missing(&self) -> (BTreeSet<Arc<str>>, usize) {
        let view = self.running.view.lock();
        let objects = self.desk.shared.objects.lock();
        let Some(cluster) = objects.cluster(&self.desk.key) else { return (BTreeSet::new(), 0) };
        let has_object = |name: &Arc<str>| cluster.topics.get(name).is_some_and(|it| !it.objects.is_empty());
        let missing = view.topics.iter().filter(|(name, topic)| {
            let is_open = |wish: &TopicWish| match wish.after {
                AfterWish::Delete => wish.gone_since_ms.is_none(),
                AfterWish::Hold => true,
                AfterWish::Retain => false,
            };
            topic.wish.as_ref().is_some_and(is_open) && !has_object(name)
        });
        (missing.map(|(name, _)| Arc::clone(name)).collect(), cluster.count)
    }

    /// Gives the controller what is to be remembered.
    async fn remember(&self, wishes: Vec<(Arc<str>, Uuid, TopicWish)>) {
        let held = wishes.iter().filter(|(_, _, wish)| wish.after == AfterWish::Hold);
        let held: Vec<&str> = held.map(|(name, ..)| &**name).collect();
        if !held.is_empty() {
            self.tell_held(&held);
        }
        for (name, topic_id, wish) in wishes {
            self.running.handle.wish(name.to_string(), topic_id, Some(wish)).await;
        }
    }

    fn tell_held(&self, held: &[&str]) {
        let objects = self.desk.shared.objects.lock();
        let cluster = objects.cluster(&self.desk.key).and_then(|cluster| cluster.object.as_ref());
        let Some(cluster) = cluster else { return };
        let named = held.iter().take(10).copied().collect::<Vec<_>>().join(", ");
        let more = if held.len() > 10 { ", ..." } else { "" };
        let note = format!(
            "{} topics are kept although their objects are gone, as these went all at once or with what they were in: \
             {named}{more}. Make the objects again to look after the topics, or delete the topics with a Kafka client",
            held.len()
        );
        tracing::warn!("LogCluster {}: {note}", self.desk.key);
        let news = News { warning: true, reason: "TopicsHeld".to_owned(), action: "Delete", note };
        self.desk.shared.tell(cluster.object_ref(&()), news);
    }

    /// Does something with a topic's object.
    fn step(&mut self, name: Arc<str>, step: ObjectStep, is_taken: bool) {
        if self.steps.len() >= STEPS {
            self.due.insert((Instant::now() + Duration::from_millis(20), name));
            return;
        }
        *self.busy.entry(Arc::clone(&name)).or_default() += 1;
        let (client, key) = (self.desk.shared.context.client.clone(), self.desk.key.clone());
        self.steps.spawn(async move {
            let outcome = steps::take(&client, &key, &name, &step, is_taken).await;
            (name, outcome)
        });
    }

    fn stepped(&mut self, name: &Arc<str>, outcome: Stepped) {
        self.back(name);
        match outcome {
            Ok(object) => {
                if let Some(note) = self.notes.get_mut(name) {
                    note.failures = 0;
                }
                // The watch tells of it in its time; until then nobody may make another.
                object.map(|object| self.desk.shared.objects.lock().put(object));
                self.desk.inbox.stir([Arc::clone(name)]);
            }
            Err(error) => {
                let note = self.notes.entry(Arc::clone(name)).or_default();
                let rest = Duration::from_secs(1 << note.failures.min(6));
                note.failures += 1;
                tracing::warn!("{error}; trying again in {} s", rest.as_secs());
                self.due.insert((Instant::now() + rest, Arc::clone(name)));
            }
        }
    }

    /// What was out for a topic has come back.
    fn back(&mut self, name: &Arc<str>) {
        if let Some(count) = self.busy.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(name);
            }
        }
    }

    /// Asks the controller. `None` if the session has ended.
    async fn ask(&mut self, session: &BrokerEnd, parts: Vec<Part>, moves: Vec<Reassignment>) -> Option<()> {
        let mut kinds: BTreeMap<u8, Vec<Part>> = BTreeMap::new();
        for part in parts {
            *self.busy.entry(Arc::clone(&part.name)).or_default() += 1;
            let kind = match part.ask {
                Ask::Create(_) => 0,
                Ask::Grow(_) => 1,
                Ask::Configure(_) => 2,
                Ask::Spread(_) => 3,
                Ask::Delete(_) => 4,
            };
            kinds.entry(kind).or_default().push(part);
        }
        let since = Instant::now();
        for mut all in kinds.into_values() {
            while !all.is_empty() {
                let parts: Vec<Part> = all.drain(..all.len().min(AT_ONCE)).collect();
                self.next_request += 1;
                let request_id = self.next_request;
                let request = request(&parts, &moves);
                self.flights.insert(request_id, Flight { since, parts });
                session.sender.send(ToController::Request { request_id, request }).await.ok()?;
            }
        }
        Some(())
    }

    fn answered(&mut self, request_id: u64, response: ControllerResponse) {
        let Some(Flight { parts, .. }) = self.flights.remove(&request_id) else { return };
        let now = Instant::now();
        for (part, result) in results(parts, response) {
            let Part { name, ask, news } = part;
            self.back(&name);
            let note = self.notes.entry(Arc::clone(&name)).or_default();
            match result {
                Ok(()) => {
                    note.refusals.clear(&ask);
                    tracing::info!("topic {name} of LogCluster {}: {}", self.desk.key, done(&ask));
                    if let Some(news) = news {
                        self.tell(&name, news);
                    }
                }
                Err(error) => {
                    tracing::info!("topic {name} of LogCluster {}: {}", self.desk.key, error.message);
                    note.refusals.note(&ask, error, now);
                }
            }
            self.desk.inbox.stir([name]);
        }
    }

    fn tell(&self, name: &str, news: News) {
        let objects = self.desk.shared.objects.lock();
        let wishes = objects.cluster(&self.desk.key).and_then(|cluster| cluster.topics.get(name));
        if let Some(object) = wishes.and_then(|wishes| wishes.objects.first()) {
            self.desk.shared.tell(object.object_ref(&()), news);
        }
    }
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
