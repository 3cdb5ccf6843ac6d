//! How fast cleaners read and write (`log.cleaner.io.max.bytes.per.second`).

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use taffrail_log::cleaner::{Pace, Stopped};
use tokio::sync::watch;

use crate::config::live::LiveConfig;

/// Nobody sleeps for longer without a look at whether to stop.
const SLICE: Duration = Duration::from_millis(100);
/// What was not used for longer than this is forgone.
const BURST: Duration = Duration::from_millis(200);

/// What all cleaners together may read and write.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// When what was taken so far will have been earned.
    earned_at: Mutex<Option<Instant>>,
}

impl Budget {
    /// Takes so many bytes; how long to wait until they are earned.
    fn take(&self, bytes: u64, bytes_per_second: f64, now: Instant) -> Duration {
        let cost = Duration::try_from_secs_f64(bytes as f64 / bytes_per_second.max(1.0));
        let cost = cost.unwrap_or(Duration::MAX).min(Duration::from_secs(3600));
        let mut earned_at = self.earned_at.lock();
        let from = earned_at.map_or(now, |earned_at| earned_at.max(now.checked_sub(BURST).unwrap_or(now)));
        let until = from + cost;
        *earned_at = Some(until);
        until.saturating_duration_since(now)
    }
}

/// Holds one cleaner to the budget of all.
pub(super) struct Throttle<'a> {
    pub budget: &'a Budget,
    pub live: &'a LiveConfig,
    pub stop: &'a watch::Receiver<bool>,
}

impl Pace for Throttle<'_> {
    fn spend(&mut self, bytes: u64) -> Result<(), Stopped> {
        let rate = self.live.now().log_cleaner_io_max_bytes_per_second;
        let mut left = self.budget.take(bytes, rate, Instant::now());
        loop {
            if self.stop.has_changed().unwrap_or(true) {
                return Err(Stopped);
            }
            if left.is_zero() {
                return Ok(());
            }
            let slice = left.min(SLICE);
            std::thread::sleep(slice);
            left -= slice;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_paid_for_in_time_by_all_together() {
        let (budget, now) = (Budget::default(), Instant::now());
        let seconds = |bytes, at| budget.take(bytes, 1000.0, now + Duration::from_millis(at)).as_secs_f64();
        assert_eq!(seconds(500, 0), 0.5);
        assert_eq!(seconds(500, 0), 1.0, "the second one waits for the first one's share too");
        for at in [1500, 10_000] {
            assert!((seconds(500, at) - 0.3).abs() < 1e-9, "a moment's worth of what was not used may be");
        }
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let (budget, now) = (Budget::default(), Instant::now());
        for _ in 0..1000 {
            assert!(budget.take(1 << 30, f64::MAX, now).is_zero());
        }
    }
}
