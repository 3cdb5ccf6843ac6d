//! The clock that records are old by.
//!
//! A wall clock that is wrong for a while, as after a restart of a machine or by a slip of a hand, would have records
//! deleted long before their time, on every replica that shares the mistake. So a leap ahead is believed only after it has
//! stood for an hour; until then the time goes on as before. A clock that is set back deletes later, and is believed at once.
//!
//! What was wrong already when the broker started is not noticed.

/// How far the wall clock may get ahead of the time that has passed, between two looks at it, to be believed at once.
const SLACK_MS: i64 = 60 * 1000;
/// How long a leap ahead has to stand.
const BELIEVED_AFTER_MS: i64 = 60 * 60 * 1000;

/// Follows the wall clock, with doubts.
#[derive(Debug, Clone, Copy)]
pub struct RetentionClock {
    /// What the believed time is ahead of the clock that nobody can set.
    believed_ms: i64,
    leap: Option<Leap>,
}

/// The wall clock is ahead of what is believed.
#[derive(Debug, Clone, Copy)]
struct Leap {
    /// Since when, by the clock that nobody can set.
    since_ms: i64,
    /// By how much at least, all the time since.
    at_least_ms: i64,
}

/// What the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The time that records are old by. Milliseconds since 1970.
    pub now_ms: i64,
    /// What people should know.
    pub news: Option<Doubt>,
}

/// A change of whether the wall clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It is not believed any more.
    Begins {
        /// By how much it went ahead.
        ahead_ms: i64,
    },
    /// It is believed again.
    Ends {
        /// By how much it was ahead for an hour; 0 if it has come back.
        ahead_ms: i64,
    },
}

impl RetentionClock {
    /// At the start, when there is nothing to doubt the wall clock by. `wall_ms` are milliseconds since 1970, `passed_ms`
    /// those of a clock that nobody can set, from whenever.
    pub fn new(wall_ms: i64, passed_ms: i64) -> Self {
        Self { believed_ms: wall_ms.saturating_sub(passed_ms), leap: None }
    }

    /// The time, when the wall clock says `wall_ms`, and `passed_ms` the one that nobody can set.
    pub fn read(&mut self, wall_ms: i64, passed_ms: i64) -> Reading {
        let seen_ms = wall_ms.saturating_sub(passed_ms);
        let ahead_ms = seen_ms.saturating_sub(self.believed_ms);
        let news = match &mut self.leap {
            None if ahead_ms <= SLACK_MS => {
                self.believed_ms = seen_ms;
                None
            }
            None => {
                self.leap = Some(Leap { since_ms: passed_ms, at_least_ms: ahead_ms });
                Some(Doubt::Begins { ahead_ms })
            }
            Some(_) if ahead_ms <= SLACK_MS => {
                self.believed_ms = seen_ms;
                self.leap = None;
                Some(Doubt::Ends { ahead_ms: 0 })
            }
            Some(leap) => {
                leap.at_least_ms = leap.at_least_ms.min(ahead_ms);
                let Leap { since_ms, at_least_ms } = *leap;
                (passed_ms - since_ms >= BELIEVED_AFTER_MS).then(|| {
                    // What it went ahead further meanwhile has its own hour to stand.
                    self.believed_ms = self.believed_ms.saturating_add(at_least_ms);
                    self.leap = None;
                    Doubt::Ends { ahead_ms: at_least_ms }
                })
            }
        };
        Reading { now_ms: self.believed_ms.saturating_add(passed_ms), news }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_700_000_000_000;
    const MINUTE: i64 = 60 * 1000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    /// What is read when so much has passed and the wall clock is ahead by so much.
    fn read(clock: &mut RetentionClock, passed_ms: i64, ahead_ms: i64) -> (i64, Option<Doubt>) {
        let reading = clock.read(START + passed_ms + ahead_ms, passed_ms);
        (reading.now_ms - START - passed_ms, reading.news)
    }

    #[test]
    fn small_steps_and_steps_back_are_followed_at_once() {
        let mut clock = RetentionClock::new(START, 0);
        assert_eq!(read(&mut clock, 5, 0), (0, None));
        assert_eq!(read(&mut clock, MINUTE, 900), (900, None));
        assert_eq!(read(&mut clock, HOUR, -DAY), (-DAY, None));
        assert_eq!(read(&mut clock, 2 * HOUR, -DAY + MINUTE), (-DAY + MINUTE, None));
    }

    #[test]
    fn a_leap_ahead_is_told_once_and_believed_when_it_has_stood_for_an_hour() {
        let mut clock = RetentionClock::new(START, 0);
        assert_eq!(read(&mut clock, MINUTE, DAY), (0, Some(Doubt::Begins { ahead_ms: DAY })));
        assert_eq!(read(&mut clock, HOUR, DAY), (0, None));
        assert_eq!(read(&mut clock, HOUR + MINUTE, DAY), (DAY, Some(Doubt::Ends { ahead_ms: DAY })));
        assert_eq!(read(&mut clock, HOUR + 2 * MINUTE, DAY), (DAY, None));
    }

    #[test]
    fn a_leap_that_is_taken_back_was_never_believed() {
        let mut clock = RetentionClock::new(START, 0);
        read(&mut clock, MINUTE, DAY);
        assert_eq!(read(&mut clock, 50 * MINUTE, 3), (3, Some(Doubt::Ends { ahead_ms: 0 })));
        assert_eq!(read(&mut clock, 2 * HOUR, 3), (3, None));
    }

    #[test]
    fn a_second_leap_has_its_own_hour_to_stand() {
        let mut clock = RetentionClock::new(START, 0);
        read(&mut clock, 0, DAY);
        assert_eq!(read(&mut clock, 59 * MINUTE, 365 * DAY), (0, None));
        assert_eq!(read(&mut clock, HOUR, 365 * DAY).0, DAY);
        let ahead_ms = 364 * DAY;
        assert_eq!(read(&mut clock, HOUR + MINUTE, 365 * DAY), (DAY, Some(Doubt::Begins { ahead_ms })));
        assert_eq!(read(&mut clock, 2 * HOUR, 365 * DAY).0, DAY);
        assert_eq!(read(&mut clock, 2 * HOUR + MINUTE, 365 * DAY).0, 365 * DAY);
    }

    #[test]
    fn times_at_the_ends_of_the_range_do_no_harm() {
        let mut clock = RetentionClock::new(START, 0);
        assert_eq!(clock.read(i64::MAX, 0).now_ms, START);
        assert_eq!(clock.read(i64::MIN, 1).now_ms, i64::MIN + 1);
    }

    proptest! {
        /// Whatever the wall clock does: the time is never ahead of it, and whenever it gets further ahead of the time
        /// that has passed than a small step, the wall clock was that far ahead for the whole hour before.
        #[test]
        fn only_what_has_stood_for_an_hour_is_believed(
            steps in prop::collection::vec((0..40 * MINUTE, prop_oneof![Just(0), -2 * MINUTE..2 * MINUTE, -2 * DAY..2 * DAY]), 1..60)
        ) {
            let mut clock = RetentionClock::new(START, 0);
            let (mut passed, mut ahead, mut believed) = (0, 0, 0);
            let mut seen = vec![(0, 0)];
            for (pause, leap) in steps {
                passed += pause;
                ahead += leap;
                seen.push((passed, ahead));
                let (now, _) = read(&mut clock, passed, ahead);
                prop_assert!(now <= ahead);
                if now > believed + SLACK_MS {
                    // The looks of the last hour, and the first one before it.
                    let stood = seen.iter().filter(|(at, _)| passed - at < BELIEVED_AFTER_MS);
                    prop_assert!(stood.clone().all(|(_, ahead)| *ahead >= now), "{seen:?}");
                    prop_assert!(passed >= BELIEVED_AFTER_MS);
                }
                believed = now;
            }
        }
    }
}
