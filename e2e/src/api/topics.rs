//! Topics over a real API server: an operator's desks, a controller with its memory in the API, and brokers that are
//! sessions with it and take every new replica for caught up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, CustomResourceExt, Resource, ResourceExt};
use serde_json::{Value, json};
use taffrail_control::session::{
    BrokerEnd, ConfigChange, ConfigOp, ConfigResource, ControllerRequest, ControllerResponse, FromController,
    IsrProposal, LogClaim, Member, NewTopic, PartitionSize, Registration, ToController, TopicRef,
};
use taffrail_crds::{LogCluster, Topic, TopicStatus};
use taffrail_operator::cluster::build::ControllerAccess;
use taffrail_operator::cluster::build::names::owner;
use taffrail_operator::cluster::defaults::cluster_defaults;
use taffrail_operator::context::Context;
use taffrail_operator::events::Events;
use taffrail_operator::fleet::view::{PartitionView, TopicView};
use taffrail_operator::fleet::{ClusterKey, Fleet};
use taffrail_operator::metrics::Metrics;
use taffrail_operator::topic;
use taffrail_protocol::Uuid;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Stage;
use super::cluster::{eventually, rand_bytes, told};

const NAME: &str = "orders";
const BROKERS: i32 = 3;
/// How often a broker says that it is alive.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// For how long something must not happen.
const NEVER: Duration = Duration::from_secs(6);

/// An operator's work on Topics, and the brokers of one LogCluster.
struct Scene {
    client: Client,
    key: ClusterKey,
    fleet: Fleet,
    context: Arc<Context>,
    operator: JoinHandle<()>,
    brokers: Vec<Broker>,
    config: kube::Config,
}

/// A broker that is served.
struct Broker {
    own: Member,
    sender: mpsc::Sender<ToController>,
    task: JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.operator.abort();
        self.brokers.iter().for_each(|broker| broker.task.abort());
    }
}

impl Scene {
    async fn begin(stage: &Stage<'_>, grace_seconds: i64) -> Result<Self> {
        let client = stage.plane.client()?;
        let config = stage.plane.config();
        let fleet = Fleet::new(config.clone(), "scenario", None);
        let access = ControllerAccess { address: String::new(), ca_certificate: String::new() };
        let context = Arc::new(Context {
            client: client.clone(),
            fleet: fleet.clone(),
            events: Events::new(client.clone(), "scenario".to_owned()),
            access,
            metrics: Arc::new(Metrics::new()?),
            namespaces: Some(vec![stage.namespace.clone()]),
            broker_image: String::new(),
            broker_tag: String::new(),
            image_pull_policy: None,
        });
        let operator = tokio::spawn(topic::run(Arc::clone(&context)));
        let key = ClusterKey::new(stage.namespace.clone(), NAME);
        let mut scene = Self { client, key, fleet, context, operator, brokers: Vec::new(), config };
        scene.cluster(json!({"topicDeletionGraceSeconds": grace_seconds})).await?;
        scene.start_controller().await?;
        Ok(scene)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.key.namespace)
    }

    async fn cluster(&self, spec: Value) -> Result<()> {
        let object = json!({"apiVersion": "taffrail.dev/v1alpha1", "kind": "LogCluster",
            "metadata": {"name": NAME}, "spec": spec});
        let parameters = PatchParams::apply("people").force();
        self.api::<LogCluster>().patch(NAME, &parameters, &Patch::Apply(&object)).await?;
        Ok(())
    }

    /// The controller runs, and brokers are registered.
    async fn start_controller(&mut self) -> Result<()> {
        self.fleet.activate();
        let cluster: LogCluster = self.api().get(NAME).await?;
        let defaults = cluster_defaults(&cluster.spec.resolved_config());
        self.fleet.run(&self.key, Some(owner(&cluster)), defaults).await?;
        for id in 0..BROKERS {
            self.register(id).await?;
        }
        Ok(())
    }

    /// The operator dies, with its controller.
    async fn kill(&mut self) {
        self.operator.abort();
        self.brokers.drain(..).for_each(|broker| broker.task.abort());
        self.fleet.stand_by(None).await;
    }

    /// Another operator takes over.
    async fn take_over(&mut self) -> Result<()> {
        self.fleet = Fleet::new(self.config.clone(), "successor", None);
        self.context = Arc::new(Context { fleet: self.fleet.clone(), ..(*self.context).clone() });
        self.operator = tokio::spawn(topic::run(Arc::clone(&self.context)));
        self.start_controller().await
    }

    async fn register(&mut self, id: i32) -> Result<()> {
        let process_id = Uuid::from_bytes(rand_bytes()?);
        let this = &*self;
        let (session, incarnation) = eventually("the controller registers a broker", move || async move {
            let Some(running) = this.fleet.get(&this.key) else { return Ok(None) };
            let mut session = running.handle.connect();
            let mut registration = Registration::new(id, process_id, LogClaim::Unclean);
            registration.log_dirs = vec![Uuid::from_bytes([u8::try_from(id)? + 1; 16])];
            let _ = session.sender.send(ToController::Register(registration)).await;
            match session.receiver.recv().await {
                Some(FromController::Registered { incarnation, .. }) => Ok(Some((session, incarnation))),
                Some(FromController::Refused { reason }) => bail!("broker {id} is refused: {reason}"),
                _ => Ok(None),
            }
        })
        .await?;
        let (own, sender) = (Member { broker_id: id, incarnation }, session.sender.clone());
        self.brokers.push(Broker { own, sender, task: tokio::spawn(serve(session, own)) });
        Ok(())
    }

    /// The leaders of a topic say that each partition has so many bytes.
    async fn grows(&self, name: &str, size_bytes: u64) -> Result<()> {
        let topic = self.topic(name).context("there is no such topic")?;
        for Broker { own, sender, .. } in &self.brokers {
            let led = topic.partitions.iter().filter(|it| it.leader == Some(own.broker_id));
            let topic_id = topic.record.topic_id;
            let size = |it: &PartitionView| PartitionSize { topic_id, partition: it.partition, size_bytes };
            let (incarnation, partitions) = (own.incarnation, led.map(size).collect());
            sender.send(ToController::PartitionSizes { incarnation, partitions }).await?;
        }
        Ok(())
    }

    /// Asks as a Kafka client does, through some broker.
    async fn ask(&self, request: ControllerRequest) -> Result<ControllerResponse> {
        let running = self.fleet.get(&self.key).context("no controller runs")?;
        let mut session = running.handle.watch();
        session.sender.send(ToController::Request { request_id: 1, request }).await?;
        loop {
            match session.receiver.recv().await.context("the session has ended")? {
                FromController::Response { response, .. } => return Ok(response),
                _ => continue,
            }
        }
    }

    /// As `kubectl apply --server-side` does.
    async fn apply(&self, name: &str, spec: Value) -> Result<Topic> {
        let mut spec = spec;
        if spec.get("clusterRef").is_none() {
            spec["clusterRef"] = json!({"name": NAME});
        }
        let object = json!({"apiVersion": "taffrail.dev/v1alpha1", "kind": "Topic",
            "metadata": {"name": name}, "spec": spec});
        let parameters = PatchParams::apply("people").force();
        Ok(self.api::<Topic>().patch(name, &parameters, &Patch::Apply(&object)).await?)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.api::<Topic>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    fn topic(&self, name: &str) -> Option<TopicView> {
        let running = self.fleet.get(&self.key)?;
        let view = running.view.lock();
        view.topics.get(name).cloned()
    }

    /// Waits until the object says so of its newest generation; its status.
    async fn says(&self, name: &str, ready: &str, reason: &str) -> Result<TopicStatus> {
        eventually(&format!("Topic {name} says {reason}"), move || async move {
            let object: Topic = self.api().get(name).await?;
            let status = object.status.clone().unwrap_or_default();
            let condition = status.conditions.first().cloned();
            let said = condition.as_ref().map(|it| (it.status.as_str(), it.reason.as_str()));
            let is_new = status.observed_generation == object.metadata.generation;
            if said == Some((ready, reason)) && is_new {
                Ok(Some(status))
            } else {
                bail!("it says {condition:?}")
            }
        })
        .await
    }

    async fn is_ready(&self, name: &str) -> Result<TopicStatus> {
        self.says(name, "True", "AsWished").await
    }

    /// Waits until the topic is so.
    async fn becomes(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(Option<&TopicView>) -> bool,
    ) -> Result<()> {
        let is_so = &is_so;
        eventually(&format!("topic {name} {what}"), move || async move {
            let topic = self.topic(name);
            if is_so(topic.as_ref()) { Ok(Some(())) } else { bail!("it is {topic:?}") }
        })
        .await
    }

    /// Waits until people were told this of an object.
    async fn told(&self, reason: &str, of: &str) -> Result<()> {
        told(&self.api(), reason, of).await.map(drop)
    }
}

/// A broker: alive, and of the opinion that each new replica has caught up.
async fn serve(mut session: BrokerEnd, own: Member) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let (mut applied_version, mut incarnations) = (0, BTreeMap::new());
    loop {
        let incarnation = own.incarnation;
        tokio::select! {
            _ = heartbeat.tick() => {
                let message = ToController::Heartbeat { incarnation, applied_version };
                if session.sender.send(message).await.is_err() {
                    return;
                }
            }
            message = session.receiver.recv() => match message {
                None => return,
                Some(FromController::Update(update)) => {
                    applied_version = update.version;
                    incarnations.extend(update.brokers.iter().map(|it| (it.broker_id, it.incarnation)));
                    let led = update.partitions.iter().filter(|it| it.leader == Some(own));
                    let behind = led.filter(|it| it.isr.len() < it.replicas.len());
                    let member = |id: &i32| {
                        Some(Member { broker_id: *id, incarnation: *incarnations.get(id)? })
                    };
                    let proposals: Vec<IsrProposal> = behind.map(|it| IsrProposal {
                        topic_id: it.topic_id,
                        partition: it.partition,
                        leader_epoch: it.leader_epoch,
                        partition_epoch: it.partition_epoch,
                        isr: it.replicas.iter().filter_map(member).collect(),
                    }).collect();
                    if !proposals.is_empty() {
                        let message = ToController::ProposeIsr { incarnation, proposals };
                        if session.sender.send(message).await.is_err() {
                            return;
                        }
                    }
                }
                Some(_) => {}
            }
        }
    }
}

fn message_bytes(value: &str) -> impl Fn(Option<&TopicView>) -> bool {
    move |topic| topic.and_then(|it| it.record.config.get("max.message.bytes")).is_some_and(|it| it == value)
}

/// From its making to its end, with all that is changed in between, by people and by clients.
pub(crate) async fn life(stage: Stage<'_>) -> Result<String> {
    let scene = Scene::begin(&stage, 0).await?;
    let spec = |partitions: i32, factor: i32, bytes: &str| {
        let config = json!({"max.message.bytes": bytes});
        json!({"partitions": partitions, "replicationFactor": factor, "config": config})
    };
    let begun = Instant::now();
    scene.apply("t", spec(2, 1, "100000")).await?;
    let first = scene.is_ready("t").await?;
    let made = begun.elapsed();
    ensure!(first.partitions == Some(2) && first.replication_factor == Some(1), "{first:?}");
    scene.becomes("t", "has its configuration", message_bytes("100000")).await?;

    scene.apply("t", spec(4, 2, "200000")).await?;
    let grown = scene.is_ready("t").await?;
    ensure!(grown.topic_id == first.topic_id, "it is the same topic");
    ensure!(grown.partitions == Some(4) && grown.replication_factor == Some(2), "{grown:?}");
    scene.becomes("t", "is configured", message_bytes("200000")).await?;

    let ops = vec![("max.message.bytes".to_owned(), ConfigOp::Set("90000".to_owned()))];
    let change = ConfigChange { resource: ConfigResource::Topic("t".to_owned()), replace: false, ops };
    scene.ask(ControllerRequest::AlterConfigs { changes: vec![change], validate_only: false }).await?;
    scene.told("Overruled", "t").await?;
    scene.becomes("t", "is configured again", message_bytes("200000")).await?;
    scene.apply("t", json!({"partitions": 4, "replicationFactor": 2})).await?;
    let is_reset = |topic: Option<&TopicView>| topic.is_some_and(|it| it.record.config.is_empty());
    scene.becomes("t", "has its configuration reset", is_reset).await?;
    scene.is_ready("t").await?;

    // Creation times are of whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.apply("younger", json!({"topicName": "t", "partitions": 9})).await?;
    scene.says("younger", "False", "OlderObject").await?;
    scene.delete("younger").await?;

    scene.apply("many", json!({"replicationFactor": 9})).await?;
    scene.says("many", "False", "InvalidReplicationFactor").await?;
    scene.told("InvalidReplicationFactor", "many").await?;
    scene
        .apply(
            "wrong",
            json!({"replicationFactor": 1, "config": {"follower.replication.throttled.replicas": "x"}}),
        )
        .await?;
    scene.says("wrong", "False", "InvalidConfig").await?;
    scene.apply("lost", json!({"clusterRef": {"name": "nowhere"}})).await?;
    scene.says("lost", "False", "ClusterNotFound").await?;

    let topics = vec![TopicRef::Name("t".to_owned())];
    scene.ask(ControllerRequest::DeleteTopics { topics }).await?;
    scene.told("MadeAgain", "t").await?;
    let again = scene.is_ready("t").await?;
    ensure!(again.topic_id != first.topic_id, "it is a new one");

    ensure!(again.size_bytes.is_none(), "no leader has told of it");
    scene.grows("t", 1 << 20).await?;
    let people = &scene;
    eventually("its object says how large it is", move || async move {
        let said = people.is_ready("t").await?.size_bytes;
        if said == Some(4 << 20) { Ok(Some(())) } else { bail!("it says {said:?}") }
    })
    .await?;

    scene.delete("t").await?;
    scene.becomes("t", "is gone", |topic| topic.is_none()).await?;
    Ok(format!("ready {} ms after it was applied", made.as_millis()))
}

/// Topics of Kafka clients get objects, which go with them.
pub(crate) async fn clients(stage: Stage<'_>) -> Result<String> {
    let scene = Scene::begin(&stage, 0).await?;
    let names = ["plain", "Not_A_Name", "__internal"];
    let topic = |name: &&str| NewTopic {
        name: (*name).to_owned(),
        partitions: Some(2),
        replication_factor: Some(1),
        ..NewTopic::default()
    };
    let topics = names.iter().map(topic).collect();
    scene.ask(ControllerRequest::CreateTopics { topics, validate_only: false }).await?;
    scene.is_ready("plain").await?;
    let scene = &scene;
    let listed = eventually("each has an object", move || async move {
        let listed = scene
            .api::<Topic>()
            .list(&ListParams::default().labels("taffrail.dev/created-by=client"))
            .await?;
        Ok((listed.items.len() == 2).then_some(listed.items))
    })
    .await?;
    let slug = listed
        .iter()
        .find(|object| object.topic_name() == "Not_A_Name")
        .context("it has an object")?
        .name_any();
    ensure!(slug.starts_with("not-a-name-"), "{slug}");
    scene.is_ready(&slug).await?;

    let topics = names[..2].iter().map(|name| TopicRef::Name((*name).to_owned())).collect();
    scene.ask(ControllerRequest::DeleteTopics { topics }).await?;
    eventually("the objects go with their topics", move || async move {
        Ok(scene.api::<Topic>().list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await?;
    ensure!(scene.topic("plain").is_none(), "and the topics are not made again");
    Ok(format!("Not_A_Name is {slug}"))
}

/// What a person deletes is deleted, also while the operator was down; what is made again within the grace is the old
/// topic; and what vanishes all at once is kept.
pub(crate) async fn deletions(stage: Stage<'_>) -> Result<String> {
    let mut scene = Scene::begin(&stage, 3600).await?;
    let spec = || json!({"partitions": 2, "replicationFactor": 1});
    for name in ["a", "b", "c"] {
        scene.apply(name, spec()).await?;
        scene.is_ready(name).await?;
    }
    let is_waiting = |topic: Option<&TopicView>| {
        topic.and_then(|it| it.wish.as_ref()).is_some_and(|wish| wish.gone_since_ms.is_some())
    };
    let first = scene.is_ready("a").await?;
    scene.delete("a").await?;
    scene.becomes("a", "waits for its grace to pass", is_waiting).await?;
    scene.apply("a", json!({"partitions": 1, "replicationFactor": 1})).await?;
    scene.says("a", "False", "AwaitingDeletion").await?;
    scene.apply("a", spec()).await?;
    ensure!(scene.is_ready("a").await?.topic_id == first.topic_id, "it is the old one");
    scene.becomes("a", "waits no more", |topic| !is_waiting(topic)).await?;

    scene.cluster(json!({"topicDeletionGraceSeconds": 0})).await?;
    scene.kill().await;
    scene.delete("a").await?;
    scene.take_over().await?;
    // What the objects say is from before, and a controller that is still reading knows no topic.
    scene.becomes("b", "is known to the new operator", |topic| topic.is_some()).await?;
    scene.becomes("a", "is deleted, as its object was", |topic| topic.is_none()).await?;

    let second = scene.is_ready("b").await?;
    scene.api::<Topic>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    scene.told("TopicsHeld", NAME).await?;
    tokio::time::sleep(NEVER).await;
    ensure!(scene.topic("b").is_some() && scene.topic("c").is_some(), "nothing is deleted");
    let held = scene.fleet.get(&scene.key).map(|running| running.view.lock().held().count());
    ensure!(held == Some(2), "{held:?} are held");
    scene.apply("b", spec()).await?;
    ensure!(scene.is_ready("b").await?.topic_id == second.topic_id, "it is the old one");
    Ok(format!("{} held, none lost", held.unwrap_or_default()))
}

/// The kind of Topics is taken away, and all objects with it: nothing is deleted, and with their objects made again the
/// topics are looked after as before.
pub(crate) async fn kind_removed(stage: Stage<'_>) -> Result<String> {
    let scene = Scene::begin(&stage, 0).await?;
    let spec = || json!({"partitions": 2, "replicationFactor": 1});
    // One that is there alone could be taken for what a person deleted.
    scene.apply("a", spec()).await?;
    let before = scene.is_ready("a").await?;
    let kinds: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    kinds.delete(Topic::crd_name(), &DeleteParams::default()).await?;
    let kinds = &kinds;
    eventually("the kind is gone", move || async move {
        Ok(kinds.get_opt(Topic::crd_name()).await?.is_none().then_some(()))
    })
    .await?;
    scene.told("TopicsHeld", NAME).await?;
    ensure!(scene.topic("a").is_some(), "its records stay");
    stage.plane.install(vec![Topic::crd()]).await?;
    scene.apply("a", spec()).await?;
    let after = scene.is_ready("a").await?;
    ensure!(after.topic_id == before.topic_id, "it is another topic now: {after:?}");
    Ok("held while the kind was away".to_owned())
}
