//! Conditions: how a status says what is the case, since when, and why.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{Schema, SchemaGenerator, json_schema};

/// The type of the condition that sums up all others: whether the object is as its spec wishes.
pub const READY: &str = "Ready";

/// The schema of a list of [`Condition`]: one of each type, so that several writers can own one each.
pub(crate) fn list_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut condition = generator.subschema_for::<Condition>();
    let status = json_schema!({
        "description": "Whether it is so: True, False or Unknown.",
        "type": "string",
        "enum": ["True", "False", "Unknown"],
    });
    if let Some(properties) = condition.get_mut("properties").and_then(|it| it.as_object_mut()) {
        properties.insert("status".to_owned(), status.to_value());
    }
    json_schema!({
        "type": "array",
        "items": condition,
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
