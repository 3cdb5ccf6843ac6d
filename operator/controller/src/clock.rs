//! Time as the controller counts it.

/// How much time may have passed between two inputs. What is more did not pass for the brokers' silence: the controller was
/// paused, or its clock was set, and heard nobody meanwhile. More than the time between two ticks.
pub(crate) const LONGEST_STEP_MS: u64 = 1_000;

/// Milliseconds that only go forward, however the time of day moves.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last_ms: Option<u64>,
    elapsed_ms: u64,
}

impl Clock {
    /// It is `now_ms` by the time of day.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        let step_ms = now_ms.saturating_sub(self.last_ms.unwrap_or(now_ms));
        self.elapsed_ms += step_ms.min(LONGEST_STEP_MS);
        self.last_ms = Some(now_ms);
    }

    /// The time since the controller began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.elapsed_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_and_jumps_count_as_one_short_step() {
        let mut clock = Clock::default();
        for (now_ms, elapsed_ms) in [(5_000, 0), (5_300, 300), (90_000, 1_300), (20, 1_300), (120, 1_400)] {
            clock.advance(now_ms);
            assert_eq!(clock.now_ms(), elapsed_ms, "at {now_ms}");
        }
    }
}
