//! What a candidate for the lease does next, from what it has seen of the Lease.
//!
//! No clock is compared with another: a candidate takes a lease that somebody holds once it has itself seen it unchanged for
//! its whole term, by its own clock that only goes forward. Time in which it could not look does not count. While the API
//! server is away nobody can renew, and when it is back the holder has a whole term again to do so.

use std::time::{Duration, Instant};

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Who holds it; nobody after a release.
    pub(super) holder: Option<String>,
    /// Where the holder's controllers are reached.
    pub(super) address: Option<String>,
    /// How often it has changed hands.
    pub(super) term: u64,
    /// What the holder changes with each renewal. Never compared with a clock.
    pub(super) renewed: String,
    /// How long it must be seen unchanged before somebody else may take it.
    pub(super) duration: Duration,
}

/// What the API server said last of the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// Nothing that holds: it was not read yet, or somebody else wrote since, or it could not be read.
    Nothing,
    /// There is none.
    Absent,
    Record {
        record: Record,
        /// When it was first seen so. It has been looked at again and again since.
        since: Instant,
    },
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Read the Lease.
    Read,
    /// Make the Lease, held by this candidate.
    Make { term: u64 },
    /// Write this candidate into the Lease that was seen.
    Take { term: u64 },
    /// Write into the Lease that was seen that this candidate holds it still.
    Renew { term: u64 },
    /// Nothing before then.
    Wait { until: Instant },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    /// How often the lease is renewed by its holder, and looked at by others.
    pace: Duration,
    seen: Seen,
    /// When the API server last answered how the Lease is.
    looked: Option<Instant>,
    /// When the next call is due.
    next: Instant,
    /// The highest term that was seen: one that follows is above it, even where somebody deleted the Lease.
    highest_term: u64,
    /// The term in which this candidate is the active one.
    active: Option<u64>,
}

impl Candidate {
    pub(super) fn new(identity: String, pace: Duration, now: Instant) -> Self {
        Self { identity, pace, seen: Seen::Nothing, looked: None, next: now, highest_term: 0, active: None }
    }

    /// The term in which this candidate is the active one.
    pub(super) fn active(&self) -> Option<u64> {
        self.active
    }

    /// Who holds the lease, as far as it is known.
    pub(super) fn holder(&self) -> Option<&Record> {
        match &self.seen {
            Seen::Record { record, .. } => Some(record),
            Seen::Nothing | Seen::Absent => None,
        }
    }

    /// What to do at `now`.
    pub(super) fn decide(&self, now: Instant) -> Action {
        let paced = |action| if now < self.next { Action::Wait { until: self.next } } else { action };
        match (&self.seen, self.active) {
            (Seen::Nothing, _) => paced(Action::Read),
            (Seen::Absent, active) => paced(Action::Make { term: active.unwrap_or(self.highest_term + 1) }),
            (Seen::Record { .. }, Some(term)) => paced(Action::Renew { term }),
            (Seen::Record { record, since }, None) => {
                let Some(end) = self.end_of_term(record, *since) else {
                    return paced(Action::Take { term: self.highest_term + 1 });
                };
                if end <= now && self.is_watching(now) {
                    Action::Take { term: self.highest_term + 1 }
                } else if now < self.next {
                    Action::Wait { until: if now < end { end.min(self.next) } else { self.next } }
                } else {
                    Action::Read
                }
            }
        }
    }

    /// When the lease may be taken from its holder; `None` if it may be taken at once: nobody holds it, or a former process
    /// of this name does, which is gone.
    fn end_of_term(&self, record: &Record, since: Instant) -> Option<Instant> {
        let holder = record.holder.as_ref()?;
        (*holder != self.identity).then(|| since + record.duration)
    }

    /// Whether the Lease was looked at lately: a process that was stopped, and goes on, has seen nothing meanwhile.
    fn is_watching(&self, now: Instant) -> bool {
        self.looked.is_some_and(|looked| now.duration_since(looked) <= 2 * self.pace)
    }

    /// The API server was asked, and answered how the Lease is: `None` if there is none. What is asked was so at `asked`
    /// or later. Whoever finds another in the lease that it held has lost it.
    pub(super) fn saw(&mut self, record: Option<Record>, asked: Instant, now: Instant) {
        let was_watching = self.is_watching(asked);
        (self.looked, self.next) = (Some(now), now + self.pace);
        let Some(record) = record else {
            (self.seen, self.next) = (Seen::Absent, now);
            return;
        };
        self.highest_term = self.highest_term.max(record.term);
        if self.active.is_some_and(|term| !self.is_mine(&record, term)) {
            self.active = None;
        }
        if self.active.is_some() {
            // It was read because somebody wrote into it: the holder's next word is due.
            self.next = now;
        }
        let since = match &self.seen {
            Seen::Record { record: before, since } if was_watching && *before == record => *since,
            _ => now,
        };
        if record.holder.as_ref().is_none_or(|holder| *holder == self.identity) {
            self.next = now;
        }
        self.seen = Seen::Record { record, since };
    }

    /// What this candidate wrote is there.
    pub(super) fn wrote(&mut self, record: Record, asked: Instant, now: Instant) {
        (self.active, self.highest_term) = (Some(record.term), self.highest_term.max(record.term));
        (self.looked, self.next) = (Some(now), asked + self.pace);
        self.seen = Seen::Record { record, since: now };
    }

    /// Somebody else wrote since the Lease was seen: it is read again at once.
    pub(super) fn overtaken(&mut self, now: Instant) {
        (self.seen, self.next) = (Seen::Nothing, now);
    }

    /// The API server did not answer, or not what it was asked. Whoever is active stays so: while nobody can write, nobody
    /// else can become it.
    pub(super) fn failed(&mut self, asked: Instant) {
        self.next = asked + self.pace;
        if self.active.is_none() {
            self.seen = Seen::Nothing;
        }
    }

    /// The Lease changed, as a watch tells: a candidate that waits looks at it.
    pub(super) fn stir(&mut self, now: Instant) {
        if self.active.is_none() {
            self.next = now;
        }
    }

    fn is_mine(&self, record: &Record, term: u64) -> bool {
        record.term == term && record.holder.as_ref() == Some(&self.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_secs(1);
    const TERM: Duration = Duration::from_secs(4);

    fn held(holder: &str, term: u64, renewed: &str) -> Record {
        Record {
            holder: (!holder.is_empty()).then(|| holder.to_owned()),
            address: None,
            term,
            renewed: renewed.to_owned(),
            duration: TERM,
        }
    }

    /// A candidate called `me`, and when it began.
    fn candidate() -> (Candidate, impl Fn(u64) -> Instant) {
        let begun = Instant::now();
        (Candidate::new("me".to_owned(), PACE, begun), move |ms| begun + Duration::from_millis(ms))
    }

    /// Looks at the same record each second, from then to then.
    fn look(
        me: &mut Candidate,
        at: &impl Fn(u64) -> Instant,
        record: &Record,
        seconds: std::ops::Range<u64>,
    ) {
        for second in seconds {
            let now = at(second * 1_000);
            assert_eq!(me.decide(now), Action::Read, "after {second} s");
            me.saw(Some(record.clone()), now, now);
        }
    }

    #[test]
    fn what_nobody_holds_is_taken_at_once() {
        let (mut me, at) = candidate();
        assert_eq!(me.decide(at(0)), Action::Read);
        me.saw(None, at(0), at(5));
        assert_eq!(me.decide(at(5)), Action::Make { term: 1 });
        me.overtaken(at(10));
        assert_eq!(me.decide(at(10)), Action::Read, "another made it first");
        me.saw(Some(held("", 7, "a")), at(10), at(15));
        assert_eq!(me.decide(at(15)), Action::Take { term: 8 }, "it was released");
        me.wrote(held("me", 8, "b"), at(15), at(20));
        assert_eq!(me.active(), Some(8));
    }

    #[test]
    fn the_holder_renews_at_its_pace() {
        let (mut me, at) = candidate();
        me.saw(None, at(0), at(0));
        me.wrote(held("me", 1, "a"), at(0), at(300));
        assert_eq!(me.decide(at(300)), Action::Wait { until: at(1_000) });
        assert_eq!(me.decide(at(1_000)), Action::Renew { term: 1 });
        me.stir(at(1_100));
        me.wrote(held("me", 1, "b"), at(1_000), at(1_100));
        assert_eq!(
            me.decide(at(1_100)),
            Action::Wait { until: at(2_000) },
            "a watch tells it of its own word"
        );
    }

    #[test]
    fn a_lease_is_taken_from_its_holder_after_a_term_without_its_word() {
        let (mut me, at) = candidate();
        look(&mut me, &at, &held("other", 3, "a"), 0..2);
        look(&mut me, &at, &held("other", 3, "b"), 2..6);
        assert_eq!(me.decide(at(5_500)), Action::Wait { until: at(6_000) });
        assert_eq!(me.decide(at(6_000)), Action::Take { term: 4 }, "the last word came after 2 s");
        me.overtaken(at(6_001));
        me.saw(Some(held("third", 4, "c")), at(6_001), at(6_001));
        assert_eq!(me.decide(at(6_100)), Action::Wait { until: at(7_001) }, "another was first");
    }

    #[test]
    fn who_is_told_of_the_last_word_at_once_takes_the_lease_a_term_after_it() {
        let (mut me, at) = candidate();
        me.saw(Some(held("other", 1, "a")), at(0), at(0));
        me.stir(at(700));
        assert_eq!(me.decide(at(700)), Action::Read);
        me.saw(Some(held("other", 1, "b")), at(700), at(700));
        for ms in [1_700, 2_700, 3_700] {
            assert_eq!(me.decide(at(ms)), Action::Read);
            me.saw(Some(held("other", 1, "b")), at(ms), at(ms));
        }
        assert_eq!(me.decide(at(3_800)), Action::Wait { until: at(4_700) });
        assert_eq!(me.decide(at(4_700)), Action::Take { term: 2 });
    }

    #[test]
    fn time_in_which_the_api_server_was_away_does_not_count() {
        let (mut me, at) = candidate();
        let record = held("other", 1, "a");
        look(&mut me, &at, &record, 0..3);
        me.failed(at(3_000));
        assert_eq!(me.decide(at(3_500)), Action::Wait { until: at(4_000) });
        look(&mut me, &at, &record, 4..8);
        assert_eq!(me.decide(at(7_999)), Action::Wait { until: at(8_000) });
        assert_eq!(me.decide(at(8_000)), Action::Take { term: 2 }, "a term after it could be read again");
    }

    #[test]
    fn a_candidate_that_was_stopped_for_a_while_looks_first() {
        let (mut me, at) = candidate();
        let record = held("other", 1, "a");
        look(&mut me, &at, &record, 0..2);
        assert_eq!(me.decide(at(60_000)), Action::Read);
        me.saw(Some(record.clone()), at(60_000), at(60_000));
        look(&mut me, &at, &record, 61..64);
        assert_eq!(me.decide(at(64_000)), Action::Take { term: 2 });
    }

    #[test]
    fn who_cannot_renew_stays_active_until_it_finds_another() {
        let (mut me, at) = candidate();
        me.saw(None, at(0), at(0));
        me.wrote(held("me", 1, "a"), at(0), at(0));
        for second in 1..20 {
            assert_eq!(me.decide(at(second * 1_000)), Action::Renew { term: 1 });
            me.failed(at(second * 1_000));
            assert_eq!(me.active(), Some(1));
        }
        me.overtaken(at(20_000));
        assert_eq!((me.decide(at(20_000)), me.active()), (Action::Read, Some(1)), "it may have been itself");
        me.saw(Some(held("me", 1, "b")), at(20_000), at(20_001));
        assert_eq!((me.decide(at(20_001)), me.active()), (Action::Renew { term: 1 }, Some(1)));
        me.overtaken(at(20_002));
        me.saw(Some(held("other", 2, "c")), at(20_002), at(20_003));
        assert_eq!(me.active(), None);
        assert_eq!(me.decide(at(20_003)), Action::Wait { until: at(21_003) });
        assert_eq!(me.holder().unwrap().holder.as_deref(), Some("other"));
    }

    #[test]
    fn a_former_process_of_the_same_name_is_not_waited_for() {
        let (mut me, at) = candidate();
        me.saw(Some(held("me", 5, "a")), at(0), at(0));
        assert_eq!((me.decide(at(0)), me.active()), (Action::Take { term: 6 }, None));
        me.wrote(held("me", 6, "b"), at(0), at(1));
        me.overtaken(at(1_000));
        me.saw(Some(held("me", 7, "c")), at(1_000), at(1_001));
        assert_eq!(me.active(), None, "its term is another's");
    }

    #[test]
    fn a_lease_that_somebody_deleted_is_made_again_by_its_holder() {
        let (mut me, at) = candidate();
        me.saw(Some(held("", 4, "a")), at(0), at(0));
        me.wrote(held("me", 5, "b"), at(0), at(1));
        me.overtaken(at(1_000));
        me.saw(None, at(1_000), at(1_001));
        assert_eq!((me.decide(at(1_001)), me.active()), (Action::Make { term: 5 }, Some(5)));
    }
}
