//! What the operator knows of brokers better than they do: the racks of their nodes, the addresses at which clients outside
//! reach them, and who is about to go.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Service};
use kube::ResourceExt;
use taffrail_controller::directory::{Directory, Listing};
use taffrail_controller::model::Endpoint;
use taffrail_crds::LogCluster;
use taffrail_crds::logcluster::{ListenerSpec, ListenerType};

use super::build::names::{Names, listener_name};
use super::cordon::drains;
use super::live::Host;
use super::status::balancer_host;

/// The directory of `cluster`, whose brokers run on `hosts` and have `services`, by name. What is not known is left out.
pub fn directory(
    cluster: &LogCluster,
    hosts: &BTreeMap<i32, Host>,
    services: &BTreeMap<String, Service>,
) -> Directory {
    let namespace = cluster.namespace().unwrap_or_default();
    let name = cluster.name_any();
    let names = Names::new(&namespace, &name);
    let listing = |(id, Host { node, .. }): (&i32, &Host)| {
        let external = cluster.spec.listeners.iter();
        let endpoints = external.filter_map(|listener| {
            let service = services.get(&names.external(&listener.name, *id))?;
            endpoint(listener, node, service)
        });
        let rack = node.labels().get(&cluster.spec.brokers.rack.topology_key).cloned();
        (*id, Listing { rack, endpoints: endpoints.collect() })
    };
    let is_leaving = |id: &i32| *id >= cluster.spec.brokers.replicas;
    let yielding = hosts.iter().filter(|(id, Host { pod, node })| is_leaving(id) || drains(node, pod));
    Directory {
        brokers: hosts.iter().map(listing).collect(),
        leaving: hosts.keys().copied().filter(is_leaving).collect(),
        yielding: yielding.map(|(id, _)| *id).collect(),
        name_ttl_ms: cluster.spec.dns_ttl_seconds.unsigned_abs() * 1_000,
    }
}

fn endpoint(listener: &ListenerSpec, node: &Node, service: &Service) -> Option<Endpoint> {
    let (host, port) = match listener.listener_type {
        ListenerType::Internal => return None,
        ListenerType::NodePort => {
            let port = service.spec.as_ref()?.ports.as_ref()?.first()?.node_port?;
            (node_address(node)?, port)
        }
        ListenerType::LoadBalancer => (balancer_host(service)?, listener.port),
    };
    Some(Endpoint { listener: listener_name(&listener.name), host, port: port.try_into().ok()? })
}

/// Where a node is reached, from as far away as may be.
fn node_address(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let of = |kind: &str| addresses.iter().find(|address| address.type_ == kind);
    let found = ["ExternalIP", "ExternalDNS", "InternalIP", "Hostname"].into_iter().find_map(of)?;
    Some(found.address.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn host(node: serde_json::Value) -> Host {
        Host { pod: Arc::default(), node: Arc::new(serde_json::from_value(node).unwrap()) }
    }

    fn node(labels: serde_json::Value, addresses: &[(&str, &str)]) -> Host {
        let addresses: Vec<_> =
            addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
        host(json!({"metadata": {"labels": labels}, "status": {"addresses": addresses}}))
    }

    fn cluster() -> LogCluster {
        serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "LogCluster",
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"listeners": [
                {"name": "plain", "type": "internal", "port": 9092},
                {"name": "outside", "type": "nodeport", "port": 9094},
                {"name": "world", "type": "loadbalancer", "port": 9095},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_broker_is_in_the_rack_of_its_node_and_reached_at_the_node_and_the_balancer() {
        let zone = json!({"topology.kubernetes.io/zone": "a"});
        let nodes = BTreeMap::from([
            (0, node(zone, &[("Hostname", "n0"), ("InternalIP", "10.0.0.1"), ("ExternalIP", "192.0.2.1")])),
            (1, node(json!({}), &[("Hostname", "n1"), ("InternalIP", "10.0.0.2")])),
        ]);
        let service = |value| serde_json::from_value::<Service>(value).unwrap();
        let node_port = |port: i32| service(json!({"spec": {"ports": [{"port": 9094, "nodePort": port}]}}));
        let balancer = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}});
        let services = BTreeMap::from([
            ("orders-outside-0".to_owned(), node_port(31000)),
            ("orders-outside-1".to_owned(), node_port(31001)),
            ("orders-world-0".to_owned(), service(balancer)),
            ("orders-world-1".to_owned(), service(json!({}))),
        ]);
        let directory = directory(&cluster(), &nodes, &services);
        let endpoint = |listener: &str, host: &str, port| Endpoint {
            listener: listener.to_owned(),
            host: host.to_owned(),
            port,
        };
        let zero = Listing {
            rack: Some("a".to_owned()),
            endpoints: vec![endpoint("OUTSIDE", "192.0.2.1", 31000), endpoint("WORLD", "lb.example", 9095)],
        };
        let one = Listing { rack: None, endpoints: vec![endpoint("OUTSIDE", "10.0.0.2", 31001)] };
        assert_eq!(directory.brokers, BTreeMap::from([(0, zero), (1, one)]));
    }

    #[test]
    fn brokers_yield_whose_nodes_are_drained_or_who_leave() {
        let mut cluster = cluster();
        (cluster.spec.brokers.replicas, cluster.spec.dns_ttl_seconds) = (3, 30);
        let (free, cordoned) = (json!({}), json!({"spec": {"unschedulable": true}}));
        let nodes = [(0, &free), (1, &cordoned), (2, &free), (3, &free), (4, &cordoned)];
        let hosts = nodes.into_iter().map(|(id, node)| (id, host(node.clone()))).collect();
        let directory = directory(&cluster, &hosts, &BTreeMap::new());
        assert_eq!(directory.yielding, BTreeSet::from([1, 3, 4]));
        assert_eq!(directory.leaving, BTreeSet::from([3, 4]));
        assert_eq!(directory.name_ttl_ms, 30_000);
    }
}
