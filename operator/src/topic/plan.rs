//! What is to be done about one topic, from what is wished and what there is. Pure.
//!
//! | object | topic | |
//! |---|---|---|
//! | yes | no | the topic is made; an object that stood for a client's topic goes with it |
//! | yes | yes | the topic grows, is configured, gets more or fewer replicas, until it is as wished |
//! | no | yes, and none was ever wished | a client made it: it gets an object |
//! | no | yes, and its object is gone | it is deleted after the grace, kept, or held: see [`Vanished`] |
//!
//! Each step is decided anew from what is published; a step that was begun by an operator that stopped since is finished by
//! the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::{Resource, ResourceExt};
use taffrail_control::session::{
    AfterWish, ConfigChange, ConfigOp, ConfigResource, MorePartitions, NewTopic, TopicWish,
};
use taffrail_crds::topic::DeletionPolicy;
use taffrail_crds::{LogClusterSpec, Topic};
use taffrail_protocol::Uuid;

use super::spread;
use crate::events::News;
use crate::fleet::view::TopicView;

/// The label that says who made a Topic.
pub const CREATED_BY: &str = "taffrail.dev/created-by";

/// Its value on objects that the operator made for topics of Kafka clients.
pub const CLIENT: &str = "client";

/// What is known of an object's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vanished {
    /// Nothing yet.
    Unknown,
    /// A person deleted it.
    ByPerson,
    /// It went with all others, with its namespace, with its LogCluster, or with the kind.
    Otherwise,
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// What time it is.
    pub now_ms: u64,
    /// The cluster.
    pub cluster: &'a LogClusterSpec,
    /// Objects that wish for the topic, first the one whose word counts.
    pub objects: &'a [Arc<Topic>],
    /// The object that went last.
    pub last: Option<&'a Topic>,
    /// The topic.
    pub topic: Option<&'a TopicView>,
    /// Why no object is there, where none is.
    pub vanished: Vanished,
    /// How many brokers are registered.
    pub brokers: usize,
}

/// Something that only the controller can do.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Make the topic.
    Create(NewTopic),
    /// Give it more partitions.
    Grow(MorePartitions),
    /// Set what the object says.
    Configure(ConfigChange),
    /// Give each partition so many replicas.
    Spread(usize),
    /// Delete the topic with this id.
    Delete(Uuid),
}

/// Something to be done with a Topic object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectStep {
    /// Make one for a client's topic.
    Make {
        /// How many partitions it has.
        partitions: i32,
    },
    /// Its client has given the topic more partitions.
    Grow {
        /// The object.
        object: String,
        /// How many partitions it has.
        partitions: i32,
    },
    /// Its topic is gone.
    Delete {
        /// The object.
        object: String,
        /// The object's uid.
        uid: String,
    },
}

/// What is said of the object whose word counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing new.
    #[default]
    Unsaid,
    /// The topic is as wished.
    Ready,
    /// It will be.
    Busy(&'static str, String),
    /// It will not be before somebody does something.
    Refused(&'static str, String),
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// By the controller, and what people are told once it is done.
    pub asks: Vec<(Ask, Option<News>)>,
    /// What is to be remembered with the topic.
    pub wish: Option<(Uuid, TopicWish)>,
    /// With an object.
    pub object: Option<ObjectStep>,
    /// What is said of the first object.
    pub standing: Standing,
    /// When to look again though nothing happens, in milliseconds since 1970.
    pub again_ms: Option<u64>,
    /// Whether it has to be known why the object is gone.
    pub asks_why: bool,
}

/// Whether the operator made the object for a client's topic.
pub fn is_clients(object: &Topic) -> bool {
    object.labels().get(CREATED_BY).is_some_and(|by| by == CLIENT)
}

/// Whether a topic is none of the operator's business.
pub fn is_internal(name: &str) -> bool {
    name.starts_with("__")
}

/// What is to be done.
pub fn plan(scene: &Scene<'_>) -> Plan {
    let is_staying = |object: &&Arc<Topic>| object.meta().deletion_timestamp.is_none();
    let first = scene.objects.iter().find(is_staying);
    match (first, scene.topic) {
        // What is about to go is waited for.
        (None, _) if !scene.objects.is_empty() || is_internal(scene.name) => Plan::default(),
        (None, None) => Plan::default(),
        (None, Some(topic)) => without_object(scene, topic),
        (Some(object), None) => without_topic(scene, object),
        (Some(object), Some(topic)) => with_both(scene, object, topic),
    }
}

/// The topic has no object, or one that does not stand for it.
fn without_object(scene: &Scene<'_>, topic: &TopicView) -> Plan {
    if scene.cluster.pause {
        return Plan::default();
    }
    let Some(wish) = &topic.wish else {
        let partitions = topic.record.partition_count;
        return Plan { object: Some(ObjectStep::Make { partitions }), ..Plan::default() };
    };
    let remembered = |wish: TopicWish| Plan { wish: Some((topic.record.topic_id, wish)), ..Plan::default() };
    // The object's last word may not have been remembered before it went.
    let last = scene.last.filter(|last| last.uid().as_deref() == Some(&wish.uid));
    let after = match last {
        Some(last) if wish.after != AfterWish::Hold => after(last),
        _ => wish.after,
    };
    match (after, wish.gone_since_ms) {
        (AfterWish::Hold, _) | (AfterWish::Retain, Some(_)) => Plan::default(),
        (AfterWish::Retain, None) => {
            remembered(TopicWish { after, gone_since_ms: Some(scene.now_ms), ..wish.clone() })
        }
        (AfterWish::Delete, gone_since_ms) => {
            let grace_ms = scene.cluster.topic_deletion_grace_seconds.unsigned_abs().saturating_mul(1000);
            let due_ms = gone_since_ms.map(|since| since.saturating_add(grace_ms));
            if let Some(due_ms) = due_ms.filter(|due_ms| scene.now_ms < *due_ms) {
                return Plan { again_ms: Some(due_ms), ..Plan::default() };
            }
            let plan = match (scene.vanished, due_ms) {
                (Vanished::Unknown, _) => Plan::default(),
                (Vanished::Otherwise, _) => remembered(TopicWish { after: AfterWish::Hold, ..wish.clone() }),
                (Vanished::ByPerson, None) => {
                    remembered(TopicWish { after, gone_since_ms: Some(scene.now_ms), ..wish.clone() })
                }
                (Vanished::ByPerson, Some(_)) => {
                    let asks = vec![(Ask::Delete(topic.record.topic_id), None)];
                    Plan { asks, ..Plan::default() }
                }
            };
            Plan { asks_why: true, ..plan }
        }
    }
}

/// There is no topic.
fn without_topic(scene: &Scene<'_>, object: &Topic) -> Plan {
    let had = object.status.as_ref().and_then(|status| status.topic_id.as_deref());
    if is_clients(object) && had.is_some() {
        let step = ObjectStep::Delete { object: object.name_any(), uid: object.uid().unwrap_or_default() };
        return Plan { object: Some(step), ..Plan::default() };
    }
    if scene.cluster.pause {
        return Plan { standing: paused(), ..Plan::default() };
    }
    let factor = object.spec.replication_factor(scene.cluster);
    // A Topic may be applied with its LogCluster: that its brokers are still to come is no refusal.
    let (there, expected) = (scene.brokers, scene.cluster.brokers.replicas);
    let is_below = |wished: i32| usize::try_from(wished).is_ok_and(|wished| there < wished);
    if is_below(factor) && is_below(expected) {
        let message = format!("{there} of {expected} brokers are registered, and {factor} are needed");
        return Plan { standing: Standing::Busy("WaitingForBrokers", message), ..Plan::default() };
    }
    let topic = NewTopic {
        name: scene.name.to_owned(),
        partitions: Some(object.spec.partitions),
        // Above all that a request can say, it is refused as above all that there can be.
        replication_factor: Some(i16::try_from(factor).unwrap_or(i16::MAX)),
        assignments: Vec::new(),
        config: config(object),
    };
    let news = had.map(|had| News {
        warning: true,
        reason: "MadeAgain".to_owned(),
        action: "Create",
        note: format!(
            "topic {} with the id {had} was deleted by a Kafka client; as this object wishes for it, it was made again, \
             new and empty",
            scene.name
        ),
    });
    let standing = Standing::Busy("Creating", "the topic is being made".to_owned());
    Plan { asks: vec![(Ask::Create(topic), news)], standing, ..Plan::default() }
}

/// What `object` wishes for is there.
fn with_both(scene: &Scene<'_>, object: &Topic, topic: &TopicView) -> Plan {
    let (count, wished) = (topic.record.partition_count, object.spec.partitions);
    let uid = object.uid().unwrap_or_default();
    let is_remembered = topic.wish.as_ref().is_some_and(|wish| wish.uid == uid);
    if wished < count && !is_clients(object) {
        return too_few(scene, object, topic, is_remembered);
    }
    let mut plan = Plan { wish: remember(object, topic), ..Plan::default() };
    if wished < count {
        plan.object = Some(ObjectStep::Grow { object: object.name_any(), partitions: count });
    }
    plan.asks = asks(scene, object, topic);
    plan.standing = match plan.asks.first() {
        None => Standing::Ready,
        Some(_) if scene.cluster.pause => paused(),
        Some((Ask::Spread(factor), _)) => {
            let done = topic.partitions.iter().filter(|record| spread::settled(record, *factor)).count();
            let message =
                format!("{done} of {count} partitions have {factor} replicas, and the others will have");
            Standing::Busy("ChangingReplicas", message)
        }
        Some(_) => Standing::Busy("Changing", "the topic is being changed".to_owned()),
    };
    if scene.cluster.pause {
        plan.asks.clear();
        plan.object = None;
    }
    plan
}

/// The object wishes for fewer partitions than there are.
fn too_few(scene: &Scene<'_>, object: &Topic, topic: &TopicView, is_remembered: bool) -> Plan {
    let (name, count, wished) = (scene.name, topic.record.partition_count, object.spec.partitions);
    let wish = topic.wish.as_ref();
    if !is_remembered
        && wish.is_some_and(|wish| wish.gone_since_ms.is_some() && wish.after == AfterWish::Delete)
    {
        let message = format!(
            "topic {name} of {count} partitions, whose object was deleted, outlives that for the LogCluster's \
             topicDeletionGraceSeconds; a new one of {wished} is made after that. To have the old one back, set \
             spec.partitions to {count} or more"
        );
        return Plan {
            standing: Standing::Busy("AwaitingDeletion", message),
            ..without_object(scene, topic)
        };
    }
    let message = format!(
        "topic {name} has {count} partitions, which can only become more, and spec.partitions is {wished}: set at least \
         {count}, or delete the topic first"
    );
    // What an object did not get it does not take along when it is deleted.
    let wish = if is_remembered { remember(object, topic) } else { None };
    Plan { wish, standing: Standing::Refused("FewerPartitions", message), ..Plan::default() }
}

/// What the controller has to do, in this order.
fn asks(scene: &Scene<'_>, object: &Topic, topic: &TopicView) -> Vec<(Ask, Option<News>)> {
    let mut asks = Vec::new();
    if object.spec.partitions > topic.record.partition_count {
        let grown = MorePartitions {
            name: scene.name.to_owned(),
            total_count: object.spec.partitions,
            assignments: Vec::new(),
        };
        asks.push((Ask::Grow(grown), None));
    }
    let config = config(object);
    let reset = keys(object, topic).into_iter().filter(|key| !config.contains_key(key));
    let mut ops: Vec<(String, ConfigOp)> = reset.map(|key| (key, ConfigOp::Delete)).collect();
    let differs = |(key, value): &(&String, &String)| topic.record.config.get(*key) != Some(*value);
    let set: Vec<(&String, &String)> = config.iter().filter(differs).collect();
    ops.extend(set.iter().map(|(key, value)| ((*key).clone(), ConfigOp::Set((*value).clone()))));
    if !ops.is_empty() {
        let news = (was_ready(object) && !set.is_empty()).then(|| overruled(topic, &set));
        let resource = ConfigResource::Topic(scene.name.to_owned());
        asks.push((Ask::Configure(ConfigChange { resource, replace: false, ops }), news));
    }
    let factor = object.spec.replication_factor.and_then(|factor| usize::try_from(factor).ok());
    if let Some(factor) =
        factor.filter(|factor| !topic.partitions.iter().all(|it| spread::settled(it, *factor)))
    {
        asks.push((Ask::Spread(factor), None));
    }
    asks
}

/// What the object says has been done before: what is otherwise now, a client changed.
fn was_ready(object: &Topic) -> bool {
    let Some(status) = &object.status else { return false };
    let is_ready = |it: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        it.type_ == taffrail_crds::condition::READY
            && it.status == "True"
            && it.observed_generation == object.metadata.generation
    };
    status.conditions.iter().any(is_ready)
}

fn overruled(topic: &TopicView, set: &[(&String, &String)]) -> News {
    let each = set.iter().map(|(key, wished)| match topic.record.config.get(*key) {
        Some(found) => format!("{key} from {found} back to {wished}"),
        None => format!("{key} back to {wished}"),
    });
    News {
        warning: true,
        reason: "Overruled".to_owned(),
        action: "Configure",
        note: format!(
            "a Kafka client changed what this object sets; it was set again: {}. Change the object instead",
            each.collect::<Vec<_>>().join(", ")
        ),
    }
}

fn paused() -> Standing {
    let message = "the LogCluster is paused: nothing is made or changed until spec.pause is false there";
    Standing::Busy("Paused", message.to_owned())
}

/// The configuration that the object sets, and what it has set that the topic still has.
fn keys(object: &Topic, topic: &TopicView) -> BTreeSet<String> {
    let uid = object.uid();
    let own = topic.wish.iter().filter(|wish| uid.as_ref() == Some(&wish.uid));
    let left = own.flat_map(|wish| &wish.config_keys).filter(|key| topic.record.config.contains_key(*key));
    object.spec.config.keys().chain(left).cloned().collect()
}

fn config(object: &Topic) -> BTreeMap<String, String> {
    object.spec.config.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
}

fn after(object: &Topic) -> AfterWish {
    match object.spec.deletion_policy {
        DeletionPolicy::Delete => AfterWish::Delete,
        DeletionPolicy::Retain => AfterWish::Retain,
    }
}

/// What is to be remembered of an object, where it is not yet.
fn remember(object: &Topic, topic: &TopicView) -> Option<(Uuid, TopicWish)> {
    let wish = TopicWish {
        object: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        after: after(object),
        gone_since_ms: None,
        config_keys: keys(object, topic),
    };
    (topic.wish.as_ref() != Some(&wish)).then_some((topic.record.topic_id, wish))
}

/// Why objects are gone: `missing` of them, as far as the controller remembers, while `left` are there.
///
/// `intact` says whether the kind, the namespace and the LogCluster are there to stay; `settled`, that no more objects have
/// gone for a while.
pub fn vanished(intact: Option<bool>, settled: bool, missing: usize, left: usize) -> Vanished {
    match intact {
        None => Vanished::Unknown,
        Some(false) => Vanished::Otherwise,
        Some(true) if !settled => Vanished::Unknown,
        // A person deletes one after the other; what takes all at once is seldom meant for the data.
        Some(true) if missing > 1 && left == 0 => Vanished::Otherwise,
        Some(true) => Vanished::ByPerson,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
