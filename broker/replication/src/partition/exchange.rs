//! A replica whose log has moved to another directory.

use std::sync::Arc;

use taffrail_log::{Log, Storage};

use super::{Effects, Partition};

impl<S: Storage, T: Clone> Partition<S, T> {
    /// Goes on with the log in `other`, and leaves there the one that there was. Both must begin and end alike, and all of the
    /// new one be durable. `held` is why its directory takes no writes, if so.
    pub fn exchange_log(
        &mut self,
        now_ms: i64,
        other: &mut Log<S>,
        held: Option<Arc<str>>,
        effects: &mut Effects<T>,
    ) {
        let reach = |log: &Log<S>| (log.log_start_offset(), log.log_end_offset());
        assert_eq!(reach(&self.log), reach(other), "a log is exchanged for another one");
        assert_eq!(
            other.recovery_point(),
            other.log_end_offset(),
            "a log is exchanged for one that may be lost"
        );
        std::mem::swap(&mut self.log, other);
        self.held = held;
        self.flush_asked = false;
        // All of it counts now, whatever waited for a flush.
        self.ask_for_flush(effects);
        self.advance(effects);
        self.propose(now_ms, effects);
        self.tell_if_fetchable(effects);
    }
}
