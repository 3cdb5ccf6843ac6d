//! The PodDisruptionBudget: how many brokers whoever drains nodes may evict at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Wish;
use super::names::{metadata, selector};

pub(super) fn build(wish: &Wish<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(wish.cluster, wish.names().cluster()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(wish.max_unavailable)),
            selector: Some(selector(wish.name())),
            // A pod that never gets ready serves nothing and must not keep a node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
