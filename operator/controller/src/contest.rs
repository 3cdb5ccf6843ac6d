//! Elections by the longest log (rules 4, 17), which may lose records: where neither ISR nor ELR offers anybody, and
//! either all of their members are back without what they had, or the topic or a person allows it.
//!
//! A contest is held on one record, that of a certain partition epoch. All replicas in session are asked how far their
//! logs reach; when they have answered, or the time for it is over, the one with the highest last epoch, and of these
//! with the highest end offset, is proposed to the partition's slice, which looks at the record once more.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::{FromController, LogEnd};
use taffrail_protocol::{ErrorCode, Uuid};

use crate::configs;
use crate::controller::Controller;
use crate::election::{self, Electorate};
use crate::message::SessionId;
use crate::model::{Member, PartitionState, SliceTopic};
use crate::partitions::{PartitionIntent, refusal_of};
use crate::requests::Ticket;

/// A topic id and a partition.
type Key = (Uuid, i32);

/// A partition, and the partition epoch of the record that a contest on it is held on.
type Held = (Key, i32);

/// Partitions asked for in one message.
const PARTITIONS_PER_QUERY: usize = 5_000;

/// A log's last epoch and its end offset, in the order in which logs are compared; `None`: there is no sound log.
type Reach = Option<(i32, i64)>;

#[derive(Debug)]
struct Contest {
    /// Of the record that it is held on.
    partition_epoch: i32,
    since_ms: u64,
    reaches: BTreeMap<Member, Reach>,
}

#[derive(Debug)]
struct Query {
    session: SessionId,
    member: Member,
    /// An answer counts in the contest that it was asked for, and in no later one: the log may have grown since.
    contests: Vec<Held>,
    asked_ms: u64,
}

/// All contests.
#[derive(Debug, Default)]
pub(crate) struct Contests {
    /// Committed partitions without a leader.
    leaderless: BTreeSet<Key>,
    /// Those that a person wants to have led whatever it costs.
    ordered: BTreeMap<Key, Ticket>,
    held: BTreeMap<Key, Contest>,
    /// Questions without an answer, by id.
    queries: BTreeMap<u64, Query>,
    next_query: u64,
    /// Partitions that are to be looked at.
    stirred: BTreeSet<Key>,
}

impl Contests {
    /// Notes whether the partition has a leader, after its record changed.
    pub(crate) fn note(&mut self, topic_id: Uuid, record: &PartitionState) {
        let key = (topic_id, record.partition);
        let concerned = if record.leader.is_none() {
            self.leaderless.insert(key);
            true
        } else {
            self.leaderless.remove(&key)
        };
        if concerned {
            self.stirred.insert(key);
        }
    }

    /// The topic's records are gone from a slice.
    pub(crate) fn forget(&mut self, topic: &SliceTopic) {
        for record in &topic.partitions {
            let key = (topic.topic_id, record.partition);
            if self.leaderless.remove(&key) {
                self.stirred.insert(key);
            }
        }
    }

    /// Something has changed for the topic's partitions.
    pub(crate) fn stir_topic(&mut self, topic_id: Uuid) {
        let of_topic = (topic_id, i32::MIN)..=(topic_id, i32::MAX);
        self.stirred.extend(self.leaderless.range(of_topic));
    }

    /// Something has changed for the partition.
    pub(crate) fn stir(&mut self, key: Key) {
        if self.leaderless.contains(&key) {
            self.stirred.insert(key);
        }
    }

    /// Something has changed for all.
    pub(crate) fn stir_all(&mut self) {
        self.stirred.extend(&self.leaderless);
    }

    /// Time passed: what was not answered for so long is asked again.
    pub(crate) fn pass(&mut self, now_ms: u64, timeout_ms: u64) {
        self.queries.retain(|_, query| now_ms < query.asked_ms + timeout_ms);
        self.stirred.extend(self.held.keys());
    }

    /// The session is over: it answers nothing any more.
    pub(crate) fn hang_up(&mut self, session: SessionId) {
        self.queries.retain(|_, query| query.session != session);
    }
}

/// What one look at the contests finds to be done.
#[derive(Debug, Default)]
struct Round {
    now_ms: u64,
    /// Questions on their way.
    asked: BTreeSet<(Member, Held)>,
    to_ask: BTreeMap<Member, Vec<Held>>,
    winners: Vec<(Key, i32, Member)>,
}

/// What a contest has come to.
enum Standings {
    Open,
    Won(Member),
    /// All have answered, and nobody has a log.
    Void,
}

impl Contest {
    fn on(record: &PartitionState, since_ms: u64) -> Self {
        let partition_epoch = record.partition_epoch;
        Self { partition_epoch, since_ms, reaches: BTreeMap::new() }
    }

    fn standings(&self, record: &PartitionState, electorate: &Electorate, over: bool) -> Standings {
        let answered = |member: &Member| self.reaches.contains_key(member);
        let all = electorate.members.iter().all(answered);
        let had_it = |id: i32| record.isr.iter().chain(&record.elr).any(|member| member.broker_id == id);
        let needed = |member: &&Member| electorate.all_lost && had_it(member.broker_id);
        let enough = over && electorate.members.iter().filter(needed).all(answered);
        if !all && !enough {
            return Standings::Open;
        }
        let mut best: Option<(Member, (i32, i64))> = None;
        for member in &electorate.members {
            let Some(Some(reach)) = self.reaches.get(member) else { continue };
            // Of equal ones the first in order of replicas.
            if best.is_none_or(|(_, most)| most < *reach) {
                best = Some((*member, *reach));
            }
        }
        match (best, electorate.members.iter().find(|member| answered(member))) {
            (Some((winner, _)), _) => Standings::Won(winner),
            // There is nothing left anywhere, and nothing to wait for: the partition begins anew.
            (None, Some(first)) if electorate.all_lost => Standings::Won(*first),
            (None, Some(_)) => Standings::Void,
            (None, None) => Standings::Open,
        }
    }
}

impl Controller {
    /// A person wants the partition to be led, whatever it costs.
    pub(crate) fn order_contest(&mut self, topic_id: Uuid, partition: i32, ticket: Ticket) {
        let key = (topic_id, partition);
        let record = self.entry(topic_id).and_then(|(_, entry)| self.record(entry, partition));
        let code = match record {
            None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Some(record) if record.leader.is_some() => ErrorCode::ELECTION_NOT_NEEDED,
            Some(_) if self.contests.ordered.contains_key(&key) => ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
            Some(_) => {
                self.contests.ordered.insert(key, ticket);
                self.contests.stir(key);
                return;
            }
        };
        self.requests.settle(ticket, Err(refusal_of(code)));
    }

    pub(crate) fn on_log_ends(
        &mut self,
        session: SessionId,
        incarnation: u64,
        query_id: u64,
        ends: Vec<LogEnd>,
    ) {
        let Some(member) = self.speaker(session, incarnation) else { return };
        let asked = self.contests.queries.get(&query_id).is_some_and(|query| query.session == session);
        let Some(query) = self.contests.queries.remove(&query_id).filter(|_| asked) else { return };
        let ends: BTreeMap<Key, (i32, i64)> = ends
            .into_iter()
            .map(|end| ((end.topic_id, end.partition), (end.last_epoch, end.end_offset)))
            .collect();
        for (key, partition_epoch) in query.contests {
            let contest = self.contests.held.get_mut(&key);
            if let Some(contest) = contest.filter(|contest| contest.partition_epoch == partition_epoch) {
                contest.reaches.insert(member, ends.get(&key).copied());
                self.contests.stirred.insert(key);
            }
        }
    }

    /// Goes on with the contests for which something has changed: begins and ends them, asks, and proposes winners.
    pub(crate) fn hold_contests(&mut self) {
        if self.contests.stirred.is_empty() {
            return;
        }
        let mut contests = std::mem::take(&mut self.contests);
        let mut round = Round { now_ms: self.clock.now_ms(), ..Round::default() };
        let asked = contests.queries.values();
        round.asked = asked.flat_map(|q| q.contests.iter().map(|held| (q.member, *held))).collect();
        for key in std::mem::take(&mut contests.stirred) {
            let ordered = contests.ordered.get(&key).copied();
            let code = match self.electorate_of(key, ordered.is_some()) {
                Some((record, electorate)) => {
                    let contest =
                        contests.held.entry(key).or_insert_with(|| Contest::on(record, round.now_ms));
                    if contest.partition_epoch != record.partition_epoch {
                        *contest = Contest::on(record, round.now_ms);
                    }
                    self.advance(contest, key, record, &electorate, &mut round)
                }
                None if contests.leaderless.contains(&key) => Some(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE),
                None => Some(ErrorCode::ELECTION_NOT_NEEDED),
            };
            let Some(code) = code else { continue };
            contests.held.remove(&key);
            contests.ordered.remove(&key);
            if let Some(ticket) = ordered {
                self.requests.settle(ticket, Err(refusal_of(code)));
            }
        }
        for (key, partition_epoch, winner) in round.winners {
            let ticket = contests.ordered.remove(&key);
            let (topic_id, partition) = key;
            let Some(slice) = self.home_of(topic_id, partition) else { continue };
            let intent = PartitionIntent::ElectByLog { topic_id, partition, partition_epoch, winner, ticket };
            self.enqueue_partitions(slice, intent);
        }
        self.contests = contests;
        self.ask_log_ends(round.to_ask, round.now_ms);
    }

    /// The record, and who may vote, if a contest is to be held on it.
    fn electorate_of(&self, key: Key, ordered: bool) -> Option<(&PartitionState, Electorate)> {
        let (topic_id, partition) = key;
        let (_, entry) = self.entry(topic_id)?;
        let record = self.record(entry, partition)?;
        let allowed =
            ordered || configs::unclean_leader_election(entry, self.cluster.committed(), &self.policy);
        let view = self.outlook().on(topic_id, partition);
        Some((record, election::electorate(record, &view, allowed)?))
    }

    /// Moves one contest on. Answers why it ended, if it did without a winner.
    fn advance(
        &self,
        contest: &Contest,
        key: Key,
        record: &PartitionState,
        electorate: &Electorate,
        round: &mut Round,
    ) -> Option<ErrorCode> {
        let over = round.now_ms >= contest.since_ms + self.policy.log_ends_timeout_ms;
        match contest.standings(record, electorate, over) {
            Standings::Won(winner) => {
                round.winners.push((key, record.partition_epoch, winner));
            }
            Standings::Void => return over.then_some(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE),
            Standings::Open => {
                let held = (key, contest.partition_epoch);
                let unheard = |member: &&Member| {
                    !contest.reaches.contains_key(member) && !round.asked.contains(&(**member, held))
                };
                for member in electorate.members.iter().filter(unheard) {
                    round.to_ask.entry(*member).or_default().push(held);
                }
            }
        }
        None
    }

    /// The records that the contests are held on go first: a leader of before that has not heard of it would answer, and
    /// commit more.
    fn ask_log_ends(&mut self, to_ask: BTreeMap<Member, Vec<Held>>, asked_ms: u64) {
        if !to_ask.is_empty() {
            self.tell_brokers();
        }
        for (member, contests) in to_ask {
            let session = self.sessions.iter().find(|(_, session)| session.broker == Some(member));
            // It is in session with another controller, or about to be fenced.
            let Some(session) = session.map(|(id, _)| *id) else { continue };
            for contests in contests.chunks(PARTITIONS_PER_QUERY) {
                self.contests.next_query += 1;
                let query_id = self.contests.next_query;
                let partitions = contests.iter().map(|(key, _)| *key).collect();
                let query = Query { session, member, contests: contests.to_vec(), asked_ms };
                self.contests.queries.insert(query_id, query);
                self.send(session, FromController::QueryLogEnds { query_id, partitions });
            }
        }
    }
}
