//! The objects that the operator remembers in: [`ClusterState`], [`TopicSlice`] and [`PartitionSlice`].
//!
//! Their state stands in `spec`, as `operator/controller` encodes it: a `format` and whatever that format holds. The
//! API server checks the format and keeps all else as it is, so that an older definition takes nothing away from what
//! a newer operator wrote. They have no status, as nothing in them is a summary. People read them and never write
//! them: `kubectl get taffrail-internal`.
//!
//! An object belongs to the LogCluster that [`crate::CLUSTER_LABEL`] names, in its own namespace.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a format holds besides its number: the top level of the encoded object.
pub type State = BTreeMap<String, serde_json::Value>;

/// The format's number.
fn format_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": u32::MAX })
}

macro_rules! internal_kind {
    ($spec:ident, $kind:literal, $text:literal) => {
        #[doc = $text]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
        #[kube(
                    group = "taffrail.dev",
                    version = "v1alpha1",
                    kind = $kind,
                    doc = $text,
                    namespaced,
                    derive = "PartialEq",
                    category = "taffrail-internal",
                    printcolumn(
                        name = "Cluster",
                        type_ = "string",
                        json_path = ".metadata.labels.taffrail\\.dev/cluster"
                    ),
                    printcolumn(name = "Format", type_ = "integer", json_path = ".spec.format"),
                    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
                )]
        pub struct $spec {
            /// Tells how the other fields are to be read. An operator that does not know a format touches nothing.
            #[schemars(schema_with = "format_schema")]
            pub format: u32,
            /// The other fields, kept as they are.
            #[serde(flatten)]
            pub state: State,
        }
    };
}

internal_kind!(
    ClusterStateSpec,
    "ClusterState",
    "What the operator remembers of a cluster as a whole: its id and its brokers. Written by the operator alone."
);

internal_kind!(
    TopicSliceSpec,
    "TopicSlice",
    "The topics of a cluster whose names fall into one of 128 slices. Written by the operator alone."
);

internal_kind!(
    PartitionSliceSpec,
    "PartitionSlice",
    "Replicas, leaders and in-sync replicas of up to 500 or so partitions. Written by the operator alone."
);

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_encoded_state_comes_back_as_it_was() {
        let state =
            json!({"format": 1, "cluster_id": "x", "brokers": [{"broker_id": 0}], "later": {"a": [1, null]}});
        let spec: ClusterStateSpec = serde_json::from_value(state.clone()).unwrap();
        assert_eq!(spec.format, 1);
        assert!(!spec.state.contains_key("format"), "the format would be written twice");
        assert_eq!(serde_json::to_value(&spec).unwrap(), state);
    }

    #[test]
    fn the_api_server_asks_for_a_format_and_keeps_what_it_does_not_know() {
        for crd in [ClusterState::crd(), TopicSlice::crd(), PartitionSlice::crd()] {
            let version = serde_json::to_value(&crd.spec.versions[0]).unwrap();
            let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
            assert_eq!(spec["x-kubernetes-preserve-unknown-fields"], json!(true));
            assert_eq!(spec["required"], json!(["format"]));
            assert!(version["subresources"]["status"].is_null());
            assert_eq!(crd.spec.names.categories.unwrap(), ["taffrail-internal"]);
        }
    }
}
