//! Of a compacted log only records may be missing that have a later one of their key, and only what is committed takes
//! anything's place; so the latest value of each key stays, and no offset moves.

use std::collections::BTreeMap;

use super::committed::{Batch, Committed};
use super::{Check, Tp, Violation, name};

/// How many keys there are.
const KEYS: u64 = 5;

/// The key of the record with a value.
pub fn key_of(value: u64) -> u64 {
    (value & 0xffff_ffff) % KEYS
}

/// The records of a log, by offset, and the last committed one of each key.
fn found(committed: &Committed, tp: Tp, batches: &[Batch]) -> (BTreeMap<i64, u64>, BTreeMap<u64, i64>) {
    let there: BTreeMap<i64, u64> = batches.iter().flat_map(|batch| batch.records.iter().copied()).collect();
    let settled = there.range(..committed.end(tp));
    let latest = settled.map(|(offset, value)| (key_of(*value), *offset)).collect();
    (there, latest)
}

/// `who` begins to lead in `epoch` with a log of these batches: of all that was committed in earlier epochs it has each
/// record, or a later committed one of its key.
pub fn has_the_latest(committed: &Committed, who: &str, tp: Tp, epoch: i32, batches: &[Batch]) -> Check {
    let (there, latest) = found(committed, tp, batches);
    for (offset, value) in committed.values_before(tp, epoch) {
        let fits = match there.get(&offset) {
            Some(present) => *present == value,
            None => latest.get(&key_of(value)).is_some_and(|latest| *latest > offset),
        };
        if !fits {
            let text = format!(
                "{who} leads {} from epoch {epoch} on with {:?} at offset {offset}, where {value} was committed, and its \
                 last record of that key is {:?}",
                name(tp),
                there.get(&offset),
                latest.get(&key_of(value))
            );
            return Err(Violation::new("superseded", text));
        }
    }
    Ok(())
}

/// `who` has compacted a log: what it lets go has a later record of its key there that is committed.
pub fn lets_go(committed: &Committed, who: &str, tp: Tp, before: &[Batch], after: &[Batch]) -> Check {
    let (was, _) = found(committed, tp, before);
    let (is, latest) = found(committed, tp, after);
    let went = was.iter().filter(|(offset, _)| !is.contains_key(offset));
    let mut wrong =
        went.filter(|(offset, value)| latest.get(&key_of(**value)).is_none_or(|latest| latest <= *offset));
    let moved = is.iter().find(|(offset, value)| was.get(offset) != Some(value));
    let Some((offset, value)) = wrong.next().or(moved).filter(|_| !committed.is_deleted(tp.0)) else {
        return Ok(());
    };
    let text = format!(
        "{who} compacted {} and had {:?} at offset {offset} before and {:?} after it; the last committed record of the key of \
         {value} is at {:?}",
        name(tp),
        was.get(offset),
        is.get(offset),
        latest.get(&key_of(*value))
    );
    Err(Violation::new("superseded", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_protocol::Uuid;

    const TP: Tp = (Uuid([1; 16]), 0);

    fn log(values: &[(i64, u64)]) -> Vec<Batch> {
        let batch = |(base_offset, value): &(i64, u64)| Batch {
            base_offset: *base_offset,
            next_offset: base_offset + 1,
            epoch: 0,
            hash: *value,
            records: vec![(*base_offset, *value)],
        };
        values.iter().map(batch).collect()
    }

    /// Values whose remainders are the same have one key.
    const ALL: [(i64, u64); 4] = [(0, 0), (1, 1), (2, KEYS), (3, 2)];

    #[test]
    fn a_log_without_the_latest_of_a_key_is_found_out() {
        let mut committed = Committed::of(true);
        committed.saw("1", TP, 0, &log(&ALL)).unwrap();
        let leads = |values: &[(i64, u64)]| has_the_latest(&committed, "2", TP, 1, &log(values)).is_ok();
        assert!(leads(&ALL));
        assert!(leads(&ALL[1..]), "a later record has the key of the first");
        assert!(!leads(&[(1, 1), (3, 2)]), "the last of a key is missing");
        assert!(!leads(&[(1, 1), (2, 2 * KEYS), (3, 2)]), "another value");
    }

    #[test]
    fn what_is_not_committed_takes_nothings_place() {
        let mut committed = Committed::of(true);
        committed.saw("1", TP, 0, &log(&ALL[..2])).unwrap();
        let compacts = |after: &[(i64, u64)]| lets_go(&committed, "1", TP, &log(&ALL), &log(after)).is_ok();
        assert!(compacts(&ALL));
        assert!(!compacts(&ALL[1..]));
        assert!(!compacts(&[(0, 0), (1, 6), (2, KEYS), (3, 2)]), "a record changed");
        committed.saw("1", TP, 0, &log(&ALL[2..])).unwrap();
        let compacts = |after: &[(i64, u64)]| lets_go(&committed, "1", TP, &log(&ALL), &log(after)).is_ok();
        assert!(compacts(&ALL[1..]));
        assert!(!compacts(&ALL[..3]));
    }
}
