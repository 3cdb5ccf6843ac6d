//! How far one follower is, as its leader knows it (`org.apache.kafka.server` / `kafka.cluster.Replica`).

use taffrail_control::session::Member;

/// A refused addition is not proposed again for so long, doubled with every further refusal ...
const REFUSED_PAUSE_MS: i64 = 500;
/// ... up to so many times: every try costs the controller two swaps.
const MOST_DOUBLINGS: u32 = 6;
/// Long ago; far enough from the end of the range that a difference of times does not overflow.
const NEVER_MS: i64 = i64::MIN / 2;

/// One follower's progress, in one incarnation and under one leader epoch of its leader. A new incarnation or a new
/// leader epoch starts from nothing: what an earlier life of the broker held says nothing about this one's disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Who.
    pub member: Member,
    /// Since when this incarnation is watched.
    since_ms: i64,
    /// Everything below is in its log; `None` until it fetched.
    end_offset: Option<i64>,
    /// Where its log starts, as it wrote down; `None` until it fetched.
    log_start_offset: Option<i64>,
    last_fetch_ms: i64,
    /// The leader's log end offset at that time.
    leader_end_at_fetch: i64,
    last_caught_up_ms: i64,
    fenced: bool,
    /// It was taken out of the ISR and did not fetch since: it may well be dead.
    silent_since_it_left: bool,
    refusals: u32,
    refused_until_ms: i64,
}

/// A fetch that counts.
#[derive(Debug, Clone, Copy)]
pub struct CountedFetch {
    /// When it was seen.
    pub now_ms: i64,
    /// Everything below is in the follower's log.
    pub end_offset: i64,
    /// Where the follower's log starts, as it wrote down.
    pub log_start_offset: i64,
    /// The leader's log end offset.
    pub leader_end_offset: i64,
    /// Whether the broker is fenced.
    pub fenced: bool,
}

impl Progress {
    /// Nothing is known of it.
    pub fn new(now_ms: i64, member: Member) -> Self {
        Self {
            member,
            since_ms: now_ms,
            end_offset: None,
            log_start_offset: None,
            last_fetch_ms: NEVER_MS,
            leader_end_at_fetch: -1,
            last_caught_up_ms: NEVER_MS,
            fenced: false,
            silent_since_it_left: false,
            refusals: 0,
            refused_until_ms: NEVER_MS,
        }
    }

    /// It is in the ISR as of now: it gets a whole `replica.lag.time.max.ms` to prove it.
    pub fn joined(&mut self, now_ms: i64) {
        self.last_caught_up_ms = self.last_caught_up_ms.max(now_ms);
        self.refusals = 0;
        self.refused_until_ms = NEVER_MS;
    }

    /// It is in the ISR no more. Most often the controller took it out, which knows that it is gone; what it had fetched
    /// before says nothing against that.
    pub fn left(&mut self) {
        self.silent_since_it_left = true;
    }

    /// Takes note of a fetch. It is caught up as of now if it asks for the leader's end, and as of its last fetch if it has
    /// by now what was the leader's end then: so a follower that is always a fetch behind a busy leader is not lagging.
    /// Returns whether its log starts elsewhere than before.
    pub fn fetched(&mut self, fetch: CountedFetch) -> bool {
        if fetch.end_offset >= fetch.leader_end_offset {
            self.last_caught_up_ms = self.last_caught_up_ms.max(fetch.now_ms);
        } else if fetch.end_offset >= self.leader_end_at_fetch {
            self.last_caught_up_ms = self.last_caught_up_ms.max(self.last_fetch_ms);
        }
        self.end_offset = Some(fetch.end_offset);
        let start_before = self.log_start_offset.replace(fetch.log_start_offset);
        self.leader_end_at_fetch = self.leader_end_at_fetch.max(fetch.leader_end_offset);
        self.last_fetch_ms = fetch.now_ms;
        self.fenced = fetch.fenced;
        self.silent_since_it_left = false;
        start_before != self.log_start_offset
    }

    /// Everything below is in its log; `None` until it fetched.
    pub fn end_offset(&self) -> Option<i64> {
        self.end_offset
    }

    /// Records below are gone from its log for good; `None` until it fetched.
    pub fn log_start_offset(&self) -> Option<i64> {
        self.log_start_offset
    }

    /// Whether it has all that the leader has, or had so within `lag_time_max_ms`.
    pub fn is_caught_up(&self, now_ms: i64, leader_end_offset: i64, lag_time_max_ms: i64) -> bool {
        self.end_offset == Some(leader_end_offset) || now_ms - self.last_caught_up_ms <= lag_time_max_ms
    }

    /// Whether it has been watched for longer than `lag_time_max_ms`.
    pub fn is_overdue(&self, now_ms: i64, lag_time_max_ms: i64) -> bool {
        now_ms - self.since_ms > lag_time_max_ms
    }

    /// Whether it may be proposed as in-sync: it lives, it reached `offset`, and it was not refused a moment ago.
    pub fn may_join(&self, now_ms: i64, offset: i64, lag_time_max_ms: i64) -> bool {
        self.end_offset.is_some_and(|end| end >= offset)
            && !self.fenced
            && !self.silent_since_it_left
            && now_ms - self.last_fetch_ms <= lag_time_max_ms
            && now_ms >= self.refused_until_ms
    }

    /// How often its addition was refused since it was in the ISR last.
    pub fn refusals(&self) -> u32 {
        self.refusals
    }

    /// Its addition was refused: not again at once.
    pub fn refused(&mut self, now_ms: i64) {
        self.refused_until_ms = now_ms + (REFUSED_PAUSE_MS << self.refusals.min(MOST_DOUBLINGS));
        self.refusals = self.refusals.saturating_add(1);
    }

    /// For how long it has not been caught up. Milliseconds; 0 when it is.
    pub fn lag_ms(&self, now_ms: i64, leader_end_offset: i64) -> i64 {
        if self.end_offset.is_some_and(|end| end >= leader_end_offset) {
            return 0;
        }
        (now_ms - self.last_caught_up_ms.max(self.since_ms)).max(0)
    }
}
