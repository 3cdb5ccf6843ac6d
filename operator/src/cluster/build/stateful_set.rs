//! The StatefulSet: brokers that start all at once, and pods that nobody but the operator replaces.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use taffrail_crds::logcluster::VolumeSpec;

use super::names::{TEMPLATES, labels, metadata, selector};
use super::{Child, Wish};

pub(super) fn build(wish: &Wish<'_>) -> Child {
    let names = wish.names();
    let mut metadata = metadata(wish.cluster, names.cluster());
    metadata.annotations = Some(BTreeMap::from([(TEMPLATES.to_owned(), wish.templates.encode())]));
    let storage = &wish.cluster.spec.brokers.storage;
    let retained = if storage.delete_claim { "Delete" } else { "Retain" }.to_owned();
    let claims = storage.volumes_by_name().into_iter().map(|volume| claim(wish, volume));
    let spec = StatefulSetSpec {
        replicas: Some(wish.replicas),
        service_name: Some(names.brokers()),
        selector: selector(wish.name()),
        pod_management_policy: Some("Parallel".to_owned()),
        update_strategy: Some(StatefulSetUpdateStrategy {
            type_: Some("OnDelete".to_owned()),
            ..StatefulSetUpdateStrategy::default()
        }),
        persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
            when_deleted: Some(retained.clone()),
            when_scaled: Some(retained),
        }),
        volume_claim_templates: Some(claims.collect()),
        min_ready_seconds: Some(0),
        revision_history_limit: Some(10),
        template: PodTemplateSpec::default(),
        ..StatefulSetSpec::default()
    };
    let mut child = Child::new(&StatefulSet { metadata, spec: Some(spec), ..StatefulSet::default() });
    child.object["spec"]["template"] = wish.templates.current.template.clone();
    child
}

/// Nothing of a claim template can change once the StatefulSet is there, labels included: claims are grown one by one.
fn claim(wish: &Wish<'_>, volume: &VolumeSpec) -> PersistentVolumeClaim {
    let size: &Quantity = wish.first_sizes.get(&volume.name).unwrap_or(&volume.size);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(volume.name.clone()),
            labels: Some(labels(wish.name())),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: volume.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size.clone())])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
