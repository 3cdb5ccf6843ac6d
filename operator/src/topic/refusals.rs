//! What the controller would not do for a topic, and when it is asked again.

use std::time::Duration;

use taffrail_control::session::ApiError;
use taffrail_protocol::ErrorCode;
use tokio::time::Instant;

use super::plan::{Ask, Standing};

/// How long is waited after the first refusal in a row, and at the most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Of one topic.
#[derive(Debug, Default)]
pub struct Refusals {
    all: Vec<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    ask: Ask,
    error: ApiError,
    times: u32,
    until: Instant,
}

impl Refusals {
    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Forgets refusals of what is asked for no longer.
    pub fn keep<'a>(&mut self, asks: impl Iterator<Item = &'a Ask> + Clone) {
        self.all.retain(|refusal| asks.clone().any(|ask| *ask == refusal.ask));
    }

    /// Something has changed that may change the answers: all are asked for anew.
    pub fn ask_again(&mut self, now: Instant) {
        self.all.iter_mut().for_each(|refusal| refusal.until = now);
    }

    /// Whether `ask` is to be left until later, and until when.
    pub fn until(&self, ask: &Ask, now: Instant) -> Option<Instant> {
        let refusal = self.all.iter().find(|refusal| refusal.ask == *ask)?;
        (now < refusal.until).then_some(refusal.until)
    }

    /// Takes note of an answer; when `ask` is to be asked again.
    pub fn note(&mut self, ask: &Ask, error: ApiError, now: Instant) -> Instant {
        let at = self.all.iter().position(|refusal| refusal.ask == *ask);
        let times = at.map_or(0, |at| self.all.swap_remove(at).times);
        let rest = BACKOFF.0.saturating_mul(1 << times.min(16)).min(BACKOFF.1);
        let until = now + rest;
        self.all.push(Refusal { ask: ask.clone(), error, times: times + 1, until });
        until
    }

    /// It was done.
    pub fn clear(&mut self, ask: &Ask) {
        self.all.retain(|refusal| refusal.ask != *ask);
    }

    /// What is said of the topic's object because of them.
    pub fn standing(&self) -> Option<Standing> {
        let ApiError { code, message } = &self.all.first()?.error;
        let reason = match *code {
            ErrorCode::INVALID_REPLICATION_FACTOR => "InvalidReplicationFactor",
            ErrorCode::INVALID_PARTITIONS => "InvalidPartitions",
            ErrorCode::INVALID_CONFIG => "InvalidConfig",
            ErrorCode::INVALID_TOPIC_EXCEPTION => "InvalidTopicName",
            ErrorCode::POLICY_VIOLATION => "PolicyViolation",
            ErrorCode::NOT_CONTROLLER
            | ErrorCode::THROTTLING_QUOTA_EXCEEDED
            | ErrorCode::TOPIC_ALREADY_EXISTS
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                return Some(Standing::Busy("Retrying", message.clone()));
            }
            _ => "Refused",
        };
        Some(Standing::Refused(reason, message.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_asked_again_later_and_later_or_when_something_changed() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let error = || ApiError { code: ErrorCode::INVALID_CONFIG, message: "why".to_owned() };
        let ask = Ask::Spread(3);
        for seconds in [1, 2, 4] {
            assert_eq!(refusals.note(&ask, error(), now), now + Duration::from_secs(seconds));
        }
        assert_eq!(refusals.standing(), Some(Standing::Refused("InvalidConfig", "why".to_owned())));
        assert!(refusals.until(&ask, now).is_some() && refusals.until(&Ask::Spread(2), now).is_none());
        refusals.ask_again(now);
        assert_eq!(refusals.until(&ask, now), None);
        assert_eq!(refusals.note(&ask, error(), now), now + Duration::from_secs(8));
        (0..20).for_each(|_| _ = refusals.note(&ask, error(), now));
        assert_eq!(refusals.until(&ask, now), Some(now + BACKOFF.1));
        refusals.keep([Ask::Spread(3)].iter());
        assert!(!refusals.is_empty());
        refusals.keep([Ask::Spread(2)].iter());
        assert_eq!(refusals.standing(), None);
    }
}
