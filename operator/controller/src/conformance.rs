//! The store contract as a test that every implementation runs.

use std::sync::Arc;

use taffrail_protocol::Uuid;

use crate::model::{ClusterState, Object, ObjectKey, Other, PartitionSlice, TopicEntry, TopicSlice};
use crate::store::{
    ObjectKind, Store, StoreAction, StoreAnswer, StoreOutcome, StoreRequest, StoreRequestId, Stored, Version,
};

/// Runs the whole contract of [`crate::store`] against the store that `reopen` opens.
///
/// `reopen` is called several times, each time after the store of the call before was dropped, and must show what was
/// `Done` in it; the first call must show an empty store.
///
/// # Panics
///
/// With the broken promise, where there is one.
pub fn check_store<S: Store>(mut reopen: impl FnMut() -> S) {
    let mut store = Asker { store: reopen(), next_id: 0 };
    starts_empty(&mut store);
    swaps_and_refuses(&mut store);
    batches_are_answered_in_order(&mut store);
    let expected = everything(&mut store);
    drop(store);
    let mut store = Asker { store: reopen(), next_id: 500 };
    assert_eq!(everything(&mut store), expected, "what was done is there after reopening, with its versions");
    versions_go_on_after_reopening(&mut store);
    let expected = everything(&mut store);
    drop(store);
    let mut store = Asker { store: reopen(), next_id: 900 };
    assert_eq!(everything(&mut store), expected, "what was done is there after reopening twice");
}

struct Asker<S> {
    store: S,
    next_id: u64,
}

impl<S: Store> Asker<S> {
    fn request(&mut self, action: StoreAction) -> StoreRequest {
        self.next_id += 1;
        StoreRequest { id: StoreRequestId(self.next_id), action }
    }

    fn ask(&mut self, action: StoreAction) -> StoreOutcome {
        let request = self.request(action);
        let id = request.id;
        let answers = self.store.execute(vec![request]);
        let [StoreAnswer { id: answered, outcome }] = &answers[..] else {
            panic!("one request gets one answer, not {answers:?}");
        };
        assert_eq!(*answered, id, "an answer carries its request's id");
        outcome.clone()
    }

    fn put(&mut self, key: ObjectKey, expected: Version, object: Object) -> StoreOutcome {
        self.ask(StoreAction::Put { key, expected, object })
    }

    fn put_done(&mut self, key: ObjectKey, expected: Version, object: Object) -> Version {
        match self.put(key, expected, object) {
            StoreOutcome::Done(version) => {
                assert!(expected < version, "the version of {key} grows when it is written");
                version
            }
            other => panic!("a put of {key} that expects the present version is done, not {other:?}"),
        }
    }
}

fn cluster(next_incarnation: u64) -> Object {
    Object::Cluster(ClusterState { next_incarnation, ..ClusterState::default() })
}

/// A topic slice with names and values that need care in JSON and UTF-8, and a field that this release does not know.
fn topics(names: u32) -> Object {
    let entry = |i: u32| TopicEntry {
        topic_id: Uuid([i as u8; 16]),
        creation: i64::MAX as u64 - u64::from(i),
        partition_count: i32::MAX,
        config: [("quote\"\\\n".to_owned(), "ünïcode \u{1f980}\0".to_owned())].into(),
        deleting_since_ms: i.is_multiple_of(2).then_some(1),
        pieces: Vec::new(),
        wish: None,
        other: Other::from([("unknown".to_owned(), serde_json::json!({"a": [1, null, -2.5]}))]),
    };
    let topics = (0..names).map(|i| (format!("t{i}"), Arc::new(entry(i)))).collect();
    Object::Topics(TopicSlice { topics, ..TopicSlice::default() })
}

fn everything<S: Store>(store: &mut Asker<S>) -> Vec<Stored> {
    let kinds = [ObjectKind::Cluster, ObjectKind::Topics, ObjectKind::Partitions];
    let mut all = Vec::new();
    for kind in kinds {
        let StoreOutcome::Listed(mut listed) = store.ask(StoreAction::List(kind)) else {
            panic!("a list is answered with a list");
        };
        assert!(
            listed.iter().all(|stored| stored.key.kind() == kind),
            "a list holds only the kind asked for"
        );
        listed.sort_by_key(|stored| stored.key);
        for stored in &listed {
            let loaded = store.ask(StoreAction::Load(stored.key));
            assert_eq!(loaded, StoreOutcome::Loaded(Some(stored.clone())), "list and load agree");
        }
        all.extend(listed);
    }
    all
}

fn starts_empty<S: Store>(store: &mut Asker<S>) {
    assert_eq!(everything(store), [], "a new store is empty");
    for key in [ObjectKey::Cluster, ObjectKey::Topics(127), ObjectKey::Partitions(0)] {
        assert_eq!(store.ask(StoreAction::Load(key)), StoreOutcome::Loaded(None), "{key} does not exist yet");
        let refused = store.put(key, Version(1), cluster(1));
        assert_eq!(
            refused,
            StoreOutcome::Conflict,
            "a put of an absent object that expects a version changes nothing"
        );
    }
    assert_eq!(everything(store), []);
}

fn swaps_and_refuses<S: Store>(store: &mut Asker<S>) {
    let first = store.put_done(ObjectKey::Cluster, Version::ABSENT, cluster(1));
    assert_ne!(first, Version::ABSENT, "a stored object has a version");
    let again = store.put(ObjectKey::Cluster, Version::ABSENT, cluster(7));
    assert_eq!(again, StoreOutcome::Conflict, "an object is made once");
    let second = store.put_done(ObjectKey::Cluster, first, cluster(2));
    assert_ne!(second, first, "a version never comes back");
    assert_eq!(
        store.put(ObjectKey::Cluster, first, cluster(3)),
        StoreOutcome::Conflict,
        "an old version is refused"
    );
    let loaded = store.ask(StoreAction::Load(ObjectKey::Cluster));
    let expected = Stored { key: ObjectKey::Cluster, version: second, object: cluster(2) };
    assert_eq!(loaded, StoreOutcome::Loaded(Some(expected)), "a refused put changes nothing");
    let same = store.put_done(ObjectKey::Cluster, second, cluster(2));
    assert_ne!(same, second, "a put of equal content gets a new version too");
}

fn batches_are_answered_in_order<S: Store>(store: &mut Asker<S>) {
    let slice = |number| ObjectKey::Partitions(number);
    let empty = || Object::Partitions(PartitionSlice::default());
    let mut batch = Vec::new();
    for number in 0..20 {
        let (key, expected) = (slice(number), Version::ABSENT);
        batch.push(store.request(StoreAction::Put { key, expected, object: empty() }));
    }
    let twice = StoreAction::Put { key: slice(3), expected: Version::ABSENT, object: empty() };
    batch.push(store.request(twice));
    batch.push(store.request(StoreAction::Load(slice(4))));
    let big = StoreAction::Put { key: ObjectKey::Topics(5), expected: Version::ABSENT, object: topics(300) };
    batch.push(store.request(big));
    let ids: Vec<StoreRequestId> = batch.iter().map(|request| request.id).collect();
    let answers = store.store.execute(batch);
    assert_eq!(answers.iter().map(|a| a.id).collect::<Vec<_>>(), ids, "each request is answered, in order");
    assert!(answers[..20].iter().all(|a| matches!(a.outcome, StoreOutcome::Done(_))));
    assert_eq!(answers[20].outcome, StoreOutcome::Conflict, "a batch's later put sees its earlier ones");
    assert!(matches!(answers[21].outcome, StoreOutcome::Loaded(Some(_))), "and so does a load");
    assert!(matches!(answers[22].outcome, StoreOutcome::Done(_)));
}

fn versions_go_on_after_reopening<S: Store>(store: &mut Asker<S>) {
    let StoreOutcome::Loaded(Some(before)) = store.ask(StoreAction::Load(ObjectKey::Cluster)) else {
        panic!("the cluster object was done before");
    };
    let after = store.put_done(ObjectKey::Cluster, before.version, cluster(10));
    assert_ne!(after, before.version);
    assert_eq!(store.put(ObjectKey::Cluster, before.version, cluster(11)), StoreOutcome::Conflict);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Shared(Rc<RefCell<MemoryStore>>);

    impl Store for Shared {
        fn execute(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer> {
            self.0.borrow_mut().execute(batch)
        }
    }

    #[test]
    fn the_memory_store_keeps_the_contract() {
        let memory = Rc::default();
        check_store(|| Shared(Rc::clone(&memory)));
    }

    #[test]
    #[should_panic(expected = "what was done is there after reopening")]
    fn a_store_that_forgets_is_found_out() {
        check_store(MemoryStore::default);
    }
}
