//! The listeners of a LogCluster: where clients connect.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A port that every broker listens on, and how clients get to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.type == oldSelf.type").message(
        "the type of a listener cannot be changed: add a listener of another name and port, move its clients, then \
         remove this one"
    )
)]
pub struct ListenerSpec {
    /// Names the listener; part of its Services' names.
    #[schemars(length(min = 1, max = 15))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z][a-z0-9]*(-[a-z0-9]+)*$')").message(
        "a listener's name has only lower-case letters, digits and single hyphens between them, and begins with a \
         letter: choose such a name"
    ))]
    pub name: String,
    /// How clients get there: internal from inside the Kubernetes cluster, nodeport over a port of every node,
    /// loadbalancer over one load balancer for each broker. It cannot be changed.
    #[serde(rename = "type")]
    pub listener_type: ListenerType,
    /// The port that brokers listen on; of the Services as well, except where nodes' ports are used.
    #[schemars(range(min = 1024, max = 65535))]
    #[x_kube(validation = Rule::new("self != 9644").message(
        "port 9644 is where brokers serve probes and metrics: choose another"
    ))]
    pub port: i32,
}

/// How clients get to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListenerType {
    /// From inside the Kubernetes cluster.
    Internal,
    /// Over a port of every node.
    NodePort,
    /// Over a load balancer for each broker.
    LoadBalancer,
}

pub(super) fn default_listeners() -> Vec<ListenerSpec> {
    vec![ListenerSpec { name: "plain".to_owned(), listener_type: ListenerType::Internal, port: 9092 }]
}

pub(super) fn list_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": ListenerSpec::json_schema(generator),
        "minItems": 1,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "x-kubernetes-validations": [
            {
                "rule": "self.all(l, self.exists_one(other, other.port == l.port))",
                "message": "two listeners have the same port: give each its own",
            },
            {
                "rule": "self.exists(l, l.type == 'internal')",
                "message": "brokers reach each other over an internal listener: keep one listener of that type",
            },
        ],
    })
}
