//! No acknowledged record is lost or moved, and nobody reads what is not committed (rules 9, 19, 27).

use std::collections::BTreeMap;

use super::committed::Committed;
use super::{Check, Tp, Violation, name};

/// What was acknowledged with acks=all, by partition: values by offset.
#[derive(Debug, Default)]
pub struct Acknowledged {
    records: BTreeMap<Tp, BTreeMap<i64, u64>>,
}

impl Acknowledged {
    /// Records were acknowledged.
    pub fn acknowledged(
        &mut self,
        committed: &Committed,
        who: &str,
        tp: Tp,
        base_offset: i64,
        values: &[u64],
    ) -> Check {
        for (offset, value) in (base_offset..).zip(values) {
            check(committed, &format!("{who} acknowledged"), tp, offset, *value)?;
            self.records.entry(tp).or_default().insert(offset, *value);
        }
        Ok(())
    }

    /// A consumer was shown a record.
    pub fn shown(&self, committed: &Committed, who: &str, tp: Tp, offset: i64, value: u64) -> Check {
        check(committed, &format!("{who} showed"), tp, offset, value)
    }

    /// In the end all of them are still there.
    pub fn still_there(&self, committed: &Committed) -> Check {
        for (tp, records) in &self.records {
            for (offset, value) in records {
                check(committed, "somebody acknowledged", *tp, *offset, *value)?;
            }
        }
        Ok(())
    }

    /// How many records.
    pub fn count(&self) -> usize {
        self.records.values().map(BTreeMap::len).sum()
    }
}

fn check(committed: &Committed, what: &str, tp: Tp, offset: i64, value: u64) -> Check {
    let there = committed.value(tp, offset);
    if there == Some(value) || committed.is_deleted(tp.0) {
        return Ok(());
    }
    let text = format!("{what} {value} at offset {offset} of {}, and committed is {there:?}", name(tp));
    Err(Violation::new("acknowledged", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::committed::Batch;
    use taffrail_protocol::Uuid;

    #[test]
    fn what_is_not_committed_may_be_neither_acknowledged_nor_shown() {
        let tp = (Uuid([1; 16]), 0);
        let mut committed = Committed::default();
        let batch = Batch { base_offset: 0, next_offset: 1, epoch: 0, hash: 0, records: vec![(0, 7)] };
        committed.saw("1", tp, 0, &[batch]).unwrap();
        let mut acknowledged = Acknowledged::default();
        acknowledged.acknowledged(&committed, "1", tp, 0, &[7]).unwrap();
        assert!(acknowledged.acknowledged(&committed, "1", tp, 0, &[8]).is_err());
        assert!(acknowledged.shown(&committed, "1", tp, 1, 9).is_err());
        assert_eq!(acknowledged.count(), 1);
        acknowledged.still_there(&committed).unwrap();
        assert!(acknowledged.still_there(&Committed::default()).is_err());
    }
}
