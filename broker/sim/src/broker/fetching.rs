//! Followers ask, leaders answer.

use taffrail_control::session::Member;
use taffrail_log::EpochEntry;
use taffrail_protocol::ErrorCode;
use taffrail_replication::partition::Effects;
use taffrail_replication::replica_fetch::{
    FetchPosition, Fetched, FetchedOutcome, ReplicaFetch, ReplicaRead,
};

use super::{Serving, bytes_of};
use crate::checks::Tp;
use crate::clients::Rpc;
use crate::mutation::Mutation;
use crate::net::Node;
use crate::world::{Event, World};

/// How long a follower waits for an answer.
const PATIENCE_MS: u64 = 700;
/// The most that is answered for one partition.
const MAX_BYTES: u32 = 600;

/// A leader's answer for one partition, with its bytes.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked.
    pub asked: FetchPosition,
    /// How it ended.
    pub error: ErrorCode,
    /// Where the logs part.
    pub diverging: Option<EpochEntry>,
    /// The leader's high watermark.
    pub high_watermark: i64,
    /// Where the leader's log starts.
    pub log_start_offset: i64,
    /// Batches.
    pub records: Vec<u8>,
}

impl World {
    /// Has every fetcher look whether there is something to ask.
    pub fn wake_fetchers(&mut self, id: i32, run: u64) {
        let Some(serving) = self.brokers.get(&id).and_then(|broker| broker.serving()) else { return };
        let positions = serving.replicas.values().filter_map(|replica| replica.partition.fetch_position());
        let leaders: std::collections::BTreeSet<i32> =
            positions.map(|position| position.leader.broker_id).collect();
        let idle = |leader: &i32| serving.fetchers.get(leader).is_none_or(|f| f.in_flight.is_none());
        let leaders: Vec<i32> = leaders.into_iter().filter(idle).collect();
        for leader in leaders {
            self.at(0, Event::BrokerFetches { broker: id, run, leader });
        }
    }

    /// Asks one leader for all that is followed there.
    pub fn broker_fetches(&mut self, id: i32, run: u64, leader: i32) {
        if !self.brokers[&id].runs(run) {
            return;
        }
        let (now_ms, number) = (self.now_ms, self.number());
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let fetcher = serving.fetchers.entry(leader).or_default();
        if fetcher.in_flight.is_some_and(|(_, until_ms)| until_ms > now_ms) {
            return;
        }
        let mut asked: Vec<(Tp, FetchPosition)> = Vec::new();
        for (tp, replica) in &serving.replicas {
            let position = replica.partition.fetch_position();
            asked.extend(position.filter(|p| p.leader.broker_id == leader).map(|position| (*tp, position)));
        }
        if asked.is_empty() {
            fetcher.in_flight = None;
            return;
        }
        fetcher.in_flight = Some((number, now_ms + PATIENCE_MS));
        let replica = serving.me;
        for (tp, _) in &asked {
            self.acts(id, *tp);
        }
        self.send(Node::Broker(id), Node::Broker(leader), Rpc::Fetch { number, replica, asked });
        self.at(PATIENCE_MS, Event::BrokerFetches { broker: id, run, leader });
    }

    /// A follower's request arrives.
    pub fn broker_is_fetched(
        &mut self,
        id: i32,
        from: Node,
        number: u64,
        replica: Member,
        asked: &[(Tp, FetchPosition)],
    ) {
        let now_ms = self.clock(Node::Broker(id));
        let mutation = self.mutation;
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let mut answers = Vec::new();
        for (tp, position) in asked {
            let mut fetch = fetch_of(serving, replica, position);
            if let Some(mutation) = mutation {
                mutation.bend_replica_fetch(&mut fetch, serving, *tp);
            }
            let mut answer = answer(serving, now_ms, *tp, *position, &fetch, &mut effects);
            if let Some(mutation) = mutation {
                mutation.bend_answer(&mut answer, serving, *tp);
            }
            answers.push((*tp, answer));
        }
        if mutation == Some(Mutation::AcknowledgeUnseen) {
            for (tp, position) in asked {
                let mut fetch = fetch_of(serving, replica, position);
                if let Some(led) = serving.replicas.get(tp) {
                    fetch.fetch_offset = led.partition.log().log_end_offset();
                    fetch.last_fetched_epoch = -1;
                }
                // Only what it counts matters.
                let _ = answer_nothing(serving, now_ms, *tp, &fetch, &mut effects);
            }
        }
        self.carry_out(id, effects);
        for (tp, _) in asked {
            self.observe(id, *tp);
        }
        self.send(Node::Broker(id), from, Rpc::Fetched { number, answers });
    }

    /// A leader's answer arrives.
    pub fn broker_has_fetched(&mut self, id: i32, leader: i32, number: u64, answers: &[(Tp, Answer)]) {
        let now_ms = self.clock(Node::Broker(id));
        let mut effects = Effects::new();
        let run = self.brokers[&id].process.as_ref().map_or(0, |process| process.run);
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let fetcher = serving.fetchers.entry(leader).or_default();
        // An answer that comes too late is handed over all the same: what it answers is the partition's to know.
        let in_time = fetcher.in_flight.is_some_and(|(expected, _)| expected == number);
        if in_time {
            fetcher.in_flight = None;
        }
        let mut lines = Vec::new();
        let (mut moved, mut changed) = (false, false);
        for (tp, answer) in answers {
            let Some(replica) = serving.replicas.get_mut(tp) else { continue };
            let fetched = Fetched {
                error: answer.error,
                diverging: answer.diverging,
                high_watermark: answer.high_watermark,
                log_start_offset: answer.log_start_offset,
                records: &answer.records,
            };
            match replica.partition.fetched(now_ms, &answer.asked, &fetched, &mut effects) {
                Ok(FetchedOutcome::Appended { bytes, .. }) => moved |= bytes > 0,
                Ok(FetchedOutcome::Ignored) => {}
                Ok(outcome) => {
                    changed |=
                        matches!(outcome, FetchedOutcome::Truncated(_) | FetchedOutcome::StartedAnew(_));
                    lines.push((*tp, format!("{outcome:?}")));
                }
                Err(error) => lines.push((*tp, error.to_string())),
            }
            replica.seen = replica.seen.min(replica.partition.log().log_end_offset());
        }
        if changed {
            // The recovery point may have fallen, and is to be written down before anything is appended.
            let _ = serving.checkpoint();
        }
        for (tp, line) in lines {
            let name = crate::checks::name(tp);
            self.note(&[40, id as u64], || format!("broker {id}: fetched {name} of {leader}: {line}"));
        }
        self.carry_out(id, effects);
        for (tp, _) in answers {
            self.observe(id, *tp);
        }
        if in_time {
            let again_ms = if moved || changed { 0 } else { self.rng.between(5, 60) };
            self.at(again_ms, Event::BrokerFetches { broker: id, run, leader });
        }
    }
}

fn fetch_of(serving: &Serving, replica: Member, position: &FetchPosition) -> ReplicaFetch {
    let known = serving.brokers.get(&replica.broker_id);
    ReplicaFetch {
        replica,
        registered: known.map(|broker| broker.incarnation),
        fenced: known.is_none_or(|broker| broker.fenced),
        current_leader_epoch: position.leader_epoch,
        fetch_offset: position.fetch_offset,
        last_fetched_epoch: position.last_fetched_epoch,
        log_start_offset: position.log_start_offset,
        max_bytes: MAX_BYTES,
        at_least_one_batch: true,
    }
}

fn answer_nothing(
    serving: &mut Serving,
    now_ms: i64,
    tp: Tp,
    fetch: &ReplicaFetch,
    effects: &mut Effects<super::Token>,
) -> Option<()> {
    let replica = serving.replicas.get_mut(&tp)?;
    replica.partition.replica_fetch(now_ms, fetch, effects).ok().map(|_| ())
}

fn answer(
    serving: &mut Serving,
    now_ms: i64,
    tp: Tp,
    asked: FetchPosition,
    fetch: &ReplicaFetch,
    effects: &mut Effects<super::Token>,
) -> Answer {
    let refused = |error| Answer {
        asked,
        error,
        diverging: None,
        high_watermark: -1,
        log_start_offset: -1,
        records: Vec::new(),
    };
    // Members of another life of this broker are not meant.
    let Some(replica) = serving.replicas.get_mut(&tp).filter(|_| asked.leader == serving.me) else {
        return refused(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    };
    match replica.partition.replica_fetch(now_ms, fetch, effects) {
        Err(error) => refused(error.code()),
        Ok(ReplicaRead { error, records, diverging, high_watermark, log_start_offset, .. }) => {
            let records = records.as_ref().map(bytes_of).unwrap_or_default();
            Answer { asked, error, diverging, high_watermark, log_start_offset, records }
        }
    }
}
