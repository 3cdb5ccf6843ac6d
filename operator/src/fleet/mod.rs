//! The controllers that run here, one for each LogCluster, while this operator is the active one.
//!
//! The operator that holds the Lease runs them; every other sends brokers to it. Nothing rests on there being one at a time:
//! every write of a controller is a compare-and-swap (rule 1).

pub mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use parking_lot::Mutex;
use taffrail_controller_service::{
    Caller, ClusterDefaults, ControllerHandle, Controllers, Decider, LocalController, StartControllerError,
};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use crate::metrics::Metrics;
use crate::store::{KubeStore, Owner, StoreHealth, StoreOptions};
use view::View;

/// Changes that may wait for a reconciler; one that is further behind looks at everything.
const CHANGES: usize = 4096;
/// What a store says that may wait for its controller.
const NEWS: usize = 1024;

/// Names a LogCluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ClusterKey {
    /// The LogCluster `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What changed in a cluster. Neither brokers nor topics where it is only what brokers say of their disks.
#[derive(Debug, Clone)]
pub struct Change {
    /// The cluster.
    pub cluster: ClusterKey,
    /// Brokers appeared, changed or went.
    pub brokers: bool,
    /// Topics that appeared, changed or went, their partitions included.
    pub topics: Vec<Arc<str>>,
}

/// A controller cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no client for its store.
    #[error("cannot open the controller's store: {0}")]
    Store(Box<kube::Error>),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartControllerError),
}

/// A controller that runs here.
#[derive(Debug, Clone)]
pub struct Running {
    /// The way to it.
    pub handle: ControllerHandle,
    /// What it has published.
    pub view: Arc<Mutex<View>>,
    /// What its store cannot do.
    pub health: watch::Receiver<StoreHealth>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    config: kube::Config,
    writer: String,
    metrics: Option<Arc<Metrics>>,
    changes: broadcast::Sender<Change>,
    state: Mutex<State>,
}

struct State {
    duty: Duty,
    members: BTreeMap<ClusterKey, Member>,
}

/// What this operator is to do.
enum Duty {
    Active,
    /// The address is that of the active one, if it is known.
    Standby(Option<String>),
}

struct Member {
    running: Running,
    owner: Owner,
    defaults: ClusterDefaults,
    controller: LocalController,
    viewing: JoinHandle<()>,
    watching_disks: JoinHandle<()>,
}

impl Fleet {
    /// An operator that is not the active one yet. Its controllers keep their memory where `config` points, and sign what
    /// they write with `writer`.
    pub fn new(config: kube::Config, writer: impl Into<String>, metrics: Option<Arc<Metrics>>) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        let state = Mutex::new(State { duty: Duty::Standby(None), members: BTreeMap::new() });
        Self { inner: Arc::new(Inner { config, writer: writer.into(), metrics, changes, state }) }
    }

    /// This operator is the active one from now on.
    pub fn activate(&self) {
        self.inner.state.lock().duty = Duty::Active;
    }

    /// This operator is not the active one any more, or another is by now: brokers are sent to `active`, and then the
    /// controllers stop (rule 32).
    pub async fn stand_by(&self, active: Option<String>) {
        let members = {
            let mut state = self.inner.state.lock();
            state.duty = Duty::Standby(active.clone());
            let members = std::mem::take(&mut state.members);
            self.inner.count(&state);
            members
        };
        for member in members.values() {
            member.running.handle.depose(active.clone()).await;
        }
        for (_, member) in members {
            member.stop().await;
        }
    }

    /// Sees to it that the cluster's controller runs here with these defaults, and that what it remembers goes with
    /// `owner`, if with anybody. Does nothing while this operator is not the active one. Called within an async runtime.
    ///
    /// # Errors
    /// If the controller cannot be started.
    pub async fn run(
        &self,
        key: &ClusterKey,
        owner: Option<OwnerReference>,
        defaults: ClusterDefaults,
    ) -> Result<(), RunError> {
        let outdated = {
            let mut state = self.inner.state.lock();
            if !matches!(state.duty, Duty::Active) {
                return Ok(());
            }
            let Some(member) = state.members.get_mut(key) else {
                let member = self.start(key, owner, defaults)?;
                state.members.insert(key.clone(), member);
                self.inner.count(&state);
                tracing::info!("the controller of LogCluster {key} runs here");
                return Ok(());
            };
            *member.owner.lock() = owner;
            if member.defaults == defaults {
                return Ok(());
            }
            member.defaults = defaults;
            member.running.handle.clone()
        };
        outdated.configure(defaults).await;
        Ok(())
    }

    fn start(
        &self,
        key: &ClusterKey,
        owner: Option<OwnerReference>,
        defaults: ClusterDefaults,
    ) -> Result<Member, RunError> {
        let (news_sender, news) = mpsc::channel(NEWS);
        let mut options = StoreOptions::new(&key.namespace, &key.name, &self.inner.writer);
        options.owner = Arc::new(Mutex::new(owner));
        let owner = Arc::clone(&options.owner);
        options.metrics.clone_from(&self.inner.metrics);
        let store = KubeStore::open(&self.inner.config, options, news_sender)
            .map_err(|error| RunError::Store(Box::new(error)))?;
        let health = store.health();
        let span = tracing::info_span!(parent: None, "LogCluster", name = %key);
        let controller = span.in_scope(|| LocalController::start(store, news, defaults))?;
        let handle = controller.handle();
        let view = Arc::new(Mutex::new(View::default()));
        let (changes, cluster) = (self.inner.changes.clone(), key.clone());
        let tell = move |brokers, topics| {
            // Nobody may be interested yet.
            let _ = changes.send(Change { cluster: cluster.clone(), brokers, topics });
        };
        let viewing = tokio::spawn(view::keep(handle.clone(), Arc::clone(&view), tell.clone()));
        let mut log_dirs = handle.log_dirs();
        let watching_disks = tokio::spawn(async move {
            while log_dirs.changed().await.is_ok() {
                tell(false, Vec::new());
            }
        });
        let running = Running { handle, view, health };
        Ok(Member { running, owner, defaults, controller, viewing, watching_disks })
    }

    /// The LogCluster is gone: its controller stops.
    pub async fn remove(&self, key: &ClusterKey) {
        let member = {
            let mut state = self.inner.state.lock();
            let member = state.members.remove(key);
            self.inner.count(&state);
            member
        };
        if let Some(member) = member {
            member.stop().await;
            tracing::info!("the controller of LogCluster {key} has stopped, as the LogCluster is gone");
        }
    }

    /// The cluster's controller, if it runs here.
    pub fn get(&self, key: &ClusterKey) -> Option<Running> {
        self.inner.state.lock().members.get(key).map(|member| member.running.clone())
    }

    /// What changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }
}

impl Inner {
    /// Counts the controllers that run here.
    fn count(&self, state: &State) {
        if let Some(metrics) = &self.metrics {
            metrics.controllers.set(i64::try_from(state.members.len()).unwrap_or(i64::MAX));
        }
    }
}

impl Member {
    async fn stop(self) {
        self.viewing.abort();
        self.watching_disks.abort();
        self.controller.shutdown().await;
    }
}

impl Controllers for Fleet {
    fn decider(&self, caller: &Caller, _cluster_id: Option<&str>, broker_id: i32) -> Decider {
        let state = self.inner.state.lock();
        let cluster = match (&state.duty, caller) {
            (Duty::Standby(active), _) => return Decider::Elsewhere { active: active.clone() },
            (Duty::Active, Caller::Broker { cluster, .. }) => cluster,
            (Duty::Active, Caller::Anybody) => {
                let reason = format!("nothing says which LogCluster broker {broker_id} is of");
                return Decider::Nobody { reason };
            }
        };
        let member = cluster
            .split_once('/')
            .and_then(|(namespace, name)| state.members.get(&ClusterKey::new(namespace, name)));
        match member {
            Some(member) => Decider::Here(member.running.handle.clone()),
            // It may not have been looked at yet; the pod goes with its LogCluster where that is gone.
            None => Decider::Elsewhere { active: None },
        }
    }
}
