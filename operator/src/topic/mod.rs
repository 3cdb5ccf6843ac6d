//! Topics: what their objects wish for, done by the controllers of their clusters.
//!
//! [`objects`] is what the watches tell. Each cluster has a [`desk`], which looks at topics that something happened to:
//! [`plan`] decides what is to be done about one, the desk asks the controller for it, and the [`writer`] says in the
//! objects what came of it. What must not be forgotten (which object wished for a topic, since when that is gone) the
//! controller remembers with the topic: no finalizers, and nothing is decided from a status.

pub mod asks;
pub mod desk;
mod hands;
pub mod naming;
pub mod objects;
pub mod plan;
pub mod protection;
pub mod refusals;
mod sitting;
pub mod sizes;
pub mod spread;
pub mod status;
pub mod steps;
#[cfg(test)]
pub mod testing;
pub mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use taffrail_crds::{LogCluster, Topic};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::context::{Context, Scope, api};
use crate::events::News;
use crate::fleet::{Change, ClusterKey};
use desk::{Desk, Inbox};
use objects::Objects;
use writer::Writer;

/// Events that may wait to be told. They are a courtesy: what is above that is not told.
const NEWS: usize = 256;

/// What all desks share.
pub struct Shared {
    context: Arc<Context>,
    objects: Mutex<Objects>,
    writer: Writer,
    news: mpsc::Sender<(ObjectReference, News)>,
}

impl Shared {
    fn tell(&self, of: ObjectReference, news: News) {
        if let Err(error) = self.news.try_send((of, news)) {
            tracing::debug!("an event is not told: {error}");
        }
    }
}

/// Something that was heard.
enum Heard {
    Topic(Option<String>, Result<Box<Event<Topic>>, watcher::Error>),
    Cluster(Option<String>, Result<Box<Event<LogCluster>>, watcher::Error>),
    Change(Result<Change, RecvError>),
}

/// Looks after all Topics until it is dropped. Called while this operator is the active one.
pub async fn run(context: Arc<Context>) {
    let (news, mut untold) = mpsc::channel(NEWS);
    let shared = Arc::new(Shared {
        context: Arc::clone(&context),
        objects: Mutex::default(),
        writer: Writer::default(),
        news,
    });
    let mut tasks = JoinSet::new();
    let (writing, client) = (Arc::clone(&shared), context.client.clone());
    tasks.spawn(async move { writing.writer.run(client).await });
    let events = context.events.clone();
    tasks.spawn(async move {
        while let Some((of, news)) = untold.recv().await {
            events.tell(&of, news).await;
        }
    });
    let mut office = Office { unlisted: BTreeSet::new(), desks: BTreeMap::new(), tasks, shared };
    let mut all: Vec<BoxStream<'static, Heard>> = Vec::new();
    for scope in context.scopes() {
        office.unlisted.extend([("Topic", scope.clone()), ("LogCluster", scope.clone())]);
        let of = scope.clone();
        let topics = watch(&context.client, &scope);
        all.push(topics.map(move |heard| Heard::Topic(of.clone(), heard.map(Box::new))).boxed());
        let of = scope.clone();
        let clusters = watch(&context.client, &scope);
        all.push(clusters.map(move |heard| Heard::Cluster(of.clone(), heard.map(Box::new))).boxed());
    }
    let changes = stream::unfold(context.fleet.changes(), |mut changes| async move {
        let change = changes.recv().await;
        (!matches!(change, Err(RecvError::Closed))).then_some((Heard::Change(change), changes))
    });
    all.push(changes.boxed());
    let mut heard = stream::select_all(all);
    while let Some(heard) = heard.next().await {
        office.hear(heard);
    }
}

/// All of a kind, as long as it is read; begun again with a rest after each failure.
fn watch<K>(
    client: &Client,
    scope: &Scope,
) -> impl futures_util::Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api::<K>(client, scope), watcher::Config::default()).default_backoff().modify(|object| {
        // What is not looked at is more than the rest: who wrote which field, and what kubectl applied last.
        object.meta_mut().managed_fields = None;
        object.meta_mut().annotations = None;
    })
}

/// The desks, and what they are told.
struct Office {
    /// What has not been listed yet: before that nothing is known to be gone.
    unlisted: BTreeSet<(&'static str, Option<String>)>,
    desks: BTreeMap<ClusterKey, (Arc<Inbox>, AbortHandle)>,
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

impl Office {
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Topic(scope, Ok(event)) => {
                let is_listed = matches!(*event, Event::InitDone);
                if let Event::Delete(object) = &*event {
                    self.shared.writer.forget(object);
                }
                let stirred = self.shared.objects.lock().hear_topic(scope.as_ref(), *event);
                for (cluster, topic) in stirred {
                    self.inbox(&cluster).inspect(|inbox| inbox.stir([topic]));
                }
                if is_listed {
                    self.listed("Topic", scope);
                }
            }
            Heard::Cluster(scope, Ok(event)) => {
                let is_listed = matches!(*event, Event::InitDone);
                let stirred = self.shared.objects.lock().hear_cluster(scope.as_ref(), *event);
                for cluster in stirred {
                    self.inbox(&cluster).inspect(|inbox| inbox.stir_all());
                }
                if is_listed {
                    self.listed("LogCluster", scope);
                }
            }
            Heard::Topic(_, Err(error)) => tracing::warn!("Topics cannot be watched; trying again: {error}"),
            Heard::Cluster(_, Err(error)) => {
                tracing::warn!("LogClusters cannot be watched; trying again: {error}");
            }
            Heard::Change(Ok(Change { cluster, brokers, topics })) => {
                let Some((inbox, _)) = self.desks.get(&cluster) else { return };
                if brokers { inbox.stir_all() } else { inbox.stir(topics) }
            }
            // Who is too slow to hear of each change looks at everything.
            Heard::Change(Err(_)) => self.desks.values().for_each(|(inbox, _)| inbox.stir_all()),
        }
    }

    fn listed(&mut self, kind: &'static str, scope: Option<String>) {
        self.unlisted.remove(&(kind, scope));
        if self.unlisted.is_empty() {
            let clusters: Vec<ClusterKey> = self.shared.objects.lock().clusters().cloned().collect();
            for cluster in clusters {
                self.inbox(&cluster).inspect(|inbox| inbox.stir_all());
            }
        }
    }

    /// The inbox of the cluster's desk, which is set up or cleared away as needed.
    fn inbox(&mut self, cluster: &ClusterKey) -> Option<Arc<Inbox>> {
        if !self.unlisted.is_empty() {
            return None;
        }
        if self.shared.objects.lock().cluster(cluster).is_none() {
            if let Some((_, task)) = self.desks.remove(cluster) {
                task.abort();
            }
            return None;
        }
        while self.tasks.try_join_next().is_some() {}
        let (shared, tasks) = (&self.shared, &mut self.tasks);
        let (inbox, _) = self.desks.entry(cluster.clone()).or_insert_with(|| {
            let inbox = Arc::new(Inbox::default());
            let desk = Desk::new(cluster.clone(), Arc::clone(shared), Arc::clone(&inbox));
            (inbox, tasks.spawn(desk.run()))
        });
        Some(Arc::clone(inbox))
    }
}
