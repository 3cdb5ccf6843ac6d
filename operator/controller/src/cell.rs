//! One stored object as the controller holds it: what is committed, what is being written, and what waits for its turn.
//!
//! At most one write of an object is in flight. Whatever comes meanwhile waits in the queue and shares the next write.
//! When a swap fails or its answer is lost the object is read again, and the same intents are decided anew on what is
//! there (rule 1).

use std::collections::VecDeque;

use crate::model::{Object, ObjectKey};
use crate::store::{StoreAction, StoreRequestId, Version};

/// A kind of object that a cell can hold.
pub(crate) trait CellObject: Clone + Default + PartialEq {
    fn wrap(self) -> Object;
    fn unwrap(object: Object) -> Option<Self>;
}

macro_rules! cell_object {
    ($type:ident, $variant:ident) => {
        impl CellObject for crate::model::$type {
            fn wrap(self) -> Object {
                Object::$variant(self)
            }

            fn unwrap(object: Object) -> Option<Self> {
                match object {
                    Object::$variant(object) => Some(object),
                    _ => None,
                }
            }
        }
    };
}

cell_object!(ClusterState, Cluster);
cell_object!(TopicSlice, Topics);
cell_object!(PartitionSlice, Partitions);

/// What the cell waits for.
#[derive(Debug)]
enum Flight<T, I, D> {
    Idle,
    /// `proposed` may be committed or not: nothing outside may depend on it.
    Writing {
        request: StoreRequestId,
        proposed: T,
        decided: Vec<(I, D)>,
    },
    /// The object must be read again before it is decided on; `None` until it has been asked for.
    Reading {
        request: Option<StoreRequestId>,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cell<T, I, D> {
    pub(crate) key: ObjectKey,
    version: Version,
    /// The last content known to be stored. Everything that is told to anyone comes from here.
    committed: T,
    queue: VecDeque<I>,
    flight: Flight<T, I, D>,
    /// The object is to be read once what is in flight has come back.
    read_next: bool,
    /// The highest version that the store told of since the object was last asked for.
    told: Version,
}

/// What an intent came to, on the object it was decided on.
pub(crate) enum Verdict<I, D> {
    /// Decided; the object was changed.
    Changed(I, D),
    /// Decided; the object stays as it is.
    Unchanged(I, D),
    /// Cannot be decided before something else has happened, which will make the cell ready again.
    Later(I),
}

/// What became of a cell's turn.
pub(crate) enum Turn<I, D> {
    /// Nothing to do.
    Nothing,
    /// Ask the store, and note under which id with [`Cell::asked`].
    Ask(StoreAction),
    /// All was decided without a change.
    Settled(Vec<(I, D)>),
}

/// A new committed content.
pub(crate) struct Commit<T, I, D> {
    pub(crate) before: T,
    pub(crate) decided: Vec<(I, D)>,
}

impl<T: CellObject, I, D> Cell<T, I, D> {
    pub(crate) fn new(key: ObjectKey) -> Self {
        let (committed, queue) = (T::default(), VecDeque::new());
        let (version, told) = (Version::ABSENT, Version::ABSENT);
        Self { key, version, committed, queue, flight: Flight::Idle, read_next: false, told }
    }

    pub(crate) fn committed(&self) -> &T {
        &self.committed
    }

    /// What is being written, or else what is committed.
    pub(crate) fn latest(&self) -> &T {
        match &self.flight {
            Flight::Writing { proposed, .. } => proposed,
            Flight::Idle | Flight::Reading { .. } => &self.committed,
        }
    }

    /// Whether the question in flight has this id.
    pub(crate) fn awaits(&self, id: StoreRequestId) -> bool {
        match &self.flight {
            Flight::Writing { request, .. } | Flight::Reading { request: Some(request) } => *request == id,
            Flight::Idle | Flight::Reading { request: None } => false,
        }
    }

    /// Whether the object is to be read and has not been asked for.
    pub(crate) fn wants_read(&self) -> bool {
        matches!(self.flight, Flight::Reading { request: None })
    }

    pub(crate) fn enqueue(&mut self, intent: I) {
        self.queue.push_back(intent);
    }

    /// To be decided before all that waits.
    pub(crate) fn enqueue_first(&mut self, intent: I) {
        self.queue.push_front(intent);
    }

    /// Asks that the object be read again, by a question that is sent from now on, before anything more is decided on it.
    pub(crate) fn reread(&mut self) {
        match self.flight {
            Flight::Idle => self.flight = Flight::Reading { request: None },
            Flight::Reading { request: None } => {}
            // What is in flight may have been answered before now.
            Flight::Writing { .. } | Flight::Reading { request: Some(_) } => self.read_next = true,
        }
    }

    /// The store tells that the object has, or had, this version. While something is in flight that says nothing yet: the
    /// write may be this cell's own, whose answer is on its way.
    pub(crate) fn told_of(&mut self, version: Version) {
        self.told = self.told.max(version);
    }

    /// Has the object read again if the store told of a version that somebody else must have written. Whether it did.
    pub(crate) fn catch_up(&mut self) -> bool {
        let behind = self.is_idle() && self.version < self.told;
        if behind {
            self.reread();
        }
        behind
    }

    /// What the cell does after something in flight came back.
    fn rest(&mut self) -> Flight<T, I, D> {
        if std::mem::take(&mut self.read_next) { Flight::Reading { request: None } } else { Flight::Idle }
    }

    /// Whether the object is neither being written nor read.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.flight, Flight::Idle)
    }

    /// Whether an intent that fits `matches` waits or is in flight.
    pub(crate) fn has(&self, matches: impl Fn(&I) -> bool) -> bool {
        let in_flight = match &self.flight {
            Flight::Writing { decided, .. } => decided.iter().any(|(intent, _)| matches(intent)),
            Flight::Idle | Flight::Reading { .. } => false,
        };
        in_flight || self.waits(matches)
    }

    /// Whether an intent that fits `matches` waits.
    pub(crate) fn waits(&self, matches: impl Fn(&I) -> bool) -> bool {
        self.queue.iter().any(matches)
    }

    /// What waits.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = &I> {
        self.queue.iter()
    }

    /// Decides what waits, if the cell is free, and says what to ask the store.
    pub(crate) fn turn(&mut self, mut decide: impl FnMut(&mut T, I) -> Verdict<I, D>) -> Turn<I, D> {
        match &self.flight {
            Flight::Reading { request: None } => {
                // The answer shows all that was told of so far, or a store that was put back to before it.
                self.told = Version::ABSENT;
                return Turn::Ask(StoreAction::Load(self.key));
            }
            Flight::Idle if !self.queue.is_empty() => {}
            _ => return Turn::Nothing,
        }
        let mut proposed = self.committed.clone();
        let (mut decided, mut later, mut changed) = (Vec::new(), VecDeque::new(), false);
        for intent in std::mem::take(&mut self.queue) {
            match decide(&mut proposed, intent) {
                Verdict::Changed(intent, outcome) => {
                    changed = true;
                    decided.push((intent, outcome));
                }
                Verdict::Unchanged(intent, outcome) => decided.push((intent, outcome)),
                Verdict::Later(intent) => later.push_back(intent),
            }
        }
        self.queue = later;
        if !changed {
            return if decided.is_empty() { Turn::Nothing } else { Turn::Settled(decided) };
        }
        let object = proposed.clone().wrap();
        // The id is filled in by `asked`, which follows at once.
        self.flight = Flight::Writing { request: StoreRequestId(0), proposed, decided };
        Turn::Ask(StoreAction::Put { key: self.key, expected: self.version, object })
    }

    /// The question of the last turn was sent under `id`.
    pub(crate) fn asked(&mut self, id: StoreRequestId) {
        match &mut self.flight {
            Flight::Idle => {}
            Flight::Writing { request, .. } => *request = id,
            Flight::Reading { request } => *request = Some(id),
        }
    }

    /// The store says that the write in flight was done.
    pub(crate) fn done(&mut self, id: StoreRequestId, version: Version) -> Option<Commit<T, I, D>> {
        match std::mem::replace(&mut self.flight, Flight::Idle) {
            Flight::Writing { request, proposed, decided } if request == id => {
                self.flight = self.rest();
                self.version = version;
                let before = std::mem::replace(&mut self.committed, proposed);
                Some(Commit { before, decided })
            }
            other => {
                self.flight = other;
                None
            }
        }
    }

    /// The write in flight failed, or its answer was lost: its intents go back to the head of the queue, and the object
    /// is to be read. A read whose answer was lost is to be asked again. Whether it was a read.
    pub(crate) fn failed(&mut self, id: StoreRequestId) -> bool {
        match std::mem::replace(&mut self.flight, Flight::Reading { request: None }) {
            Flight::Writing { request, decided, .. } if request == id => {
                self.read_next = false;
                decided.into_iter().rev().for_each(|(intent, _)| self.queue.push_front(intent));
                false
            }
            Flight::Reading { request: Some(request) } if request == id => {
                self.read_next = false;
                true
            }
            other => {
                self.flight = other;
                true
            }
        }
    }

    /// The object was read. Answers what was committed before.
    pub(crate) fn loaded(&mut self, id: StoreRequestId, version: Version, content: T) -> Option<T> {
        match &self.flight {
            Flight::Reading { request: Some(request) } if *request == id => {
                self.flight = self.rest();
                Some(self.fill(version, content))
            }
            _ => None,
        }
    }

    /// Takes over what the store holds. Answers what was committed before.
    pub(crate) fn fill(&mut self, version: Version, content: T) -> T {
        self.version = version;
        std::mem::replace(&mut self.committed, content)
    }
}
