//! Fetches of followers: everything up to the log's end, and where the high watermark stands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use taffrail_control::session::Member;
use taffrail_protocol::codec::RecordSet;
use taffrail_protocol::messages::fetch::{EpochEndOffset, FetchableTopicResponse, PartitionData};
use taffrail_protocol::messages::{FetchRequest, FetchResponse};
use taffrail_protocol::{ErrorCode, Uuid};
use taffrail_replication::partition::Effects;
use taffrail_replication::replica_fetch::ReplicaFetch;

use super::refuse;
use crate::call::Call;
use crate::clock;
use crate::cluster::PartitionKey;
use crate::follower_session::{Asked, FollowerSession, Slot, Told};
use crate::net::outbox::{FileRange, Response};
use crate::net::parked::{Answer, Parked};
use crate::peer::Peer;
use crate::random;
use crate::replication::quota;
use crate::waiter::{ParkedPlace, PartitionWaiter, carry_out};

/// The first version that tells the high watermark that the follower knows (KIP-1166); those before it may not even tell
/// the incarnation (KIP-903).
const FIRST_VERSION: i16 = 18;
/// The epoch of a request that begins a session.
const INITIAL_EPOCH: i32 = 0;
/// How long a follower is not told that the high watermark moved if there is nothing else to tell. While records flow
/// it goes along with them, and no answer leaves for it alone.
const HIGH_WATERMARK_DELAY: Duration = Duration::from_millis(5);

/// What a follower's fetch wants, apart from its partitions.
#[derive(Debug, Clone, Copy)]
struct Terms {
    follower: Member,
    min_bytes: u64,
    max_bytes: u32,
}

/// What there is to say about one partition.
struct Found {
    slot: Slot,
    key: PartitionKey,
    error: ErrorCode,
    told: Option<Told>,
    last_stable_offset: i64,
    diverging: Option<EpochEndOffset>,
    records: Option<FileRange>,
}

impl Found {
    fn failed(slot: Slot, key: PartitionKey, error: ErrorCode) -> Self {
        Self { slot, key, error, told: None, last_stable_offset: -1, diverging: None, records: None }
    }

    /// Whether the follower has to do something about it, rather than take note.
    fn is_urgent(&self) -> bool {
        self.error != ErrorCode::NONE || self.diverging.is_some()
    }

    fn bytes(&self) -> u64 {
        self.records.as_ref().map_or(0, |range| u64::from(range.len))
    }
}

/// Handles the fetch of a follower that proved to be `peer`.
pub fn handle(call: Call, peer: &Arc<Peer>, request: &FetchRequest<'_>) -> Answer {
    let state = &request.replica_state;
    let named = Member {
        broker_id: state.replica_id,
        incarnation: u64::try_from(state.replica_epoch).unwrap_or_default(),
    };
    if call.version() < FIRST_VERSION || named != peer.member {
        return refuse(&call, ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    }
    let mut session = peer.session.lock();
    if request.session_epoch == INITIAL_EPOCH {
        let id = i32::try_from(random::below(i64::from(i32::MAX - 1))).unwrap_or(0) + 1;
        // No request of a session before it is taken for one of this.
        let number = session.as_ref().map_or(0, |before| before.request() + 1);
        *session = Some(FollowerSession::new(id, number));
    } else {
        let known = session.as_mut().ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        let continued =
            known.and_then(|known| known.continue_with(request.session_id, request.session_epoch));
        if let Err(code) = continued {
            return refuse(&call, code);
        }
    }
    if let Some(session) = session.as_mut() {
        // A request in wait makes room: its answer is due before this one's.
        session.bell().interrupt();
        take_wishes(session, request);
    }
    drop(session);
    let max_bytes = u32::try_from(request.max_bytes).unwrap_or(0);
    let terms = Terms {
        follower: peer.member,
        min_bytes: u64::try_from(request.min_bytes).unwrap_or(0).min(max_bytes.into()),
        max_bytes,
    };
    // Before it knows the session's id the follower cannot ask for anything else.
    let begins = request.session_epoch == INITIAL_EPOCH;
    let max_wait_ms = if begins { 0 } else { u64::try_from(request.max_wait_ms).unwrap_or(0) };
    let max_wait = Duration::from_millis(max_wait_ms);
    let number = peer.session.lock().as_ref().map_or(0, FollowerSession::request);
    let mut parked = ParkedFollower {
        call: Some(call),
        peer: Arc::clone(peer),
        terms,
        number,
        deadline: Instant::now() + max_wait,
        hint_due: None,
    };
    match parked.look(Instant::now()) {
        Some(response) => Answer::Now(response),
        None => Answer::Later(Box::new(parked)),
    }
}

fn take_wishes(session: &mut FollowerSession<ParkedPlace>, request: &FetchRequest<'_>) {
    for topic in &request.forgotten_topics_data {
        topic.partitions.iter().for_each(|partition| session.forget((topic.topic_id, *partition)));
    }
    for topic in &request.topics {
        for partition in &topic.partitions {
            session.ask(
                (topic.topic_id, partition.partition),
                Asked {
                    current_leader_epoch: partition.current_leader_epoch,
                    fetch_offset: partition.fetch_offset,
                    last_fetched_epoch: partition.last_fetched_epoch,
                    log_start_offset: partition.log_start_offset,
                    high_watermark: partition.high_watermark,
                    max_bytes: partition.partition_max_bytes,
                },
            );
        }
    }
}

/// A follower's fetch that waits for something to happen.
struct ParkedFollower {
    call: Option<Call>,
    peer: Arc<Peer>,
    terms: Terms,
    /// Which request of its session it is.
    number: u64,
    deadline: Instant,
    /// When something small is told that happened.
    hint_due: Option<Instant>,
}

impl Parked for ParkedFollower {
    fn deadline(&self) -> Option<Instant> {
        Some(self.hint_due.map_or(self.deadline, |due| due.min(self.deadline)))
    }

    fn poll(&mut self, now: Instant) -> Option<Response> {
        self.look(now)
    }
}

impl ParkedFollower {
    /// Answers, or has itself woken when there is something to answer with.
    fn look(&mut self, now: Instant) -> Option<Response> {
        let peer = Arc::clone(&self.peer);
        let mut effects = Effects::new();
        let response = match &mut *peer.session.lock() {
            Some(session) if session.request() == self.number => self.look_in(session, now, &mut effects),
            // A newer request of the session is there, and says all that there is to say.
            Some(session) => self.respond(session, Vec::new()),
            None => self.call.take().map(|call| call.impossible("its session has gone")),
        };
        carry_out(&mut effects);
        response
    }

    fn look_in(
        &mut self,
        session: &mut FollowerSession<ParkedPlace>,
        now: Instant,
        effects: &mut Effects<PartitionWaiter>,
    ) -> Option<Response> {
        let bell = Arc::clone(session.bell());
        let time_is_up = now >= self.deadline || self.hint_due.is_some_and(|due| now >= due);
        loop {
            let call = self.call.as_ref()?;
            let waiter = call.waiter.clone();
            let found = read_all(call, session, &self.terms, effects);
            let bytes: u64 = found.iter().map(Found::bytes).sum();
            let enough = bytes > 0 && bytes >= self.terms.min_bytes;
            if time_is_up || enough || found.iter().any(Found::is_urgent) {
                return self.respond(session, found);
            }
            if !found.is_empty() {
                self.hint_due.get_or_insert(now + HIGH_WATERMARK_DELAY);
            }
            if bell.wait(waiter, self.terms.min_bytes.saturating_sub(bytes).max(1)) {
                return None;
            }
        }
    }

    fn respond(
        &mut self,
        session: &mut FollowerSession<ParkedPlace>,
        mut found: Vec<Found>,
    ) -> Option<Response> {
        let call = self.call.take()?;
        let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
        let mut ranges = Vec::new();
        found.sort_unstable_by_key(|found| found.key);
        let rate = call.broker.live.now().leader_replication_throttled_rate;
        for found in found {
            call.note_error(found.error);
            if found.bytes() > 0 && is_throttled(&call, found.key, self.terms.follower, rate) {
                call.broker.leader_quota.record(tokio::time::Instant::now(), found.bytes(), rate);
            }
            match found.told {
                Some(told) if found.records.is_none() && !found.is_urgent() => {
                    session.told(found.slot, told);
                }
                _ => session.answered(found.slot),
            }
            let (topic_id, _) = found.key;
            if responses.last().is_none_or(|last| last.topic_id != topic_id) {
                responses.push(FetchableTopicResponse { topic_id, ..FetchableTopicResponse::default() });
            }
            let Some(topic) = responses.last_mut() else { continue };
            topic.partitions.push(partition_data(found, &mut ranges));
        }
        let response = FetchResponse { session_id: session.id(), responses, ..FetchResponse::default() };
        Some(call.encode_with_ranges(&response, ranges))
    }
}

fn partition_data(found: Found, ranges: &mut Vec<FileRange>) -> PartitionData<'static> {
    let (_, partition_index) = found.key;
    let records = found.records.map_or(RecordSet::Null, |range| {
        let splice = RecordSet::Splice { len: range.len, id: ranges.len() as u32 };
        ranges.push(range);
        splice
    });
    PartitionData {
        partition_index,
        error_code: found.error,
        high_watermark: found.told.map_or(-1, |told| told.high_watermark),
        last_stable_offset: found.last_stable_offset,
        log_start_offset: found.told.map_or(-1, |told| told.log_start_offset),
        diverging_epoch: found.diverging.unwrap_or_default(),
        records,
        ..PartitionData::default()
    }
}

/// Looks at every partition where something happened, within the request's bounds, and returns those that there is
/// something to say about.
fn read_all(
    call: &Call,
    session: &mut FollowerSession<ParkedPlace>,
    terms: &Terms,
    effects: &mut Effects<PartitionWaiter>,
) -> Vec<Found> {
    let follower = call.broker.cluster.broker(terms.follower.broker_id);
    let registered = follower.as_ref().map(|broker| broker.incarnation);
    let fenced = follower.is_none_or(|broker| broker.fenced);
    let mut left = terms.max_bytes;
    let mut nothing_yet = true;
    let mut all = Vec::new();
    let rate = call.broker.live.now().leader_replication_throttled_rate;
    for (slot, key, asked) in session.to_look_at() {
        let throttled = is_throttled(call, key, terms.follower, rate);
        if throttled && call.broker.leader_quota.blocked_for(tokio::time::Instant::now(), rate).is_some() {
            // Looked at again with the next request.
            continue;
        }
        let fetch = ReplicaFetch {
            replica: terms.follower,
            registered,
            fenced,
            current_leader_epoch: asked.current_leader_epoch,
            fetch_offset: asked.fetch_offset,
            last_fetched_epoch: asked.last_fetched_epoch,
            log_start_offset: asked.log_start_offset,
            max_bytes: u32::try_from(asked.max_bytes).unwrap_or(0).min(left),
            at_least_one_batch: nothing_yet,
        };
        let found = read_one(call, session, (slot, key), &fetch, effects);
        if let Some(range) = &found.records {
            nothing_yet = false;
            left = left.saturating_sub(range.len);
        }
        let news = found.is_urgent()
            || found.records.is_some()
            || !found.told.is_some_and(|told| session.knows(slot, told));
        // What did not fit any more is looked at again with the next request.
        if news {
            all.push(found);
        } else if left > 0 {
            session.nothing_new(slot);
        }
    }
    all
}

/// Whether what goes from the partition to the follower counts for `leader.replication.throttled.rate`.
fn is_throttled(call: &Call, (topic_id, number): PartitionKey, follower: Member, rate: i64) -> bool {
    let topic = (rate < i64::MAX).then(|| call.broker.cluster.topic_by_id(topic_id)).flatten();
    topic.is_some_and(|topic| {
        topic.partition(number).is_some_and(|partition| {
            quota::concerns(&topic, &partition.record, follower.broker_id, quota::LEADERS, call.broker.id)
        })
    })
}

fn read_one(
    call: &Call,
    session: &mut FollowerSession<ParkedPlace>,
    (slot, key): (Slot, PartitionKey),
    fetch: &ReplicaFetch,
    effects: &mut Effects<PartitionWaiter>,
) -> Found {
    let (topic_id, number): (Uuid, i32) = key;
    let bell = Arc::clone(session.bell());
    let Some(place) = session.place(slot) else {
        return Found::failed(slot, key, ErrorCode::UNKNOWN_SERVER_ERROR);
    };
    let replica = match call.broker.cluster.topic_by_id(topic_id) {
        None => return Found::failed(slot, key, ErrorCode::UNKNOWN_TOPIC_ID),
        Some(topic) => match topic.partition(number) {
            None => return Found::failed(slot, key, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Some(partition) => match &partition.replica {
                None => return Found::failed(slot, key, ErrorCode::NOT_LEADER_OR_FOLLOWER),
                Some(replica) => Arc::clone(replica),
            },
        },
    };
    if place.as_ref().is_some_and(|place| !place.is_at(&replica)) {
        *place = None;
    }
    let mut partition = replica.lock();
    match partition.replica_fetch(clock::now_ms(), fetch, effects) {
        Err(error) => {
            drop(partition);
            // It waits there no more if the partition has changed its role.
            *place = None;
            Found::failed(slot, key, error.code())
        }
        Ok(read) => {
            if place.is_none() {
                // From under this lock on every append rings.
                let id = partition.await_append(PartitionWaiter::Follower { bell, slot });
                drop(partition);
                *place = Some(ParkedPlace::new(replica, id));
            }
            Found {
                slot,
                key,
                error: read.error,
                told: Some(Told {
                    high_watermark: read.high_watermark,
                    log_start_offset: read.log_start_offset,
                }),
                last_stable_offset: read.last_stable_offset,
                diverging: read
                    .diverging
                    .map(|entry| EpochEndOffset { epoch: entry.epoch, end_offset: entry.start_offset }),
                records: read.records.map(|range| FileRange {
                    file: range.file,
                    position: range.position,
                    len: range.len,
                }),
            }
        }
    }
}
