//! The records of one producer are committed in the order it sent them, and with idempotence each exactly once.

use std::collections::BTreeMap;

use super::committed::Committed;
use super::{Check, Tp, Violation, name};

/// Which producer sent a value, and as which of its records. Values are made by [`value_of`].
pub fn origin_of(value: u64) -> (u64, u64) {
    (value >> 32, value & 0xffff_ffff)
}

/// The value of a producer's record.
pub fn value_of(producer: u64, number: u64) -> u64 {
    (producer << 32) | number
}

/// Looks at all that is committed of a partition. Of each producer `is_idempotent` tells; `None` where nothing was promised
/// to it. A producer whose last record lies before `deleted` may be unknown to whoever leads, so what it sends again is taken
/// for new, as in Apache Kafka.
pub fn in_order(
    committed: &Committed,
    tp: Tp,
    deleted: i64,
    is_idempotent: impl Fn(u64) -> Option<bool>,
) -> Check {
    let mut last: BTreeMap<u64, (i64, u64)> = BTreeMap::new();
    if committed.is_deleted(tp.0) {
        return Ok(());
    }
    for (offset, value) in committed.values(tp) {
        let (producer, number) = origin_of(value);
        let last_at = last.get(&producer).map(|(offset, _)| *offset);
        let before = last.get(&producer).map(|(_, number)| *number);
        let due = before.map_or(0, |before| before + 1);
        let Some(idempotent) = is_idempotent(producer) else { continue };
        let strict = idempotent && last_at.is_none_or(|offset| offset >= deleted);
        let fits = if strict { number == due } else { number <= due };
        if !fits {
            let text = format!(
                "record {number} of producer {producer} is at offset {offset} of {}, and its record before is {before:?}",
                name(tp)
            );
            return Err(Violation::new("producers", text));
        }
        // What an idempotent producer sends anew goes on from there.
        let known = before.filter(|_| !idempotent).map_or(number, |before| before.max(number));
        last.insert(producer, (offset, known));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::committed::Batch;
    use taffrail_protocol::Uuid;

    fn committed(numbers: &[u64]) -> (Committed, Tp) {
        let (mut committed, tp) = (Committed::default(), (Uuid([1; 16]), 0));
        for (offset, number) in (0..).zip(numbers) {
            let records = vec![(offset, value_of(9, *number))];
            let batch = Batch { base_offset: offset, next_offset: offset + 1, epoch: 0, hash: 0, records };
            committed.saw("1", tp, 0, &[batch]).unwrap();
        }
        (committed, tp)
    }

    #[test]
    fn gaps_disorder_and_with_idempotence_duplicates_are_found_out() {
        for (numbers, idempotent, plain) in [
            (&[0, 1, 2][..], true, true),
            (&[0, 1, 1, 2], false, true),
            (&[0, 1, 0, 1, 2], false, true),
            (&[0, 2], false, false),
            (&[1], false, false),
        ] {
            let (committed, tp) = committed(numbers);
            assert_eq!(in_order(&committed, tp, 0, |_| Some(true)).is_ok(), idempotent, "{numbers:?}");
            assert_eq!(in_order(&committed, tp, 0, |_| Some(false)).is_ok(), plain, "{numbers:?}");
            let forgotten = in_order(&committed, tp, 9, |_| Some(true));
            assert_eq!(forgotten.is_ok(), plain, "{numbers:?}");
        }
    }

    #[test]
    fn an_idempotent_producer_that_was_forgotten_goes_on_from_what_it_sends_anew() {
        for (numbers, fits) in [(&[0, 1, 0, 1, 2][..], true), (&[0, 1, 0, 2], false), (&[0, 1, 0, 0], false)]
        {
            let (committed, tp) = committed(numbers);
            assert_eq!(in_order(&committed, tp, 2, |_| Some(true)).is_ok(), fits, "{numbers:?}");
        }
    }
}
