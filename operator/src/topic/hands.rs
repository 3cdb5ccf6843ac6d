//! What a sitting does about topics: what it has remembered, what it asks for, and what it does with objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use taffrail_control::session::{
    AfterWish, BrokerEnd, ControllerResponse, Reassignment, ToController, TopicWish,
};
use taffrail_protocol::Uuid;
use tokio::time::Instant;

use super::asks::{Part, done, request, results};
use super::plan::{self, Ask, ObjectStep, Vanished};
use super::protection::{held_sentence, intact};
use super::sitting::{Flight, Sitting, Stepped};
use super::steps;
use crate::events::News;

/// Parts of one request.
const AT_ONCE: usize = 200;

/// Calls about objects that are out at a time; topics above that are looked at later.
const STEPS: usize = 8;

/// For how long no more objects may have gone before it is decided why they are gone.
const SETTLED: Duration = Duration::from_secs(2);

/// When to look again where it cannot be found out whether the namespace is there to stay.
const UNCERTAIN: Duration = Duration::from_secs(10);

impl Sitting<'_> {
    /// Why objects are gone. Looks again at their topics where that is not known.
    pub(super) async fn why(&mut self, topics: &[Arc<str>]) -> Vanished {
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
    pub(super) async fn remember(&self, wishes: Vec<(Arc<str>, Uuid, TopicWish)>) {
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
        let note = held_sentence(held);
        tracing::warn!("LogCluster {}: {note}", self.desk.key);
        let news = News { warning: true, reason: "TopicsHeld".to_owned(), action: "Delete", note };
        self.desk.shared.tell(cluster.object_ref(&()), news);
    }

    /// Does something with a topic's object.
    pub(super) fn step(&mut self, name: Arc<str>, step: ObjectStep, is_taken: bool) {
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

    pub(super) fn stepped(&mut self, name: &Arc<str>, outcome: Stepped) {
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
    pub(super) async fn ask(
        &mut self,
        session: &BrokerEnd,
        parts: Vec<Part>,
        moves: Vec<Reassignment>,
    ) -> Option<()> {
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

    pub(super) fn answered(&mut self, request_id: u64, response: ControllerResponse) {
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
