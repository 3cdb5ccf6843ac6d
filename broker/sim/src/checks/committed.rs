//! Replicas are equal below the high watermark; what was committed once stays what it is; and whoever leads has all of it.
//!
//! The first replica whose high watermark passes a batch settles what is at its offsets, for all replicas, all readers and
//! all times (rules 8, 13, 19). Of a log that is compacted records may be missing ([`super::superseded`]).

use std::collections::{BTreeMap, BTreeSet};

use taffrail_controller::model::Object;
use taffrail_protocol::Uuid;

use super::{Check, Tp, Violation, name, superseded};

/// A batch as a log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its first offset.
    pub base_offset: i64,
    /// The offset behind it.
    pub next_offset: i64,
    /// The leader epoch it was appended in.
    pub epoch: i32,
    /// Stands for its bytes.
    pub hash: u64,
    /// Its records: offsets and values.
    pub records: Vec<(i64, u64)>,
}

impl Batch {
    /// The hash of one that does not match its checksum.
    pub const CORRUPT: u64 = 0;

    /// Whether it does not match its checksum. Its records are not told then.
    pub fn is_corrupt(&self) -> bool {
        self.hash == Self::CORRUPT
    }

    /// Whether this is what compaction may leave of `whole`. One without records may keep the place of several.
    fn is_left_of(&self, whole: &Self) -> bool {
        let place = |batch: &Self| (batch.base_offset, batch.next_offset, batch.epoch);
        (self.records.is_empty() || place(self) == place(whole))
            && self.records.iter().all(|record| whole.records.contains(record))
    }
}

/// A batch that is committed.
#[derive(Debug, Clone)]
struct Settled {
    batch: Batch,
    /// The leader epoch in which it was first known to be committed.
    committed_in: i32,
}

/// What is committed, by partition.
#[derive(Debug, Default)]
pub struct Committed {
    logs: BTreeMap<Tp, Vec<Settled>>,
    deleted: BTreeSet<Uuid>,
    compacts: bool,
}

impl Committed {
    /// Nothing, in a cluster whose topics are compacted, or are not.
    pub fn of(compacts: bool) -> Self {
        Self { compacts, ..Self::default() }
    }

    /// An object was swapped for another. Nothing is promised to a topic any more from when its deletion is stored: brokers
    /// that hear of it delete what is committed, while others, and controllers that have not read it yet, go on.
    pub fn swapped(&mut self, after: &Object) {
        if let Object::Topics(slice) = after {
            let deleted = slice.topics.values().filter(|topic| topic.deleting_since_ms.is_some());
            self.deleted.extend(deleted.map(|topic| topic.topic_id));
        }
    }

    /// Whether somebody has had the topic deleted.
    pub fn is_deleted(&self, topic_id: Uuid) -> bool {
        self.deleted.contains(&topic_id)
    }

    /// Up to where batches are known to be committed.
    pub fn end(&self, tp: Tp) -> i64 {
        self.logs.get(&tp).and_then(|log| log.last()).map_or(0, |last| last.batch.next_offset)
    }

    /// The value that is committed at an offset.
    pub fn value(&self, tp: Tp, offset: i64) -> Option<u64> {
        let log = self.logs.get(&tp)?;
        let at = log.partition_point(|settled| settled.batch.next_offset <= offset);
        let records = &log.get(at)?.batch.records;
        records.iter().find(|(there, _)| *there == offset).map(|(_, value)| *value)
    }

    /// All committed values of a partition, with their offsets.
    pub fn values(&self, tp: Tp) -> impl Iterator<Item = (i64, u64)> {
        self.values_before(tp, i32::MAX)
    }

    /// Those of them that were committed in earlier leader epochs than `epoch`.
    pub fn values_before(&self, tp: Tp, epoch: i32) -> impl Iterator<Item = (i64, u64)> {
        let batches = self.logs.get(&tp).into_iter().flatten();
        let due = batches.take_while(move |settled| settled.committed_in < epoch);
        due.flat_map(|settled| settled.batch.records.iter().copied())
    }

    /// Everything that is committed.
    pub fn partitions(&self) -> impl Iterator<Item = Tp> {
        self.logs.keys().copied()
    }

    /// A replica under leader epoch `epoch` counts `batches` as committed.
    pub fn saw(&mut self, who: &str, tp: Tp, epoch: i32, batches: &[Batch]) -> Check {
        let settled = self.settle(who, tp, epoch, batches);
        if self.is_deleted(tp.0) { Ok(()) } else { settled }
    }

    fn settle(&mut self, who: &str, tp: Tp, epoch: i32, batches: &[Batch]) -> Check {
        let log = self.logs.entry(tp).or_default();
        for batch in batches {
            let end = log.last().map_or(0, |last| last.batch.next_offset);
            if batch.base_offset >= end {
                if batch.base_offset > end {
                    let text = format!(
                        "{who} counts the batch at offset {} of {} as committed, and what is between {end} and it was \
                         never seen",
                        batch.base_offset,
                        name(tp)
                    );
                    return Err(Violation::new("committed", text));
                }
                log.push(Settled { batch: batch.clone(), committed_in: epoch });
                continue;
            }
            let at = log.partition_point(|settled| settled.batch.next_offset <= batch.base_offset);
            let settled = &mut log[at];
            if settled.batch != *batch && !(self.compacts && batch.is_left_of(&settled.batch)) {
                let text = format!(
                    "{who} counts {batch:?} of {} as committed, and committed is {:?}",
                    name(tp),
                    settled.batch
                );
                return Err(Violation::new("committed", text));
            }
            settled.committed_in = settled.committed_in.min(epoch);
        }
        Ok(())
    }

    /// `who` begins to lead in `epoch` with a log of these batches: it has all that was committed in earlier epochs, but
    /// for what lies before `deleted`.
    pub fn leads(&self, who: &str, tp: Tp, epoch: i32, deleted: i64, batches: &[Batch]) -> Check {
        let Some(log) = self.logs.get(&tp).filter(|_| !self.is_deleted(tp.0)) else { return Ok(()) };
        if self.compacts {
            return superseded::has_the_latest(self, who, tp, epoch, batches);
        }
        let due = log.iter().take_while(|settled| settled.committed_in < epoch);
        let due = due.skip_while(|settled| settled.batch.base_offset < deleted);
        let from = batches.partition_point(|batch| batch.base_offset < deleted);
        for (settled, at) in due.zip(from..) {
            if batches.get(at) != Some(&settled.batch) {
                let text = format!(
                    "{who} leads {} from epoch {epoch} on with {:?} where {:?} was committed in epoch {}",
                    name(tp),
                    batches.get(at),
                    settled.batch,
                    settled.committed_in
                );
                return Err(Violation::new("committed", text));
            }
        }
        Ok(())
    }

    /// In the end every replica has all that was ever committed and not deleted.
    pub fn has_all(&self, who: &str, tp: Tp, deleted: i64, batches: &[Batch]) -> Check {
        self.leads(who, tp, i32::MAX, deleted, batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_controller::model::{TopicEntry, TopicSlice};

    const TP: Tp = (Uuid([1; 16]), 0);

    fn batch(base_offset: i64, epoch: i32, value: u64) -> Batch {
        let records = vec![(base_offset, value), (base_offset + 1, value + 1)];
        Batch { base_offset, next_offset: base_offset + 2, epoch, hash: value, records }
    }

    #[test]
    fn a_replica_that_differs_below_its_high_watermark_is_found_out() {
        let mut committed = Committed::default();
        committed.saw("1", TP, 0, &[batch(0, 0, 10), batch(2, 0, 20)]).unwrap();
        committed.saw("2", TP, 0, &[batch(0, 0, 10)]).unwrap();
        assert_eq!(committed.value(TP, 3), Some(21));
        assert!(committed.saw("3", TP, 1, &[batch(0, 0, 10), batch(2, 1, 30)]).is_err());
        assert!(committed.saw("3", TP, 1, &[batch(6, 1, 30)]).is_err());
    }

    #[test]
    fn only_a_compacted_batch_may_have_fewer_records() {
        let rest = Batch { hash: 99, records: vec![(1, 11)], ..batch(0, 0, 10) };
        let other = Batch { records: vec![(1, 10)], ..rest.clone() };
        for compacts in [true, false] {
            let mut committed = Committed::of(compacts);
            committed.saw("1", TP, 0, &[batch(0, 0, 10)]).unwrap();
            assert_eq!(committed.saw("2", TP, 0, std::slice::from_ref(&rest)).is_ok(), compacts);
            assert!(committed.saw("2", TP, 0, std::slice::from_ref(&other)).is_err());
        }
    }

    #[test]
    fn nothing_is_promised_to_a_topic_that_is_being_deleted() {
        let mut committed = Committed::default();
        committed.saw("1", TP, 0, &[batch(0, 0, 10)]).unwrap();
        let mut slice = TopicSlice::default();
        let entry = |deleting_since_ms| TopicEntry {
            topic_id: TP.0,
            creation: 1,
            partition_count: 1,
            config: BTreeMap::new(),
            deleting_since_ms,
            pieces: Vec::new(),
            wish: None,
            other: Default::default(),
        };
        slice.topics.insert("t".to_owned(), entry(None).into());
        committed.swapped(&Object::Topics(slice.clone()));
        assert!(committed.leads("2", TP, 1, 0, &[]).is_err());
        slice.topics.insert("t".to_owned(), entry(Some(5)).into());
        committed.swapped(&Object::Topics(slice));
        committed.leads("2", TP, 1, 0, &[]).unwrap();
        committed.saw("2", TP, 1, &[batch(0, 1, 30)]).unwrap();
    }

    #[test]
    fn a_leader_without_what_earlier_epochs_committed_is_found_out() {
        let mut committed = Committed::default();
        committed.saw("1", TP, 0, &[batch(0, 0, 10)]).unwrap();
        committed.saw("1", TP, 3, &[batch(2, 0, 20)]).unwrap();
        assert!(committed.leads("2", TP, 1, 0, &[]).is_err());
        committed.leads("2", TP, 1, 2, &[]).unwrap();
        committed.leads("2", TP, 3, 0, &[batch(0, 0, 10)]).unwrap();
        assert!(committed.leads("2", TP, 4, 2, &[]).is_err());
        committed.leads("2", TP, 4, 2, &[batch(2, 0, 20)]).unwrap();
        assert!(committed.leads("2", TP, 4, 0, &[batch(0, 0, 10), batch(2, 3, 21)]).is_err());
    }
}
