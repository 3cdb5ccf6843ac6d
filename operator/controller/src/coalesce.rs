//! Proposals of in-sync replicas may wait a moment, so that those of one slice share a write.
//!
//! When a broker comes back, or a slow one catches up, each leader proposes for each of its partitions as soon as that one
//! is in sync again. Over a store that is far away each write costs a whole slice, and there would be one for each turn of
//! it. Nothing but such proposals waits: whatever else is to be decided on a slice takes them along at once.

use std::collections::BTreeMap;

use crate::controller::Controller;
use crate::message::Output;
use crate::model::ObjectKey;
use crate::partitions::PartitionIntent;

/// How much too early the shell may wake the controller. Slices that are due within it are written together.
const EARLY_MS: u64 = 20;

/// Times are the controller's own.
#[derive(Debug, Default)]
pub(crate) struct Coalescing {
    /// Until when the proposals of a slice wait, from the first of them on.
    until_ms: BTreeMap<u32, u64>,
    /// When the shell was asked to give a tick.
    wake_ms: Option<u64>,
}

impl Controller {
    /// A proposal waits for the slice's next write.
    pub(crate) fn begin_to_coalesce(&mut self, slice: u32) {
        let wait_ms = self.policy.isr_coalesce_ms;
        if wait_ms > 0 {
            self.coalescing.until_ms.entry(slice).or_insert(self.clock.now_ms() + wait_ms);
        }
    }

    /// Whether the slice's turn is put off. Once it is not, the next proposal is the first again.
    pub(crate) fn coalesces(&mut self, slice: u32) -> bool {
        let Some(until_ms) = self.coalescing.until_ms.get(&slice) else { return false };
        let Some(cell) = self.partitions.get(&slice).filter(|cell| cell.is_idle()) else { return false };
        let is_proposal = |intent: &PartitionIntent| matches!(intent, PartitionIntent::Propose { .. });
        if self.clock.now_ms() + EARLY_MS < *until_ms && cell.waiting().all(is_proposal) {
            return true;
        }
        self.coalescing.until_ms.remove(&slice);
        false
    }

    /// Time passed: the turn of some slices may have come.
    pub(crate) fn end_coalescing(&mut self) {
        let now_ms = self.clock.now_ms() + EARLY_MS;
        let due = self.coalescing.until_ms.iter().filter(|(_, until_ms)| **until_ms <= now_ms);
        self.ready.extend(due.map(|(slice, _)| ObjectKey::Partitions(*slice)));
    }

    /// Has the shell wake the controller when the next proposals are due.
    pub(crate) fn wake_for_proposals(&mut self) {
        let now_ms = self.clock.now_ms();
        // What is due and not through waits for an answer of the store.
        let later =
            self.coalescing.until_ms.values().copied().filter(|until_ms| now_ms + EARLY_MS < *until_ms);
        let Some(next_ms) = later.min() else { return };
        // A tick that comes a moment early must not be the last.
        let asked = self.coalescing.wake_ms.filter(|wake_ms| now_ms + EARLY_MS < *wake_ms);
        if asked.is_none_or(|asked| next_ms < asked) {
            self.coalescing.wake_ms = Some(next_ms);
            self.outputs.push(Output::WakeIn { after_ms: next_ms - now_ms });
        }
    }
}
