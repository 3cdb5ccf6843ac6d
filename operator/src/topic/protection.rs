//! Whether what Topics are in is there to stay: else that they go does not mean that their data is to go.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResourceExt, Resource, ResourceExt};
use taffrail_crds::{LogCluster, Topic};

use crate::calls::{CallError, call};
use crate::fleet::ClusterKey;

/// Tells people that these topics are kept although their objects are gone.
pub fn held_sentence(held: &[impl AsRef<str>]) -> String {
    let named = held.iter().take(10).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    let more = if held.len() > 10 { ", ..." } else { "" };
    format!(
        "{} topics are kept although their objects are gone, as these went all at once or with what they were in: \
         {named}{more}. Make the objects again to look after the topics, or delete the topics with a Kafka client",
        held.len()
    )
}

/// Whether the kind of Topics, the namespace and the LogCluster are there to stay.
///
/// # Errors
///
/// If that cannot be found out.
pub async fn intact(client: &Client, key: &ClusterKey) -> Result<bool, CallError> {
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let (namespaces, clusters) = (
        Api::<Namespace>::all(client.clone()),
        Api::<LogCluster>::namespaced(client.clone(), &key.namespace),
    );
    Ok(stays(&kinds, Topic::crd_name()).await?
        && stays(&namespaces, &key.namespace).await?
        && stays(&clusters, &key.name).await?)
}

async fn stays<K>(api: &Api<K>, name: &str) -> Result<bool, CallError>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let what = format!("see whether {} {name} is there to stay", K::kind(&()));
    let found = call(what, api.get_opt(name)).await?;
    Ok(found.is_some_and(|object| object.meta().deletion_timestamp.is_none() && object.uid().is_some()))
}
