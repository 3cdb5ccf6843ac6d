//! Bringing children to what they shall be, and leaving alone those that are.
//!
//! A child is applied when something else is wished of it than was last applied, or when it is not as it was after that:
//! somebody changed or deleted it. Both are told without comparing fields, as the API server writes values in its own way.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use kube::Client;
use kube::api::{Api, DynamicObject, ObjectMeta, Patch, PatchParams};
use parking_lot::Mutex;

use super::build::Child;
use crate::calls::{CallError, call};
use crate::fleet::ClusterKey;

/// Who writes, in the eyes of the API server.
pub const FIELD_MANAGER: &str = "taffrail-operator";

/// What was last applied, by kind and name.
type Applied = BTreeMap<(String, String), Last>;

/// What was last applied to a child, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Last {
    wish: u64,
    was: Fingerprint,
}

/// Tells whether an object changed where it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    version: u64,
    content: u64,
}

impl Fingerprint {
    /// Where a kind counts the generations of what is wished of it, its status may change as it likes.
    fn of(metadata: &ObjectMeta) -> Self {
        let ObjectMeta { uid, generation, resource_version, labels, annotations, owner_references, .. } =
            metadata;
        let mut hasher = DefaultHasher::new();
        (uid, labels, annotations, generation).hash(&mut hasher);
        for owner in owner_references.iter().flatten() {
            (&owner.uid, owner.controller).hash(&mut hasher);
        }
        if generation.is_none() {
            resource_version.hash(&mut hasher);
        }
        let version = resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or_default();
        Self { version, content: hasher.finish() }
    }
}

/// Whether a child has to be applied. `live` is what a watch says, which may be late.
fn is_due(wish: u64, last: Option<&Last>, live: Option<&ObjectMeta>) -> bool {
    let Some(last) = last.filter(|last| last.wish == wish) else { return true };
    let Some(live) = live.map(Fingerprint::of) else { return true };
    // An older version is what was written over.
    live.version >= last.was.version && live.content != last.was.content
}

/// Applies children and remembers what came of it.
#[derive(Debug, Default)]
pub struct Applier {
    applied: Mutex<BTreeMap<ClusterKey, Applied>>,
}

impl Applier {
    /// Brings one child to what it shall be; whether anything was sent.
    ///
    /// # Errors
    ///
    /// If the API refuses it or does not answer.
    pub async fn apply(
        &self,
        client: &Client,
        key: &ClusterKey,
        child: &Child,
        live: Option<&ObjectMeta>,
    ) -> Result<bool, CallError> {
        let kind = &child.resource.kind;
        let wish = hash(&child.object.to_string());
        let place = (kind.clone(), child.name.clone());
        if !is_due(wish, self.last(key, &place).as_ref(), live) {
            return Ok(false);
        }
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &child.resource);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&child.object);
        let what = format!("apply {kind} {}", child.name);
        let written = call(what, api.patch(&child.name, &parameters, &patch)).await?;
        tracing::debug!("applied {kind} {}/{}", key.namespace, child.name);
        let last = Last { wish, was: Fingerprint::of(&written.metadata) };
        self.applied.lock().entry(key.clone()).or_default().insert(place, last);
        Ok(true)
    }

    /// Forgets what was applied for a cluster that is gone.
    pub fn forget(&self, key: &ClusterKey) {
        self.applied.lock().remove(key);
    }

    fn last(&self, key: &ClusterKey, place: &(String, String)) -> Option<Last> {
        self.applied.lock().get(key)?.get(place).cloned()
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(version: u64, generation: Option<i64>, label: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some("u".to_owned()),
            resource_version: Some(version.to_string()),
            generation,
            labels: Some(BTreeMap::from([("a".to_owned(), label.to_owned())])),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_child_is_applied_when_it_or_the_wish_changed() {
        let applied = metadata(10, Some(1), "x");
        let last = Last { wish: 7, was: Fingerprint::of(&applied) };
        let due = |wish, live: Option<ObjectMeta>| is_due(wish, Some(&last), live.as_ref());
        assert!(is_due(7, None, Some(&applied)), "nothing is known of it");
        assert!(!due(7, Some(applied.clone())));
        assert!(due(8, Some(applied)), "something else is wished");
        assert!(due(7, None), "it was deleted");
        assert!(!due(7, Some(metadata(11, Some(1), "x"))), "its status changed");
        assert!(due(7, Some(metadata(11, Some(2), "x"))), "its spec changed");
        assert!(due(7, Some(metadata(11, Some(1), "y"))), "its labels changed");
        assert!(!due(7, Some(metadata(9, None, "y"))), "the watch is behind");
        let made_again = ObjectMeta { uid: Some("v".to_owned()), ..metadata(12, Some(1), "x") };
        assert!(due(7, Some(made_again)));
    }

    #[test]
    fn where_no_generation_is_counted_every_change_counts() {
        let last = Last { wish: 7, was: Fingerprint::of(&metadata(10, None, "x")) };
        assert!(!is_due(7, Some(&last), Some(&metadata(10, None, "x"))));
        assert!(is_due(7, Some(&last), Some(&metadata(11, None, "x"))));
    }
}
