//! How a stored object stands in Kubernetes: its kind, its name, and the bytes that are written and read.
//!
//! The state is the object's `spec`, as [`Object::encode`] writes it. Its text goes through as it is: nothing between the
//! controller and the API server takes it apart.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::Resource;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use taffrail_controller::model::{Object, ObjectKey};
use taffrail_controller::store::{ObjectKind, Stored, Version};
use taffrail_crds::{CLUSTER_LABEL, ClusterState, PartitionSlice, TopicSlice};

use super::Owner;
use super::fault::Cause;

/// Tells who wrote an object last. It makes two puts of equal content differ: the API server writes nothing, and gives no
/// new version, where an object would stay as it is.
const WRITTEN_BY: &str = "taffrail.dev/written-by";

/// The kinds, in no order that matters.
pub(super) const KINDS: [ObjectKind; 3] = [ObjectKind::Cluster, ObjectKind::Topics, ObjectKind::Partitions];

/// Where one cluster's objects are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) cluster: String,
    pub(super) owner: Owner,
}

/// A kind's names in the Kubernetes API.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) kind: String,
    pub(super) plural: String,
    pub(super) api_version: String,
    /// The path of the kind's objects in the cluster's namespace.
    pub(super) path: String,
}

impl Kind {
    fn of<K: Resource<DynamicType = ()>>(namespace: &str) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
            api_version: K::api_version(&()).into_owned(),
            path: K::url_path(&(), Some(namespace)),
        }
    }
}

impl Place {
    pub(super) fn kind(&self, kind: ObjectKind) -> Kind {
        match kind {
            ObjectKind::Cluster => Kind::of::<ClusterState>(&self.namespace),
            ObjectKind::Topics => Kind::of::<TopicSlice>(&self.namespace),
            ObjectKind::Partitions => Kind::of::<PartitionSlice>(&self.namespace),
        }
    }

    /// The name of the object that stands for `key`.
    pub(super) fn name(&self, key: ObjectKey) -> String {
        match key {
            ObjectKey::Cluster => self.cluster.clone(),
            ObjectKey::Topics(_) | ObjectKey::Partitions(_) => format!("{}-{key}", self.cluster),
        }
    }

    /// What an object of this name stands for; `None` if it is another cluster's. A number is read only as
    /// [`Place::name`] writes it, so that no two names stand for one key.
    pub(super) fn key(&self, kind: ObjectKind, name: &str) -> Option<ObjectKey> {
        let key = match name.strip_prefix(&self.cluster)? {
            "" => ObjectKey::Cluster,
            rest => rest.strip_prefix('-')?.parse().ok()?,
        };
        (key.kind() == kind && self.name(key) == name).then_some(key)
    }

    /// What is sent to write an object. `expected` is the version that it has, unless it is to be made.
    pub(super) fn encode(
        &self,
        key: ObjectKey,
        expected: Version,
        object: &Object,
        written_by: &str,
    ) -> Result<Vec<u8>, Cause> {
        let unwritable = |problem: String| Cause::Unwritable { problem };
        let spec = object.encode().map_err(|error| unwritable(error.to_string()))?;
        serde_json::from_slice::<Exact>(&spec).map_err(|error| unwritable(error.to_string()))?;
        let spec = String::from_utf8(spec).map_err(|error| unwritable(error.to_string()))?;
        let spec = RawValue::from_string(spec).map_err(|error| unwritable(error.to_string()))?;
        let kind = self.kind(key.kind());
        let metadata = ObjectMeta {
            name: Some(self.name(key)),
            namespace: Some(self.namespace.clone()),
            labels: Some([(CLUSTER_LABEL.to_owned(), self.cluster.clone())].into()),
            annotations: Some([(WRITTEN_BY.to_owned(), written_by.to_owned())].into()),
            owner_references: self.owner.lock().clone().map(|owner| vec![owner]),
            resource_version: (expected != Version::ABSENT).then(|| expected.0.to_string()),
            // No manager of fields is noted from the second write on: nothing of this is ever applied, and to work out whose
            // each field is would be a quarter of the API server's work.
            managed_fields: Some(vec![ManagedFieldsEntry::default()]),
            ..ObjectMeta::default()
        };
        let whole = Outgoing { api_version: &kind.api_version, kind: &kind.kind, metadata, spec: &spec };
        serde_json::to_vec(&whole).map_err(|error| unwritable(error.to_string()))
    }

    /// What an object holds; `None` if it is another cluster's.
    pub(super) fn decode(&self, kind: ObjectKind, found: &Found) -> Result<Option<Stored>, Cause> {
        let Some(key) = self.key(kind, &found.metadata.name) else { return Ok(None) };
        let version = version(&found.metadata.resource_version)?;
        let object = Object::decode(key, found.spec.get().as_bytes()).map_err(Cause::from)?;
        Ok(Some(Stored { key, version, object }))
    }
}

/// Resource versions of an API server over etcd are numbers that grow with each write; the Kubernetes API has promised since
/// 1.35 that they can be compared as such.
pub(super) fn version(resource_version: &str) -> Result<Version, Cause> {
    match resource_version.parse() {
        Ok(number) if number > 0 => Ok(Version(number)),
        _ => Err(Cause::NoVersion { found: resource_version.to_owned() }),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outgoing<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: ObjectMeta,
    spec: &'a RawValue,
}

/// An object as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    pub(super) metadata: FoundMetadata,
    pub(super) spec: Box<RawValue>,
}

/// The metadata of an object, of which only this is looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundMetadata {
    pub(super) name: String,
    pub(super) resource_version: String,
}

/// An object of which only the metadata is read.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Glimpse {
    pub(super) metadata: FoundMetadata,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) metadata: PageMetadata,
    /// Null where a list of metadata is empty.
    pub(super) items: Option<Vec<T>>,
}

/// The metadata of a page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMetadata {
    /// The version at which the list was taken; that of the first page holds for all.
    pub(super) resource_version: String,
    /// Where the next page begins; absent or empty on the last one.
    #[serde(default, rename = "continue")]
    pub(super) next: Option<String>,
}

/// JSON that the API server keeps to the digit. It reads a whole number above `i64::MAX` as a floating-point one, and an id
/// that was rounded is another id.
struct Exact;

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Exact)
    }
}

impl<'de> Visitor<'de> for Exact {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "numbers up to {}, as the Kubernetes API would round higher ones", i64::MAX)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self, E> {
        let fits = i64::try_from(number).is_ok();
        if fits { Ok(self) } else { Err(E::invalid_value(serde::de::Unexpected::Unsigned(number), &self)) }
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;
    use taffrail_controller::model::{ClusterState, TopicSlice};

    fn place() -> Place {
        Place { namespace: "shop".to_owned(), cluster: "orders".to_owned(), owner: Owner::default() }
    }

    #[test]
    fn names_and_keys_are_one_to_one() {
        let place = place();
        let keys = [ObjectKey::Cluster, ObjectKey::Topics(127), ObjectKey::Partitions(0)];
        let names = keys.map(|key| place.name(key));
        assert_eq!(names, ["orders", "orders-topics-127", "orders-partitions-0"]);
        for (key, name) in keys.into_iter().zip(&names) {
            assert_eq!(place.key(key.kind(), name), Some(key));
        }
        let strangers = [
            "orders-topics-128",
            "orders-topics-01",
            "orders-topics-+1",
            "orders-eu-topics-1",
            "other-topics-1",
        ];
        for name in strangers {
            assert_eq!(place.key(ObjectKind::Topics, name), None, "{name}");
        }
        assert_eq!(place.key(ObjectKind::Topics, "orders"), None, "of another kind");
        assert_eq!(place.key(ObjectKind::Cluster, "orders-eu"), None, "another cluster");
    }

    #[test]
    fn an_object_is_written_whole_with_the_version_that_it_must_have() {
        let owner =
            OwnerReference { kind: "LogCluster".into(), name: "orders".into(), ..OwnerReference::default() };
        let place = place();
        *place.owner.lock() = Some(owner);
        let object = Object::Cluster(ClusterState::default());
        let document = |expected| {
            let bytes = place.encode(ObjectKey::Cluster, expected, &object, "a-1").unwrap();
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
        };
        let made = document(Version::ABSENT);
        assert_eq!(made["apiVersion"], "taffrail.dev/v1alpha1");
        assert_eq!(made["kind"], "ClusterState");
        assert_eq!(made["metadata"]["labels"]["taffrail.dev/cluster"], "orders");
        assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "LogCluster");
        assert!(made["metadata"]["resourceVersion"].is_null());
        assert_eq!(made["spec"]["format"], 1);
        assert_eq!(document(Version(17))["metadata"]["resourceVersion"], "17");
        assert_eq!(
            made["metadata"]["managedFields"],
            serde_json::json!([{}]),
            "what is known of managers is dropped"
        );
    }

    #[test]
    fn numbers_that_the_api_server_would_round_are_refused() {
        let write = |highest_creation| {
            let object = Object::Topics(TopicSlice { highest_creation, ..TopicSlice::default() });
            place().encode(ObjectKey::Topics(1), Version::ABSENT, &object, "a-1")
        };
        assert!(write(i64::MAX as u64).is_ok());
        let refused = write(i64::MAX as u64 + 1).unwrap_err();
        assert!(refused.to_string().contains("9223372036854775808"), "{refused}");
    }

    #[test]
    fn a_list_without_items_is_empty() {
        for items in ["[]", "null"] {
            let page = format!(r#"{{"metadata": {{"resourceVersion": "7"}}, "items": {items}}}"#);
            let page: Page<Glimpse> = serde_json::from_str(&page).unwrap();
            assert_eq!(page.items.iter().flatten().count(), 0);
        }
    }

    #[test]
    fn only_numbers_are_versions() {
        assert_eq!(version("42").unwrap(), Version(42));
        for found in ["", "0", "-1", "a7", "99999999999999999999"] {
            assert!(version(found).unwrap_err().to_string().contains("not a number"), "{found}");
        }
    }
}
