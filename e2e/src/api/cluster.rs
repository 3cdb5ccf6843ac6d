//! LogClusters over a real API server. There are no nodes and no StatefulSet controller: the scenarios make the pods by the
//! template that they find, and say of them what a kubelet would; brokers are sessions with the cluster's controller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Node, PersistentVolumeClaim, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use taffrail_control::session::{
    ControllerRequest, ElectionKind, FromController, LogClaim, NewTopic, Registration, ToController,
};
use taffrail_crds::{ClusterState, LogCluster};
use taffrail_operator::cluster;
use taffrail_operator::cluster::ask::ask;
use taffrail_operator::cluster::build::ControllerAccess;
use taffrail_operator::cluster::build::names::{POD_INDEX, TEMPLATE_HASH};
use taffrail_operator::cluster::claims::requested;
use taffrail_operator::context::Context;
use taffrail_operator::events::Events;
use taffrail_operator::fleet::{ClusterKey, Fleet};
use taffrail_operator::metrics::Metrics;
use taffrail_protocol::Uuid;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Stage;

/// Longer than any scenario may wait for one thing.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether it is so.
const LOOK: Duration = Duration::from_millis(50);
/// How often a broker says that it is alive.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// For how long nothing may be written where nothing happens.
const QUIET: Duration = Duration::from_secs(60);
pub(super) const NAME: &str = "orders";

/// An operator's reconciler of LogClusters, and the brokers of one of them.
pub(super) struct Scene {
    pub(super) client: Client,
    namespace: String,
    fleet: Fleet,
    operator: JoinHandle<()>,
    brokers: BTreeMap<i32, Broker>,
}

/// A broker's session.
struct Broker {
    incarnation: u64,
    sender: mpsc::Sender<ToController>,
    alive: JoinHandle<()>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.alive.abort();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.operator.abort();
    }
}

impl Scene {
    pub(super) fn begin(stage: &Stage<'_>) -> Result<Self> {
        let client = stage.plane.client()?;
        let fleet = Fleet::new(stage.plane.config(), "scenario", None);
        fleet.activate();
        let access = ControllerAccess {
            address: "https://taffrail-operator.taffrail.svc:9190".to_owned(),
            ca_certificate: "(a certificate)".to_owned(),
        };
        let context = Context {
            client: client.clone(),
            fleet: fleet.clone(),
            events: Events::new(client.clone(), "scenario".to_owned()),
            access,
            metrics: Arc::new(Metrics::new()?),
            namespaces: Some(vec![stage.namespace.clone()]),
            broker_image: "taffrail/broker".to_owned(),
            broker_tag: "dev".to_owned(),
            image_pull_policy: None,
        };
        let operator = tokio::spawn(cluster::run(Arc::new(context)));
        Ok(Self { client, namespace: stage.namespace.clone(), fleet, operator, brokers: BTreeMap::new() })
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// As `kubectl apply --server-side` does.
    pub(super) async fn apply(&self, spec: Value) -> Result<()> {
        let object = json!({
            "apiVersion": "taffrail.dev/v1alpha1",
            "kind": "LogCluster",
            "metadata": {"name": NAME},
            "spec": spec,
        });
        let parameters = PatchParams::apply("people").force();
        self.api::<LogCluster>().patch(NAME, &parameters, &Patch::Apply(&object)).await?;
        Ok(())
    }

    pub(super) async fn stateful_set(&self) -> Result<StatefulSet> {
        Ok(self.api().get(NAME).await?)
    }

    /// The hash of the template that pods are made by.
    pub(super) async fn template_hash(&self) -> Result<String> {
        let set = self.stateful_set().await?;
        let template = set.spec.and_then(|spec| spec.template.metadata).context("there is no template")?;
        template.annotations.and_then(|all| all.get(TEMPLATE_HASH).cloned()).context("it has no hash")
    }

    async fn make_pod(&self, id: i32) -> Result<()> {
        make_pod(&self.client, &self.stateful_set().await?, id).await?;
        Ok(())
    }

    /// Does what the scheduler does, for one pod.
    async fn bind(&self, id: i32, node: &str) -> Result<()> {
        let name = format!("{NAME}-{id}");
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
        let (pods, parameters) = (self.api::<Pod>(), PostParams::default());
        let _: Value = pods.create_subresource("binding", &name, &parameters, &binding).await?;
        Ok(())
    }

    /// Asks the cluster's controller for something.
    async fn ask(&self, what: &'static str, request: ControllerRequest) -> Result<()> {
        let running = self.fleet.get(&ClusterKey::new(&self.namespace, NAME)).context("no controller")?;
        Ok(ask(&running.handle, what, request).await?)
    }

    /// How many partitions each broker leads.
    fn led(&self) -> Result<BTreeMap<i32, usize>> {
        let running = self.fleet.get(&ClusterKey::new(&self.namespace, NAME)).context("no controller")?;
        let (mut led, view) = (BTreeMap::new(), running.view.lock());
        for leader in view.partitions().flat_map(|(_, partitions)| partitions).filter_map(|p| p.leader) {
            *led.entry(leader).or_default() += 1;
        }
        Ok(led)
    }

    /// Waits until brokers lead so many partitions each.
    async fn lead(&self, wished: &[(i32, usize)]) -> Result<()> {
        let wished = &BTreeMap::from_iter(wished.iter().copied());
        eventually(&format!("brokers lead {wished:?}"), move || async move {
            let led = self.led()?;
            if led == *wished { Ok(Some(())) } else { bail!("they lead {led:?}") }
        })
        .await
    }

    /// Says of a pod what a kubelet would.
    async fn say(&self, id: i32, status: Value) -> Result<()> {
        say(&self.api(), id, status).await
    }

    /// A pod whose broker is registered and ready.
    async fn start(&mut self, id: i32) -> Result<()> {
        self.make_pod(id).await?;
        self.register(id).await?;
        self.say(id, ready()).await
    }

    /// Registers a broker, which then says from time to time that it is alive.
    pub(super) async fn register(&mut self, id: i32) -> Result<()> {
        let key = ClusterKey::new(&self.namespace, NAME);
        let process_id = Uuid::from_bytes(rand_bytes()?);
        let (this, key) = (&*self, &key);
        let mut session = eventually("the controller registers a broker", move || async move {
            let Some(running) = this.fleet.get(key) else { return Ok(None) };
            let mut session = running.handle.connect();
            let mut registration = Registration::new(id, process_id, LogClaim::Unclean);
            registration.log_dirs = vec![Uuid::from_bytes([u8::try_from(id)? + 1; 16])];
            let _ = session.sender.send(ToController::Register(registration)).await;
            match session.receiver.recv().await {
                Some(FromController::Registered { incarnation, .. }) => Ok(Some((session, incarnation))),
                Some(FromController::Refused { reason }) => {
                    bail!("the controller refuses broker {id}: {reason}")
                }
                _ => Ok(None),
            }
        })
        .await?;
        self.brokers.remove(&id);
        let (mut applied_version, incarnation, sender) = (0, session.1, session.0.sender.clone());
        let alive = tokio::spawn(async move {
            let mut heartbeat = tokio::time::interval(HEARTBEAT);
            loop {
                tokio::select! {
                    _ = heartbeat.tick() => {
                        let message = ToController::Heartbeat { incarnation, applied_version };
                        if session.0.sender.send(message).await.is_err() {
                            return;
                        }
                    }
                    message = session.0.receiver.recv() => match message {
                        Some(FromController::Update(update)) => applied_version = update.version,
                        Some(_) => {}
                        None => return,
                    }
                }
            }
        });
        self.brokers.insert(id, Broker { incarnation, sender, alive });
        Ok(())
    }

    /// A condition, if it is about the spec as it is now.
    pub(super) async fn condition(&self, name: &str) -> Result<Option<Condition>> {
        let cluster: LogCluster = self.api().get(NAME).await?;
        let generation = cluster.metadata.generation;
        let mut conditions = cluster.status.map(|status| status.conditions).unwrap_or_default().into_iter();
        Ok(conditions
            .find(|condition| condition.type_ == name && condition.observed_generation == generation))
    }

    /// A broker tells its controller something that begins with its incarnation.
    pub(super) async fn tell(&self, id: i32, message: impl FnOnce(u64) -> ToController) -> Result<()> {
        let broker = self.brokers.get(&id).with_context(|| format!("broker {id} has no session"))?;
        Ok(broker.sender.send(message(broker.incarnation)).await?)
    }

    /// A claim of a broker, with a volume of the size that it asks for, as the StatefulSet controller and a provisioner
    /// make them together. Its storage class allows volumes to grow.
    pub(super) async fn make_claim(&self, volume: &str, id: i32, size: &str) -> Result<()> {
        let class = json!({"metadata": {"name": "growing"}, "provisioner": "example.com/none", "allowVolumeExpansion": true});
        let (classes, create) = (Api::<StorageClass>::all(self.client.clone()), PostParams::default());
        if classes.get_opt("growing").await?.is_none() {
            classes.create(&create, &serde_json::from_value(class)?).await?;
        }
        let name = format!("{volume}-{NAME}-{id}");
        let claims: Api<PersistentVolumeClaim> = self.api();
        let claim = json!({
            "metadata": {"name": name, "labels": self.stateful_set().await?.metadata.labels},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "growing",
                "volumeName": "somewhere",
                "resources": {"requests": {"storage": size}},
            },
        });
        claims.create(&create, &serde_json::from_value(claim)?).await?;
        let bound = Patch::Merge(json!({"status": {"phase": "Bound", "capacity": {"storage": size}}}));
        claims.patch_status(&name, &PatchParams::default(), &bound).await?;
        Ok(())
    }

    /// Waits until a broker's claim asks for this size.
    pub(super) async fn claim_asks_for(&self, volume: &str, id: i32, size: &str) -> Result<()> {
        let name = &format!("{volume}-{NAME}-{id}");
        eventually(&format!("claim {name} asks for {size}"), move || async move {
            let present = requested(&self.api().get(name).await?);
            ensure!(present.as_ref().is_some_and(|present| present.0 == size), "it asks for {present:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until a condition has this status and reason.
    pub(super) async fn becomes(&self, name: &str, status: &str, reason: &str) -> Result<()> {
        let wished = Some((status.to_owned(), reason.to_owned()));
        let wished = &wished;
        eventually(&format!("{name} is {status} for {reason}"), move || async move {
            let now = self.condition(name).await?.map(|condition| (condition.status, condition.reason));
            if now == *wished { Ok(Some(())) } else { bail!("{name} is {now:?}") }
        })
        .await
    }

    /// A LogCluster of three brokers that serve.
    pub(super) async fn three_brokers(&mut self, spec: Value) -> Result<()> {
        self.apply(spec).await?;
        let this = &*self;
        eventually("there is a StatefulSet", move || async move {
            Ok(this.api::<StatefulSet>().get_opt(NAME).await?)
        })
        .await?;
        for id in 0..3 {
            self.start(id).await?;
        }
        self.becomes("Ready", "True", "AsWished").await
    }

    /// Waits until a broker is restarted: exactly one pod is gone. Answers whose, with its session ended.
    async fn restarted(&mut self) -> Result<i32> {
        let this = &*self;
        let missing = eventually("a pod is deleted", move || async move {
            let pods = this.api::<Pod>().list(&ListParams::default()).await?;
            let there: Vec<_> = pods.items.iter().map(ResourceExt::name_any).collect();
            let missing: Vec<_> = (0..3).filter(|id| !there.contains(&format!("{NAME}-{id}"))).collect();
            ensure!(missing.len() < 2, "of three brokers {missing:?} are restarted at once");
            Ok(missing.first().copied())
        })
        .await?;
        self.brokers.remove(&missing);
        Ok(missing)
    }
}

/// Does what the StatefulSet controller does, for one pod.
pub(super) async fn make_pod(client: &Client, set: &StatefulSet, id: i32) -> Result<Pod> {
    let spec = set.spec.clone().context("a StatefulSet without a spec")?;
    let template = spec.template.metadata.context("a template without metadata")?;
    let mut labels = template.labels.unwrap_or_default();
    labels.insert(POD_INDEX.to_owned(), id.to_string());
    let metadata = ObjectMeta {
        name: Some(format!("{NAME}-{id}")),
        labels: Some(labels),
        annotations: template.annotations,
        ..ObjectMeta::default()
    };
    let mut pod = serde_json::to_value(Pod { metadata, spec: spec.template.spec, status: None })?;
    let volumes = pod["spec"]["volumes"].as_array_mut().context("a pod without volumes")?;
    for claim in spec.volume_claim_templates.unwrap_or_default() {
        volumes.push(json!({"name": claim.name_any(), "emptyDir": {}}));
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &set.namespace().unwrap_or_default());
    Ok(pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?)
}

/// Says of a pod what a kubelet would.
pub(super) async fn say(pods: &Api<Pod>, id: i32, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"status": status}));
    pods.patch_status(&format!("{NAME}-{id}"), &PatchParams::default(), &patch).await?;
    Ok(())
}

/// What a kubelet says of a pod that serves.
pub(super) fn ready() -> Value {
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    json!({"phase": "Running", "conditions": [ready]})
}

pub(super) fn rand_bytes() -> Result<[u8; 16]> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What `look` finds at last. An error of it is what is said if it finds nothing.
pub(super) async fn eventually<T, F>(what: &str, look: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let begun = Instant::now();
    loop {
        let seen = look().await;
        if let Ok(Some(found)) = seen {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            seen.with_context(|| format!("waited {} s in vain until {what}", PATIENCE.as_secs()))?;
            bail!("waited {} s in vain until {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until people were told this of an object; what they were told.
pub(super) async fn told(events: &Api<Event>, reason: &str, of: &str) -> Result<String> {
    eventually(&format!("there is an Event {reason} of {of}"), move || async move {
        let is_it = |event: &Event| {
            event.reason.as_deref() == Some(reason) && event.involved_object.name.as_deref() == Some(of)
        };
        let events = events.list(&ListParams::default()).await?;
        Ok(events.items.into_iter().find(is_it).map(|event| event.message.unwrap_or_default()))
    })
    .await
}

/// Requests that write, as the API server counts them; its own leases are left out.
pub(super) async fn writes(client: &Client) -> Result<BTreeMap<String, u64>> {
    let metrics = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let mut writes = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let is_write = ["APPLY", "PATCH", "POST", "PUT", "DELETE"];
        let Some((labels, count)) = line.rsplit_once(' ') else { continue };
        let is_write = is_write.iter().any(|verb| labels.contains(&format!("verb=\"{verb}\"")));
        if is_write && !labels.contains("resource=\"leases\"") {
            writes.insert(labels.to_owned(), count.parse::<f64>()? as u64);
        }
    }
    Ok(writes)
}

/// A five-line LogCluster gets its children and says when it is ready; what others do to the children is undone; and a
/// minute in which nothing happens sees no write.
pub(crate) async fn children(stage: Stage<'_>) -> Result<String> {
    let mut scene = Scene::begin(&stage)?;
    let begun = Instant::now();
    scene.apply(json!({})).await?;
    scene.becomes("Ready", "False", "WaitingForBrokers").await?;
    let there = begun.elapsed();
    scene.api::<ServiceAccount>().get(NAME).await?;
    scene.api::<ConfigMap>().get("orders-config").await?;
    scene.api::<ConfigMap>().get("orders-controller").await?;
    scene.api::<PodDisruptionBudget>().get(NAME).await?;
    scene.stateful_set().await?;
    let services: Api<Service> = scene.api();
    ensure!(services.list(&ListParams::default()).await?.items.len() == 2, "two Services");
    let cluster: LogCluster = scene.api().get(NAME).await?;
    ensure!(cluster.annotations().contains_key("taffrail.dev/version"), "the release is recorded");

    for id in 0..3 {
        scene.start(id).await?;
    }
    scene.becomes("Ready", "True", "AsWished").await?;

    services.delete("orders-bootstrap", &DeleteParams::default()).await?;
    let (scene, services) = (&scene, &services);
    eventually("the Service is made again", move || async move {
        Ok(services.get_opt("orders-bootstrap").await?)
    })
    .await?;
    let wrong = Patch::Merge(json!({"spec": {"replicas": 7}}));
    scene.api::<StatefulSet>().patch(NAME, &PatchParams::default(), &wrong).await?;
    eventually("the number of replicas is put back", move || async move {
        let replicas = scene.stateful_set().await?.spec.and_then(|spec| spec.replicas);
        Ok((replicas == Some(3)).then_some(()))
    })
    .await?;

    // What the last change leads to is over when the status was written after it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = writes(&scene.client).await?;
    tokio::time::sleep(QUIET).await;
    let after = writes(&scene.client).await?;
    let made: Vec<_> = after.iter().filter(|(labels, count)| before.get(*labels) != Some(*count)).collect();
    ensure!(made.is_empty(), "in a quiet minute these were written: {made:#?}");
    Ok(format!("children after {:.1} s, 0 writes in {} s", there.as_secs_f64(), QUIET.as_secs()))
}

/// A change of what pods are restarts the brokers, one at a time; one that fails is taken back and not tried again.
pub(crate) async fn roll(stage: Stage<'_>) -> Result<String> {
    let mut scene = Scene::begin(&stage)?;
    let spec = |memory: &str, image: Option<&str>| json!({"dnsTtlSeconds": 0, "image": image, "brokers": {"resources": {"limits": {"memory": memory}}}});
    let without_image =
        |memory: &str| json!({"dnsTtlSeconds": 0, "brokers": {"resources": {"limits": {"memory": memory}}}});
    scene.three_brokers(without_image("512Mi")).await?;
    let first = scene.template_hash().await?;

    scene.apply(without_image("1Gi")).await?;
    let mut restarted = Vec::new();
    for _ in 0..3 {
        let id = scene.restarted().await?;
        ensure!(!restarted.contains(&id), "broker {id} is restarted a second time");
        restarted.push(id);
        scene.start(id).await?;
    }
    scene.becomes("Ready", "True", "AsWished").await?;
    let second = scene.template_hash().await?;
    ensure!(first != second, "the template did not change");

    scene.apply(spec("1Gi", Some("nowhere.example/none:0"))).await?;
    let id = scene.restarted().await?;
    scene.make_pod(id).await?;
    let waiting = json!({"reason": "ImagePullBackOff", "message": "no such image"});
    let container = json!({"name": "broker", "ready": false, "restartCount": 0, "image": "", "imageID": "",
        "state": {"waiting": waiting}});
    scene.say(id, json!({"phase": "Pending", "containerStatuses": [container]})).await?;
    ensure!(scene.restarted().await? == id, "the one that failed is made again");
    let back = scene.template_hash().await?;
    ensure!(back == second, "{back} is what pods are made by after {second} failed ({first} was before it)");
    scene.start(id).await?;
    scene.becomes("RollFailed", "True", "PodFailed").await?;
    scene.becomes("Progressing", "False", "Settled").await?;
    Ok(format!("restarted {restarted:?}, and {id} there and back"))
}

/// Settings that brokers take over while they run are told to them, and volumes grow, without a restart.
pub(crate) async fn changes_without_a_roll(stage: Stage<'_>) -> Result<String> {
    let mut scene = Scene::begin(&stage)?;
    scene.three_brokers(json!({})).await?;
    let template = scene.template_hash().await?;
    scene.make_claim("data", 0, "10Gi").await?;

    let volumes = json!([{"name": "data", "size": "20Gi"}]);
    let spec =
        json!({"config": {"log.segment.bytes": 1_000_000}, "brokers": {"storage": {"volumes": volumes}}});
    scene.apply(spec).await?;
    let this = &scene;
    eventually("the brokers are told", move || async move {
        let state: ClusterState = this.api().get(NAME).await?;
        let configs = serde_json::to_string(&state.spec.state.get("broker_configs"))?;
        ensure!(configs.contains("\"log.segment.bytes\":\"1000000\""), "they are told {configs}");
        Ok(Some(()))
    })
    .await?;
    scene.claim_asks_for("data", 0, "20Gi").await?;
    scene.becomes("Ready", "True", "AsWished").await?;
    ensure!(scene.template_hash().await? == template, "another template would restart the brokers");
    let pods = scene.api::<Pod>().list(&ListParams::default()).await?;
    ensure!(pods.items.len() == 3, "a broker was restarted");
    Ok("told and grown".to_owned())
}

/// Leaders leave the broker whose node is cordoned, and nobody gets them to go back before the node takes pods again.
pub(crate) async fn cordon(stage: Stage<'_>) -> Result<String> {
    let mut scene = Scene::begin(&stage)?;
    scene.three_brokers(json!({"dnsTtlSeconds": 0})).await?;
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let node = |id: i32| format!("cordon-{id}");
    for id in 0..3 {
        let metadata = ObjectMeta { name: Some(node(id)), ..ObjectMeta::default() };
        nodes.create(&PostParams::default(), &Node { metadata, ..Node::default() }).await?;
        scene.bind(id, &node(id)).await?;
    }
    let topic = NewTopic {
        name: "received".into(),
        partitions: Some(6),
        replication_factor: Some(3),
        ..NewTopic::default()
    };
    let create = ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false };
    scene.ask("make a topic", create).await?;
    scene.lead(&[(0, 2), (1, 2), (2, 2)]).await?;

    let cordon = async |id: i32, unschedulable: bool| {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": unschedulable}}));
        nodes.patch(&node(id), &PatchParams::default(), &patch).await
    };
    // Until the cluster is looked at for no other reason any more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begun = Instant::now();
    cordon(0, true).await?;
    let this = &scene;
    eventually("the broker on the cordoned node leads nothing", move || async move {
        let led = this.led()?;
        if led.contains_key(&0) { bail!("brokers lead {led:?}") } else { Ok(Some(())) }
    })
    .await?;
    let gone = begun.elapsed();
    let prefer = || ControllerRequest::ElectLeaders { kind: ElectionKind::Preferred, partitions: None };
    let refused = scene.ask("elect preferred leaders", prefer()).await;
    ensure!(refused.is_err(), "leaders go back to a node that is being drained");

    cordon(0, false).await?;
    eventually("preferred leaders are elected", move || async move {
        this.ask("elect preferred leaders", prefer()).await?;
        Ok(Some(()))
    })
    .await?;
    scene.lead(&[(0, 2), (1, 2), (2, 2)]).await?;
    Ok(format!("leaders gone after {:.1} s", gone.as_secs_f64()))
}
