//! As many topics as an operator is meant for: the operator is a process of its own, and brokers are sessions with it over
//! gRPC, each with the token of its pod.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use taffrail_control::grpc::client::RemoteController;
use taffrail_crds::{LogCluster, Topic};
use taffrail_operator::access::AUDIENCE;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::Stage;
use super::brokers::{Broker, Told, next_failure};
use super::cluster::{eventually, make_pod, ready, say, writes};
use super::operator::Operator;
use super::scale::count_writes;

const NAME: &str = "orders";
const BROKERS: i32 = 30;
const PARTITIONS_PER_TOPIC: usize = 6;
/// Topics that are applied at a time.
const HANDS: usize = 16;
/// Who dies.
const VICTIM: i32 = 17;
/// What the operator may take, whatever it is doing.
const MOST_MEMORY: u64 = 64 << 20;
/// The most status writes in a second, and over how long that is seen.
const PACE: (f64, Duration) = (20.0, Duration::from_secs(5));
/// In how many writes what a dead broker led is led by others.
const FEW: u64 = 100;
/// For how long statuses are followed after a broker died.
const AFTERMATH: Duration = Duration::from_secs(12);
const PATIENCE: Duration = Duration::from_secs(600);

/// What every run has time for.
pub(crate) async fn five_hundred(stage: Stage<'_>) -> Result<String> {
    run(stage, 500, Duration::from_secs(30)).await
}

/// What is promised.
pub(crate) async fn five_thousand(stage: Stage<'_>) -> Result<String> {
    run(stage, 5_000, Duration::from_secs(60)).await
}

async fn run(stage: Stage<'_>, topics: usize, quiet: Duration) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let mut scene = Scene::begin(&stage, directory.path()).await?;
    let figures = scene.play(&stage, topics, quiet).await.with_context(|| scene.operator.log())?;
    let (figures, (_, most)) = (figures.join("; "), scene.operator.memory()?);
    ensure!(most <= MOST_MEMORY, "the operator took {:.1} MiB: {figures}", mib(most));
    Ok(figures)
}

/// A LogCluster whose brokers are all in session.
struct Scene {
    client: Client,
    namespace: String,
    operator: Operator,
    brokers: JoinSet<Result<()>>,
    victim: AbortHandle,
    told: watch::Receiver<Told>,
    /// The observer would ask for what comes here.
    _requests: mpsc::Sender<taffrail_control::session::ControllerRequest>,
}

impl Scene {
    async fn begin(stage: &Stage<'_>, directory: &Path) -> Result<Self> {
        let operator = Operator::start(stage, directory).await?;
        let (client, namespace) = (stage.plane.client()?, stage.namespace.clone());
        let clusters: Api<LogCluster> = Api::namespaced(client.clone(), &namespace);
        // Who is to be missed is missed because its session breaks. On a busy machine others may be late.
        let spec = json!({
            "brokers": {"replicas": BROKERS},
            "config": {"broker.session.timeout.ms": 30_000},
        });
        apply(&clusters, "LogCluster", NAME, spec).await?;
        let clusters = &clusters;
        eventually("brokers are waited for", move || async move {
            let status = clusters.get(NAME).await?.status.unwrap_or_default();
            let is_waiting = status.conditions.iter().any(|it| it.reason == "WaitingForBrokers");
            if is_waiting { Ok(Some(())) } else { bail!("it says {:?}", status.conditions) }
        })
        .await
        .with_context(|| operator.log())?;
        let (telling, told) = watch::channel(Told::default());
        let (requests, asked) = mpsc::channel(1);
        let mut observes = Some((telling, asked));
        let (mut brokers, mut victim) = (JoinSet::new(), None);
        for id in 0..BROKERS {
            let broker = match observes.take() {
                Some((telling, asked)) => Broker::new(id, 1).observing(telling, asked),
                None => Broker::new(id, 1),
            };
            let remote = in_pod(&client, &namespace, id, &operator, directory).await?;
            let running = brokers.spawn(async move { broker.run(remote.connect(None, id).await?).await });
            if id == VICTIM {
                victim = Some(running);
            }
        }
        let victim = victim.context("the victim is one of the brokers")?;
        let mut scene = Self { client, namespace, operator, brokers, victim, told, _requests: requests };
        scene.when(|told| told.unfenced() == BROKERS as usize).await.with_context(|| scene.operator.log())?;
        let pods = Api::namespaced(scene.client.clone(), &scene.namespace);
        for id in 0..BROKERS {
            say(&pods, id, ready()).await?;
        }
        eventually("all brokers are there", move || async move {
            let status = clusters.get(NAME).await?.status.unwrap_or_default();
            let is_ready = status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
            if is_ready { Ok(Some(())) } else { bail!("it says {:?}", status.conditions) }
        })
        .await
        .with_context(|| scene.operator.log())?;
        Ok(scene)
    }

    /// One after the other, with what the operator takes after each.
    async fn play(&mut self, stage: &Stage<'_>, topics: usize, quiet: Duration) -> Result<Vec<String>> {
        let mut figures = vec![self.memory()?];
        figures.extend([self.make_topics(topics).await?, self.memory()?]);
        figures.extend([self.rest(quiet).await?, self.memory()?]);
        figures.extend([self.lose_a_broker(stage).await?, self.memory()?]);
        Ok(figures)
    }

    fn topics(&self) -> Api<Topic> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until the observer was told what fits.
    async fn when(&mut self, fits: impl Fn(&Told) -> bool) -> Result<()> {
        tokio::select! {
            told = self.told.wait_for(fits) => drop(told.context("the observer has ended")?),
            ended = next_failure(&mut self.brokers) => return Err(ended),
            () = tokio::time::sleep(PATIENCE) => bail!("the brokers wait for more than {PATIENCE:?}"),
        }
        Ok(())
    }

    async fn make_topics(&mut self, count: usize) -> Result<String> {
        let (begun, before) = (Instant::now(), writes(&self.client).await?);
        let pace = Pace::watch(self.client.clone());
        let ready = count_ready(self.topics());
        let api = self.topics();
        let spec = json!({"clusterRef": {"name": NAME}, "partitions": PARTITIONS_PER_TOPIC});
        let names = (0..count).map(|n| format!("shop.orders.region-{}.topic-{n}", n % 7));
        let applying = stream::iter(names).map(|name| {
            let (api, spec) = (&api, spec.clone());
            async move { apply(api, "Topic", &name, spec).await }
        });
        let applied = async {
            applying.buffer_unordered(HANDS).try_for_each(|()| async { Ok(()) }).await?;
            Ok::<_, anyhow::Error>(begun.elapsed())
        };
        let led = async {
            self.when(|told| told.led() == count * PARTITIONS_PER_TOPIC).await?;
            Ok(begun.elapsed())
        };
        let (applied, led) = tokio::try_join!(applied, led)?;
        let mut ready = ready;
        let all = ready.number.wait_for(|number| *number == count);
        let all = tokio::time::timeout(PATIENCE, all).await;
        all.context("not all Topics say that they are ready")?.context("nobody counts")?;
        let took = begun.elapsed();
        let most = pace.end().await?;
        let made = writes(&self.client).await?.values().sum::<u64>() - before.values().sum::<u64>();
        Ok(format!(
            "{count} Topics applied in {:.1} s, led after {:.1} s, all ready after {:.1} s with {made} writes in all, at most \
             {most:.1} of statuses a second",
            applied.as_secs_f64(),
            led.as_secs_f64(),
            took.as_secs_f64(),
        ))
    }

    async fn rest(&mut self, quiet: Duration) -> Result<String> {
        // What the last change leads to is over when the LogCluster's status was written after it.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (writes_before, counted_before) = (writes(&self.client).await?, self.operator.counted().await?);
        let cpu_before = self.operator.cpu()?;
        tokio::time::sleep(quiet).await;
        let cpu = self.operator.cpu()? - cpu_before;
        let (writes, counted) = (writes(&self.client).await?, self.operator.counted().await?);
        let made: Vec<_> =
            writes.iter().filter(|(what, count)| writes_before.get(*what) != Some(*count)).collect();
        ensure!(made.is_empty(), "in {} quiet seconds these were written: {made:#?}", quiet.as_secs());
        let looks = (counted.clusters - counted_before.clusters, counted.topics - counted_before.topics);
        ensure!(
            looks.0 <= 1 && looks.1 == 0,
            "in {} quiet seconds the LogCluster was looked at {} times and Topics {} times",
            quiet.as_secs(),
            looks.0,
            looks.1
        );
        Ok(format!(
            "in {} quiet seconds 0 writes, 0 looks at Topics and {} at the LogCluster, {} ms of processor time",
            quiet.as_secs(),
            looks.0,
            cpu.as_millis(),
        ))
    }

    async fn lose_a_broker(&mut self, stage: &Stage<'_>) -> Result<String> {
        let pace = Pace::watch(self.client.clone());
        let before = count_writes(stage).await?;
        let (lost, partitions) = (self.told.borrow().led_by(VICTIM), self.told.borrow().led());
        let begun = Instant::now();
        self.victim.abort();
        self.when(|told| told.led_by(VICTIM) == 0 && told.led() == partitions).await?;
        let took = begun.elapsed();
        self.when(|told| told.in_isr(VICTIM) == 0).await?;
        let writes = count_writes(stage).await? - before;
        ensure!(writes <= FEW, "a broker was lost with {writes} writes, which is more than {FEW}");
        tokio::time::sleep(AFTERMATH).await;
        let most = pace.end().await?;
        Ok(format!(
            "{lost} leaders moved in {} ms, {writes} writes, then at most {most:.1} of statuses a second",
            took.as_millis()
        ))
    }

    /// What the operator takes.
    fn memory(&self) -> Result<String> {
        let (now, most) = self.operator.memory()?;
        Ok(format!("{:.1} MiB resident, {:.1} at most", mib(now), mib(most)))
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// As `kubectl apply --server-side` does.
async fn apply<K>(api: &Api<K>, kind: &str, name: &str, spec: Value) -> Result<()>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let object = json!({"apiVersion": "taffrail.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    api.patch(name, &PatchParams::apply("people").force(), &Patch::Apply(&object)).await?;
    Ok(())
}

/// Makes a broker's pod, and what that would mount: the way to the controller, and a token that is bound to the pod.
async fn in_pod(
    client: &Client,
    namespace: &str,
    id: i32,
    operator: &Operator,
    directory: &Path,
) -> Result<RemoteController> {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let pod = make_pod(client, &sets.get(NAME).await?, id).await?;
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        uid: pod.uid(),
    };
    let spec = TokenRequestSpec {
        audiences: Some(vec![AUDIENCE.to_owned()]),
        bound_object_ref: Some(bound),
        expiration_seconds: Some(3600),
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let granted = accounts.create_token_request(NAME, &PostParams::default(), &request).await?;
    let token =
        granted.status.and_then(|status| status.token).context("a token was asked for, and none given")?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let data = maps.get(&format!("{NAME}-controller")).await?.data.unwrap_or_default();
    let authority = data.get("ca.crt").context("the ConfigMap says whom to believe")?;
    let (ca_file, token_file) = (directory.join("ca.crt"), directory.join(format!("token-{id}")));
    std::fs::write(&ca_file, authority)?;
    std::fs::write(&token_file, token)?;
    Ok(RemoteController {
        addresses: vec![format!("https://{}", operator.controller).parse()?],
        address_file: None,
        ca_file: Some(ca_file),
        token_file: Some(token_file),
    })
}

/// How many Topics say that they are ready, kept current while it is held.
struct Ready {
    number: watch::Receiver<usize>,
    _watching: JoinSet<()>,
}

fn count_ready(api: Api<Topic>) -> Ready {
    let (sender, number) = watch::channel(0);
    let mut watching = JoinSet::new();
    watching.spawn(async move {
        let mut ready = BTreeSet::new();
        let mut events = watcher(api, watcher::Config::default()).boxed();
        while let Some(event) = events.next().await {
            if let Ok(Event::Apply(topic) | Event::InitApply(topic)) = event {
                let conditions = topic.status.iter().flat_map(|status| &status.conditions);
                if conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True") {
                    ready.insert(topic.name_any());
                    sender.send_replace(ready.len());
                }
            }
        }
    });
    Ready { number, _watching: watching }
}

/// Status writes as the API server counts them, seen every second.
struct Pace {
    end: tokio::sync::oneshot::Sender<()>,
    watching: tokio::task::JoinHandle<Result<Vec<Sample>>>,
}

/// A count that was taken at some time within the question.
struct Sample {
    asked: Instant,
    answered: Instant,
    count: u64,
}

impl Pace {
    fn watch(client: Client) -> Self {
        let (end, mut ended) = tokio::sync::oneshot::channel();
        let watching = tokio::spawn(async move {
            let mut samples = Vec::new();
            loop {
                let asked = Instant::now();
                let count = status_writes(&client).await?;
                samples.push(Sample { asked, answered: Instant::now(), count });
                tokio::select! {
                    _ = &mut ended => return Ok(samples),
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        });
        Self { end, watching }
    }

    /// The most writes a second, which must not be too many.
    async fn end(self) -> Result<f64> {
        drop(self.end);
        let most = most(&self.watching.await??);
        ensure!(most <= PACE.0, "{most:.1} status writes a second over {} s", PACE.1.as_secs());
        Ok(most)
    }
}

/// The most writes a second. What lies between two counts was written between the first question and the last answer.
fn most(samples: &[Sample]) -> f64 {
    let pace = |(at, first): (usize, &Sample)| {
        let last = samples[at..].iter().find(|last| last.answered - first.asked >= PACE.1)?;
        Some((last.count - first.count) as f64 / (last.answered - first.asked).as_secs_f64())
    };
    samples.iter().enumerate().filter_map(pace).fold(0.0, f64::max)
}

/// Status writes of Topics, as the API server counts them.
async fn status_writes(client: &Client) -> Result<u64> {
    let metrics = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let is_one = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"topics\"")
            && line.contains("subresource=\"status\"")
            && ["APPLY", "PATCH", "PUT"].iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
    };
    let counts = metrics.lines().filter(is_one).filter_map(|line| line.rsplit_once(' '));
    Ok(counts.filter_map(|(_, count)| count.parse::<f64>().ok()).sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts that were taken at these milliseconds, each answered ten later.
    fn samples(counts: &[(u64, u64)]) -> Vec<Sample> {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let sample =
            |(ms, count): &(u64, u64)| Sample { asked: at(*ms), answered: at(*ms + 10), count: *count };
        counts.iter().map(sample).collect()
    }

    #[test]
    fn the_pace_is_that_of_the_busiest_stretch_and_no_shorter_one() {
        let steady: Vec<_> = (0..20).map(|second| (1_000 * second, 19 * second)).collect();
        assert!((18.9..19.0).contains(&most(&samples(&steady))));
        let burst = [(0, 0), (1_000, 0), (2_000, 40), (5_000, 60), (6_000, 110), (7_000, 130), (11_000, 130)];
        assert!((21.9..22.0).contains(&most(&samples(&burst))), "110 from 1 s to 6 s");
        assert_eq!(most(&samples(&burst[..3])), 0.0, "nothing is said of less than the stretch");
    }
}
