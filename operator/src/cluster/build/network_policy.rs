//! The NetworkPolicy, where one is asked for: clients reach the listeners, brokers each other, anybody the port of metrics,
//! and nothing else is let in. What goes out is not limited.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Wish;
use super::names::{ADMIN_PORT, metadata, selector};

pub(super) fn build(wish: &Wish<'_>) -> Option<NetworkPolicy> {
    if !wish.cluster.spec.network_policy.enabled {
        return None;
    }
    let listeners = wish.cluster.spec.listeners.iter().map(|listener| listener.port);
    let open = listeners.chain([ADMIN_PORT]).map(|port| NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    });
    let anybody = NetworkPolicyIngressRule { ports: Some(open.collect()), from: None };
    let brokers =
        NetworkPolicyPeer { pod_selector: Some(selector(wish.name())), ..NetworkPolicyPeer::default() };
    let each_other = NetworkPolicyIngressRule { from: Some(vec![brokers]), ports: None };
    Some(NetworkPolicy {
        metadata: metadata(wish.cluster, wish.names().cluster()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(wish.name())),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![anybody, each_other]),
            ..NetworkPolicySpec::default()
        }),
    })
}
