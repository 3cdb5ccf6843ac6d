//! What a controller has published, kept current, with counts of what is not as it should be.
//!
//! The work of an update is that of what changed in it: counts are carried on, and taken anew over all partitions only
//! where a broker begins another life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::{
    AfterWish, BrokerRecord, ClusterUpdate, FromController, Member, PartitionRecord, TopicRecord, TopicWish,
};
use taffrail_controller_service::ControllerHandle;
use taffrail_protocol::Uuid;

/// How soon another session is opened after one has ended: a controller that is still reading its store ends each at once.
const REST: Duration = Duration::from_millis(100);

/// Registered brokers, by id.
pub type Brokers = BTreeMap<i32, BrokerRecord>;

/// Partitions, and those of them that are not as they should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub partitions: usize,
    /// Those with fewer replicas in sync than they have.
    pub under_replicated: usize,
    /// Those with fewer replicas in sync than they need.
    pub under_min_isr: usize,
    /// Those without a leader.
    pub offline: usize,
}

impl Counts {
    /// Of one partition.
    fn of(record: &PartitionView, brokers: &Brokers) -> Self {
        Self {
            partitions: 1,
            under_replicated: is_under_replicated(record, brokers).into(),
            under_min_isr: is_under_min_isr(record, brokers).into(),
            offline: is_offline(record).into(),
        }
    }

    fn add(&mut self, other: Self) {
        self.partitions += other.partitions;
        self.under_replicated += other.under_replicated;
        self.under_min_isr += other.under_min_isr;
        self.offline += other.offline;
    }

    fn subtract(&mut self, other: Self) {
        self.partitions -= other.partitions;
        self.under_replicated -= other.under_replicated;
        self.under_min_isr -= other.under_min_isr;
        self.offline -= other.offline;
    }
}

/// What is looked at of a partition's record. There are many of them, so the rest is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// The partition's number.
    pub partition: i32,
    /// How many replicas have to be in sync.
    pub min_isr: i32,
    /// Who leads.
    pub leader: Option<i32>,
    /// Broker ids; the first is the preferred leader.
    pub replicas: Box<[i32]>,
    /// Those in sync, in the lives in which they are.
    pub isr: Box<[Member]>,
    /// Replicas that a reassignment adds; they are in `replicas`.
    pub adding: Box<[i32]>,
    /// Replicas that a reassignment removes; they are in `replicas` until it ends.
    pub removing: Box<[i32]>,
}

impl PartitionView {
    /// Of the whole record.
    pub fn of(record: &PartitionRecord) -> Self {
        Self {
            partition: record.partition,
            min_isr: record.min_isr,
            leader: record.leader.map(|leader| leader.broker_id),
            replicas: record.replicas.as_slice().into(),
            isr: record.isr.as_slice().into(),
            adding: record.adding.as_slice().into(),
            removing: record.removing.as_slice().into(),
        }
    }
}

/// The replicas that are in sync. A member of the ISR in an earlier life is none.
pub fn in_sync<'a>(record: &'a PartitionView, brokers: &'a Brokers) -> impl Iterator<Item = i32> + 'a {
    let lives = |member: &&Member| life(brokers, member.broker_id) == Some(member.incarnation);
    record.isr.iter().filter(lives).map(|member| member.broker_id)
}

fn life(brokers: &Brokers, broker_id: i32) -> Option<u64> {
    brokers.get(&broker_id).map(|broker| broker.incarnation)
}

/// Whether fewer replicas are in sync than there are, those left out that are only being added (Kafka's
/// `Partition.isUnderReplicated`): these are not missed, and in sync they stand in for others.
pub fn is_under_replicated(record: &PartitionView, brokers: &Brokers) -> bool {
    in_sync(record, brokers).count() + record.adding.len() < record.replicas.len()
}

/// Whether fewer replicas are in sync than are needed.
pub fn is_under_min_isr(record: &PartitionView, brokers: &Brokers) -> bool {
    i32::try_from(in_sync(record, brokers).count()).is_ok_and(|count| count < record.min_isr)
}

/// Whether its replicas are on their way to other brokers.
pub fn is_moving(record: &PartitionView) -> bool {
    !record.adding.is_empty() || !record.removing.is_empty()
}

/// Whether nobody leads.
pub fn is_offline(record: &PartitionView) -> bool {
    record.leader.is_none()
}

/// A topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicView {
    /// What it is.
    pub record: TopicRecord,
    /// Its partitions, in order of their numbers.
    pub partitions: Vec<PartitionView>,
    /// The object that wishes for it.
    pub wish: Option<TopicWish>,
    /// What is the case with its partitions.
    pub counts: Counts,
}

impl TopicView {
    fn new(record: TopicRecord) -> Self {
        // Thousands of topics have no room to spare in each.
        let partitions = Vec::with_capacity(usize::try_from(record.partition_count).unwrap_or(0));
        Self { record, partitions, wish: None, counts: Counts::default() }
    }

    /// Takes over a partition's record.
    fn put(&mut self, record: PartitionView, brokers: &Brokers) {
        let now = Counts::of(&record, brokers);
        let was = match self.partitions.binary_search_by_key(&record.partition, |known| known.partition) {
            Ok(at) => Counts::of(&std::mem::replace(&mut self.partitions[at], record), brokers),
            Err(at) => {
                self.partitions.insert(at, record);
                Counts::default()
            }
        };
        self.counts.add(now);
        self.counts.subtract(was);
    }

    /// Counts anew; whether it comes to something else.
    fn count(&mut self, brokers: &Brokers) -> bool {
        let mut counts = Counts::default();
        self.partitions.iter().for_each(|record| counts.add(Counts::of(record, brokers)));
        std::mem::replace(&mut self.counts, counts) != counts
    }
}

/// What changed by an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Brokers appeared, changed or went.
    pub brokers: bool,
    /// Topics that appeared, changed or went, their partitions included.
    pub topics: BTreeSet<Arc<str>>,
}

/// What a controller has published.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// It was told, and the controller is the active one as far as anybody here knows. What was seen last stays otherwise.
    pub is_current: bool,
    /// That of the last update: it grows with each that one controller tells.
    pub version: u64,
    /// Registered brokers.
    pub brokers: Brokers,
    /// Topics, by name.
    pub topics: BTreeMap<Arc<str>, TopicView>,
    names: BTreeMap<Uuid, Arc<str>>,
}

impl View {
    /// Takes an update over; what changed by it.
    pub fn apply(&mut self, update: &ClusterUpdate) -> Changed {
        if !update.snapshot {
            return self.change(update);
        }
        let before = std::mem::take(self);
        self.change(update);
        self.is_current = true;
        let names: BTreeSet<&Arc<str>> = before.topics.keys().chain(self.topics.keys()).collect();
        let differs = |name: &&Arc<str>| before.topics.get(*name) != self.topics.get(*name);
        Changed {
            brokers: before.brokers != self.brokers,
            topics: names.into_iter().filter(differs).cloned().collect(),
        }
    }

    /// The partitions of each topic.
    pub fn partitions(&self) -> impl Iterator<Item = (&str, &[PartitionView])> {
        self.topics.iter().map(|(name, topic)| (&**name, topic.partitions.as_slice()))
    }

    /// Topics whose objects are gone and that stay all the same, as it is not certain that a person deleted these.
    pub fn held(&self) -> impl Iterator<Item = &Arc<str>> {
        let is_held =
            |topic: &TopicView| topic.wish.as_ref().is_some_and(|wish| wish.after == AfterWish::Hold);
        self.topics.iter().filter(move |(_, topic)| is_held(topic)).map(|(name, _)| name)
    }

    fn change(&mut self, update: &ClusterUpdate) -> Changed {
        self.version = update.version;
        let brokers = !update.brokers.is_empty() || !update.removed_brokers.is_empty();
        let mut changed = Changed { brokers, topics: BTreeSet::new() };
        let mut is_life_new = false;
        for broker_id in &update.removed_brokers {
            is_life_new |= self.brokers.remove(broker_id).is_some();
        }
        for broker in &update.brokers {
            is_life_new |= life(&self.brokers, broker.broker_id) != Some(broker.incarnation);
            self.brokers.insert(broker.broker_id, broker.clone());
        }
        if is_life_new {
            // Before anything else is taken over, which is counted on what was counted before.
            let topics = self.topics.iter_mut();
            let differing =
                topics.filter_map(|(name, topic)| topic.count(&self.brokers).then(|| Arc::clone(name)));
            changed.topics.extend(differing);
        }
        // A name that was deleted may be that of a new topic in the same update.
        for topic_id in &update.removed_topics {
            changed.topics.extend(self.remove(*topic_id));
        }
        for record in &update.topics {
            self.names.insert(record.topic_id, Arc::clone(&record.name));
            match self.topics.get_mut(&record.name) {
                Some(topic) if topic.record.topic_id == record.topic_id => topic.record = record.clone(),
                _ => {
                    let older = self.topics.get(&record.name).map(|topic| topic.record.topic_id);
                    older.and_then(|topic_id| self.remove(topic_id));
                    self.topics.insert(Arc::clone(&record.name), TopicView::new(record.clone()));
                }
            }
            changed.topics.insert(Arc::clone(&record.name));
        }
        for record in &update.partitions {
            let Some(topic) = topic_of(&self.names, &mut self.topics, record.topic_id) else { continue };
            topic.put(PartitionView::of(record), &self.brokers);
            changed.topics.insert(Arc::clone(&topic.record.name));
        }
        for (topic_id, wish) in &update.wishes {
            let Some(topic) = topic_of(&self.names, &mut self.topics, *topic_id) else { continue };
            topic.wish.clone_from(wish);
            changed.topics.insert(Arc::clone(&topic.record.name));
        }
        changed
    }

    /// Forgets a topic; its name, if it was known.
    fn remove(&mut self, topic_id: Uuid) -> Option<Arc<str>> {
        let name = self.names.remove(&topic_id)?;
        if self.topics.get(&name).is_some_and(|topic| topic.record.topic_id == topic_id) {
            self.topics.remove(&name);
        }
        Some(name)
    }
}

fn topic_of<'a>(
    names: &BTreeMap<Uuid, Arc<str>>,
    topics: &'a mut BTreeMap<Arc<str>, TopicView>,
    topic_id: Uuid,
) -> Option<&'a mut TopicView> {
    let topic = topics.get_mut(names.get(&topic_id)?)?;
    (topic.record.topic_id == topic_id).then_some(topic)
}

/// Keeps `view` current until the controller is gone for good, and says what changed: whether brokers did, and which
/// topics. Sees to another session when one ends.
pub async fn keep(
    handle: ControllerHandle,
    view: Arc<Mutex<View>>,
    tell: impl Fn(bool, Vec<Arc<str>>) + Send + 'static,
) {
    loop {
        let mut session = handle.watch();
        while let Some(message) = session.receiver.recv().await {
            if let FromController::Update(update) = message {
                let changed = view.lock().apply(&update);
                // A snapshot says something even where nothing is in it: from now on the view is current.
                if update.snapshot || changed.brokers || !changed.topics.is_empty() {
                    tell(changed.brokers || update.snapshot, changed.topics.into_iter().collect());
                }
            }
        }
        view.lock().is_current = false;
        tokio::time::sleep(REST).await;
    }
}

#[cfg(test)]
mod tests {
    use taffrail_control::session::Member;
    use taffrail_controller_service::{ClusterDefaults, LocalController};

    use super::*;

    fn topic(name: &str, id: u8, partition_count: i32) -> TopicRecord {
        TopicRecord {
            name: name.into(),
            topic_id: Uuid([id; 16]),
            creation: id.into(),
            config: BTreeMap::new(),
            partition_count,
        }
    }

    /// Replicas 1 and 2, of which `isr` are in sync; led by the first of these, if `leads`.
    fn partition(id: u8, partition: i32, isr: &[i32], leads: bool) -> PartitionRecord {
        let isr: Vec<Member> = isr.iter().map(|id| Member { broker_id: *id, incarnation: 1 }).collect();
        PartitionRecord {
            topic_id: Uuid([id; 16]),
            partition,
            creation: id.into(),
            replicas: vec![1, 2],
            leader: isr.first().copied().filter(|_| leads),
            leader_epoch: 0,
            partition_epoch: 0,
            isr,
            elr: Vec::new(),
            min_isr: 2,
            adding: Vec::new(),
            removing: Vec::new(),
            unclean_epoch: None,
        }
    }

    fn broker(broker_id: i32, incarnation: u64) -> BrokerRecord {
        BrokerRecord {
            broker_id,
            incarnation,
            endpoints: Vec::new(),
            rack: None,
            fenced: false,
            peer_address: None,
            peer_token: None,
        }
    }

    fn counts(partitions: usize, under_replicated: usize, under_min_isr: usize, offline: usize) -> Counts {
        Counts { partitions, under_replicated, under_min_isr, offline }
    }

    /// Over all topics.
    fn total(view: &View) -> Counts {
        let mut total = Counts::default();
        view.topics.values().for_each(|topic| total.add(topic.counts));
        total
    }

    fn names(changed: &Changed) -> Vec<&str> {
        changed.topics.iter().map(|name| &**name).collect()
    }

    fn two_topics() -> ClusterUpdate {
        ClusterUpdate {
            snapshot: true,
            brokers: vec![broker(1, 1), broker(2, 1)],
            topics: vec![topic("a", 1, 2), topic("b", 2, 1)],
            partitions: vec![
                partition(1, 1, &[1], false),
                partition(1, 0, &[1, 2], true),
                partition(2, 0, &[2], true),
            ],
            ..ClusterUpdate::default()
        }
    }

    #[test]
    fn counts_follow_each_change_as_if_all_were_counted_anew() {
        let mut view = View::default();
        assert_eq!(names(&view.apply(&two_topics())), ["a", "b"]);
        assert_eq!((total(&view), view.topics["a"].counts), (counts(3, 2, 2, 1), counts(2, 1, 1, 1)));
        assert_eq!(view.topics["a"].partitions[1].partition, 1, "partitions stand in order");
        let healed =
            ClusterUpdate { partitions: vec![partition(1, 1, &[1, 2], true)], ..ClusterUpdate::default() };
        assert_eq!(names(&view.apply(&healed)), ["a"]);
        assert_eq!((total(&view), view.topics["a"].counts), (counts(3, 1, 1, 0), counts(2, 0, 0, 0)));
        let gone = ClusterUpdate { removed_topics: vec![Uuid([2; 16])], ..ClusterUpdate::default() };
        assert_eq!(names(&view.apply(&gone)), ["b"]);
        assert_eq!((total(&view), view.topics.len()), (counts(2, 0, 0, 0), 1));
    }

    #[test]
    fn a_topic_made_again_under_its_name_in_the_same_update_is_the_new_one() {
        let mut view = View::default();
        view.apply(&two_topics());
        let again = ClusterUpdate {
            removed_topics: vec![Uuid([1; 16])],
            topics: vec![topic("a", 3, 1)],
            partitions: vec![partition(3, 0, &[1, 2], true)],
            ..ClusterUpdate::default()
        };
        assert_eq!(names(&view.apply(&again)), ["a"]);
        assert_eq!(view.topics["a"].record.topic_id, Uuid([3; 16]));
        assert_eq!((total(&view), view.topics["a"].partitions.len()), (counts(2, 1, 1, 0), 1));
        let late = ClusterUpdate {
            partitions: vec![partition(1, 0, &[1], false)],
            removed_topics: vec![Uuid([1; 16])],
            ..ClusterUpdate::default()
        };
        assert_eq!(names(&view.apply(&late)), Vec::<&str>::new(), "what is gone does not come back");
        assert_eq!(total(&view), counts(2, 1, 1, 0));
    }

    #[test]
    fn another_snapshot_names_the_topics_that_differ_and_no_others() {
        let mut view = View::default();
        view.apply(&two_topics());
        view.is_current = false;
        assert_eq!(names(&view.apply(&two_topics())), Vec::<&str>::new());
        assert!(view.is_current);
        let mut next = two_topics();
        next.topics[1] = topic("c", 3, 0);
        next.partitions[1] = partition(1, 0, &[2], true);
        next.partitions.pop();
        assert_eq!(names(&view.apply(&next)), ["a", "b", "c"]);
        assert_eq!(total(&view), counts(2, 2, 2, 1));
    }

    #[test]
    fn wishes_come_and_go_with_their_topics() {
        let mut view = View::default();
        view.apply(&two_topics());
        let wish = TopicWish {
            object: "a".into(),
            uid: "u".into(),
            after: AfterWish::Delete,
            gone_since_ms: None,
            config_keys: BTreeSet::new(),
        };
        let wished = |wish| ClusterUpdate {
            wishes: vec![(Uuid([1; 16]), wish), (Uuid([9; 16]), None)],
            ..ClusterUpdate::default()
        };
        assert_eq!(names(&view.apply(&wished(Some(wish.clone())))), ["a"]);
        assert_eq!(view.topics["a"].wish, Some(wish.clone()));
        assert_eq!(view.held().count(), 0);
        view.apply(&wished(Some(TopicWish { after: AfterWish::Hold, ..wish })));
        assert!(view.held().eq([&Arc::from("a")]));
        view.apply(&wished(None));
        assert_eq!(view.topics["a"].wish, None);
    }

    #[test]
    fn a_replica_that_is_being_added_is_not_missed() {
        let brokers: Brokers = (1..=3).map(|id| (id, broker(id, 1))).collect();
        let mut record = partition(1, 0, &[1, 2], true);
        record.replicas.push(3);
        record.adding = vec![3];
        assert!(!is_under_replicated(&PartitionView::of(&record), &brokers));
        record.isr = partition(1, 0, &[1, 3], true).isr;
        assert!(
            !is_under_replicated(&PartitionView::of(&record), &brokers),
            "two are in sync, and two there were"
        );
        record.isr.pop();
        assert!(is_under_replicated(&PartitionView::of(&record), &brokers));
        record.isr = partition(1, 0, &[1, 2], true).isr;
        record.adding.clear();
        assert!(is_under_replicated(&PartitionView::of(&record), &brokers));
    }

    #[test]
    fn a_member_in_an_earlier_life_is_not_in_sync() {
        let mut view = View::default();
        view.apply(&two_topics());
        let brokers = |brokers| ClusterUpdate { brokers, ..ClusterUpdate::default() };
        let changed = view.apply(&brokers(vec![broker(2, 5)]));
        assert_eq!((changed.brokers, names(&changed)), (true, vec!["a"]));
        assert_eq!(total(&view), counts(3, 3, 3, 1));
        // A record in which it stands in its new life, and in the same update another life of the other.
        let mut record = partition(1, 0, &[1, 2], true);
        record.isr[1].incarnation = 5;
        let both = ClusterUpdate { partitions: vec![record], ..brokers(vec![broker(1, 6)]) };
        assert_eq!(names(&view.apply(&both)), ["a"]);
        assert_eq!(view.topics["a"].counts, counts(2, 2, 2, 1));
        assert_eq!(names(&view.apply(&brokers(vec![broker(1, 1)]))), ["a"]);
        assert_eq!(view.topics["a"].counts, counts(2, 1, 1, 1));
        let fenced = BrokerRecord { fenced: true, ..broker(2, 5) };
        assert_eq!(names(&view.apply(&brokers(vec![fenced]))), Vec::<&str>::new(), "it lives on");
        let gone = ClusterUpdate { removed_brokers: vec![2], ..ClusterUpdate::default() };
        assert_eq!(names(&view.apply(&gone)), ["a"]);
    }

    #[tokio::test]
    async fn a_view_is_kept_of_a_controller_until_that_ends() {
        let directory = std::env::temp_dir().join(format!("taffrail-view-{}", std::process::id()));
        let controller = LocalController::open(&directory, ClusterDefaults::default()).unwrap();
        let view = Arc::new(Mutex::new(View::default()));
        let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |brokers, topics: Vec<Arc<str>>| _ = sender.send((brokers, topics.len()));
        let keeping = tokio::spawn(keep(controller.handle(), Arc::clone(&view), tell));
        assert_eq!(changes.recv().await, Some((true, 0)));
        assert!(view.lock().is_current);
        controller.shutdown().await;
        while view.lock().is_current {
            tokio::task::yield_now().await;
        }
        keeping.abort();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
