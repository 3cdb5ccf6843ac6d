//! Clients are served, and what partitions want done is done.

use std::path::Path;

use taffrail_control::session::ToController;
use taffrail_protocol::ErrorCode;
use taffrail_protocol::record_batch::BatchHeader;
use taffrail_replication::partition::{Effect, Effects, Isolation, RequiredAcks};

use super::lifecycle::DIR;
use super::{Token, Waiting, batches_of, bytes_of};
use crate::checks::Tp;
use crate::clients::Rpc;
use crate::mutation::Mutation;
use crate::net::Node;
use crate::world::{Event, World};

/// The most that a consumer is answered.
const MAX_BYTES: u32 = 1_000;

impl World {
    /// A producer's request arrives.
    pub fn broker_is_produced(
        &mut self,
        id: i32,
        client: usize,
        number: u64,
        tp: Tp,
        batch: &[u8],
        all: bool,
    ) {
        let (now_ms, token) = (self.clock(Node::Broker(id)), self.number());
        let mutation = self.mutation;
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let records = batches_of(batch).into_iter().flat_map(|batch| batch.records);
        let values = records.map(|(_, value)| value).collect();
        let produced = match (serving.replicas.get_mut(&tp), BatchHeader::parse(batch)) {
            (Some(replica), Ok(header)) => {
                let mut batch = batch.to_vec();
                let acks = if all { RequiredAcks::All } else { RequiredAcks::Leader };
                let produced = replica.partition.produce(now_ms, &mut batch, &header, acks, &mut effects);
                if let Ok(produced) = &produced
                    && !produced.acknowledged
                    && mutation != Some(Mutation::AcknowledgeEarly)
                {
                    let last_offset = produced.info.last_offset;
                    replica.partition.await_acks(last_offset, acks, Token::Produce(token));
                }
                produced.map_err(|error| error.code())
            }
            _ => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        };
        let outcome = match produced {
            Err(code) => Err(code),
            Ok(produced) => {
                let base_offset = produced.info.base_offset;
                let waiting = Waiting { number, client, tp, base_offset, values, all };
                if produced.acknowledged || mutation == Some(Mutation::AcknowledgeEarly) {
                    self.observe(id, tp);
                    self.acknowledge(id, &waiting, Ok(()));
                } else {
                    serving.waiting.insert(token, waiting);
                }
                self.carry_out(id, effects);
                self.observe(id, tp);
                return;
            }
        };
        self.carry_out(id, effects);
        self.observe(id, tp);
        self.send(Node::Broker(id), Node::Clients, Rpc::Produced { client, number, outcome });
    }

    fn acknowledge(&mut self, id: i32, waiting: &Waiting, outcome: Result<(), ErrorCode>) {
        let Waiting { number, client, tp, base_offset, values, all } = waiting;
        if outcome.is_ok() && *all {
            let who = format!("broker {id}");
            let checks = &mut self.checks;
            let committed = &checks.committed;
            let checked = checks.acknowledged.acknowledged(committed, &who, *tp, *base_offset, values);
            self.check(checked);
            self.note(&[50, id as u64, *base_offset as u64, *number], || {
                format!(
                    "broker {id} acknowledges {values:?} at {base_offset} of {}",
                    crate::checks::name(*tp)
                )
            });
        }
        let (client, number) = (*client, *number);
        self.send(Node::Broker(id), Node::Clients, Rpc::Produced { client, number, outcome });
    }

    /// A consumer's request arrives.
    pub fn broker_is_consumed(
        &mut self,
        id: i32,
        client: usize,
        number: u64,
        tp: Tp,
        offset: i64,
        leader_epoch: i32,
    ) {
        let mutation = self.mutation;
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let outcome = match serving.replicas.get_mut(&tp) {
            None => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            Some(replica) => replica.partition.check_reader(leader_epoch).and_then(|()| {
                let partition = &mut replica.partition;
                let read = if mutation == Some(Mutation::ShowUncommitted) {
                    partition.read_to_end(offset, MAX_BYTES).map_err(Into::into)
                } else {
                    partition.read(offset, MAX_BYTES, true, Isolation::ReadUncommitted)
                };
                read.map_err(|error| error.code())
            }),
        };
        let outcome = outcome.map(|range| range.as_ref().map(bytes_of).unwrap_or_default());
        if let Ok(bytes) = &outcome {
            self.observe(id, tp);
            let who = format!("broker {id}");
            for batch in batches_of(bytes) {
                for (at, value) in batch.records {
                    let checks = &self.checks;
                    let checked = checks.acknowledged.shown(&checks.committed, &who, tp, at, value);
                    self.check(checked);
                }
            }
        }
        self.send(Node::Broker(id), Node::Clients, Rpc::Consumed { client, number, outcome });
    }

    /// Does what partitions want done.
    pub fn carry_out(&mut self, id: i32, effects: Effects<Token>) {
        let run = self.brokers[&id].process.as_ref().map_or(0, |process| process.run);
        let mutation = self.mutation;
        for effect in effects {
            match effect {
                Effect::Committed { token: Token::Produce(token), outcome } => {
                    let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut())
                    else {
                        return;
                    };
                    if let Some(waiting) = serving.waiting.remove(&token) {
                        self.observe(id, waiting.tp);
                        self.acknowledge(id, &waiting, outcome);
                    }
                }
                Effect::Propose { mut proposal, .. } => {
                    let Some(serving) = self.brokers.get(&id).and_then(|broker| broker.serving()) else {
                        return;
                    };
                    if let Some(mutation) = mutation {
                        mutation.bend_proposal(&mut proposal, serving);
                    }
                    let incarnation = serving.me.incarnation;
                    self.tell(id, ToController::ProposeIsr { incarnation, proposals: vec![proposal] });
                }
                Effect::FlushWanted { .. } => self.flush_soon(id, run),
                Effect::Failed { token } => {
                    self.note(&[51, id as u64], || format!("broker {id}: a log failed: {token:?}"));
                    let serving = self.brokers.get(&id).and_then(|broker| broker.serving());
                    if let (Some(serving), Token::Reporter(tp)) = (serving, token)
                        && let Some(replica) = serving.replicas.get(&tp)
                        && replica.partition.log().poisoned().is_some_and(|poisoned| !poisoned.lost_nothing())
                    {
                        // Tried again with the next failure.
                        let _ = serving.logs.strike_out_note(Path::new(DIR));
                    }
                }
                Effect::StartMoved { token: Token::Reporter(tp) } => self.start_moved(id, run, tp),
                Effect::Fetchable { token: Token::Reporter(_) } => self.wake_fetchers(id, run),
                Effect::Fetchable { .. }
                | Effect::Readable { .. }
                | Effect::StartMoved { .. }
                | Effect::StartWritten { .. }
                | Effect::Moved { .. }
                | Effect::Committed { .. } => {}
            }
        }
    }

    fn flush_soon(&mut self, id: i32, run: u64) {
        let delay_ms = self.rng.between(1, 8);
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        if !std::mem::replace(&mut serving.flushing, true) {
            self.at(delay_ms, Event::BrokerFlushes { broker: id, run });
        }
    }

    /// Syncs what wants to be synced.
    pub fn broker_flushes(&mut self, id: i32, run: u64) {
        if self.brokers[&id].runs(run) {
            if let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) {
                serving.flushing = false;
            }
            self.flush(id, false);
        }
    }

    /// Syncs all logs, or those that want it.
    pub fn flush(&mut self, id: i32, all: bool) {
        let now_ms = self.clock(Node::Broker(id));
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        for replica in serving.replicas.values_mut() {
            let partition = &mut replica.partition;
            if !all && !partition.flush_wanted() {
                continue;
            }
            if let Ok(Some(flush)) = partition.begin_flush(&mut effects) {
                // A flush that fails poisons the log, which tells by an effect.
                let _ = partition.finish_flush(now_ms, flush.run(), &mut effects);
            }
        }
        let tps: Vec<Tp> = serving.replicas.keys().copied().collect();
        self.carry_out(id, effects);
        for tp in tps {
            self.observe(id, tp);
        }
    }

    /// Time passes for all partitions.
    pub fn tick_partitions(&mut self, id: i32) {
        let now_ms = self.clock(Node::Broker(id));
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        for replica in serving.replicas.values_mut() {
            replica.partition.tick(now_ms, &mut effects);
        }
        self.carry_out(id, effects);
    }
}
