//! A store that is asked and waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use taffrail_controller::model::{Object, ObjectKey};
use taffrail_controller::store::{
    AskStore, Store, StoreAction, StoreAnswer, StoreNews, StoreOutcome, StoreRequest, StoreRequestId, Version,
};
use taffrail_operator::store::{KubeStore, StoreOptions};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Longer than any scenario may wait for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Asker {
    pub(crate) store: KubeStore,
    news: mpsc::Receiver<StoreNews>,
    /// Changes that were told of and not looked at.
    changes: Vec<(ObjectKey, Version)>,
    last_id: u64,
}

impl Asker {
    pub(crate) fn open(config: &kube::Config, options: StoreOptions) -> Result<Self> {
        let (sender, news) = mpsc::channel(1024);
        let store = KubeStore::open(config, options, sender)?;
        Ok(Self { store, news, changes: Vec::new(), last_id: 0 })
    }

    /// Asks all actions at once; the outcomes come in their order.
    pub(crate) async fn ask(&mut self, actions: Vec<StoreAction>) -> Result<Vec<StoreOutcome>> {
        let ids = self.last_id + 1..;
        let requests = ids.zip(actions).map(|(id, action)| StoreRequest { id: StoreRequestId(id), action });
        let requests: Vec<StoreRequest> = requests.collect();
        self.last_id += requests.len() as u64;
        let answers = self.answers(requests).await?;
        Ok(answers.into_iter().map(|answer| answer.outcome).collect())
    }

    async fn answers(&mut self, requests: Vec<StoreRequest>) -> Result<Vec<StoreAnswer>> {
        let ids: Vec<StoreRequestId> = requests.iter().map(|request| request.id).collect();
        let at_once = self.store.ask(requests).into_iter().map(|answer| (answer.id, answer));
        let mut answers: BTreeMap<StoreRequestId, StoreAnswer> = at_once.collect();
        while answers.len() < ids.len() {
            if let Some(answer) = self.hear().await? {
                answers.insert(answer.id, answer);
            }
        }
        Ok(ids.iter().filter_map(|id| answers.remove(id)).collect())
    }

    /// Waits for one piece of news; an answer is given back, a change is kept.
    async fn hear(&mut self) -> Result<Option<StoreAnswer>> {
        let news =
            tokio::time::timeout(PATIENCE, self.news.recv()).await.context("the store says nothing")?;
        match news.context("the store has ended")? {
            StoreNews::Answered(answer) => Ok(Some(answer)),
            StoreNews::Changed { key, version } => {
                self.changes.push((key, version));
                Ok(None)
            }
        }
    }

    pub(crate) async fn ask_one(&mut self, action: StoreAction) -> Result<StoreOutcome> {
        self.ask(vec![action]).await?.pop().context("one request gets one answer")
    }

    /// A put that must be done.
    pub(crate) async fn put(&mut self, key: ObjectKey, expected: Version, object: Object) -> Result<Version> {
        match self.ask_one(StoreAction::Put { key, expected, object }).await? {
            StoreOutcome::Done(version) => Ok(version),
            other => anyhow::bail!("a put of {key} was not done but {other:?}"),
        }
    }

    /// Waits until the store tells that the object has this version, or one that `fits`.
    pub(crate) async fn told(&mut self, key: ObjectKey, fits: impl Fn(Version) -> bool) -> Result<Version> {
        loop {
            if let Some((_, version)) =
                self.changes.iter().find(|(told, version)| *told == key && fits(*version))
            {
                return Ok(*version);
            }
            self.hear().await.with_context(|| format!("waiting for a change of {key}"))?;
        }
    }

    /// Waits until there is nothing that the store cannot do.
    pub(crate) async fn well(&self) -> Result<()> {
        let mut health = self.store.health();
        let well = health.wait_for(|health| health.faults.is_empty());
        if let Ok(ended) = tokio::time::timeout(PATIENCE, well).await {
            ended.context("the store has ended")?;
            return Ok(());
        }
        let faults: Vec<String> = health.borrow().sentences().collect();
        anyhow::bail!("all is not well after {} s: {faults:?}", PATIENCE.as_secs())
    }
}

/// Waits for all answers, for those who know only a store that blocks. Not to be used on a worker of the runtime.
pub(crate) struct Blocking {
    pub(crate) asker: Asker,
    pub(crate) runtime: Handle,
}

impl Store for Blocking {
    fn execute(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer> {
        match self.runtime.block_on(self.asker.answers(batch)) {
            Ok(answers) => answers,
            Err(error) => panic!("{error:#}"),
        }
    }
}
