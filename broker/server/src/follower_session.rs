//! A follower's fetch session on the leader (KIP-227): what the follower asked for, what it was told, and where
//! something has happened since.
//!
//! Unlike a consumer's, it never goes through all of its partitions: each of them rings a [`FollowerBell`] when something
//! is appended or committed, and only those are looked at. Ten thousand idle partitions cost an idle follower's fetch
//! nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use taffrail_protocol::ErrorCode;

use crate::cluster::PartitionKey;
use crate::net::parked::Waiter;

/// The place of a partition in a session.
pub type Slot = u32;

/// What the follower says of a partition when it asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The leader epoch that it follows.
    pub current_leader_epoch: i32,
    /// The end of its log.
    pub fetch_offset: i64,
    /// The leader epoch of its last record; -1 if there is none.
    pub last_fetched_epoch: i32,
    /// The start of its log.
    pub log_start_offset: i64,
    /// The high watermark that it knows.
    pub high_watermark: i64,
    /// The most that it wants, in bytes.
    pub max_bytes: i32,
}

/// What the follower was told of a partition last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The high watermark.
    pub high_watermark: i64,
    /// The first offset of the log.
    pub log_start_offset: i64,
}

struct Entry<P> {
    key: PartitionKey,
    asked: Asked,
    told: Told,
    /// It was answered with something after which the follower has to ask anew: records to be appended, a divergence,
    /// an error. Until then there is nothing to say.
    answered: bool,
    /// Where it waits for news.
    place: Option<P>,
}

/// The partitions of one session. `P` is a place where a partition is waited at; dropping it leaves.
pub struct FollowerSession<P> {
    id: i32,
    next_epoch: i32,
    entries: Vec<Option<Entry<P>>>,
    free: Vec<Slot>,
    index: HashMap<PartitionKey, Slot>,
    /// What has to be looked at before the next answer.
    pending: BTreeSet<Slot>,
    /// Counts requests: a parked one gives way to a newer one.
    request: u64,
    bell: Arc<FollowerBell>,
}

impl<P> FollowerSession<P> {
    /// A session without partitions. The request that makes it is its first one, and has the number `request`.
    pub fn new(id: i32, request: u64) -> Self {
        Self {
            id,
            next_epoch: 1,
            entries: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            pending: BTreeSet::new(),
            request,
            bell: Arc::default(),
        }
    }

    /// The session's id.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// What the session's partitions ring.
    pub fn bell(&self) -> &Arc<FollowerBell> {
        &self.bell
    }

    /// Begins a further request.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND` or `INVALID_FETCH_SESSION_EPOCH`: the follower begins a new session.
    pub fn continue_with(&mut self, id: i32, epoch: i32) -> Result<(), ErrorCode> {
        if id != self.id {
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        if epoch != self.next_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        self.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        self.request += 1;
        Ok(())
    }

    /// The number of the newest request.
    pub fn request(&self) -> u64 {
        self.request
    }

    /// The follower asks for a partition, or asks anew.
    pub fn ask(&mut self, key: PartitionKey, asked: Asked) {
        let slot = match self.index.get(&key) {
            Some(slot) => *slot,
            None => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.entries.push(None);
                    Slot::try_from(self.entries.len() - 1).expect("a session has fewer than 2^32 partitions")
                });
                self.index.insert(key, slot);
                slot
            }
        };
        // What it says that it knows counts, and not what it was told: it throws away what comes after it asked anew.
        let told = Told { high_watermark: asked.high_watermark, log_start_offset: asked.log_start_offset };
        let place = self.entries[slot as usize].take().and_then(|entry| entry.place);
        self.entries[slot as usize] = Some(Entry { key, asked, told, answered: false, place });
        self.pending.insert(slot);
    }

    /// The follower does not want a partition any more.
    pub fn forget(&mut self, key: PartitionKey) {
        if let Some(slot) = self.index.remove(&key) {
            self.entries[slot as usize] = None;
            self.pending.remove(&slot);
            self.free.push(slot);
        }
    }

    /// What has to be looked at now: what was asked for, what rang, and what was put off. It stays so until the follower
    /// was told.
    pub fn to_look_at(&mut self) -> Vec<(Slot, PartitionKey, Asked)> {
        self.pending.extend(self.bell.take());
        let entries = &self.entries;
        let entry = |slot: &Slot| entries[*slot as usize].as_ref().filter(|entry| !entry.answered);
        self.pending.retain(|slot| entry(slot).is_some());
        let looks = self.pending.iter().filter_map(|slot| Some((*slot, entry(slot)?)));
        looks.map(|(slot, entry)| (slot, entry.key, entry.asked)).collect()
    }

    /// Where the partition is waited at, to be filled in by who does.
    pub fn place(&mut self, slot: Slot) -> Option<&mut Option<P>> {
        Some(&mut self.entries.get_mut(slot as usize)?.as_mut()?.place)
    }

    /// There is nothing to say about the partition that was not said before.
    pub fn nothing_new(&mut self, slot: Slot) {
        self.pending.remove(&slot);
    }

    /// Whether the follower knows this already.
    pub fn knows(&self, slot: Slot, told: Told) -> bool {
        let entry = self.entries.get(slot as usize).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.told == told)
    }

    /// The follower is told something after which it asks anew, and before that nothing else.
    pub fn answered(&mut self, slot: Slot) {
        self.pending.remove(&slot);
        if let Some(Some(entry)) = self.entries.get_mut(slot as usize) {
            entry.answered = true;
        }
    }

    /// The follower is told where the partition stands, and need not say anything to that.
    pub fn told(&mut self, slot: Slot, told: Told) {
        self.pending.remove(&slot);
        if let Some(Some(entry)) = self.entries.get_mut(slot as usize) {
            entry.told = told;
        }
    }
}

/// What the partitions of a session ring. A request may wait for it.
#[derive(Debug, Default)]
pub struct FollowerBell(Mutex<Bell>);

#[derive(Debug, Default)]
struct Bell {
    /// Who rang, each once.
    rang: Vec<Slot>,
    /// Whether a slot is in `rang`, by slot.
    marks: Vec<bool>,
    /// The request that waits.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    waiter: Waiter,
    /// Bytes that are missing to its `min_bytes`.
    missing: u64,
    /// It was told that there is something smaller than bytes.
    hinted: bool,
}

impl FollowerBell {
    /// The partition at `slot` has `bytes` more bytes; 0 when only what is known of it has changed.
    pub fn ring(&self, slot: Slot, bytes: u64) {
        let mut bell = self.0.lock();
        let at = slot as usize;
        if at >= bell.marks.len() {
            bell.marks.resize(at + 1, false);
        }
        if !std::mem::replace(&mut bell.marks[at], true) {
            bell.rang.push(slot);
        }
        let Some(waiting) = &mut bell.waiting else { return };
        let was_due = waiting.missing == 0;
        waiting.missing = waiting.missing.saturating_sub(bytes);
        let due = waiting.missing == 0;
        let hint = !std::mem::replace(&mut waiting.hinted, true);
        if due && !was_due || hint {
            waiting.waiter.wake();
        }
    }

    /// Has `waiter` woken when `missing` bytes have come, and once when anything rings. False, and nobody waits, when
    /// something has rung since the last look.
    pub fn wait(&self, waiter: Waiter, missing: u64) -> bool {
        let mut bell = self.0.lock();
        let quiet = bell.rang.is_empty();
        bell.waiting = quiet.then_some(Waiting { waiter, missing, hinted: false });
        quiet
    }

    /// Whether the bytes that a request waits for are there.
    pub fn is_due(&self) -> bool {
        self.0.lock().waiting.as_ref().is_some_and(|waiting| waiting.missing == 0)
    }

    /// Whether anything rang since the last look.
    pub fn rang(&self) -> bool {
        !self.0.lock().rang.is_empty()
    }

    /// The request that waits, if any, is looked at again: a newer one is there.
    pub fn interrupt(&self) {
        if let Some(waiting) = self.0.lock().waiting.take() {
            waiting.waiter.wake();
        }
    }

    fn take(&self) -> Vec<Slot> {
        let mut bell = self.0.lock();
        let rang = std::mem::take(&mut bell.rang);
        for slot in &rang {
            bell.marks[*slot as usize] = false;
        }
        rang
    }
}

#[cfg(test)]
mod tests {
    use taffrail_protocol::Uuid;

    use super::*;
    use crate::net::parked::DoorBell;

    fn key(partition: i32) -> PartitionKey {
        (Uuid([7; 16]), partition)
    }

    fn asked(fetch_offset: i64) -> Asked {
        Asked {
            current_leader_epoch: 3,
            fetch_offset,
            last_fetched_epoch: 3,
            log_start_offset: 0,
            high_watermark: 3,
            max_bytes: 1_000,
        }
    }

    fn told(high_watermark: i64) -> Told {
        Told { high_watermark, log_start_offset: 0 }
    }

    fn looks(session: &mut FollowerSession<()>) -> Vec<(i32, i64)> {
        let looks = session.to_look_at().into_iter();
        looks.map(|(_, (_, partition), asked)| (partition, asked.fetch_offset)).collect()
    }

    /// The door bell of a connection, and a way to it.
    fn waiter() -> (Arc<DoorBell>, Waiter) {
        let bell = Arc::new(DoorBell::default());
        (Arc::clone(&bell), Waiter::new(bell, 0))
    }

    fn woken(bell: &DoorBell) -> bool {
        let mut rung = Vec::new();
        bell.take(&mut rung);
        !rung.is_empty()
    }

    #[test]
    fn only_what_was_asked_for_or_rang_is_looked_at_until_it_was_told() {
        let mut session = FollowerSession::new(1, 0);
        (0..3).for_each(|partition| session.ask(key(partition), asked(5)));
        assert_eq!(looks(&mut session), [(0, 5), (1, 5), (2, 5)]);
        session.told(0, told(5));
        session.nothing_new(1);
        assert_eq!(looks(&mut session), [(2, 5)], "what was put off stays");
        session.told(2, told(5));
        assert_eq!(looks(&mut session), []);
        session.bell().ring(1, 10);
        session.bell().ring(1, 10);
        assert_eq!(looks(&mut session), [(1, 5)]);
        assert!(session.knows(0, told(5)));
        assert!(!session.knows(0, told(6)));
        assert!(session.knows(1, told(3)), "which is what it said itself");
        session.ask(key(0), asked(5));
        assert!(!session.knows(0, told(5)), "the answer may have come too late");
    }

    #[test]
    fn after_records_nothing_is_said_until_the_follower_asks_anew() {
        let mut session = FollowerSession::new(1, 0);
        session.ask(key(0), asked(5));
        assert_eq!(looks(&mut session), [(0, 5)]);
        session.answered(0);
        session.bell().ring(0, 10);
        assert_eq!(looks(&mut session), [], "the same records would be sent twice");
        session.ask(key(0), asked(6));
        assert_eq!(looks(&mut session), [(0, 6)]);
    }

    #[test]
    fn a_forgotten_partitions_place_goes_to_the_next_one() {
        let mut session = FollowerSession::new(1, 0);
        session.ask(key(0), asked(5));
        *session.place(0).unwrap() = Some(());
        session.forget(key(0));
        session.bell().ring(0, 10);
        assert_eq!(looks(&mut session), []);
        session.ask(key(9), asked(1));
        assert_eq!(looks(&mut session), [(9, 1)]);
        assert_eq!(session.place(0), Some(&mut None));
    }

    #[test]
    fn requests_have_to_follow_one_another() {
        let mut session = FollowerSession::<()>::new(4, 0);
        assert_eq!(session.continue_with(5, 1), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(session.continue_with(4, 1), Ok(()));
        assert_eq!(session.continue_with(4, 1), Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
        assert_eq!(session.continue_with(4, 2), Ok(()));
        assert_eq!(session.request(), 2);
    }

    #[test]
    fn a_request_is_woken_by_enough_bytes_and_once_by_less() {
        let bell = FollowerBell::default();
        let (door, waiter) = waiter();
        assert!(bell.wait(waiter.clone(), 100));
        bell.ring(0, 0);
        assert!(woken(&door) && !bell.is_due(), "a high watermark moved");
        bell.ring(1, 0);
        bell.ring(0, 60);
        assert!(!woken(&door) && !bell.is_due());
        bell.ring(1, 40);
        assert!(woken(&door) && bell.is_due());
        bell.ring(1, 40);
        assert!(!woken(&door), "once");
        assert!(!bell.wait(waiter.clone(), 100), "something rang since the last look");
        assert_eq!(bell.take(), [0, 1]);
        assert!(bell.wait(waiter, 100));
        bell.interrupt();
        assert!(woken(&door));
    }
}
