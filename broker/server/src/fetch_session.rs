//! Incremental fetch sessions (KIP-227): a consumer of many partitions sends and receives only what changed.
//!
//! Pure: time is an argument, ids come from a counter that the caller seeds. Kafka's classes: `FetchSessionCache`,
//! `FetchManager`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use taffrail_protocol::{ErrorCode, Uuid};

/// The epoch of a request that wants no session, and closes the one it names.
const FINAL_EPOCH: i32 = -1;
/// The epoch of a request that wants a new session.
const INITIAL_EPOCH: i32 = 0;
/// The id that stands for "no session".
pub const NO_SESSION: i32 = 0;

/// How a request names a topic: by name below version 13, by id from there on (KIP-516).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FetchTopic {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(Uuid),
}

/// One partition that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// Its topic.
    pub topic: FetchTopic,
    /// Its number.
    pub partition: i32,
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// The most that is wanted of it, in bytes.
    pub max_bytes: i32,
    /// The leader epoch the client knows; -1 if none (KIP-320).
    pub current_leader_epoch: i32,
}

/// What a session remembers of the last answer for a partition, to tell whether there is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The partition's error code.
    pub error: ErrorCode,
    /// The high watermark.
    pub high_watermark: i64,
    /// The first offset of the log.
    pub log_start_offset: i64,
}

struct CachedPartition {
    asked: FetchPartition,
    told: Option<Told>,
}

/// The state of one session.
pub struct FetchSession {
    id: i32,
    next_epoch: i32,
    by_topic_id: bool,
    partitions: Vec<CachedPartition>,
    index: HashMap<(FetchTopic, i32), usize>,
    /// Where the next answer begins, so that one busy partition does not starve those behind it.
    first: usize,
    last_used_ms: i64,
}

impl FetchSession {
    fn new(id: i32, by_topic_id: bool, asked: Vec<FetchPartition>, now_ms: i64) -> Self {
        let mut session = Self {
            id,
            next_epoch: 1,
            by_topic_id,
            partitions: Vec::with_capacity(asked.len()),
            index: HashMap::with_capacity(asked.len()),
            first: 0,
            last_used_ms: now_ms,
        };
        session.put(asked);
        session
    }

    fn put(&mut self, asked: Vec<FetchPartition>) {
        for asked in asked {
            let key = (asked.topic.clone(), asked.partition);
            match self.index.get(&key) {
                Some(at) => self.partitions[*at].asked = asked,
                None => {
                    self.index.insert(key, self.partitions.len());
                    self.partitions.push(CachedPartition { asked, told: None });
                }
            }
        }
    }

    fn forget(&mut self, forgotten: &[(FetchTopic, i32)]) {
        for key in forgotten {
            let Some(at) = self.index.remove(key) else { continue };
            self.partitions.swap_remove(at);
            if let Some(moved) = self.partitions.get(at) {
                self.index.insert((moved.asked.topic.clone(), moved.asked.partition), at);
            }
        }
    }

    fn take_epoch(&mut self) {
        self.next_epoch = if self.next_epoch == i32::MAX { 1 } else { self.next_epoch + 1 };
    }
}

/// One request's view of its session, or of none.
pub enum FetchContext {
    /// No session: everything asked for is answered.
    Sessionless(Vec<FetchPartition>),
    /// The first request of a session: everything asked for is answered and remembered.
    Full(Arc<Mutex<FetchSession>>),
    /// A later request of a session: only news is answered.
    Incremental(Arc<Mutex<FetchSession>>),
}

impl FetchContext {
    /// The session's id for the answer.
    pub fn session_id(&self) -> i32 {
        match self {
            Self::Sessionless(_) => NO_SESSION,
            Self::Full(session) | Self::Incremental(session) => session.lock().id,
        }
    }

    /// What is asked for, in the order in which it shall be answered.
    pub fn partitions(&self) -> Vec<FetchPartition> {
        match self {
            Self::Sessionless(partitions) => partitions.clone(),
            Self::Full(session) | Self::Incremental(session) => {
                let session = session.lock();
                let first = session.first.min(session.partitions.len());
                let (behind, ahead) = session.partitions.split_at(first);
                ahead.iter().chain(behind).map(|cached| cached.asked.clone()).collect()
            }
        }
    }

    /// Whether the answer for a partition goes out, and remembers it as told if so. `has_data`: it carries records or
    /// something else that always goes out.
    pub fn tell(&self, topic: &FetchTopic, partition: i32, told: Told, has_data: bool) -> bool {
        let (session, incremental) = match self {
            Self::Sessionless(_) => return true,
            Self::Full(session) => (session, false),
            Self::Incremental(session) => (session, true),
        };
        let mut session = session.lock();
        let Some(at) = session.index.get(&(topic.clone(), partition)).copied() else { return true };
        let cached = &mut session.partitions[at];
        // An error is told again each time: the client retries on it.
        let news = has_data || told.error != ErrorCode::NONE || cached.told != Some(told);
        cached.told = Some(told);
        if has_data {
            session.first = at + 1;
        }
        news || !incremental
    }
}

/// Limits of a [`FetchSessionCache`].
#[derive(Debug, Clone, Copy)]
pub struct FetchSessionLimits {
    /// Sessions kept (`max.incremental.fetch.session.cache.slots`). A client that gets none fetches without.
    pub slots: usize,
    /// A session unused for this long may give way to a new one, in milliseconds.
    pub eviction_ms: i64,
    /// Partitions that all sessions together may remember.
    pub partitions: usize,
}

/// All sessions of a broker.
pub struct FetchSessionCache {
    limits: FetchSessionLimits,
    sessions: HashMap<i32, Arc<Mutex<FetchSession>>>,
    next_id: u32,
    partitions: usize,
}

impl FetchSessionCache {
    /// An empty cache. `seed` makes ids differ from those before a restart, so that an old session is not mistaken for
    /// a new one.
    pub fn new(limits: FetchSessionLimits, seed: u32) -> Self {
        Self { limits, sessions: HashMap::new(), next_id: seed, partitions: 0 }
    }

    /// Sessions held now.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Begins a request: finds, makes or closes the session that it names.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, or `FETCH_SESSION_TOPIC_ID_ERROR` when a session
    /// changes between names and ids.
    pub fn begin(
        &mut self,
        now_ms: i64,
        (session_id, epoch): (i32, i32),
        by_topic_id: bool,
        asked: Vec<FetchPartition>,
        forgotten: &[(FetchTopic, i32)],
    ) -> Result<FetchContext, ErrorCode> {
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            self.remove(session_id);
            let session = (epoch == INITIAL_EPOCH)
                .then(|| self.make_room(now_ms, asked.len()))
                .filter(|fits| *fits && !asked.is_empty());
            if session.is_none() {
                return Ok(FetchContext::Sessionless(asked));
            }
            let id = self.fresh_id();
            let session = Arc::new(Mutex::new(FetchSession::new(id, by_topic_id, asked, now_ms)));
            self.partitions += session.lock().partitions.len();
            self.sessions.insert(id, Arc::clone(&session));
            return Ok(FetchContext::Full(session));
        }
        let session = self.sessions.get(&session_id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let session = Arc::clone(session);
        let mut state = session.lock();
        if state.next_epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if state.by_topic_id != by_topic_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        let before = state.partitions.len();
        state.take_epoch();
        state.last_used_ms = now_ms;
        state.forget(forgotten);
        state.put(asked);
        let after = state.partitions.len();
        drop(state);
        self.partitions = self.partitions + after - before;
        if after == 0 {
            self.remove(session_id);
            return Ok(FetchContext::Sessionless(Vec::new()));
        }
        Ok(FetchContext::Incremental(session))
    }

    fn remove(&mut self, session_id: i32) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.partitions -= session.lock().partitions.len();
        }
    }

    fn fresh_id(&mut self) -> i32 {
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            let id = (self.next_id & 0x7fff_ffff) as i32;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// True when a session of `partitions` partitions may be added. The one unused for longest gives way if it has
    /// been unused for long enough.
    fn make_room(&mut self, now_ms: i64, partitions: usize) -> bool {
        loop {
            let fits = self.partitions + partitions <= self.limits.partitions;
            if fits && self.sessions.len() < self.limits.slots {
                return true;
            }
            let oldest = self.sessions.values().map(|session| {
                let session = session.lock();
                (session.last_used_ms, session.id)
            });
            match oldest.min() {
                Some((last_used_ms, id)) if now_ms - last_used_ms >= self.limits.eviction_ms => {
                    self.remove(id)
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(slots: usize) -> FetchSessionCache {
        FetchSessionCache::new(FetchSessionLimits { slots, eviction_ms: 1_000, partitions: 100 }, 0)
    }

    fn ask(partition: i32, fetch_offset: i64) -> FetchPartition {
        FetchPartition {
            topic: FetchTopic::Id(Uuid([7; 16])),
            partition,
            fetch_offset,
            max_bytes: 1_000,
            current_leader_epoch: -1,
        }
    }

    fn key(partition: i32) -> (FetchTopic, i32) {
        (FetchTopic::Id(Uuid([7; 16])), partition)
    }

    fn told(high_watermark: i64) -> Told {
        Told { error: ErrorCode::NONE, high_watermark, log_start_offset: 0 }
    }

    fn numbers(context: &FetchContext) -> Vec<i32> {
        context.partitions().iter().map(|partition| partition.partition).collect()
    }

    #[test]
    fn an_incremental_answer_carries_only_news() {
        let mut cache = cache(10);
        let full = cache.begin(0, (0, 0), true, vec![ask(0, 5), ask(1, 5)], &[]).unwrap();
        let id = full.session_id();
        assert_ne!(id, NO_SESSION);
        let (topic, _) = key(0);
        assert!(full.tell(&topic, 0, told(5), false), "a full answer tells everything");
        assert!(full.tell(&topic, 1, told(5), false));
        let next = cache.begin(1, (id, 1), true, vec![], &[]).unwrap();
        assert_eq!(numbers(&next), [0, 1]);
        assert!(!next.tell(&topic, 0, told(5), false), "nothing changed");
        assert!(next.tell(&topic, 0, told(6), false), "the high watermark moved");
        assert!(next.tell(&topic, 1, told(5), true), "there are records");
        let error = Told { error: ErrorCode::NOT_LEADER_OR_FOLLOWER, ..told(5) };
        assert!(next.tell(&topic, 1, error, false));
        assert!(next.tell(&topic, 1, error, false), "an error is repeated");
    }

    #[test]
    fn epochs_have_to_follow_one_another() {
        let mut cache = cache(10);
        let id = cache.begin(0, (0, 0), true, vec![ask(0, 5)], &[]).unwrap().session_id();
        assert!(cache.begin(0, (id, 1), true, vec![], &[]).is_ok());
        let again = cache.begin(0, (id, 1), true, vec![], &[]).err();
        assert_eq!(again, Some(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
        let unknown = cache.begin(0, (id + 1, 2), true, vec![], &[]).err();
        assert_eq!(unknown, Some(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        let names = cache.begin(0, (id, 2), false, vec![], &[]).err();
        assert_eq!(names, Some(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
    }

    #[test]
    fn partitions_are_changed_added_and_forgotten() {
        let mut cache = cache(10);
        let id =
            cache.begin(0, (0, 0), true, vec![ask(0, 5), ask(1, 5), ask(2, 5)], &[]).unwrap().session_id();
        let next = cache.begin(0, (id, 1), true, vec![ask(2, 9), ask(3, 0)], &[key(0)]).unwrap();
        let mut asked = next.partitions();
        asked.sort_by_key(|partition| partition.partition);
        assert_eq!(asked, [ask(1, 5), ask(2, 9), ask(3, 0)]);
        let last = cache.begin(0, (id, 2), true, vec![], &[key(1), key(2), key(3)]).unwrap();
        assert_eq!(last.session_id(), NO_SESSION, "a session without partitions is closed");
        assert!(cache.is_empty());
        assert_eq!(cache.partitions, 0);
    }

    #[test]
    fn the_partition_that_had_data_goes_to_the_end() {
        let mut cache = cache(10);
        let full = cache.begin(0, (0, 0), true, vec![ask(0, 5), ask(1, 5), ask(2, 5)], &[]).unwrap();
        full.tell(&key(0).0, 0, told(9), true);
        let next = cache.begin(0, (full.session_id(), 1), true, vec![], &[]).unwrap();
        assert_eq!(numbers(&next), [1, 2, 0]);
    }

    #[test]
    fn a_full_cache_declines_until_the_oldest_session_is_stale() {
        let mut cache = cache(1);
        let first = cache.begin(0, (0, 0), true, vec![ask(0, 0)], &[]).unwrap().session_id();
        assert_eq!(cache.begin(999, (0, 0), true, vec![ask(0, 0)], &[]).unwrap().session_id(), NO_SESSION);
        let third = cache.begin(1_000, (0, 0), true, vec![ask(0, 0)], &[]).unwrap().session_id();
        assert_ne!(third, NO_SESSION);
        let gone = cache.begin(1_000, (first, 1), true, vec![], &[]).err();
        assert_eq!(gone, Some(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(
            cache.begin(1_001, (third, -1), true, vec![ask(0, 0)], &[]).unwrap().session_id(),
            NO_SESSION
        );
        assert!(cache.is_empty(), "the final epoch closes the session");
    }
}
