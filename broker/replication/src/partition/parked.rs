//! Requests that wait on a partition, and what is to be told to whom.

use std::collections::VecDeque;

use taffrail_protocol::ErrorCode;

/// Names one parked fetch on one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkId(u64);

/// Something that a step made true for another request than the one that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<T> {
    /// `bytes` more bytes became readable for a parked fetch, which stays parked.
    Readable {
        /// The fetch.
        token: T,
        /// How many bytes, about: batches that became readable with one step are counted whole.
        bytes: u64,
    },
    /// A parked produce was committed or failed; it is not parked any more.
    Committed {
        /// The produce.
        token: T,
        /// How it ended.
        outcome: Result<(), ErrorCode>,
    },
    /// The partition answers no fetch any more (it lost its role or is deleted): a parked fetch has to look again.
    Moved {
        /// The fetch, which is not parked any more.
        token: T,
    },
}

/// What a caller has to carry out after it let go of the partition.
pub type Effects<T> = Vec<Effect<T>>;

struct ParkedProduce<T> {
    last_offset: i64,
    token: T,
}

/// The requests parked on one partition. Its size is bounded by the requests in flight of all connections.
pub(super) struct Purgatory<T> {
    /// In the order of their offsets, since appends are.
    produces: VecDeque<ParkedProduce<T>>,
    fetches: Vec<(ParkId, T)>,
    next_id: u64,
    /// Bytes appended and not yet reported to parked fetches as readable.
    unreported_bytes: u64,
}

impl<T> Default for Purgatory<T> {
    fn default() -> Self {
        Self { produces: VecDeque::new(), fetches: Vec::new(), next_id: 0, unreported_bytes: 0 }
    }
}

impl<T: Clone> Purgatory<T> {
    pub(super) fn park_produce(&mut self, last_offset: i64, token: T) {
        // A retried duplicate waits for an older offset than its neighbours.
        let at = self.produces.partition_point(|parked| parked.last_offset <= last_offset);
        self.produces.insert(at, ParkedProduce { last_offset, token });
    }

    pub(super) fn park_fetch(&mut self, token: T) -> ParkId {
        let id = ParkId(self.next_id);
        self.next_id += 1;
        self.fetches.push((id, token));
        id
    }

    pub(super) fn leave(&mut self, id: ParkId) {
        if let Some(at) = self.fetches.iter().position(|(parked, _)| *parked == id) {
            self.fetches.swap_remove(at);
        }
    }

    pub(super) fn note_bytes(&mut self, bytes: u64) {
        self.unreported_bytes += bytes;
    }

    /// Everything below `high_watermark` is committed and readable.
    pub(super) fn committed(&mut self, high_watermark: i64, effects: &mut Effects<T>) {
        while let Some(parked) = self.produces.pop_front_if(|parked| parked.last_offset < high_watermark) {
            effects.push(Effect::Committed { token: parked.token, outcome: Ok(()) });
        }
        let bytes = std::mem::take(&mut self.unreported_bytes);
        effects
            .extend(self.fetches.iter().map(|(_, token)| Effect::Readable { token: token.clone(), bytes }));
    }

    /// Lets everybody go: the partition is not this broker's to answer for any more.
    pub(super) fn fail_all(&mut self, code: ErrorCode, effects: &mut Effects<T>) {
        let produces = self.produces.drain(..);
        effects.extend(produces.map(|parked| Effect::Committed { token: parked.token, outcome: Err(code) }));
        effects.extend(self.fetches.drain(..).map(|(_, token)| Effect::Moved { token }));
        self.unreported_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produces_are_told_in_offset_order_and_only_below_the_high_watermark() {
        let mut purgatory = Purgatory::default();
        purgatory.park_produce(9, "b");
        purgatory.park_produce(4, "duplicate");
        purgatory.park_produce(19, "c");
        let mut effects = Effects::new();
        purgatory.committed(10, &mut effects);
        let told = std::mem::take(&mut effects);
        assert_eq!(told, ["duplicate", "b"].map(|token| Effect::Committed { token, outcome: Ok(()) }),);
        purgatory.committed(19, &mut effects);
        assert!(effects.is_empty(), "offset 19 is not below high watermark 19");
        purgatory.fail_all(ErrorCode::NOT_LEADER_OR_FOLLOWER, &mut effects);
        assert_eq!(
            effects,
            [Effect::Committed { token: "c", outcome: Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }]
        );
    }

    #[test]
    fn a_parked_fetch_hears_of_bytes_until_it_leaves() {
        let mut purgatory = Purgatory::default();
        let (stays, goes) = (purgatory.park_fetch("stays"), purgatory.park_fetch("goes"));
        purgatory.leave(goes);
        purgatory.note_bytes(70);
        purgatory.note_bytes(30);
        let mut effects = Effects::new();
        purgatory.committed(5, &mut effects);
        assert_eq!(effects, [Effect::Readable { token: "stays", bytes: 100 }]);
        effects.clear();
        purgatory.fail_all(ErrorCode::NOT_LEADER_OR_FOLLOWER, &mut effects);
        assert_eq!(effects, [Effect::Moved { token: "stays" }]);
        purgatory.leave(stays);
        effects.clear();
        purgatory.committed(6, &mut effects);
        assert!(effects.is_empty());
    }
}
