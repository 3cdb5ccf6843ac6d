//! One look at one LogCluster: what there is, what is to be done, doing it, saying so.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde_json::json;
use taffrail_control::session::{ConfigChange, ConfigResource, ControllerRequest};
use taffrail_crds::LogCluster;
use tokio::time::Instant;

use super::Work;
use super::apply::FIELD_MANAGER;
use super::ask::{AskError, ask, reassign};
use super::build::config_maps::{broker_settings, settings_in};
use super::build::names::{Names, VERSION};
use super::build::template::{Template, Templates};
use super::build::{Child, Release, Wish, children};
use super::claims::grow;
use super::directory::directory;
use super::drain;
use super::dynamic::changes;
use super::facts::Facts;
use super::fill::{self, to_fill};
use super::memory::settle;
use super::news::news;
use super::observe::Observation;
use super::pods::PodSeen;
use super::release::{recorded, release};
use super::roll::{self, Observed, RollStep, Waiting};
use super::scale::{Scale, scale};
use super::status::{Seen, says_the_same, status};
use super::validate::problems;
use crate::calls::{CallError, call};
use crate::events::News;
use crate::fleet::{ClusterKey, RunError, Running};

/// How long the first lists of children may take.
const LISTED_WITHIN: Duration = Duration::from_secs(30);

/// How often a cluster is looked at that nothing happens to: a change that no watch told of is found by then.
const REST: Duration = Duration::from_secs(300);

/// How often a cluster is looked at that something is waited for.
const LOOK: Duration = Duration::from_secs(10);

/// How soon a cluster is looked at again whose controller is still reading.
const SOON: Duration = Duration::from_secs(1);

/// For how long what was said before stands while the controller is still reading: operators that take turns are no news.
const READING: Duration = Duration::from_secs(15);

/// How often it is looked whether what was remembered of an earlier cluster of the name is gone.
const GOING_REST: Duration = Duration::from_secs(1);

/// The least time between two writes of one status.
const STATUS_REST: Duration = Duration::from_secs(1);

/// A look that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The watches tell nothing.
    #[error("the children of LogClusters could not be listed: see what the operator may list and watch")]
    NotListed,
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The controller did not do something.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Brokers cannot go.
    #[error("the number of brokers cannot be lowered: {0}")]
    Stays(String),
    /// The cluster's controller does not run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl ReconcileError {
    /// One word for conditions.
    fn reason(&self) -> &'static str {
        match self {
            Self::NotListed | Self::Call(_) => "ApplyFailed",
            Self::Ask(_) | Self::Run(_) => "ControllerNotReady",
            Self::Stays(_) => "ScaleDownRefused",
        }
    }
}

/// Looks at one LogCluster.
///
/// # Errors
///
/// If something could not be done. What it is stands in the status, unless it is the status that could not be written.
pub async fn reconcile(cluster: Arc<LogCluster>, work: Arc<Work>) -> Result<Action, ReconcileError> {
    if cluster.metadata.deletion_timestamp.is_some() {
        // Its children go with it.
        return Ok(Action::await_change());
    }
    let listed = tokio::time::timeout(LISTED_WITHIN, work.live.ready()).await;
    listed.map_err(|_| ReconcileError::NotListed)?.map_err(|_| ReconcileError::NotListed)?;
    let key = ClusterKey::new(cluster.namespace().unwrap_or_default(), cluster.name_any());
    let look = Look { release: work.release(&key, &cluster).await?, key, cluster, work };
    let (presence, client) = (&look.work.presence, &look.work.context.client);
    if !presence.is_memory_settled(&look.key, &look.cluster) {
        if !settle(client, &look.key, &look.cluster).await? {
            tracing::info!(
                "LogCluster {} waits until what was remembered of an earlier one is gone",
                look.key
            );
            return Ok(Action::requeue(GOING_REST));
        }
        presence.memory_settled(&look.key, &look.cluster);
    }
    look.work.presence.run(&look.key, &look.cluster, &look.work.context.fleet).await?;
    look.act().await
}

/// What one look is about.
struct Look {
    key: ClusterKey,
    cluster: Arc<LogCluster>,
    release: Release,
    work: Arc<Work>,
}

impl Look {
    async fn act(&self) -> Result<Action, ReconcileError> {
        let (spec, context) = (&self.cluster.spec, &self.work.context);
        let running = context.fleet.get(&self.key);
        let told_id = self.cluster.status.as_ref().and_then(|status| status.cluster_id.as_deref());
        let seen =
            Observation::gather(&context.client, &self.work.live, &self.key, running.as_ref(), told_id).await;
        if let Some(running) = &running {
            let hosts = self.work.live.hosts(&self.key);
            running.handle.inform(directory(&self.cluster, &hosts, &seen.services)).await;
        }
        let problems = problems(&self.cluster, env!("CARGO_PKG_VERSION"));
        let hands_off = spec.pause || !problems.is_empty();
        let scale = match (hands_off, seen.replicas) {
            (true, Some(present)) => Scale { replicas: present, held_by: None },
            (_, present) => scale(spec.brokers.replicas, present, seen.facts.as_ref()),
        };
        let wished = Template::build(&self.cluster, &self.release);
        let missing = (0..scale.replicas).filter(|id| !seen.pods.contains_key(id)).collect();
        let step = roll::next(&Observed {
            now: Timestamp::now(),
            paused: hands_off,
            replicas: scale.replicas,
            wished: &wished,
            templates: seen.templates.as_ref(),
            pods: &seen.pods,
            missing: &self.work.presence.missing(&self.key, missing, Instant::now()),
            facts: seen.facts.as_ref(),
            dns_ttl: Duration::from_secs(spec.dns_ttl_seconds.unsigned_abs()),
        });
        let templates = templates_after(seen.templates.clone(), &step, wished);
        let done = match hands_off {
            true => Ok(()),
            false => self.change(&seen, running.as_ref(), &templates, &scale, &step).await,
        };
        let failure = done.as_ref().err().map(|error| (error.reason(), error.to_string()));
        let told = self
            .tell(&Seen {
                now: Timestamp::now(),
                cluster: &self.work.presence.newest(&self.cluster),
                problems: &problems,
                failure: failure.as_ref().map(|(reason, message)| (*reason, message.as_str())),
                controller_problem: seen.controller_problem.as_deref(),
                cluster_id: seen.cluster_id.as_deref(),
                release: Some(&self.release),
                templates: Some(&templates),
                scale: &scale,
                pods: &seen.pods,
                claims: &seen.claims,
                facts: seen.facts.as_ref(),
                log_dirs: seen.log_dirs.as_ref(),
                roll: &step,
                services: &seen.services,
            })
            .await?;
        done?;
        self.work.presence.succeeded(&self.key);
        let again = match &step {
            _ if seen.facts.is_none() => SOON,
            RollStep::Wait(Waiting::Name(_, rest)) => (*rest).min(LOOK),
            RollStep::Rest if seen.pods.values().all(|pod| pod.ready) && scale.held_by.is_none() => REST,
            _ => LOOK,
        };
        Ok(Action::requeue(told.unwrap_or(again).min(again)))
    }

    /// Changes what is to be changed: what running brokers are told first, then the children, then where partitions live.
    async fn change(
        &self,
        seen: &Observation,
        running: Option<&Running>,
        templates: &Templates,
        scale: &Scale,
        step: &RollStep,
    ) -> Result<(), ReconcileError> {
        if let Some(running) = running {
            self.tell_settings(running).await?;
        }
        self.bring(seen, templates, scale, step).await?;
        let claims = self.work.live.claims(&self.key);
        grow(&self.work.context.client, &self.cluster, &claims).await?;
        match running {
            Some(running) if *step == RollStep::Rest => self.empty(seen, running, scale).await,
            _ => Ok(()),
        }
    }

    /// Tells running brokers what the ConfigMap does not say yet.
    async fn tell_settings(&self, running: &Running) -> Result<(), AskError> {
        let name = Names::new(&self.key.namespace, &self.key.name).config();
        let Some(present) = self.work.live.config_map(&self.key, &name) else { return Ok(()) };
        let ops = changes(&settings_in(&present), &broker_settings(&self.cluster.spec));
        if ops.is_empty() {
            return Ok(());
        }
        tracing::info!("the brokers of LogCluster {} are told {} settings", self.key, ops.len());
        let change = ConfigChange { resource: ConfigResource::Broker(None), replace: false, ops };
        let request = ControllerRequest::AlterConfigs { changes: vec![change], validate_only: false };
        ask(&running.handle, "change settings of brokers", request).await
    }

    /// Moves partitions onto brokers that were added.
    async fn fill(&self, facts: &Facts, running: &Running) -> Result<(), ReconcileError> {
        let (presence, replicas) = (&self.work.presence, self.cluster.spec.brokers.replicas);
        let filling = to_fill(&presence.filling(&self.key), replicas, &facts.brokers);
        presence.fill(&self.key, filling.clone());
        if filling.is_empty() {
            return Ok(());
        }
        let moves = {
            let view = running.view.lock();
            fill::moves(&filling, replicas, &view.brokers, view.partitions())
        };
        if !moves.is_empty() {
            tracing::info!("{} partitions of LogCluster {} move onto new brokers", moves.len(), self.key);
            reassign(&running.handle, moves).await?;
        }
        Ok(())
    }

    /// Moves partitions away from brokers that are to go, and forgets those that are gone.
    async fn empty(
        &self,
        seen: &Observation,
        running: &Running,
        scale: &Scale,
    ) -> Result<(), ReconcileError> {
        let staying = self.cluster.spec.brokers.replicas;
        if scale.held_by.is_some() {
            let moves = {
                let view = running.view.lock();
                drain::moves(staying, &view.brokers, view.partitions()).map_err(ReconcileError::Stays)?
            };
            if !moves.is_empty() {
                tracing::info!("{} partitions of LogCluster {} move to other brokers", moves.len(), self.key);
                reassign(&running.handle, moves).await?;
            }
        }
        if scale.held_by.is_none()
            && let Some(facts) = &seen.facts
        {
            self.fill(facts, running).await?;
        }
        let known = seen.facts.iter().flat_map(|facts| &facts.brokers);
        for (id, broker) in known.filter(|(id, _)| **id >= scale.replicas) {
            if broker.fenced && broker.replicas == 0 && !seen.pods.contains_key(id) {
                let request = ControllerRequest::UnregisterBroker { broker_id: *id };
                ask(&running.handle, "forget a broker that is gone", request).await?;
            }
        }
        Ok(())
    }

    /// Brings the children to what they shall be, and takes the roll's next step.
    async fn bring(
        &self,
        seen: &Observation,
        templates: &Templates,
        scale: &Scale,
        step: &RollStep,
    ) -> Result<(), CallError> {
        let wish = Wish {
            cluster: &self.cluster,
            controller: &self.work.context.access,
            replicas: scale.replicas,
            templates,
            first_sizes: &seen.first_sizes,
            max_unavailable: seen.max_unavailable,
        };
        let children = children(&wish);
        for child in &children {
            let live = self.work.live.metadata(&child.resource.kind, &self.key.namespace, &child.name);
            self.work.applier.apply(&self.work.context.client, &self.key, child, live.as_ref()).await?;
        }
        self.prune(&children).await?;
        match step {
            RollStep::Delete(id) => match seen.pods.get(id) {
                Some(pod) => self.restart(*id, pod).await,
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Deletes the children that are not wished any more, of the kinds that can be so.
    async fn prune(&self, wished: &[Child]) -> Result<(), CallError> {
        let services = self.work.live.services(&self.key);
        for service in services.values() {
            self.prune_one::<Service>(service, wished).await?;
        }
        for policy in self.work.live.policies(&self.key) {
            self.prune_one::<NetworkPolicy>(&policy, wished).await?;
        }
        Ok(())
    }

    async fn prune_one<K>(&self, child: &K, wished: &[Child]) -> Result<(), CallError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let (kind, name) = (K::kind(&()), child.name_any());
        let is_wished = wished.iter().any(|wished| wished.resource.kind == kind && wished.name == name);
        let own = child
            .owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == self.cluster.metadata.uid.as_ref());
        if is_wished || !own || child.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let api: Api<K> = Api::namespaced(self.work.context.client.clone(), &self.key.namespace);
        self.delete(&api, &name, child.uid()).await?;
        tracing::info!("deleted {kind} {name} of LogCluster {}, which asks for it no longer", self.key);
        Ok(())
    }

    /// Deletes the pod that was looked at, and no other of its name.
    async fn restart(&self, id: i32, pod: &PodSeen) -> Result<(), CallError> {
        let api: Api<Pod> = Api::namespaced(self.work.context.client.clone(), &self.key.namespace);
        if !self.delete(&api, &pod.name, Some(pod.uid.clone())).await? {
            return Ok(());
        }
        tracing::info!("restarting broker {id} of LogCluster {}", self.key);
        let note = format!("broker {id} is restarted to get the template that is asked for");
        let news = News { warning: false, reason: "BrokerRestarted".to_owned(), action: "Roll", note };
        self.work.context.events.tell(&self.cluster.object_ref(&()), news).await;
        Ok(())
    }

    /// Whether it was there to be deleted.
    async fn delete<K>(&self, api: &Api<K>, name: &str, uid: Option<String>) -> Result<bool, CallError>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let preconditions = Preconditions { uid, resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match call(format!("delete {name}"), api.delete(name, &parameters)).await {
            Ok(_) => Ok(true),
            // It is gone, or another has taken its name.
            Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the status if it says something new, not too often. After how long to try again, where it was too soon.
    async fn tell(&self, seen: &Seen<'_>) -> Result<Option<Duration>, CallError> {
        let (before, after) = (seen.cluster.status.clone().unwrap_or_default(), status(seen));
        if says_the_same(&before, &after) {
            return Ok(None);
        }
        let is_reading = seen.facts.is_none() && self.work.presence.since(&self.key) < READING;
        if is_reading && before.observed_generation.is_some() {
            return Ok(Some(SOON));
        }
        if let Some(rest) = self.work.presence.status_rest(&self.key, STATUS_REST) {
            return Ok(Some(rest));
        }
        let api: Api<LogCluster> = Api::namespaced(self.work.context.client.clone(), &self.key.namespace);
        let object = json!({
            "apiVersion": LogCluster::api_version(&()),
            "kind": LogCluster::kind(&()),
            "metadata": {"name": self.key.name},
            "status": after,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let what = format!("write the status of LogCluster {}", self.key);
        let written =
            call(what, api.patch_status(&self.key.name, &parameters, &Patch::Apply(&object))).await?;
        self.work.presence.status_written(&self.key, written, Instant::now());
        for news in news(&before.conditions, &after.conditions) {
            self.work.context.events.tell(&self.cluster.object_ref(&()), news).await;
        }
        Ok(None)
    }
}

/// What pods are made by once `step` is taken.
fn templates_after(present: Option<Templates>, step: &RollStep, wished: Template) -> Templates {
    let Some(present) = present else { return Templates::first(wished) };
    match step {
        RollStep::Begin => present.begin(wished),
        RollStep::GiveBack(why) => present.give_back(why.clone()),
        RollStep::Finish => present.finish(),
        RollStep::Rest | RollStep::Delete(_) | RollStep::Wait(_) => present,
    }
}

impl Work {
    /// What the brokers run. A cluster that is new is told for good which release that is, before it has any.
    async fn release(&self, key: &ClusterKey, cluster: &LogCluster) -> Result<Release, CallError> {
        let context = &self.context;
        let own = env!("CARGO_PKG_VERSION");
        let version = match recorded(cluster) {
            Some(version) => version,
            None => {
                let api: Api<LogCluster> = Api::namespaced(context.client.clone(), &key.namespace);
                let patch = Patch::Merge(json!({"metadata": {"annotations": {VERSION: own}}}));
                let parameters =
                    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
                let what = format!("record the version of LogCluster {key}");
                call(what, api.patch(&key.name, &parameters, &patch)).await?;
                own
            }
        };
        // Images of this release may be tagged in another way.
        let tag = if version == own { &context.broker_tag } else { version };
        let pull_policy = context.image_pull_policy.as_deref();
        Ok(release(cluster, version, format!("{}:{tag}", context.broker_image), pull_policy))
    }
}
