//! The desk of one cluster: where it is noted which of its topics are to be looked at, and by whom.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use parking_lot::Mutex;
use taffrail_crds::Topic;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Shared;
use super::plan::Standing;
use super::sitting::Sitting;
use super::status::{Seen, status};
use crate::events::News;
use crate::fleet::ClusterKey;

/// How soon a session is opened again, and how often it is seen whether there is a controller.
const REST: Duration = Duration::from_millis(200);

/// How long something may be on its way before the object says so: most is done sooner, and then nothing is written twice.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What a desk is to look at. As large as there are topics at the most.
#[derive(Debug, Default)]
pub struct Inbox {
    pub(super) stirred: Mutex<Stirred>,
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Stirred {
    pub(super) all: bool,
    pub(super) topics: BTreeSet<Arc<str>>,
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
    pub(super) key: ClusterKey,
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Arc<Inbox>,
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
                    // What there is, the view shows.
                    let session = running.handle.attend();
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
    pub(super) fn say(&self, object: &Topic, standing: &Standing, seen: Option<Seen<'_>>) {
        let now = Timestamp::now();
        let is_news = self.shared.writer.want(object, |before| status(object, standing, seen, before, now));
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
