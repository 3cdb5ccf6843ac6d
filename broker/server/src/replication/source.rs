//! Fetching from one broker all that it leads and this one follows, over one connection.
//!
//! While the broker lives there is that connection, also when nothing is to be fetched: that it ended is the first that is
//! known of the broker's death.
//!
//! A fetch that the source has nothing for is held there, so that idling costs two small messages every
//! `replica.fetch.wait.max.ms` however many partitions there are. A partition that has to be asked for meanwhile goes out at
//! once in a second request, which the source answers the first one for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::Member;
use taffrail_log::EpochEntry;
use taffrail_protocol::codec::RecordSet;
use taffrail_protocol::messages::fetch::{PartitionData, ReplicaState};
use taffrail_protocol::messages::{FetchRequest, FetchResponse};
use taffrail_protocol::{ErrorCode, Uuid};
use taffrail_replication::partition::Effects;
use taffrail_replication::replica_fetch::{Fetched, FetchedOutcome, Truncation};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connect::{connect, socket_timeout};
use super::quota;
use super::source_session::{RequestNumber, SourceSession};
use crate::broker::Broker;
use crate::clock;
use crate::cluster::{PartitionKey, Replica};
use crate::peer::connection::{PeerConnection, PeerError};
use crate::waiter::carry_out;

/// The version that brokers fetch from one another in.
const VERSION: i16 = 18;
/// The pause before a source is connected to again, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause before a source is connected to again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause before a partition that was refused is asked for again, doubled up to `replica.fetch.backoff.ms`: most often
/// the source has but not heard yet that it leads.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
/// Requests under way at a time.
const MAX_IN_FLIGHT: usize = 2;

/// What the source's task is told.
#[derive(Default)]
pub struct SourceInbox {
    news: Mutex<News>,
    notify: Notify,
}

#[derive(Default)]
struct News {
    look_at: HashMap<PartitionKey, Arc<Replica>>,
    removed: HashSet<PartitionKey>,
}

impl SourceInbox {
    /// A replica follows this source, or may go on to fetch.
    pub fn look_at(&self, key: PartitionKey, replica: Arc<Replica>) {
        let mut news = self.news.lock();
        news.removed.remove(&key);
        news.look_at.insert(key, replica);
        drop(news);
        self.notify.notify_one();
    }

    /// Something is new of the source itself.
    pub fn look_at_broker(&self) {
        self.notify.notify_one();
    }

    /// A replica does not follow this source any more.
    pub fn remove(&self, key: PartitionKey) {
        let mut news = self.news.lock();
        news.look_at.remove(&key);
        news.removed.insert(key);
        drop(news);
        self.notify.notify_one();
    }
}

/// One followed partition.
struct Followed {
    replica: Arc<Replica>,
    /// When it was asked for last.
    asked_at: Instant,
    /// Refusals in a row.
    refusals: u32,
}

/// Everything about the fetching from one source.
pub struct Source {
    broker: Arc<Broker>,
    me: Member,
    token: Uuid,
    id: i32,
    inbox: Arc<SourceInbox>,
    followed: HashMap<PartitionKey, Followed>,
    session: SourceSession,
    /// Requests that were not answered yet.
    in_flight: VecDeque<RequestNumber>,
    /// What is to be asked for again, and when: what was refused.
    retries: Vec<(Instant, PartitionKey)>,
    /// Every partition once, about in the order in which it is to be asked for again if nothing else makes it be. A leader
    /// takes a follower for lagging that has not asked for `replica.lag.time.max.ms`.
    refresh: VecDeque<(Instant, PartitionKey)>,
    refresh_every: Duration,
}

/// Fetches until `stop` changes.
pub async fn run(mut source: Source, mut stop: watch::Receiver<bool>) {
    let mut pause = FIRST_PAUSE;
    loop {
        source.take_news();
        let fetching = async {
            if !source.is_wanted() {
                source.inbox.notify.notified().await;
                return Ok(());
            }
            let connection = connect(&source.broker, source.me, source.token, source.id).await?;
            source.broker.cluster.note_found(source.id);
            let _watched = source.broker.cluster.peers.watch(source.id, connection.socket()?);
            tracing::debug!("fetching from broker {}", source.id);
            pause = FIRST_PAUSE;
            source.fetch(connection).await
        };
        let ended: Result<(), PeerError> = tokio::select! {
            ended = fetching => ended,
            _ = stop.changed() => return,
        };
        if let Err(error) = ended {
            tracing::debug!("fetching from broker {} failed: {error}; trying again", source.id);
            if error.is_certain_end() {
                source.broker.cluster.note_lost(source.id);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                // It may be back, or elsewhere.
                () = source.inbox.notify.notified() => pause = FIRST_PAUSE,
                _ = stop.changed() => return,
            }
        }
    }
}

impl Source {
    /// For fetching from broker `id`, as `me`.
    pub fn new(broker: Arc<Broker>, me: Member, token: Uuid, id: i32, inbox: Arc<SourceInbox>) -> Self {
        let lag_time_max_ms = u64::try_from(broker.config.replica_lag_time_max_ms).unwrap_or(1);
        Self {
            broker,
            me,
            token,
            id,
            inbox,
            followed: HashMap::new(),
            session: SourceSession::default(),
            in_flight: VecDeque::new(),
            retries: Vec::new(),
            refresh: VecDeque::new(),
            refresh_every: Duration::from_millis((lag_time_max_ms / 4).max(1)),
        }
    }

    /// Whether there is to be a connection.
    fn is_wanted(&self) -> bool {
        let lives = || self.broker.cluster.broker(self.id).is_some_and(|record| !record.fenced);
        !self.followed.is_empty() || lives()
    }

    /// Fetches over a fresh connection until it breaks, or is not wanted any more.
    async fn fetch(&mut self, mut connection: PeerConnection) -> Result<(), PeerError> {
        self.session = SourceSession::default();
        self.in_flight.clear();
        self.retries.clear();
        let keys: Vec<_> = self.followed.keys().copied().collect();
        keys.into_iter().for_each(|key| self.ask(key));
        let held_for =
            Duration::from_millis(u64::try_from(self.broker.config.replica_fetch_wait_max_ms).unwrap_or(0));
        let patience = held_for + socket_timeout(&self.broker);
        let mut answer_due = Instant::now() + patience;
        loop {
            self.take_news();
            if !self.is_wanted() {
                return Ok(());
            }
            self.ask_what_is_due(Instant::now());
            let more_to_say = self.session.has_news() && self.in_flight.len() < MAX_IN_FLIGHT;
            // A session has an id, which further requests need, once it was answered.
            if self.in_flight.is_empty() || more_to_say && self.session.has_begun() {
                self.send(&mut connection, patience).await?;
            }
            let wake_at = self.next_due().map_or(answer_due, |due| due.min(answer_due));
            tokio::select! {
                answer = connection.receive() => {
                    let response: FetchResponse<'_> = answer?.read(VERSION)?;
                    answer_due = Instant::now() + patience;
                    self.take_answer(response)?;
                }
                () = self.inbox.notify.notified() => {}
                () = tokio::time::sleep_until(wake_at) => {
                    if Instant::now() >= answer_due {
                        return Err(PeerError::TimedOut(patience));
                    }
                }
            }
        }
    }

    async fn send(&mut self, connection: &mut PeerConnection, patience: Duration) -> Result<(), PeerError> {
        let config = &self.broker.config;
        let mut request = FetchRequest {
            replica_state: ReplicaState {
                replica_id: self.me.broker_id,
                replica_epoch: i64::try_from(self.me.incarnation).unwrap_or(-1),
            },
            max_wait_ms: config.replica_fetch_wait_max_ms,
            min_bytes: config.replica_fetch_min_bytes,
            max_bytes: config.replica_fetch_response_max_bytes,
            ..FetchRequest::default()
        };
        let number = self.session.next(&mut request, config.replica_fetch_max_bytes);
        self.in_flight.push_back(number);
        let sending = connection.send(&request, VERSION);
        tokio::time::timeout(patience, sending).await.map_err(|_elapsed| PeerError::TimedOut(patience))?
    }

    fn take_news(&mut self) {
        let News { look_at, removed } = std::mem::take(&mut *self.inbox.news.lock());
        for key in removed {
            self.followed.remove(&key);
            self.session.forget(key);
        }
        let now = Instant::now();
        for (key, replica) in look_at {
            let followed = Followed { replica, asked_at: now, refusals: 0 };
            if self.followed.insert(key, followed).is_none() {
                self.refresh.push_back((now + self.refresh_every, key));
            }
            self.ask(key);
        }
    }

    /// Asks for the partition from where it ends now, if it may fetch; later, if it is throttled.
    fn ask(&mut self, key: PartitionKey) {
        let pause =
            self.throttled(key).and_then(|rate| self.broker.follower_quota.blocked_for(Instant::now(), rate));
        let Some(followed) = self.followed.get_mut(&key) else { return };
        if let Some(pause) = pause {
            self.session.forget(key);
            self.retries.retain(|(_, waiting)| *waiting != key);
            self.retries.push((Instant::now() + pause, key));
            return;
        }
        let replica = followed.replica.lock();
        let position = replica.fetch_position().filter(|position| position.leader.broker_id == self.id);
        if let Some(position) = position {
            followed.asked_at = Instant::now();
            self.session.ask(key, position, replica.high_watermark());
        }
    }

    /// The rate at which the partition is to be filled together with others; `None` if there is none for it.
    fn throttled(&self, key: PartitionKey) -> Option<i64> {
        let rate = self.broker.live.now().follower_replication_throttled_rate;
        if rate == i64::MAX {
            return None;
        }
        let topic = self.broker.cluster.topic_by_id(key.0)?;
        let partition = topic.partition(key.1)?;
        let me = self.me.broker_id;
        quota::concerns(&topic, &partition.record, me, quota::FOLLOWERS, me).then_some(rate)
    }

    fn ask_what_is_due(&mut self, now: Instant) {
        let due: Vec<_> = self.retries.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().for_each(|(_, key)| self.ask(key));
        while let Some((_, key)) = self.refresh.pop_front_if(|(at, _)| *at <= now) {
            let Some(followed) = self.followed.get(&key) else { continue };
            let mut next = followed.asked_at + self.refresh_every;
            if next <= now {
                self.ask(key);
                next = now + self.refresh_every;
            }
            self.refresh.push_back((next, key));
        }
    }

    /// When something is to be asked for again. What is only to be refreshed goes along with the next request.
    fn next_due(&self) -> Option<Instant> {
        self.retries.iter().map(|(at, _)| *at).min()
    }

    fn take_answer(&mut self, response: FetchResponse<'_>) -> Result<(), PeerError> {
        if response.error_code != ErrorCode::NONE {
            // The session is lost, or the source does not believe any more who this broker is: begin anew.
            return Err(PeerError::Refused(response.error_code.to_string()));
        }
        self.session.named(response.session_id);
        let request = self.in_flight.pop_front().unwrap_or_default();
        for topic in response.responses {
            for partition in topic.partitions {
                self.take_partition((topic.topic_id, partition.partition_index), request, &partition);
            }
        }
        Ok(())
    }

    fn take_partition(&mut self, key: PartitionKey, request: RequestNumber, data: &PartitionData<'_>) {
        let Some(asked) = self.session.position(key, request) else { return };
        let Some(followed) = self.followed.get(&key) else { return };
        let replica = Arc::clone(&followed.replica);
        let records = match &data.records {
            RecordSet::Bytes(bytes) => bytes.as_ref(),
            RecordSet::Null | RecordSet::Splice { .. } => &[],
        };
        let diverging = (data.diverging_epoch.epoch >= 0).then_some(EpochEntry {
            epoch: data.diverging_epoch.epoch,
            start_offset: data.diverging_epoch.end_offset,
        });
        let fetched = Fetched {
            error: data.error_code,
            diverging,
            high_watermark: data.high_watermark,
            log_start_offset: data.log_start_offset,
            records,
        };
        let mut effects = Effects::new();
        let outcome = replica.lock().fetched(clock::now_ms(), &asked, &fetched, &mut effects);
        carry_out(&mut effects);
        match outcome {
            Err(error) => {
                let name = self.broker.cluster.name(key);
                if error.stops() {
                    tracing::error!("{name} {error}");
                } else {
                    self.broker.metrics.corrupt_batch();
                    // Each second or fourth time would say nothing that the first did not.
                    if followed.refusals.is_power_of_two() || followed.refusals == 0 {
                        tracing::error!(
                            "{name} {error}; broker {} sent it for offset {}, and is asked again",
                            self.id,
                            asked.fetch_offset
                        );
                    }
                    self.back_off(key);
                }
            }
            Ok(FetchedOutcome::Ignored) => self.ask(key),
            Ok(FetchedOutcome::Refused(code)) => {
                tracing::debug!(
                    "broker {} refused a fetch of {}: {code}",
                    self.id,
                    self.broker.cluster.name(key)
                );
                self.back_off(key);
            }
            Ok(FetchedOutcome::Truncated(truncation)) => {
                self.tell_truncation(key, &truncation);
                self.ask(key);
            }
            Ok(FetchedOutcome::StartedAnew(truncation)) => {
                self.tell_truncation(key, &truncation);
                // The log's start may be below what was written down.
                self.broker.errands.checkpoint.notify_one();
                self.ask(key);
            }
            Ok(FetchedOutcome::Appended { bytes, rolled }) => {
                if let Some(rate) = self.throttled(key) {
                    self.broker.follower_quota.record(Instant::now(), bytes, rate);
                }
                if let Some(followed) = self.followed.get_mut(&key) {
                    followed.refusals = 0;
                }
                if rolled {
                    self.broker.sync_queue.push(&replica);
                }
                if bytes > 0 || !records.is_empty() {
                    self.ask(key);
                }
            }
        }
    }

    fn back_off(&mut self, key: PartitionKey) {
        let longest =
            Duration::from_millis(u64::try_from(self.broker.config.replica_fetch_backoff_ms).unwrap_or(0));
        let Some(followed) = self.followed.get_mut(&key) else { return };
        let pause = FIRST_BACKOFF.saturating_mul(1 << followed.refusals.min(16)).min(longest);
        followed.refusals += 1;
        self.retries.retain(|(_, waiting)| *waiting != key);
        self.retries.push((Instant::now() + pause, key));
    }

    fn tell_truncation(&self, key: PartitionKey, truncation: &Truncation) {
        let Truncation { from, to, last_epoch, lost_below } = truncation;
        let name = self.broker.cluster.name(key);
        match lost_below {
            Some((below, epoch)) => {
                tracing::error!(
                    "{name}: records from offset {to} to {below} had been committed and were lost in the unclean \
                     election of leader epoch {epoch}; the log went back from {from} to {to}"
                );
                self.broker.errands.checkpoint.notify_one();
            }
            None => tracing::info!(
                "{name}: the log went back from offset {from} (leader epoch {last_epoch}) to {to}, where it agrees \
                 with broker {}'s",
                self.id
            ),
        }
    }
}
