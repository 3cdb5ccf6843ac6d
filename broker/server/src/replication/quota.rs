//! Throttling of replicas that are being filled (KIP-73): those that `leader.replication.throttled.replicas` and
//! `follower.replication.throttled.replicas` of their topic name, while they are not in sync. What is in sync is never held
//! back, as a write would wait for it.

use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::PartitionRecord;
use tokio::time::Instant;

use crate::cluster::Topic;

/// The topic's key that names the replicas to throttle where they are read.
pub const LEADERS: &str = "leader.replication.throttled.replicas";
/// The topic's key that names the replicas to throttle where they are filled.
pub const FOLLOWERS: &str = "follower.replication.throttled.replicas";
/// A rate that is no limit.
const UNLIMITED: i64 = i64::MAX;
/// After how long it is looked again whether the rate or the replicas were changed.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether a setting of [`LEADERS`] or [`FOLLOWERS`] names the partition's replica on the broker.
fn names(setting: &str, partition: i32, broker_id: i32) -> bool {
    let is = |pair: &str| {
        pair.split_once(':')
            .is_some_and(|(of, on)| of.parse() == Ok(partition) && on.parse() == Ok(broker_id))
    };
    setting.trim() == "*" || setting.split(',').map(str::trim).any(is)
}

/// Whether records of the partition that go to `follower` are throttled on `broker_id`, by the topic's setting of `key`.
pub fn concerns(
    topic: &Topic,
    partition: &PartitionRecord,
    follower: i32,
    key: &str,
    broker_id: i32,
) -> bool {
    let in_sync = partition.isr.iter().any(|member| member.broker_id == follower);
    let setting = topic.record.config.get(key);
    !in_sync && setting.is_some_and(|setting| names(setting, partition.partition, broker_id))
}

/// What was moved above a rate and has to be made up for by waiting. What comes at once may be more than the rate; on the
/// average it is not.
#[derive(Debug, Default)]
pub struct Quota {
    state: Mutex<Option<Debt>>,
}

#[derive(Debug, Clone, Copy)]
struct Debt {
    bytes: f64,
    at: Instant,
}

impl Quota {
    /// Notes bytes that were moved, at a rate of so many a second.
    pub fn record(&self, now: Instant, bytes: u64, rate: i64) {
        if rate == UNLIMITED {
            return;
        }
        let mut state = self.state.lock();
        let before = left(*state, now, rate);
        *state = Some(Debt { bytes: before + bytes as f64, at: now });
    }

    /// How long nothing more is to be moved; `None` if it may be now.
    pub fn blocked_for(&self, now: Instant, rate: i64) -> Option<Duration> {
        let mut state = self.state.lock();
        if rate == UNLIMITED {
            *state = None;
            return None;
        }
        let bytes = left(*state, now, rate);
        // Paid at this rate, whatever comes next.
        *state = state.map(|debt| Debt { bytes, at: now.max(debt.at) });
        let pause = if rate == 0 { LONGEST_PAUSE.as_secs_f64() } else { bytes / rate as f64 };
        (pause > 0.0).then(|| Duration::from_secs_f64(pause.min(LONGEST_PAUSE.as_secs_f64())))
    }
}

fn left(debt: Option<Debt>, now: Instant, rate: i64) -> f64 {
    let left = |debt: Debt| debt.bytes - rate as f64 * now.saturating_duration_since(debt.at).as_secs_f64();
    debt.map_or(0.0, left).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_replicas_by_partition_and_broker() {
        assert!(names("*", 3, 1) && names("0:1, 3:1", 3, 1));
        assert!(!names("", 3, 1) && !names("3:2,1:3,31:1", 3, 1));
    }

    #[test]
    fn what_was_moved_above_the_rate_is_made_up_for_by_waiting() {
        let (quota, start) = (Quota::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(quota.blocked_for(start, 1000), None);
        quota.record(start, 500, 1000);
        assert_eq!(quota.blocked_for(start, 1000), Some(Duration::from_millis(500)));
        assert_eq!(quota.blocked_for(after(400), 1000), Some(Duration::from_millis(100)));
        assert_eq!(quota.blocked_for(after(500), 1000), None);
        quota.record(after(500), 10_000, 1000);
        assert_eq!(
            quota.blocked_for(after(500), 1000),
            Some(LONGEST_PAUSE),
            "looked at again before it is over"
        );
        assert_eq!(
            quota.blocked_for(after(500), 100_000),
            Some(Duration::from_millis(100)),
            "the rate was raised"
        );
        assert_eq!(quota.blocked_for(after(60_000), 0), Some(LONGEST_PAUSE), "nothing goes at a rate of 0");
        assert_eq!(quota.blocked_for(after(60_050), 100_000), Some(Duration::from_millis(50)));
        assert_eq!(quota.blocked_for(after(60_100), 100_000), None);
        assert_eq!(quota.blocked_for(after(60_100), 1), None, "it was paid at the rate of then");
        quota.record(after(60_100), 10_000, 1000);
        assert_eq!(quota.blocked_for(after(60_100), UNLIMITED), None);
        assert_eq!(quota.blocked_for(after(60_100), 1000), None, "without a limit nothing is owed");
    }

    #[test]
    fn without_a_limit_nothing_is_kept_in_mind() {
        let (quota, now) = (Quota::default(), Instant::now());
        quota.record(now, 1 << 40, UNLIMITED);
        assert_eq!(quota.blocked_for(now, 1000), None);
    }
}
