//! LogClusters: what they are made of, what is wrong with them, how they change.
//!
//! [`mod@reconcile`] looks at one LogCluster at a time and does four things in this order: it records what must not change
//! under the cluster (its release), runs the cluster's controller, brings the children to what [`build`] says and takes the
//! step that [`roll`] decides, and writes what [`status`] says. Everything that is decided is decided by pure functions of
//! what the watches ([`live`]) and the controller have told.

pub mod apply;
pub mod ask;
pub mod build;
pub mod claims;
pub mod cordon;
pub mod defaults;
pub mod directory;
pub mod disks;
pub mod drain;
pub mod dynamic;
pub mod facts;
pub mod fill;
pub mod holdings;
pub mod live;
pub mod memory;
pub mod news;
pub mod observe;
pub mod pods;
pub mod presence;
pub mod reconcile;
pub mod release;
pub mod roll;
pub mod scale;
pub mod status;
pub mod validate;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate, WatchStreamExt, predicates, watcher};
use taffrail_crds::LogCluster;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinSet;

use crate::calls::is_expired;
use crate::context::{Context, Scope, api};
use crate::fleet::{Change, ClusterKey, Fleet};
use apply::Applier;
use live::Live;
use presence::Presence;
use reconcile::{ReconcileError, reconcile};

/// LogClusters that are looked at at the same time.
const CONCURRENCY: u16 = 8;

/// For how long changes in a cluster are gathered before it is looked at.
const GATHERING: Duration = Duration::from_millis(500);

/// What all looks share.
pub struct Work {
    context: Arc<Context>,
    live: Live,
    applier: Arc<Applier>,
    presence: Arc<Presence>,
}

/// Looks after all LogClusters until it is dropped. Called while this operator is the active one.
pub async fn run(context: Arc<Context>) {
    let mut running = JoinSet::new();
    for scope in context.scopes() {
        running.spawn(run_within(Arc::clone(&context), scope));
    }
    while running.join_next().await.is_some() {}
}

async fn run_within(context: Arc<Context>, scope: Scope) {
    let (client, presence) = (context.client.clone(), Arc::new(Presence::default()));
    let (clusters, writer) = reflector::store();
    let applier = Arc::new(Applier::default());
    let mut gone = Gone {
        presence: Arc::clone(&presence),
        applier: Arc::clone(&applier),
        fleet: context.fleet.clone(),
        listed: BTreeSet::new(),
    };
    // Its own status is no reason to look at a cluster.
    let matters = predicates::generation.combine(predicates::annotations);
    let stream = watcher(api::<LogCluster>(&client, &scope), watcher::Config::default())
        .default_backoff()
        .modify(|cluster| cluster.managed_fields_mut().clear())
        .inspect(move |event| gone.hear(event))
        .reflect(writer)
        .touched_objects()
        .predicate_filter(matters, kube::runtime::PredicateConfig::default());
    let controller = Controller::for_stream(stream, clusters.clone())
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_on(changed(&context.fleet, clusters));
    let (live, controller) = Live::watch(&client, &scope, controller);
    let work = Arc::new(Work { context, live, applier, presence });
    let looks = controller.run(counted, failed, work);
    let log = |outcome: Result<_, controller::Error<ReconcileError, watcher::Error>>| async move {
        if let Err(controller::Error::QueueError(error)) = outcome
            && !is_expired(&error)
        {
            tracing::warn!("a watch of LogClusters or their children is broken and begun again: {error}");
        }
    };
    looks.for_each(log).await;
}

/// [`reconcile`], counted.
async fn counted(cluster: Arc<LogCluster>, work: Arc<Work>) -> Result<Action, ReconcileError> {
    let metrics = Arc::clone(&work.context.metrics);
    let begun = Instant::now();
    let outcome = reconcile(cluster, work).await;
    metrics.reconciled("LogCluster", outcome.is_ok(), begun.elapsed().as_secs_f64());
    outcome
}

fn failed(cluster: Arc<LogCluster>, error: &ReconcileError, work: Arc<Work>) -> Action {
    let key = key(&cluster);
    let again = work.presence.failed(&key);
    tracing::warn!("LogCluster {key}: {error}; trying again in {} s", again.as_secs());
    Action::requeue(again)
}

fn key(cluster: &LogCluster) -> ClusterKey {
    ClusterKey::new(cluster.namespace().unwrap_or_default(), cluster.name_any())
}

/// Hears of LogClusters that are gone, also of those that went while nobody watched.
struct Gone {
    presence: Arc<Presence>,
    applier: Arc<Applier>,
    fleet: Fleet,
    listed: BTreeSet<(ClusterKey, String)>,
}

impl Gone {
    fn hear(&mut self, event: &Result<watcher::Event<LogCluster>, watcher::Error>) {
        let named = |cluster: &LogCluster| (key(cluster), cluster.uid().unwrap_or_default());
        match event {
            Ok(watcher::Event::Init) => self.listed.clear(),
            Ok(watcher::Event::InitApply(cluster)) => {
                self.listed.insert(named(cluster));
            }
            Ok(watcher::Event::InitDone) => {
                let listed = std::mem::take(&mut self.listed);
                self.forget(move |known| !listed.contains(known));
            }
            Ok(watcher::Event::Delete(cluster)) => {
                let gone = named(cluster);
                self.forget(move |known| *known == gone);
            }
            Ok(watcher::Event::Apply(_)) | Err(_) => {}
        }
    }

    /// The controllers of those that are gone stop; the watch goes on meanwhile.
    fn forget(&self, is_gone: impl Fn(&(ClusterKey, String)) -> bool + Send + 'static) {
        let (presence, applier, fleet) =
            (Arc::clone(&self.presence), Arc::clone(&self.applier), self.fleet.clone());
        tokio::spawn(async move {
            for known in presence.all().await.into_iter().filter(is_gone) {
                if presence.gone(&known.0, &known.1, &fleet).await {
                    applier.forget(&known.0);
                }
            }
        });
    }
}

/// The LogClusters in which brokers or topics change, each of them not too often.
fn changed(
    fleet: &Fleet,
    clusters: Store<LogCluster>,
) -> impl Stream<Item = ObjectRef<LogCluster>> + Send + use<> {
    let begin = (fleet.changes(), clusters, VecDeque::new());
    stream::unfold(begin, |(mut changes, clusters, mut due)| async move {
        loop {
            if let Some(ClusterKey { namespace, name }) = due.pop_front() {
                let cluster = ObjectRef::new(&name).within(&namespace);
                return Some((cluster, (changes, clusters, due)));
            }
            let mut all = BTreeSet::new();
            // Who is too slow to hear of each change looks at everything.
            let everything = || clusters.state().iter().map(|cluster| key(cluster)).collect::<Vec<_>>();
            match changes.recv().await {
                Ok(Change { cluster, .. }) => _ = all.insert(cluster),
                Err(RecvError::Lagged(_)) => all.extend(everything()),
                Err(RecvError::Closed) => return None,
            }
            tokio::time::sleep(GATHERING).await;
            loop {
                match changes.try_recv() {
                    Ok(Change { cluster, .. }) => _ = all.insert(cluster),
                    Err(TryRecvError::Lagged(_)) => all.extend(everything()),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            due.extend(all);
        }
    })
}
