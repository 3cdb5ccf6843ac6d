//! Topic objects and LogClusters as the watches have told of them, by cluster and by the name of the topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::watcher::Event;
use taffrail_crds::{LogCluster, Topic};

use crate::fleet::ClusterKey;

/// Names an object: its namespace and its name.
type ObjectName = (String, String);

/// A topic of a cluster.
pub type TopicKey = (ClusterKey, Arc<str>);

/// All objects of one topic.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Those that are there; the one whose word counts is the first: the oldest, and of equally old ones that with the
    /// lowest uid.
    pub objects: Vec<Arc<Topic>>,
    /// The one that went last, until another comes.
    pub last: Option<Arc<Topic>>,
}

impl Wishes {
    fn put(&mut self, object: Arc<Topic>) {
        self.objects.retain(|known| known.name_any() != object.name_any());
        self.objects.push(object);
        self.objects.sort_by_cached_key(|object| {
            let made = object.creation_timestamp().map(|time| time.0);
            (made.is_none(), made, object.uid())
        });
        self.last = None;
    }

    fn remove(&mut self, name: &str) {
        if let Some(at) = self.objects.iter().position(|object| object.name_any() == name) {
            self.last = Some(self.objects.remove(at));
        }
    }
}

/// What there is of a cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    /// The cluster itself.
    pub object: Option<Arc<LogCluster>>,
    /// Objects by the names of their topics.
    pub topics: BTreeMap<Arc<str>, Wishes>,
    /// How many objects there are.
    pub count: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Objects {
    clusters: BTreeMap<ClusterKey, Cluster>,
    /// The topic of each object: what it is of does not change.
    topics: BTreeMap<ObjectName, TopicKey>,
    /// What a list that has begun and not ended has named so far, by the namespace that is listed.
    listing: BTreeMap<Option<String>, (BTreeSet<ObjectName>, BTreeSet<ClusterKey>)>,
}

fn object_name<K: ResourceExt>(object: &K) -> ObjectName {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// An object to be kept: a list of one condition was read with room for four.
fn slim(mut object: Topic) -> Arc<Topic> {
    if let Some(status) = &mut object.status {
        status.conditions.shrink_to_fit();
    }
    Arc::new(object)
}

fn within(scope: Option<&String>, namespace: &str) -> bool {
    scope.is_none_or(|scope| scope == namespace)
}

impl Objects {
    /// A cluster, if anything is known of it.
    pub fn cluster(&self, key: &ClusterKey) -> Option<&Cluster> {
        self.clusters.get(key)
    }

    /// All clusters that there are or that objects name.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterKey> {
        self.clusters.keys()
    }

    /// Whether some Topic has this name.
    pub fn is_taken(&self, namespace: &str, name: &str) -> bool {
        self.topics.contains_key(&(namespace.to_owned(), name.to_owned()))
    }

    /// Takes over what a watch of Topics in `scope` tells; the topics that are to be looked at.
    pub fn hear_topic(&mut self, scope: Option<&String>, event: Event<Topic>) -> Vec<TopicKey> {
        match event {
            Event::Apply(object) => vec![self.put(slim(object))],
            Event::Delete(object) => self.remove(&object_name(&object)).into_iter().collect(),
            Event::Init => {
                self.listing.entry(scope.cloned()).or_default().0.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listing.entry(scope.cloned()).or_default().0.insert(object_name(&object));
                vec![self.put(slim(object))]
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing.entry(scope.cloned()).or_default().0);
                let is_gone = |name: &&ObjectName| within(scope, &name.0) && !listed.contains(*name);
                let gone: Vec<ObjectName> = self.topics.keys().filter(is_gone).cloned().collect();
                gone.iter().filter_map(|name| self.remove(name)).collect()
            }
        }
    }

    /// Takes over what a watch of LogClusters in `scope` tells; the clusters that are to be looked at.
    pub fn hear_cluster(&mut self, scope: Option<&String>, event: Event<LogCluster>) -> Vec<ClusterKey> {
        let key = |object: &LogCluster| {
            let (namespace, name) = object_name(object);
            ClusterKey { namespace, name }
        };
        match event {
            Event::Apply(object) => vec![self.put_cluster(key(&object), object)],
            Event::Delete(object) => vec![self.remove_cluster(key(&object))],
            Event::Init => {
                self.listing.entry(scope.cloned()).or_default().1.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listing.entry(scope.cloned()).or_default().1.insert(key(&object));
                vec![self.put_cluster(key(&object), object)]
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing.entry(scope.cloned()).or_default().1);
                let is_gone = |(key, cluster): &(&ClusterKey, &Cluster)| {
                    within(scope, &key.namespace) && cluster.object.is_some() && !listed.contains(*key)
                };
                let gone: Vec<ClusterKey> =
                    self.clusters.iter().filter(is_gone).map(|(key, _)| key.clone()).collect();
                gone.into_iter().map(|key| self.remove_cluster(key)).collect()
            }
        }
    }

    /// An object as it is now.
    pub fn put(&mut self, object: Arc<Topic>) -> TopicKey {
        let name = object_name(&*object);
        let cluster = ClusterKey::new(name.0.clone(), object.spec.cluster_ref.name.clone());
        let topic: TopicKey = (cluster, Arc::from(object.topic_name()));
        let topic = match self.topics.get(&name) {
            // The name is kept once.
            Some(known) if *known == topic => known.clone(),
            Some(_) => {
                // Another object of that name, made while nobody watched.
                self.remove(&name);
                topic
            }
            None => topic,
        };
        let cluster = self.clusters.entry(topic.0.clone()).or_default();
        if self.topics.insert(name, topic.clone()).is_none() {
            cluster.count += 1;
        }
        cluster.topics.entry(Arc::clone(&topic.1)).or_default().put(object);
        topic
    }

    fn remove(&mut self, name: &ObjectName) -> Option<TopicKey> {
        let topic = self.topics.remove(name)?;
        let cluster = self.clusters.get_mut(&topic.0)?;
        cluster.count -= 1;
        cluster.topics.get_mut(&topic.1)?.remove(&name.1);
        if cluster.count == 0 && cluster.object.is_none() {
            self.clusters.remove(&topic.0);
        }
        Some(topic)
    }

    /// What went is not looked for any more.
    pub fn forget_last(&mut self, cluster: &ClusterKey, topic: &str) {
        let Some(cluster) = self.clusters.get_mut(cluster) else { return };
        if cluster.topics.get(topic).is_some_and(|wishes| wishes.objects.is_empty()) {
            cluster.topics.remove(topic);
        }
    }

    fn put_cluster(&mut self, key: ClusterKey, object: LogCluster) -> ClusterKey {
        self.clusters.entry(key.clone()).or_default().object = Some(Arc::new(object));
        key
    }

    fn remove_cluster(&mut self, key: ClusterKey) -> ClusterKey {
        if let Some(cluster) = self.clusters.get_mut(&key) {
            cluster.object = None;
        }
        self.clusters.retain(|_, cluster| cluster.object.is_some() || cluster.count > 0);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::topic;
    use super::*;

    fn names(keys: Vec<TopicKey>) -> Vec<String> {
        keys.into_iter().map(|(cluster, topic)| format!("{cluster}/{topic}")).collect()
    }

    #[test]
    fn the_oldest_object_of_a_topic_is_the_first_whichever_came_first() {
        let mut objects = Objects::default();
        for (name, age, uid) in [("young", 1, "a"), ("older-b", 9, "b"), ("older-a", 9, "a")] {
            let mut object = topic(name, uid, age, 1);
            object.spec.topic_name = Some("t".to_owned());
            assert_eq!(names(vec![objects.put(Arc::new(object))]), ["n/c/t"]);
        }
        let cluster = objects.cluster(&ClusterKey::new("n", "c")).unwrap();
        let order: Vec<String> = cluster.topics["t"].objects.iter().map(|o| o.name_any()).collect();
        assert_eq!((order, cluster.count), (vec!["older-a".into(), "older-b".into(), "young".into()], 3));
    }

    #[test]
    fn what_a_list_does_not_name_is_gone_in_the_namespace_that_was_listed() {
        let mut objects = Objects::default();
        let mut elsewhere = topic("b", "2", 1, 1);
        elsewhere.metadata.namespace = Some("m".to_owned());
        for object in [topic("a", "1", 1, 1), elsewhere, topic("c", "3", 1, 1)] {
            objects.put(Arc::new(object));
        }
        let scope = Some("n".to_owned());
        assert!(objects.hear_topic(scope.as_ref(), Event::Init).is_empty());
        let listed = objects.hear_topic(scope.as_ref(), Event::InitApply(topic("c", "3", 1, 1)));
        assert_eq!(names(listed), ["n/c/c"]);
        assert_eq!(names(objects.hear_topic(scope.as_ref(), Event::InitDone)), ["n/c/a"]);
        let cluster = objects.cluster(&ClusterKey::new("n", "c")).unwrap();
        assert_eq!(cluster.count, 1);
        assert_eq!(cluster.topics["a"].last.as_ref().unwrap().uid().as_deref(), Some("1"));
        assert!(!objects.is_taken("n", "a") && objects.is_taken("m", "b"));
    }
}
