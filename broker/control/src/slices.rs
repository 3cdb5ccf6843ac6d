//! Topics in slices, and what is held of a slice as one number: so a session that opens tells only what has changed since.
//!
//! A broker names the slices that it holds something of when it registers; a controller leaves out of its snapshot those
//! that hold the same with it. The number is a digest of the records and not a version of the store, as a store that was
//! restored from a backup counts its versions a second time, with other contents (rule 25), and as each side can work it
//! out of its own records, whichever controller told them. A digest that differs only costs bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use taffrail_protocol::Uuid;
use twox_hash::XxHash3_64;

use crate::session::{ClusterUpdate, Member, PartitionRecord, SliceDigest, TopicRecord};

/// Into how many slices topics are cut. Never changes: a topic's slice must be found from its name alone.
pub const TOPIC_SLICES: u32 = 128;

/// The slice that `name` belongs to, for ever.
///
/// FNV-1a over the name's bytes in 64 bits, with `.` read as `_`, its upper half folded onto the lower by exclusive
/// or, modulo [`TOPIC_SLICES`]. Names that Kafka holds to collide (`a.b` and `a_b`) thereby fall into one slice, so
/// that the one compare-and-swap that decides who owns a name also decides between colliding ones.
pub fn topic_slice(name: &str) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        let byte = if byte == b'.' { b'_' } else { byte };
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    ((hash ^ hash >> 32) % u64::from(TOPIC_SLICES)) as u32
}

/// What is held of each slice, those that are empty left out. Records of partitions whose topic is not among `topics`
/// count for nothing.
pub fn digests<'a>(
    topics: impl IntoIterator<Item = &'a TopicRecord>,
    partitions: impl IntoIterator<Item = &'a PartitionRecord>,
) -> Vec<SliceDigest> {
    let mut held: BTreeMap<Uuid, (&TopicRecord, BTreeMap<i32, &PartitionRecord>)> =
        topics.into_iter().map(|topic| (topic.topic_id, (topic, BTreeMap::new()))).collect();
    for record in partitions {
        if let Some((_, partitions)) = held.get_mut(&record.topic_id) {
            partitions.insert(record.partition, record);
        }
    }
    let mut slices: BTreeMap<u32, Digest> = BTreeMap::new();
    for (topic, partitions) in held.values() {
        let digest = slices.entry(topic_slice(&topic.name)).or_insert_with(Digest::new);
        digest.topic(topic);
        digest.list(partitions.values(), |digest, record| digest.partition(record));
    }
    slices.into_iter().map(|(slice, digest)| SliceDigest { slice, digest: digest.0.finish() }).collect()
}

/// Takes out of a snapshot the slices of which its receiver holds just what is in it, and names them.
pub fn leave_out_unchanged(snapshot: &mut ClusterUpdate, held: &[SliceDigest]) {
    let told: BTreeSet<SliceDigest> = match held {
        [] => return,
        _ => digests(&snapshot.topics, &snapshot.partitions).into_iter().collect(),
    };
    let unchanged: BTreeSet<u32> =
        held.iter().filter(|held| told.contains(held)).map(|held| held.slice).collect();
    let mut left_out = BTreeSet::new();
    snapshot.topics.retain(|topic| {
        let changed = !unchanged.contains(&topic_slice(&topic.name));
        changed || !left_out.insert(topic.topic_id)
    });
    snapshot.partitions.retain(|record| !left_out.contains(&record.topic_id));
    snapshot.unchanged_slices = unchanged.into_iter().collect();
}

/// A digest in the making. Each value goes in so that it can be told where it ends, and is the same on every machine. A
/// field that is added to a record does not compile before it is in here as well.
struct Digest(XxHash3_64);

impl Digest {
    fn new() -> Self {
        Self(XxHash3_64::new())
    }

    fn number(&mut self, number: impl Into<i128>) {
        self.0.write(&number.into().to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.write(text.as_bytes());
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        self.number(items.len() as u64);
        items.for_each(|one| item(self, one));
    }

    fn member(&mut self, member: &Member) {
        let Member { broker_id, incarnation } = member;
        self.number(*broker_id);
        self.number(*incarnation);
    }

    fn topic(&mut self, record: &TopicRecord) {
        let TopicRecord { name, topic_id, creation, config, partition_count } = record;
        self.text(name);
        self.0.write(&topic_id.0);
        self.number(*creation);
        self.list(config.iter(), |digest, (key, value)| {
            digest.text(key);
            digest.text(value);
        });
        self.number(*partition_count);
    }

    fn partition(&mut self, record: &PartitionRecord) {
        let PartitionRecord {
            topic_id,
            partition,
            creation,
            replicas,
            leader,
            leader_epoch,
            partition_epoch,
            isr,
            elr,
            min_isr,
            adding,
            removing,
            unclean_epoch,
        } = record;
        self.0.write(&topic_id.0);
        self.number(*partition);
        self.number(*creation);
        self.list(replicas.iter(), |digest, id| digest.number(*id));
        self.list(leader.iter(), Self::member);
        self.number(*leader_epoch);
        self.number(*partition_epoch);
        self.list(isr.iter(), Self::member);
        self.list(elr.iter(), Self::member);
        self.number(*min_isr);
        self.list(adding.iter(), |digest, id| digest.number(*id));
        self.list(removing.iter(), |digest, id| digest.number(*id));
        self.list(unclean_epoch.iter(), |digest, epoch| digest.number(*epoch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed by a second implementation in another language. A change here loses every topic ever made.
    #[test]
    fn golden_topic_slices() {
        let slices = ["", "a", "orders", "__consumer_offsets", "my.topic", "my_topic", "flights-200k"];
        assert_eq!(slices.map(topic_slice), [65, 64, 94, 80, 114, 114, 91]);
    }

    #[test]
    fn names_spread_over_all_slices() {
        let mut hits = vec![0; TOPIC_SLICES as usize];
        (0..12_800).for_each(|i| hits[topic_slice(&format!("topic-{i}")) as usize] += 1);
        assert!(hits.iter().all(|hits| (50..=150).contains(hits)), "{hits:?}");
    }

    fn topic(name: &str, id: u8) -> TopicRecord {
        let config = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
        TopicRecord { name: name.into(), topic_id: Uuid([id; 16]), creation: 3, config, partition_count: 2 }
    }

    fn partition(id: u8, partition: i32) -> PartitionRecord {
        let member = |broker_id| Member { broker_id, incarnation: 9 };
        PartitionRecord {
            topic_id: Uuid([id; 16]),
            partition,
            creation: 3,
            replicas: vec![1, 2, 3],
            leader: Some(member(1)),
            leader_epoch: 4,
            partition_epoch: 5,
            isr: vec![member(1), member(2)],
            elr: vec![member(3)],
            min_isr: 2,
            adding: vec![3],
            removing: vec![1],
            unclean_epoch: Some(2),
        }
    }

    fn digest(topics: &[TopicRecord], partitions: &[PartitionRecord]) -> u64 {
        match digests(topics, partitions)[..] {
            [SliceDigest { digest, .. }] => digest,
            ref other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_order_of_records_is_nothing_and_other_slices_are_nothing_to_a_slice() {
        // Of one slice.
        let (topics, partitions) = ([topic("a.b", 1), topic("a_b", 2)], [partition(1, 0), partition(1, 1)]);
        let whole = digest(&topics, &partitions);
        let reversed = [topics[1].clone(), topics[0].clone()];
        assert_eq!(digest(&reversed, &[partitions[1].clone(), partitions[0].clone()]), whole);
        assert_eq!(digest(&topics, &[&partitions[..], &[partition(9, 0)]].concat()), whole, "of no topic");
        let more = digests(&[&topics[..], &[topic("c", 3)]].concat(), &partitions);
        assert_eq!(more.len(), 2);
        assert!(more.contains(&SliceDigest { slice: topic_slice("a.b"), digest: whole }));
        assert_eq!(digests([], []), []);
    }

    #[test]
    fn whatever_changes_changes_the_digest() {
        let whole = digest(&[topic("t", 1)], &[partition(1, 0), partition(1, 1)]);
        let mut seen = BTreeSet::from([whole]);
        let mut differs = |topic: TopicRecord, partitions: &[PartitionRecord]| {
            assert!(
                seen.insert(digest(std::slice::from_ref(&topic), partitions)),
                "{topic:?} {partitions:?}"
            );
        };
        let of_topic: [fn(&mut TopicRecord); 5] = [
            |t| t.creation = 4,
            |t| t.partition_count = 3,
            |t| t.config.clear(),
            |t| drop(t.config.insert("retention.ms".into(), "6".into())),
            |t| drop(t.config.insert("x".into(), String::new())),
        ];
        for change in of_topic {
            let mut changed = topic("t", 1);
            change(&mut changed);
            differs(changed, &[partition(1, 0), partition(1, 1)]);
        }
        let of_partition: [fn(&mut PartitionRecord); 14] = [
            |p| p.partition = 7,
            |p| p.creation = 4,
            |p| p.replicas.swap(0, 1),
            |p| p.replicas.truncate(2),
            |p| p.leader = None,
            |p| p.leader = Some(Member { broker_id: 1, incarnation: 8 }),
            |p| p.leader_epoch = 5,
            |p| p.partition_epoch = 6,
            |p| p.isr.truncate(1),
            // What was one list's last is another's first.
            |p| p.elr.extend(p.isr.pop()),
            |p| p.min_isr = 1,
            |p| p.adding.clear(),
            |p| p.removing.clear(),
            |p| p.unclean_epoch = None,
        ];
        for change in of_partition {
            let mut changed = partition(1, 1);
            change(&mut changed);
            differs(topic("t", 1), &[partition(1, 0), changed]);
        }
        differs(topic("t", 1), &[partition(1, 0)]);
        differs(topic("t", 1), &[]);
    }

    #[test]
    fn a_digest_is_the_same_in_every_process_and_release() {
        assert_eq!(digest(&[topic("t", 1)], &[partition(1, 0)]), GOLDEN);
    }

    // Of what this release made it. Another one costs every broker a whole snapshot, and nothing else.
    const GOLDEN: u64 = 9_650_132_257_754_228_619;

    #[test]
    fn a_snapshot_leaves_out_what_is_held_and_nothing_else() {
        let topics = vec![topic("a", 1), topic("b", 2), topic("c", 3)];
        let partitions: Vec<_> =
            [1, 2, 3].iter().flat_map(|id| [partition(*id, 0), partition(*id, 1)]).collect();
        let whole = ClusterUpdate { snapshot: true, topics, partitions, ..ClusterUpdate::default() };
        let after = |held: &[SliceDigest]| {
            let mut snapshot = whole.clone();
            leave_out_unchanged(&mut snapshot, held);
            snapshot
        };
        assert_eq!(after(&[]), whole);
        let held = digests(&whole.topics, &whole.partitions);
        let all = held.iter().map(|held| held.slice).collect();
        let nothing = ClusterUpdate { snapshot: true, unchanged_slices: all, ..ClusterUpdate::default() };
        assert_eq!(after(&held), nothing);
        // One topic is held as it was before, one as it is, and one is not known any more.
        let mut before = whole.clone();
        before.partitions[0].partition_epoch -= 1;
        before.topics[2] = topic("another", 4);
        let snapshot = after(&digests(&before.topics, &before.partitions));
        assert_eq!(snapshot.unchanged_slices, [topic_slice("b")]);
        assert_eq!(snapshot.topics, [topic("a", 1), topic("c", 3)]);
        assert!(snapshot.partitions.iter().all(|record| record.topic_id != Uuid([2; 16])));
        assert_eq!(snapshot.partitions.len(), 4);
    }
}
