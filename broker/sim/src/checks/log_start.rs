//! Records are deleted only below a log start that somebody decided on, and only what is committed: retention on any replica,
//! or a client at a leader (KIP-107).
//!
//! What lies below the highest start that anybody decided may be gone from any replica; nothing else may.

use std::collections::BTreeMap;

use super::committed::Committed;
use super::{Check, Tp, Violation, name};

/// The highest start of each partition that anybody decided on.
#[derive(Debug, Default)]
pub struct LogStarts {
    decided: BTreeMap<Tp, i64>,
}

impl LogStarts {
    /// Below this records may be gone.
    pub fn decided(&self, tp: Tp) -> i64 {
        self.decided.get(&tp).copied().unwrap_or(0)
    }

    /// A replica decided to delete what is before `start`.
    pub fn decides(&mut self, committed: &Committed, who: &str, tp: Tp, start: i64) -> Check {
        let decided = self.decided.entry(tp).or_default();
        *decided = start.max(*decided);
        if start > committed.end(tp) && !committed.is_deleted(tp.0) {
            let text = format!(
                "{who} deletes what is before {start} of {}, and committed is what is before {}",
                name(tp),
                committed.end(tp)
            );
            return Err(Violation::new("log_start", text));
        }
        Ok(())
    }

    /// A replica's log starts at `start`.
    pub fn is(&self, committed: &Committed, who: &str, tp: Tp, start: i64, high_watermark: i64) -> Check {
        let decided = self.decided(tp);
        if start <= high_watermark && start <= decided || committed.is_deleted(tp.0) {
            return Ok(());
        }
        let text = format!(
            "{who} has {} from {start} on, with high watermark {high_watermark}, and nobody deleted beyond {decided}",
            name(tp)
        );
        Err(Violation::new("log_start", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::committed::Batch;
    use taffrail_protocol::Uuid;

    #[test]
    fn a_start_that_nobody_decided_on_or_behind_what_is_committed_is_found_out() {
        let tp = (Uuid([1; 16]), 0);
        let mut committed = Committed::default();
        let batch = Batch { base_offset: 0, next_offset: 5, epoch: 0, hash: 0, records: vec![(0, 7)] };
        committed.saw("1", tp, 0, &[batch]).unwrap();
        let mut starts = LogStarts::default();
        starts.decides(&committed, "1", tp, 3).unwrap();
        starts.is(&committed, "2", tp, 3, 4).unwrap();
        assert!(starts.is(&committed, "2", tp, 4, 4).is_err());
        assert!(starts.is(&committed, "2", tp, 3, 2).is_err());
        assert!(starts.decides(&committed, "1", tp, 6).is_err());
    }
}
