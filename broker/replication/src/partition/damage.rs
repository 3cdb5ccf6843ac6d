//! Batches of this log that are not what was appended any more, as bits on a disk may flip.
//!
//! Records go to followers and consumers without being looked at. A follower checks what it gets, appends nothing that is
//! corrupt, and asks again; a leader that is asked for the same records again checks what it has. A batch that is corrupt is
//! not given out any more, and the controller is told, so that another replica may lead. What lies before and behind it is
//! served as ever. A replica that follows has it mended (`repair`).

use std::ops::Range;

use taffrail_log::{CorruptBatch, Storage};
use taffrail_protocol::ErrorCode;

use super::Partition;

/// Of one log so many corrupt batches are remembered; others are found again.
const MOST: usize = 16;
/// Of so many followers it is remembered what they were sent last.
const MOST_FOLLOWERS: usize = 32;

/// What is known of a partition's corrupt batches.
#[derive(Debug, Default)]
pub(super) struct Damages {
    found: Vec<CorruptBatch>,
    /// Per follower the offset from which on it was sent records last.
    sent: Vec<(i32, i64)>,
}

impl Damages {
    /// A follower is about to be sent records from `offset` on; whether it was sent these before, and asks again.
    pub fn is_sent_again(&mut self, broker_id: i32, offset: i64) -> bool {
        if let Some((_, last)) = self.sent.iter_mut().find(|(id, _)| *id == broker_id) {
            return std::mem::replace(last, offset) == offset;
        }
        if self.sent.len() >= MOST_FOLLOWERS {
            self.sent.clear();
        }
        self.sent.push((broker_id, offset));
        false
    }

    /// Takes note of a batch. Whether it was not known.
    pub fn note(&mut self, batch: CorruptBatch) -> bool {
        let known = self.found.iter().any(|known| known.base_offset == batch.base_offset);
        if known || self.found.len() >= MOST {
            return false;
        }
        self.found.push(batch);
        true
    }

    /// Up to where records from `offset` on may be read, of those before `end`.
    ///
    /// # Errors
    /// `CORRUPT_MESSAGE` when `offset` itself is in a corrupt batch.
    pub fn sound_end(&self, offset: i64, end: i64) -> Result<i64, ErrorCode> {
        let behind = self.found.iter().filter(|batch| batch.last_offset >= offset);
        let next = behind.map(|batch| batch.base_offset).min().unwrap_or(i64::MAX);
        if next <= offset { Err(ErrorCode::CORRUPT_MESSAGE) } else { Ok(end.min(next)) }
    }

    /// The log ends at `end` now: what was behind is gone.
    pub fn truncated(&mut self, end: i64) {
        self.found.retain(|batch| batch.last_offset < end);
    }

    /// These offsets were written anew.
    pub fn mended(&mut self, offsets: Range<i64>) {
        self.found.retain(|batch| batch.last_offset < offsets.start || offsets.end <= batch.base_offset);
    }

    /// The first of them that are in a log that begins at `log_start_offset`.
    pub fn first(&self, log_start_offset: i64) -> Option<&CorruptBatch> {
        self.found
            .iter()
            .filter(|batch| batch.last_offset >= log_start_offset)
            .min_by_key(|batch| batch.base_offset)
    }
}

impl<S: Storage, T: Clone> Partition<S, T> {
    /// Checks the batch that has `offset`, as somebody could not read it. Whether it is corrupt.
    pub(super) fn check_batch(&mut self, offset: i64) -> bool {
        // What cannot be read at all is told by the read itself.
        let Ok(Some(batch)) = self.log.check_batch(offset) else { return false };
        if self.damages.note(batch) {
            self.failure_told = false;
        }
        true
    }

    /// The first batch that was found to be corrupt and is still in the log.
    pub fn corrupt_batch(&self) -> Option<&CorruptBatch> {
        self.damages.first(self.log.log_start_offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base_offset: i64, last_offset: i64) -> CorruptBatch {
        let (file, reason) = ("x".into(), "it is".to_owned());
        CorruptBatch { base_offset, last_offset, file, position: 0, reason }
    }

    #[test]
    fn reads_end_before_a_corrupt_batch_and_go_on_behind_it() {
        let mut damages = Damages::default();
        assert_eq!(damages.sound_end(0, 100), Ok(100));
        assert!(damages.note(batch(20, 29)) && damages.note(batch(10, 12)) && !damages.note(batch(10, 12)));
        assert_eq!(damages.sound_end(0, 100), Ok(10));
        assert_eq!(damages.sound_end(0, 5), Ok(5));
        assert_eq!(damages.sound_end(12, 100), Err(ErrorCode::CORRUPT_MESSAGE));
        assert_eq!(damages.sound_end(13, 100), Ok(20));
        assert_eq!(damages.sound_end(30, 100), Ok(100));
        assert_eq!(damages.first(0).map(|batch| batch.base_offset), Some(10));
        assert_eq!(damages.first(13).map(|batch| batch.base_offset), Some(20));
        damages.mended(13..20);
        assert_eq!(damages.first(13).map(|batch| batch.base_offset), Some(20), "it is behind");
        damages.mended(5..13);
        assert_eq!(damages.first(0).map(|batch| batch.base_offset), Some(20));
        damages.truncated(25);
        assert_eq!((damages.sound_end(13, 25), damages.first(13)), (Ok(25), None));
    }

    #[test]
    fn a_follower_that_asks_again_for_what_it_was_sent_is_noticed() {
        let mut damages = Damages::default();
        assert!(!damages.is_sent_again(1, 5) && !damages.is_sent_again(2, 5));
        assert!(damages.is_sent_again(1, 5) && !damages.is_sent_again(1, 6) && damages.is_sent_again(2, 5));
        for id in 0..100 {
            damages.is_sent_again(id, 0);
        }
        assert!(damages.sent.len() <= MOST_FOLLOWERS);
    }
}
