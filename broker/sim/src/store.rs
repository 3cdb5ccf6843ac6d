//! The controllers' store: shared, durable, and at the far end of a network that loses and delays.

use taffrail_controller::model::{ClusterState, Object, ObjectKey, PartitionSlice, TopicSlice};
use taffrail_controller::store::{
    MemoryStore, Store, StoreAction, StoreAnswer, StoreOutcome, StoreRequest, StoreRequestId, Version,
};

use taffrail_protocol::Uuid;

use crate::rng::Rng;

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Carried out and answered.
    Answered,
    /// Carried out, and the answer comes twice.
    AnsweredTwice,
    /// Carried out; the asker learns nothing.
    AnswerLost,
    /// Not carried out; the asker learns nothing.
    NeverArrived,
    /// The asker learns nothing, and it is carried out later.
    Late,
}

/// The store.
#[derive(Debug)]
pub struct SimStore {
    memory: MemoryStore,
    backup: Option<MemoryStore>,
    /// Of a thousand requests, so many have another fate than to be answered.
    pub trouble_permille: u64,
}

/// A swap that succeeded.
#[derive(Debug)]
pub struct Swapped {
    /// Which object,
    pub key: ObjectKey,
    /// in which version now.
    pub version: Version,
    /// What was there before.
    pub before: Option<Object>,
    /// What is there now.
    pub after: Object,
}

impl SimStore {
    /// An empty store.
    pub fn new(trouble_permille: u64) -> Self {
        Self { memory: MemoryStore::default(), backup: None, trouble_permille }
    }

    /// Draws what becomes of the next request.
    pub fn fate(&self, rng: &mut Rng) -> Fate {
        if !rng.permille(self.trouble_permille) {
            return Fate::Answered;
        }
        match rng.below(4) {
            0 => Fate::AnsweredTwice,
            1 => Fate::AnswerLost,
            2 => Fate::NeverArrived,
            _ => Fate::Late,
        }
    }

    /// Carries a request out.
    pub fn execute(&mut self, request: StoreRequest) -> (StoreAnswer, Option<Swapped>) {
        let id = request.id;
        let put = match &request.action {
            StoreAction::Put { key, object, .. } => Some((*key, self.get(*key), object.clone())),
            StoreAction::List(_) | StoreAction::Load(_) => None,
        };
        let answer = self.memory.execute(vec![request]).pop();
        let answer = answer.unwrap_or(StoreAnswer { id, outcome: StoreOutcome::Unknown });
        let swapped = match (put, &answer.outcome) {
            (Some((key, before, after)), StoreOutcome::Done(version)) => {
                Some(Swapped { key, version: *version, before, after })
            }
            _ => None,
        };
        (answer, swapped)
    }

    /// What is stored.
    pub fn get(&self, key: ObjectKey) -> Option<Object> {
        self.memory.get(key).map(|stored| stored.object)
    }

    /// Every object's version.
    pub fn versions(&self) -> Vec<(ObjectKey, Version)> {
        let version = |key| Some((key, self.memory.get(key)?.version));
        self.memory.keys().filter_map(version).collect()
    }

    /// Everything that is stored.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        self.memory.keys().filter_map(|key| self.get(key))
    }

    /// Whether a topic exists, and is not being deleted.
    pub fn has_topic(&self, topic_id: Uuid) -> bool {
        let has = |object: Object| match object {
            Object::Topics(slice) => {
                let mut topics = slice.topics.values();
                topics.any(|topic| topic.topic_id == topic_id && topic.deleting_since_ms.is_none())
            }
            _ => false,
        };
        self.objects().any(has)
    }

    /// Takes a backup. Brokers refuse a store that has never heard of their cluster, so one from before there was any is
    /// of no use.
    pub fn back_up(&mut self) {
        let has_cluster = self.memory.get(ObjectKey::Cluster).is_some();
        self.backup = has_cluster.then(|| self.memory.clone());
    }

    /// Puts the backup's content in place, if there is one; what was made since is empty then. Whether there was one.
    pub fn restore(&mut self) -> bool {
        let Some(backup) = &self.backup else { return false };
        for key in self.memory.keys().collect::<Vec<_>>() {
            let object = backup.get(key).map_or_else(|| empty(key), |stored| stored.object);
            // Versions go on: a restored object is a new one.
            let expected = self.memory.get(key).map_or(Version::ABSENT, |stored| stored.version);
            let action = StoreAction::Put { key, expected, object };
            self.memory.execute(vec![StoreRequest { id: StoreRequestId(0), action }]);
        }
        true
    }
}

fn empty(key: ObjectKey) -> Object {
    match key {
        ObjectKey::Cluster => Object::Cluster(ClusterState::default()),
        ObjectKey::Topics(_) => Object::Topics(TopicSlice::default()),
        ObjectKey::Partitions(_) => Object::Partitions(PartitionSlice::default()),
    }
}
