//! The contract between the controller and what remembers its decisions.
//!
//! The controller asks with a [`StoreRequest`] and goes on; the answer comes later as a [`StoreAnswer`] with the same
//! id. Each object is compared and swapped by itself. A store promises:
//!
//! * A `Put` is answered `Done` only once it is durable, and then every later `Load` and `List` shows it or something
//!   written over it.
//! * A `Put` whose `expected` version is not the object's present one changes nothing and is answered `Conflict`.
//! * An object's version grows whenever it is written.
//! * Where anybody but the asker can write, or a swap may happen after it was answered `Unknown`, the store says so of
//!   itself: [`crate::message::Input::Changed`]. A deletion is told in the same way, with a version above the object's last:
//!   whoever then loads it is told that it is absent. A store with one owner, whose swaps are through when they are
//!   answered, has nothing to say.
//! * `Unknown` says that nothing is known: a put may have happened, may still happen, or not.
//! * A `List` shows everything that was `Done` before it was asked for.
//! * What is asked of one object is carried out in the order in which it was asked.
//! * Numbers up to `i64::MAX` come back as they were, and so do fields of a later release. Higher numbers are no store's
//!   duty: JSON is kept as a document by some, who know no others.
//!
//! [`crate::conformance`] checks any implementation against this.

use std::collections::BTreeMap;

use crate::model::{Object, ObjectKey};

/// The version of a stored object; opaque but for [`Version::ABSENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version of an object that does not exist: a put that expects it makes the object.
    pub const ABSENT: Self = Self(0);
}

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// The cluster state.
    Cluster,
    /// Topic slices.
    Topics,
    /// Partition slices.
    Partitions,
}

impl ObjectKey {
    /// The kind of object it names.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Cluster => ObjectKind::Cluster,
            Self::Topics(_) => ObjectKind::Topics,
            Self::Partitions(_) => ObjectKind::Partitions,
        }
    }
}

/// Names a request; comes back in its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreRequestId(pub u64);

/// A question to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreRequest {
    /// Chosen by the controller.
    pub id: StoreRequestId,
    /// What is asked.
    pub action: StoreAction,
}

/// What a store can do.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreAction {
    /// All objects of a kind.
    List(ObjectKind),
    /// One object.
    Load(ObjectKey),
    /// Compare-and-swap of one object.
    Put {
        /// The object.
        key: ObjectKey,
        /// The version that it must have now.
        expected: Version,
        /// Its new content.
        object: Object,
    },
}

/// An object as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The object's name.
    pub key: ObjectKey,
    /// Its version, never [`Version::ABSENT`].
    pub version: Version,
    /// Its content.
    pub object: Object,
}

/// The answer to a [`StoreRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoreAnswer {
    /// The request's id.
    pub id: StoreRequestId,
    /// What became of it.
    pub outcome: StoreOutcome,
}

/// What became of a [`StoreRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum StoreOutcome {
    /// To a list.
    Listed(Vec<Stored>),
    /// To a load; `None` if there is no such object.
    Loaded(Option<Stored>),
    /// To a put: it happened and is durable, and this is the new version.
    Done(Version),
    /// To a put: another version was there, nothing happened.
    Conflict,
    /// The answer was lost.
    Unknown,
}

/// A store that answers a batch of requests before it returns. Called from a thread that may block.
pub trait Store {
    /// Carries out `batch` in order and answers each request, in order. A batch may share one flush.
    fn execute(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer>;
}

/// What a store says of itself, later than it was asked or without having been.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreNews {
    /// The answer to a request.
    Answered(StoreAnswer),
    /// See [`crate::message::Input::Changed`].
    Changed {
        /// The object.
        key: ObjectKey,
        /// Its version, or one above its last if it was deleted.
        version: Version,
    },
}

/// A store as a shell asks it, which goes on with other things where answers take their time.
pub trait AskStore: Send + 'static {
    /// Takes a batch, and answers at once what it can. All other requests are answered once each, as [`StoreNews`] and within
    /// a time that the store sees to. Called from a thread that may block, for as long as nothing else needs to be decided.
    fn ask(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer>;

    /// [`crate::Policy::isr_coalesce_ms`] over this store: nothing where a write costs little.
    fn isr_coalesce_ms(&self) -> u64 {
        0
    }
}

impl<S: Store + Send + 'static> AskStore for S {
    fn ask(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer> {
        self.execute(batch)
    }
}

/// A store in memory: for tests and the simulator.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    objects: BTreeMap<ObjectKey, (Version, Object)>,
}

impl MemoryStore {
    /// What is stored under `key`.
    pub fn get(&self, key: ObjectKey) -> Option<Stored> {
        self.objects.get(&key).map(|(version, object)| Stored {
            key,
            version: *version,
            object: object.clone(),
        })
    }

    /// Deletes an object, as somebody may who has access to it. Its versions begin anew.
    pub fn remove(&mut self, key: ObjectKey) {
        self.objects.remove(&key);
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = ObjectKey> {
        self.objects.keys().copied()
    }

    fn answer(&mut self, action: StoreAction) -> StoreOutcome {
        match action {
            StoreAction::List(kind) => {
                let keys = self.objects.keys().filter(|key| key.kind() == kind);
                StoreOutcome::Listed(keys.filter_map(|key| self.get(*key)).collect())
            }
            StoreAction::Load(key) => StoreOutcome::Loaded(self.get(key)),
            StoreAction::Put { key, expected, object } => {
                let present = self.objects.get(&key).map_or(Version::ABSENT, |(version, _)| *version);
                if present != expected {
                    return StoreOutcome::Conflict;
                }
                let version = Version(present.0 + 1);
                self.objects.insert(key, (version, object));
                StoreOutcome::Done(version)
            }
        }
    }
}

impl Store for MemoryStore {
    fn execute(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer> {
        let answer =
            |request: StoreRequest| StoreAnswer { id: request.id, outcome: self.answer(request.action) };
        batch.into_iter().map(answer).collect()
    }
}
