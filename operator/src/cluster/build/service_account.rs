//! The ServiceAccount that brokers show themselves to the controller as. It may do nothing in the Kubernetes API.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::Wish;
use super::names::metadata;

pub(super) fn build(wish: &Wish<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(wish.cluster, wish.names().cluster()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
