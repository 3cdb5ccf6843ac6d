//! Objects for the topics that Kafka clients make.

use std::sync::Arc;

use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use taffrail_crds::config::Config;
use taffrail_crds::topic::{ClusterRef, DeletionPolicy};
use taffrail_crds::{CLUSTER_LABEL, Topic, TopicSpec};

use super::naming;
use super::plan::{CLIENT, CREATED_BY, ObjectStep};
use crate::calls::{CallError, call};
use crate::cluster::apply::FIELD_MANAGER;
use crate::fleet::ClusterKey;

/// An object for a client's topic. It names no configuration: that stays the client's.
fn object(key: &ClusterKey, name: &str, topic: &str, partitions: i32) -> Topic {
    let labels = [(CREATED_BY, CLIENT), (CLUSTER_LABEL, key.name.as_str())];
    let spec = TopicSpec {
        cluster_ref: ClusterRef { name: key.name.clone() },
        topic_name: (name != topic).then(|| topic.to_owned()),
        partitions,
        replication_factor: None,
        config: Config::new(),
        deletion_policy: DeletionPolicy::Delete,
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(key.namespace.clone()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..ObjectMeta::default()
    };
    Topic { metadata, spec, status: None }
}

/// Does what is to be done with an object; what the object is then, if it is there. `is_taken` says whether another has
/// the topic's own name.
///
/// # Errors
///
/// If it cannot be done.
pub async fn take(
    client: &Client,
    key: &ClusterKey,
    topic: &str,
    step: &ObjectStep,
    is_taken: bool,
) -> Result<Option<Arc<Topic>>, CallError> {
    let api: Api<Topic> = Api::namespaced(client.clone(), &key.namespace);
    match step {
        ObjectStep::Make { partitions } => {
            let plain = naming::plain(topic).filter(|_| !is_taken);
            let name = plain.unwrap_or_else(|| naming::hashed(&key.name, topic));
            make(&api, &object(key, &name, topic, *partitions)).await.map(Some)
        }
        ObjectStep::Grow { object, partitions } => {
            let parameters =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let patch = Patch::Merge(json!({"spec": {"partitions": partitions}}));
            let what = format!("set the partitions of Topic {}/{object}", key.namespace);
            call(what, api.patch(object, &parameters, &patch)).await.map(|object| Some(Arc::new(object)))
        }
        ObjectStep::Delete { object, uid } => {
            let preconditions = Some(Preconditions { uid: Some(uid.clone()), resource_version: None });
            let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
            let what = format!("delete Topic {}/{object}, whose topic is gone", key.namespace);
            match call(what, api.delete(object, &parameters)).await {
                Err(error) if !matches!(error.code(), Some(404 | 409)) => Err(error),
                _ => Ok(None),
            }
        }
    }
}

/// Makes an object, or finds the one that was made for the same topic before anybody told.
async fn make(api: &Api<Topic>, object: &Topic) -> Result<Arc<Topic>, CallError> {
    let name = object.name_any();
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let what = || format!("make Topic {name} for the topic {} of a Kafka client", object.topic_name());
    match call(what(), api.create(&parameters, object)).await {
        Err(error) if error.code() == Some(409) => {
            let found = call(what(), api.get(&name)).await?;
            let same = found.topic_name() == object.topic_name()
                && found.spec.cluster_ref == object.spec.cluster_ref;
            // What else has the name the watch will tell of; then this one gets another.
            if same { Ok(Arc::new(found)) } else { Err(error) }
        }
        made => made.map(Arc::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_for_a_clients_topic_names_it_and_sets_nothing_else() {
        let key = ClusterKey::new("n", "c");
        let made = object(&key, "orders-1", "Orders", 6);
        assert_eq!((made.topic_name(), made.spec.partitions, made.spec.config.len()), ("Orders", 6, 0));
        assert!(super::super::plan::is_clients(&made));
        assert_eq!(object(&key, "orders", "orders", 1).spec.topic_name, None);
    }
}
