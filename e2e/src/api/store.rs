//! The controller's memory over a real API server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use taffrail_controller::conformance::check_store;
use taffrail_controller::model::{
    ClusterState, Member, Object, ObjectKey, Other, PARTITIONS_PER_SLICE, PartitionSlice, PartitionState,
    TopicEntry, TopicSlice,
};
use taffrail_controller::store::{ObjectKind, StoreAction, StoreOutcome, Version};
use taffrail_protocol::Uuid;
use tokio::runtime::Handle;

use super::Stage;
use super::asker::{Asker, Blocking};

/// The contract of all stores.
pub(crate) async fn conformance(stage: Stage<'_>) -> Result<String> {
    let (config, options) = (stage.plane.config(), stage.options("conformance"));
    let runtime = Handle::current();
    let checked = tokio::task::spawn_blocking(move || {
        check_store(|| {
            let _within = runtime.enter();
            match Asker::open(&config, options.clone()) {
                Ok(asker) => Blocking { asker, runtime: runtime.clone() },
                Err(error) => panic!("{error:#}"),
            }
        });
    });
    checked.await.context("the contract is broken")?;
    Ok("the contract of all stores is kept".to_owned())
}

fn cluster(next_incarnation: u64) -> Object {
    Object::Cluster(ClusterState { next_incarnation, ..ClusterState::default() })
}

/// Of two that swap the same version one wins, whichever object it is and however it is written.
pub(crate) async fn conflicts(stage: Stage<'_>) -> Result<String> {
    let config = stage.plane.config();
    let mut one = Asker::open(&config, stage.options("one"))?;
    let mut two = Asker::open(&config, stage.options("two"))?;
    let (mut wins, rounds) = ([0, 0], 50);
    let mut version = Version::ABSENT;
    for round in 0..rounds {
        let put = || StoreAction::Put { key: ObjectKey::Cluster, expected: version, object: cluster(round) };
        let (a, b) = tokio::join!(one.ask_one(put()), two.ask_one(put()));
        version = match (a?, b?) {
            (StoreOutcome::Done(version), StoreOutcome::Conflict) => {
                wins[0] += 1;
                version
            }
            (StoreOutcome::Conflict, StoreOutcome::Done(version)) => {
                wins[1] += 1;
                version
            }
            other => bail!("of two swaps of one version one is done, and not {other:?}"),
        };
    }
    // Of an object that somebody deleted.
    let states: Api<taffrail_crds::ClusterState> = Api::namespaced(stage.plane.client()?, &stage.namespace);
    states.delete("orders", &DeleteParams::default()).await?;
    let put = |expected| StoreAction::Put { key: ObjectKey::Cluster, expected, object: cluster(0) };
    ensure!(one.ask_one(put(version)).await? == StoreOutcome::Conflict, "what was deleted is not there");
    let loaded = one.ask_one(StoreAction::Load(ObjectKey::Cluster)).await?;
    ensure!(loaded == StoreOutcome::Loaded(None), "it is absent now: {loaded:?}");
    let again = one.put(ObjectKey::Cluster, Version::ABSENT, cluster(0)).await?;
    ensure!(again > version, "versions go on where an object is made again");
    Ok(format!("{rounds} races, {} to {}", wins[0], wins[1]))
}

/// What somebody else writes or deletes is told.
pub(crate) async fn watch(stage: Stage<'_>) -> Result<String> {
    let config = stage.plane.config();
    let mut writer = Asker::open(&config, stage.options("writer"))?;
    let keys = [ObjectKey::Cluster, ObjectKey::Topics(7), ObjectKey::Partitions(9)];
    let empty = |key| match key {
        ObjectKey::Cluster => cluster(1),
        ObjectKey::Topics(_) => Object::Topics(TopicSlice::default()),
        ObjectKey::Partitions(_) => Object::Partitions(PartitionSlice::default()),
    };
    let mut versions = Vec::new();
    for key in keys {
        versions.push(writer.put(key, Version::ABSENT, empty(key)).await?);
    }
    let mut reader = Asker::open(&config, stage.options("reader"))?;
    let mut slowest = Duration::ZERO;
    for (key, version) in keys.into_iter().zip(versions) {
        reader.told(key, |told| told == version).await.context("what is there at first is told")?;
        let next = writer.put(key, version, empty(key)).await?;
        let written = Instant::now();
        reader.told(key, |told| told == next).await?;
        slowest = slowest.max(written.elapsed());
        writer.told(key, |told| told == next).await.context("one's own writes are told too")?;
        let client = stage.plane.client()?;
        let name = format!("orders-{key}");
        match key {
            ObjectKey::Cluster => drop(
                Api::<taffrail_crds::ClusterState>::namespaced(client, &stage.namespace)
                    .delete("orders", &DeleteParams::default())
                    .await?,
            ),
            ObjectKey::Topics(_) => drop(
                Api::<taffrail_crds::TopicSlice>::namespaced(client, &stage.namespace)
                    .delete(&name, &DeleteParams::default())
                    .await?,
            ),
            ObjectKey::Partitions(_) => drop(
                Api::<taffrail_crds::PartitionSlice>::namespaced(client, &stage.namespace)
                    .delete(&name, &DeleteParams::default())
                    .await?,
            ),
        }
        reader.told(key, |told| told > next).await.context("a deletion is told, above the last version")?;
    }
    Ok(format!("told within {} ms", slowest.as_millis()))
}

/// What a later release wrote is left alone, with all else.
pub(crate) async fn later_release(stage: Stage<'_>) -> Result<String> {
    let mut store = Asker::open(&stage.plane.config(), stage.options("old"))?;
    let slice = ObjectKey::Topics(1);
    store.put(slice, Version::ABSENT, Object::Topics(TopicSlice::default())).await?;
    let version = store.put(ObjectKey::Cluster, Version::ABSENT, cluster(1)).await?;
    let slices: Api<taffrail_crds::TopicSlice> = Api::namespaced(stage.plane.client()?, &stage.namespace);
    let patch = |format| Patch::Merge(serde_json::json!({"spec": {"format": format}}));
    slices.patch("orders-topics-1", &PatchParams::default(), &patch(2)).await?;
    let listed = store.ask_one(StoreAction::List(ObjectKind::Topics)).await?;
    ensure!(listed == StoreOutcome::Unknown, "a list with a later format is no list: {listed:?}");
    let put = || StoreAction::Put { key: ObjectKey::Cluster, expected: version, object: cluster(2) };
    let refused = store.ask_one(put()).await?;
    ensure!(refused == StoreOutcome::Unknown, "nothing is written: {refused:?}");
    let sentence = store.store.health().borrow().sentences().next().unwrap_or_default();
    ensure!(sentence.contains("topicslice/orders-topics-1"), "the fault names the object: {sentence}");
    slices.patch("orders-topics-1", &PatchParams::default(), &patch(1)).await?;
    let listed = store.ask_one(StoreAction::List(ObjectKind::Topics)).await?;
    ensure!(matches!(listed, StoreOutcome::Listed(_)), "it can be read again: {listed:?}");
    let done = store.ask_one(put()).await?;
    ensure!(matches!(done, StoreOutcome::Done(_)), "and written: {done:?}");
    Ok(sentence)
}

/// An object that the API server does not take is named with its size.
pub(crate) async fn too_large(stage: Stage<'_>) -> Result<String> {
    let mut store = Asker::open(&stage.plane.config(), stage.options("large"))?;
    let mut sentences = Vec::new();
    // What etcd refuses, and what the API server refuses before.
    for (slice, megabytes) in [(1, 2), (2, 4)] {
        let entry = TopicEntry {
            topic_id: Uuid([1; 16]),
            creation: 1,
            partition_count: 1,
            config: [("key".to_owned(), "x".repeat(megabytes << 20))].into(),
            deleting_since_ms: None,
            pieces: Vec::new(),
            wish: None,
            other: Other::new(),
        };
        let topics = [("large".to_owned(), Arc::new(entry))].into();
        let object = Object::Topics(TopicSlice { topics, ..TopicSlice::default() });
        let put = StoreAction::Put { key: ObjectKey::Topics(slice), expected: Version::ABSENT, object };
        let outcome = store.ask_one(put).await?;
        ensure!(outcome == StoreOutcome::Unknown, "{megabytes} MiB: {outcome:?}");
        let health = store.store.health();
        let name = format!("topicslice/orders-topics-{slice}");
        let sentence = health.borrow().sentences().find(|sentence| sentence.contains(&name));
        let sentence = sentence.context("the fault names the object")?;
        ensure!(sentence.contains("too large"), "{megabytes} MiB: {sentence}");
        sentences.push(sentence);
    }
    Ok(sentences.remove(0))
}

/// The API server dies while puts are out: what it answered is there, what it did not may be, and nothing else is.
pub(crate) async fn api_server_killed(stage: Stage<'_>) -> Result<String> {
    const SLICES: u32 = 40;
    let mut store = Asker::open(&stage.plane.config(), stage.options("survivor"))?;
    let mut versions = vec![Version::ABSENT; SLICES as usize];
    let (mut unknown, mut done, mut landed) = (0, 0, 0);
    let mut killed = None;
    for round in 1..=6_u64 {
        let put = |(slice, expected): (u32, &Version)| {
            let key = ObjectKey::Partitions(slice);
            let other = Other::from([("round".to_owned(), round.into())]);
            let object = Object::Partitions(PartitionSlice { other, ..PartitionSlice::default() });
            StoreAction::Put { key, expected: *expected, object }
        };
        let puts = (0..SLICES).zip(&versions).map(put).collect();
        let outcomes = if round == 3 {
            let begun = Instant::now();
            let (outcomes, dead) = tokio::join!(store.ask(puts), async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                stage.plane.kill_api_server().await
            });
            dead?;
            ensure!(begun.elapsed() < Duration::from_secs(20), "answers come within their deadlines");
            killed = Some(Instant::now());
            outcomes?
        } else {
            store.ask(puts).await?
        };
        if round == 3 {
            // All puts may have been answered before the end; what is asked after it is not.
            let asked = store.ask_one(StoreAction::Load(ObjectKey::Partitions(0))).await?;
            ensure!(asked == StoreOutcome::Unknown, "the API server is gone, and says {asked:?}");
            ensure!(!store.store.health().borrow().faults.is_empty(), "the store says that the API is away");
            stage.plane.start_api_server().await?;
        }
        for (slice, outcome) in outcomes.into_iter().enumerate() {
            let key = ObjectKey::Partitions(slice as u32);
            match outcome {
                StoreOutcome::Done(version) => {
                    done += 1;
                    versions[slice] = version;
                    let told = read_until_known(&mut store, key).await?;
                    ensure!(told == (version, round), "{key} was done in round {round} and is {told:?}");
                }
                StoreOutcome::Unknown => {
                    unknown += 1;
                    let (version, found) = read_until_known(&mut store, key).await?;
                    ensure!(
                        found == round || found == round - 1,
                        "{key} is of round {found} in round {round}"
                    );
                    landed += u32::from(found == round);
                    versions[slice] = version;
                }
                other => bail!("{key} in round {round}: {other:?}"),
            }
        }
    }
    let back = killed.context("the API server was killed")?.elapsed();
    // The watches are back, too.
    let last = ObjectKey::Partitions(0);
    let version = store.put(last, versions[0], Object::Partitions(PartitionSlice::default())).await?;
    store.told(last, |told| told == version).await?;
    // The list that told of it may have been answered before the API server was able to watch.
    store.well().await?;
    Ok(format!(
        "{done} done, {unknown} unknown of which {landed} happened; {:.1} s to the end",
        back.as_secs_f64()
    ))
}

/// The version and the round of a slice.
async fn read_until_known(store: &mut Asker, key: ObjectKey) -> Result<(Version, u64)> {
    loop {
        match store.ask_one(StoreAction::Load(key)).await? {
            StoreOutcome::Loaded(Some(stored)) => {
                let Object::Partitions(slice) = stored.object else { bail!("{key} is of another kind") };
                let round = slice.other.get("round").and_then(serde_json::Value::as_u64);
                return Ok((stored.version, round.context("a slice has its round")?));
            }
            StoreOutcome::Unknown => tokio::time::sleep(Duration::from_millis(100)).await,
            other => bail!("{key} was there before: {other:?}"),
        }
    }
}

/// A cluster of the size that is designed for a tenth of: how large its objects are, and how long they take.
pub(crate) async fn thirty_thousand_partitions(stage: Stage<'_>) -> Result<String> {
    const PARTITIONS: i32 = 30_000;
    let slices = (PARTITIONS / PARTITIONS_PER_SLICE) as u32;
    let config = stage.plane.config();
    let mut store = Asker::open(&config, stage.patient_options("large"))?;
    let object = |slice: u32, epoch: i32| Object::Partitions(full_slice(slice, epoch));
    let mut largest = 0;
    for slice in 0..slices {
        largest = largest.max(object(slice, 0).encode()?.len());
    }
    let mut timed = Vec::new();
    let mut versions = vec![Version::ABSENT; slices as usize];
    for (epoch, what) in [(0, "made"), (1, "written")] {
        let puts = (0..slices).zip(&versions).map(|(slice, expected)| {
            let key = ObjectKey::Partitions(slice);
            StoreAction::Put { key, expected: *expected, object: object(slice, epoch) }
        });
        let puts = puts.collect();
        let begun = Instant::now();
        let outcomes = store.ask(puts).await?;
        timed.push(format!("{what} in {} ms", begun.elapsed().as_millis()));
        for (version, outcome) in versions.iter_mut().zip(outcomes) {
            let StoreOutcome::Done(done) = outcome else { bail!("a slice was not {what} but {outcome:?}") };
            *version = done;
        }
    }
    let mut fresh = Asker::open(&config, stage.patient_options("fresh"))?;
    let begun = Instant::now();
    let StoreOutcome::Listed(listed) = fresh.ask_one(StoreAction::List(ObjectKind::Partitions)).await? else {
        bail!("a list is answered with a list");
    };
    timed.push(format!("all loaded in {} ms", begun.elapsed().as_millis()));
    let mut listed: Vec<_> =
        listed.into_iter().map(|stored| (stored.key, stored.version, stored.object)).collect();
    listed.sort_by_key(|(key, ..)| *key);
    let expected = (0..slices).zip(&versions);
    let expected: Vec<_> =
        expected.map(|(n, version)| (ObjectKey::Partitions(n), *version, object(n, 1))).collect();
    ensure!(listed == expected, "what is read is not what was written");
    let api: Api<taffrail_crds::PartitionSlice> = Api::namespaced(stage.plane.client()?, &stage.namespace);
    let whole = serde_json::to_vec(&api.get("orders-partitions-0").await?)?.len();
    let fields = api.get("orders-partitions-0").await?.managed_fields().len();
    Ok(format!(
        "{slices} slices of at most {largest} bytes ({whole} with metadata, {fields} managed field sets), {}",
        timed.join(", ")
    ))
}

/// 500 partitions of 50 topics with three replicas each.
fn full_slice(slice: u32, partition_epoch: i32) -> PartitionSlice {
    let mut content = PartitionSlice::default();
    for topic in 0..50_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&slice.to_be_bytes());
        id[4..8].copy_from_slice(&topic.to_be_bytes());
        let name = format!("shop.orders.region-{slice}.topic-{topic}");
        let records = content.topic_or_insert(Uuid(id), &name, u64::from(slice * 50 + topic));
        for partition in 0..10 {
            let broker = |n: i32| (slice as i32 + partition + n) % 30;
            let isr = (0..3).map(|n| Member { broker_id: broker(n), incarnation: 17 }).collect();
            records.insert(PartitionState {
                partition,
                replicas: (0..3).map(broker).collect(),
                leader: Some(Member { broker_id: broker(0), incarnation: 17 }),
                leader_epoch: 3,
                partition_epoch,
                isr,
                elr: Vec::new(),
                min_isr: 2,
                adding: Vec::new(),
                removing: Vec::new(),
                unclean_epoch: None,
                other: Other::new(),
            });
        }
    }
    content
}
