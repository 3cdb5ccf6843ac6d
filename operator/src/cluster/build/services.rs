//! The Services: one that names every pod, one that clients inside begin with, and for each external listener one to begin
//! with and one for each broker.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use taffrail_crds::logcluster::{ListenerSpec, ListenerType};

use super::Wish;
use super::names::{ADMIN_PORT, ADMIN_PORT_NAME, POD_INDEX, metadata, selector_labels};

/// Brokers find each other under the names that it gives, before they are ready too: a broker is ready only once it has
/// found others.
pub(super) fn headless(wish: &Wish<'_>) -> Service {
    let mut ports: Vec<_> = wish.cluster.spec.listeners.iter().map(port).collect();
    ports.push(ServicePort {
        name: Some(ADMIN_PORT_NAME.to_owned()),
        port: ADMIN_PORT,
        target_port: Some(IntOrString::String(ADMIN_PORT_NAME.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    });
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ..spec(wish, ports)
    };
    service(wish, wish.names().brokers(), spec)
}

pub(super) fn bootstrap(wish: &Wish<'_>) -> Service {
    let listeners = wish.cluster.spec.listeners.iter();
    let internal = listeners.filter(|listener| listener.listener_type == ListenerType::Internal);
    service(wish, wish.names().bootstrap(), spec(wish, internal.map(port).collect()))
}

/// Those of all external listeners, each with the one to begin with first.
pub(super) fn external(wish: &Wish<'_>) -> Vec<Service> {
    let (names, mut services) = (wish.names(), Vec::new());
    for listener in &wish.cluster.spec.listeners {
        let service_type = match listener.listener_type {
            ListenerType::Internal => continue,
            ListenerType::NodePort => "NodePort",
            ListenerType::LoadBalancer => "LoadBalancer",
        };
        // Any node passes a connection on (externalTrafficPolicy Cluster), at the cost of a hop where it is not the
        // broker's own: an address that clients remember goes on working while a pod moves to another node.
        let exposed = || ServiceSpec {
            type_: Some(service_type.to_owned()),
            external_traffic_policy: Some("Cluster".to_owned()),
            ..spec(wish, vec![port(listener)])
        };
        services.push(service(wish, names.external_bootstrap(&listener.name), exposed()));
        for id in 0..wish.replicas {
            let mut spec = exposed();
            // Clients are told this address by brokers that know what is up; whether the broker is ready is not to be
            // decided a second time on the way.
            spec.publish_not_ready_addresses = Some(true);
            if let Some(selector) = &mut spec.selector {
                selector.insert(POD_INDEX.to_owned(), id.to_string());
            }
            services.push(service(wish, names.external(&listener.name, id), spec));
        }
    }
    services
}

fn port(listener: &ListenerSpec) -> ServicePort {
    ServicePort {
        name: Some(listener.name.clone()),
        port: listener.port,
        target_port: Some(IntOrString::String(listener.name.clone())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

fn spec(wish: &Wish<'_>, ports: Vec<ServicePort>) -> ServiceSpec {
    ServiceSpec { ports: Some(ports), selector: Some(selector_labels(wish.name())), ..ServiceSpec::default() }
}

fn service(wish: &Wish<'_>, name: String, spec: ServiceSpec) -> Service {
    Service { metadata: metadata(wish.cluster, name), spec: Some(spec), ..Service::default() }
}
