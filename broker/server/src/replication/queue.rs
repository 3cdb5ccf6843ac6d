//! A queue that holds each partition once.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cluster::PartitionKey;

/// Partitions that something is to be done for, for one task that does it.
#[derive(Debug, Default)]
pub struct KeyQueue {
    keys: Mutex<BTreeSet<PartitionKey>>,
    notify: Notify,
}

impl KeyQueue {
    /// Puts a partition in, if it is not there yet.
    pub fn push(&self, key: PartitionKey) {
        self.extend([key]);
    }

    /// Puts partitions in.
    pub fn extend(&self, keys: impl IntoIterator<Item = PartitionKey>) {
        self.keys.lock().extend(keys);
        self.notify.notify_one();
    }

    /// Waits until there are partitions, and takes all of them. Cancelled, it takes none.
    pub async fn take(&self) -> BTreeSet<PartitionKey> {
        loop {
            let taken = std::mem::take(&mut *self.keys.lock());
            if !taken.is_empty() {
                return taken;
            }
            self.notify.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_protocol::Uuid;

    use super::*;

    #[tokio::test]
    async fn each_partition_is_taken_once_however_often_it_was_put_in() {
        let queue = KeyQueue::default();
        let key = |partition| (Uuid([1; 16]), partition);
        queue.extend([key(2), key(1)]);
        queue.push(key(2));
        assert_eq!(queue.take().await, BTreeSet::from([key(1), key(2)]));
        let (taken, ()) = tokio::join!(queue.take(), async { queue.push(key(3)) });
        assert_eq!(taken, BTreeSet::from([key(3)]));
    }
}
