//! Which batches idempotent producers are to send again before any others.
//!
//! A producer may have several batches under way. When the first is refused for a moment, as too few replicas are in sync or
//! another broker leads, that moment may be over when the second arrives: then its sequence number is out of order, or, of a
//! producer that nothing is known of, taken for the first. Being out of order has a price. librdkafka begins a new producer
//! epoch with all that it has no answer for, in every partition, and what had been appended of that is in the log twice. So
//! what comes behind a batch that was refused is refused for the same reason until that batch was sent again.
//!
//! The batch may also have been refused elsewhere. A producer that hears from the old leader that it leads no more goes on at
//! the new one, and librdkafka may have its next batch there before the one that it has to send again. So the first batch of
//! a producer under a new leader that is out of order is refused as if this broker did not lead yet.

use std::collections::HashMap;

use taffrail_protocol::ErrorCode;
use taffrail_protocol::record_batch::BatchHeader;

/// A producer sends again within its backoff what it may; one that gave the batch up goes on otherwise. Milliseconds.
const FORGOTTEN_AFTER_MS: i64 = 10_000;
/// Of how many producers this is remembered. Those beyond it see their second batch out of order, as from any broker.
const MOST_PRODUCERS: usize = 100;

/// The first batch of a producer that was refused.
struct Refused {
    producer_epoch: i16,
    base_sequence: i32,
    code: ErrorCode,
    /// The leader epoch that it was refused in.
    leader_epoch: i32,
    at_ms: i64,
}

impl Refused {
    fn is_remembered(&self, now_ms: i64) -> bool {
        (0..FORGOTTEN_AFTER_MS).contains(&now_ms.saturating_sub(self.at_ms))
    }

    /// Whether the batch comes behind this one. Sequence numbers go from the highest on to 0.
    fn is_before(&self, header: &BatchHeader) -> bool {
        let distance = header.base_sequence.wrapping_sub(self.base_sequence) & i32::MAX;
        self.producer_epoch == header.producer_epoch && (1..=i32::MAX / 2).contains(&distance)
    }
}

/// The batches of one partition that were refused for a moment, by producer id.
#[derive(Default)]
pub(super) struct RefusedBatches(HashMap<i64, Refused>);

impl RefusedBatches {
    /// Notes that a batch is refused with `code`.
    pub(super) fn note(&mut self, now_ms: i64, header: &BatchHeader, leader_epoch: i32, code: ErrorCode) {
        if !header.has_producer_id() || self.code_for(now_ms, header).is_some() {
            return;
        }
        if self.0.len() >= MOST_PRODUCERS {
            self.0.retain(|_, refused| refused.is_remembered(now_ms));
        }
        if self.0.len() < MOST_PRODUCERS || self.0.contains_key(&header.producer_id) {
            let BatchHeader { producer_epoch, base_sequence, .. } = *header;
            let refused = Refused { producer_epoch, base_sequence, code, leader_epoch, at_ms: now_ms };
            self.0.insert(header.producer_id, refused);
        }
    }

    /// The code that an earlier batch of the producer was refused with, if this one comes behind it.
    pub(super) fn code_for(&self, now_ms: i64, header: &BatchHeader) -> Option<ErrorCode> {
        let refused = self.0.get(&header.producer_id)?;
        (refused.is_remembered(now_ms) && refused.is_before(header)).then_some(refused.code)
    }

    /// The code to refuse a batch with that is out of order, of a producer that has appended nothing in this leader epoch:
    /// what is missing may be about to be sent again. `None` when that took too long.
    pub(super) fn awaits_earlier(
        &mut self,
        now_ms: i64,
        header: &BatchHeader,
        leader_epoch: i32,
    ) -> Option<ErrorCode> {
        let of_this = |refused: &&Refused| {
            (refused.producer_epoch, refused.leader_epoch) == (header.producer_epoch, leader_epoch)
        };
        if self.0.get(&header.producer_id).filter(of_this).is_none() {
            self.note(now_ms, header, leader_epoch, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let refused = self.0.get(&header.producer_id).filter(of_this)?;
        refused.is_remembered(now_ms).then_some(refused.code)
    }

    /// Forgets what was refused of the batch's producer, as the batch was appended.
    pub(super) fn appended(&mut self, header: &BatchHeader) {
        if !self.0.is_empty() {
            self.0.remove(&header.producer_id);
        }
    }
}
