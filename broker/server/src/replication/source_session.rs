//! A follower's side of a fetch session with one source (KIP-227): what was asked for, and what has to be said in the next
//! request.
//!
//! Two requests may be under way. An answer says something about a partition only if that was not asked for anew since:
//! what was asked for in another epoch, or at another offset, is thrown away (rule 13).

use std::collections::{BTreeSet, HashMap};

use taffrail_protocol::messages::FetchRequest;
use taffrail_protocol::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use taffrail_replication::replica_fetch::FetchPosition;

use crate::cluster::PartitionKey;

/// The number of a request, counted from 1 in each session.
pub type RequestNumber = u64;

struct Entry {
    position: FetchPosition,
    high_watermark: i64,
    /// The request that asked, or will ask, for this position.
    asked_in: RequestNumber,
}

/// One session. It begins with its first request.
#[derive(Default)]
pub struct SourceSession {
    id: i32,
    /// The number of requests that were made.
    requests: RequestNumber,
    entries: HashMap<PartitionKey, Entry>,
    changed: BTreeSet<PartitionKey>,
    forgotten: BTreeSet<PartitionKey>,
}

impl SourceSession {
    /// Asks for a partition, or asks anew, with the next request, and tells the high watermark that is known.
    pub fn ask(&mut self, key: PartitionKey, position: FetchPosition, high_watermark: i64) {
        self.entries.insert(key, Entry { position, high_watermark, asked_in: self.requests + 1 });
        self.changed.insert(key);
    }

    /// Asks for a partition no more.
    pub fn forget(&mut self, key: PartitionKey) {
        let Some(entry) = self.entries.remove(&key) else { return };
        let was_changed = self.changed.remove(&key);
        // What was never asked for need not be taken back; only the source knows whether this was the first time.
        if !was_changed || entry.asked_in > 1 {
            self.forgotten.insert(key);
        }
    }

    /// Whether the source has to be told something.
    pub fn has_news(&self) -> bool {
        !self.changed.is_empty() || !self.forgotten.is_empty()
    }

    /// The position that the answer to `request` is about; `None` when the partition was asked for anew since, or
    /// forgotten.
    pub fn position(&self, key: PartitionKey, request: RequestNumber) -> Option<FetchPosition> {
        let entry = self.entries.get(&key).filter(|entry| entry.asked_in <= request)?;
        Some(entry.position)
    }

    /// Whether it has an id, without which there is no further request.
    pub fn has_begun(&self) -> bool {
        self.id != 0
    }

    /// The source gave the session this id.
    pub fn named(&mut self, id: i32) {
        self.id = id;
    }

    /// Writes the next request's session, partitions and forgotten partitions into `request`, and returns its number.
    /// Only when the first one was answered there may be a second.
    pub fn next(&mut self, request: &mut FetchRequest<'static>, partition_max_bytes: i32) -> RequestNumber {
        request.session_id = self.id;
        // The epoch goes from 0 up, and skips 0 when it comes round.
        let epoch = i64::try_from(self.requests).unwrap_or(0) - 1;
        let epoch = i32::try_from(epoch.rem_euclid(i64::from(i32::MAX)) + 1).unwrap_or(1);
        request.session_epoch = if self.requests == 0 { 0 } else { epoch };
        self.requests += 1;
        request.topics = self.take_changed(partition_max_bytes);
        request.forgotten_topics_data = self.take_forgotten();
        self.requests
    }

    fn take_changed(&mut self, partition_max_bytes: i32) -> Vec<FetchTopic<'static>> {
        let mut topics: Vec<FetchTopic<'static>> = Vec::new();
        for key @ (topic_id, partition) in std::mem::take(&mut self.changed) {
            let Some(Entry { position, high_watermark, .. }) = self.entries.get(&key) else { continue };
            if topics.last().is_none_or(|last| last.topic_id != topic_id) {
                topics.push(FetchTopic { topic_id, ..FetchTopic::default() });
            }
            let Some(topic) = topics.last_mut() else { continue };
            topic.partitions.push(FetchPartition {
                partition,
                current_leader_epoch: position.leader_epoch,
                fetch_offset: position.fetch_offset,
                last_fetched_epoch: position.last_fetched_epoch,
                log_start_offset: position.log_start_offset,
                partition_max_bytes,
                high_watermark: *high_watermark,
                ..FetchPartition::default()
            });
        }
        topics
    }

    fn take_forgotten(&mut self) -> Vec<ForgottenTopic<'static>> {
        let mut topics: Vec<ForgottenTopic<'static>> = Vec::new();
        for (topic_id, partition) in std::mem::take(&mut self.forgotten) {
            if topics.last().is_none_or(|last| last.topic_id != topic_id) {
                topics.push(ForgottenTopic { topic_id, ..ForgottenTopic::default() });
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(partition);
            }
        }
        topics
    }
}

#[cfg(test)]
mod tests {
    use taffrail_control::session::Member;
    use taffrail_protocol::Uuid;

    use super::*;

    fn key(partition: i32) -> PartitionKey {
        (Uuid([7; 16]), partition)
    }

    fn at(fetch_offset: i64) -> FetchPosition {
        FetchPosition {
            leader: Member { broker_id: 1, incarnation: 1 },
            leader_epoch: 3,
            fetch_offset,
            last_fetched_epoch: 2,
            log_start_offset: 0,
        }
    }

    /// Session id, epoch, what is asked for, what is forgotten.
    fn next(session: &mut SourceSession) -> (i32, i32, Vec<(i32, i64)>, Vec<i32>) {
        let mut request = FetchRequest::default();
        session.next(&mut request, 100);
        let asked = request.topics.iter().flat_map(|topic| &topic.partitions);
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| &topic.partitions);
        (
            request.session_id,
            request.session_epoch,
            asked.map(|asked| (asked.partition, asked.fetch_offset)).collect(),
            forgotten.copied().collect(),
        )
    }

    #[test]
    fn a_request_says_only_what_has_changed() {
        let mut session = SourceSession::default();
        session.ask(key(0), at(5), 0);
        session.ask(key(1), at(6), 0);
        assert_eq!(next(&mut session), (0, 0, vec![(0, 5), (1, 6)], vec![]));
        session.named(42);
        assert!(!session.has_news());
        session.ask(key(1), at(7), 0);
        session.forget(key(0));
        assert!(session.has_news());
        assert_eq!(next(&mut session), (42, 1, vec![(1, 7)], vec![0]));
        assert_eq!(next(&mut session), (42, 2, vec![], vec![]));
    }

    #[test]
    fn a_partition_that_comes_back_at_once_is_forgotten_and_asked_for() {
        let mut session = SourceSession::default();
        session.ask(key(0), at(5), 0);
        next(&mut session);
        session.forget(key(0));
        session.ask(key(0), at(5), 0);
        assert_eq!(next(&mut session), (0, 1, vec![(0, 5)], vec![0]));
        session.ask(key(1), at(1), 0);
        session.forget(key(1));
        session.forget(key(2));
        assert_eq!(next(&mut session).2, []);
    }

    #[test]
    fn answers_to_what_was_asked_for_before_are_thrown_away() {
        let mut session = SourceSession::default();
        session.ask(key(0), at(5), 0);
        session.ask(key(1), at(5), 0);
        next(&mut session);
        session.ask(key(0), at(9), 0);
        assert_eq!(session.position(key(0), 1), None, "it was asked for at another offset since");
        assert_eq!(session.position(key(1), 1), Some(at(5)));
        next(&mut session);
        assert_eq!(session.position(key(0), 2), Some(at(9)));
        session.forget(key(0));
        assert_eq!(session.position(key(0), 2), None);
    }
}
