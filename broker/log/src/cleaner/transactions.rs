//! Which transactions were aborted, as a compaction walks through the log
//! (`org.apache.kafka.storage.internals.log.CleanedTransactionMetadata`).

use std::collections::{HashMap, HashSet};

use crate::transaction_index::AbortedTransaction;

/// The transactions that the walk is in. It goes from lower to higher offsets.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Aborted ones that the walk has not reached; the first of them last.
    ahead: Vec<AbortedTransaction>,
    /// Aborted ones that it is in, by producer, and whether a batch of them was met.
    aborted: HashMap<i64, (AbortedTransaction, bool)>,
    /// Producers with a batch in a transaction that was committed.
    committed: HashSet<i64>,
    /// Aborted ones of which something is left, for the new transaction index.
    kept: Vec<AbortedTransaction>,
}

impl Transactions {
    /// A walk that may meet these aborted transactions.
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self { ahead: aborted, ..Self::default() }
    }

    /// Meets a batch of records; whether it belongs to a transaction that was aborted.
    pub fn meet_batch(&mut self, producer_id: i64, transactional: bool, last_offset: i64) -> bool {
        self.reach(last_offset);
        if !transactional {
            return false;
        }
        match self.aborted.get_mut(&producer_id) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(producer_id);
                false
            }
        }
    }

    /// Meets the marker that ends a transaction; whether nothing of the transaction is left, so that the marker may go.
    pub fn meet_marker(&mut self, producer_id: i64, commit: bool, last_offset: i64) -> bool {
        self.reach(last_offset);
        if commit {
            return !self.committed.remove(&producer_id);
        }
        match self.aborted.remove(&producer_id) {
            Some((transaction, true)) => {
                self.kept.push(transaction);
                false
            }
            Some((_, false)) | None => true,
        }
    }

    /// Takes the aborted transactions whose markers were kept since the last call.
    pub fn take_kept(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.kept)
    }

    fn reach(&mut self, offset: i64) {
        while let Some(next) = self.ahead.pop_if(|next| next.first_offset <= offset) {
            self.aborted.entry(next.producer_id).or_insert((next, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset: 0 }
    }

    #[test]
    fn batches_of_aborted_transactions_are_told_from_others() {
        let mut walk = Transactions::new(vec![aborted(1, 20, 25), aborted(1, 0, 5), aborted(2, 3, 9)]);
        assert!(walk.meet_batch(1, true, 1));
        assert!(!walk.meet_batch(2, false, 2), "not in a transaction");
        assert!(walk.meet_batch(2, true, 4));
        assert!(!walk.meet_marker(1, false, 5), "its batch may still be there");
        assert!(!walk.meet_batch(1, true, 7), "the next one is committed");
        assert!(!walk.meet_marker(2, false, 9));
        assert!(!walk.meet_marker(1, true, 12));
        assert!(walk.meet_batch(1, true, 21));
        assert_eq!(walk.take_kept(), [aborted(1, 0, 5), aborted(2, 3, 9)]);
        assert!(!walk.meet_marker(1, false, 25));
        assert_eq!(walk.take_kept(), [aborted(1, 20, 25)]);
    }

    #[test]
    fn a_marker_may_go_when_nothing_of_its_transaction_is_left() {
        let mut walk = Transactions::new(vec![aborted(1, 0, 5)]);
        assert!(walk.meet_marker(1, false, 5));
        assert!(walk.meet_marker(2, true, 6));
        assert!(walk.meet_marker(3, false, 7), "of one that nothing is known of");
        assert_eq!(walk.take_kept(), []);
    }
}
