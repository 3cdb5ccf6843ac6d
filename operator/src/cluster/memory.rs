//! Whether what the controller remembers of a cluster goes with the LogCluster.
//!
//! It shares the fate of the volumes: records are of no use to anybody without the ids, epochs and replicas of their
//! partitions. Where volumes are kept, a LogCluster that is made again under the name finds both and goes on; where they are
//! deleted, it begins anew.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use taffrail_crds::{CLUSTER_LABEL, ClusterState, LogCluster, PartitionSlice, TopicSlice};

use super::build::names::owner;
use crate::calls::{CallError, call};
use crate::fleet::ClusterKey;

/// With whom the memory of `cluster` goes.
pub fn memory_owner(cluster: &LogCluster) -> Option<OwnerReference> {
    cluster.spec.brokers.storage.delete_claim.then(|| owner(cluster))
}

/// What is to be done about one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Right,
    /// It gets the owner that it should have.
    Mend,
    /// It goes with a LogCluster that is gone already.
    Going,
}

/// Sees to it that what is remembered of `cluster` goes with whom it should. `false` while some of it is still about to go
/// with an earlier LogCluster of the name: no controller may read it then.
///
/// # Errors
///
/// If the API cannot be asked.
pub async fn settle(client: &Client, key: &ClusterKey, cluster: &LogCluster) -> Result<bool, CallError> {
    Ok(settle_kind::<ClusterState>(client, key, cluster).await?
        && settle_kind::<TopicSlice>(client, key, cluster).await?
        && settle_kind::<PartitionSlice>(client, key, cluster).await?)
}

async fn settle_kind<K>(client: &Client, key: &ClusterKey, cluster: &LogCluster) -> Result<bool, CallError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    let kind = K::kind(&());
    let labelled = ListParams::default().labels(&format!("{CLUSTER_LABEL}={}", key.name));
    let found = call(format!("list the {kind}s of LogCluster {key}"), api.list_metadata(&labelled)).await?;
    let wished = memory_owner(cluster);
    let (mut settled, uid) = (true, cluster.uid().unwrap_or_default());
    for object in found {
        let is_going = object.metadata.deletion_timestamp.is_some();
        match verdict(is_going, object.owner_references(), wished.as_ref(), &uid) {
            Verdict::Right => {}
            Verdict::Going => settled = false,
            Verdict::Mend => {
                let name = object.name_any();
                let owners = wished.iter().collect::<Vec<_>>();
                let metadata =
                    json!({"ownerReferences": owners, "resourceVersion": object.metadata.resource_version});
                let patch = Patch::Merge(json!({"metadata": metadata}));
                let what = format!("say of {kind} {name} with whom it goes");
                call(what, api.patch_metadata(&name, &PatchParams::default(), &patch)).await?;
            }
        }
    }
    Ok(settled)
}

fn verdict(is_going: bool, owners: &[OwnerReference], wished: Option<&OwnerReference>, uid: &str) -> Verdict {
    // Whoever owned it and is another LogCluster is gone: there is one of a name.
    if is_going || owners.iter().any(|owner| owner.kind == LogCluster::kind(&()) && owner.uid != uid) {
        return Verdict::Going;
    }
    let is_right = match wished {
        Some(wished) => owners.iter().any(|owner| owner.uid == wished.uid),
        None => owners.iter().all(|owner| owner.kind != LogCluster::kind(&())),
    };
    if is_right { Verdict::Right } else { Verdict::Mend }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(uid: &str) -> OwnerReference {
        OwnerReference { kind: "LogCluster".into(), uid: uid.into(), ..OwnerReference::default() }
    }

    #[test]
    fn what_is_remembered_goes_with_the_volumes_and_never_with_another() {
        let (old, new) = (by("old"), by("new"));
        let verdict = |owners: &[OwnerReference], wished| verdict(false, owners, wished, "new");
        assert_eq!(verdict(&[], None), Verdict::Right);
        assert_eq!(verdict(&[], Some(&new)), Verdict::Mend);
        assert_eq!(verdict(std::slice::from_ref(&new), Some(&new)), Verdict::Right);
        assert_eq!(verdict(std::slice::from_ref(&new), None), Verdict::Mend);
        assert_eq!(verdict(std::slice::from_ref(&old), None), Verdict::Going);
        assert_eq!(verdict(&[old], Some(&new)), Verdict::Going);
        assert_eq!(super::verdict(true, &[], None, "new"), Verdict::Going);
    }
}
