//! Three replicas, a network that delays, repeats, reorders and loses, and a small controller that fences, elects, and
//! takes or refuses what leaders propose: whatever they do, no two replicas disagree on what is committed, nothing that
//! was acknowledged is lost, no high watermark falls, and when all is well again everybody is in sync.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::collections::BTreeMap;

use common::{Answer, NOW, dir, fetch_of, record};
use proptest::prelude::*;
use taffrail_control::session::{IsrProposal, IsrRefusal, Member, PartitionRecord};
use taffrail_log::{Log, LogConfig, MemoryStorage, OpenMode, StorageFile};
use taffrail_protocol::Uuid;
use taffrail_protocol::record_batch::{BatchBuilder, BatchHeader, Batches, Compression};
use taffrail_replication::partition::{Effect, Effects, Partition, RequiredAcks};
use taffrail_replication::replica_fetch::{FetchPosition, Fetched, ReplicaFetch};

/// The token of what concerns a partition itself.
const ITSELF: u64 = u64::MAX;

/// What happens next. The numbers pick a node or something that is under way, modulo how many there are.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// A client sends a batch to a node, whether or not it leads.
    Produce(usize),
    /// A follower asks its leader, whatever it asked before.
    Ask(usize),
    /// A follower asks and is answered at once.
    Round(usize),
    /// A fetch arrives, and may arrive again.
    Fetch(usize, bool),
    /// An answer arrives, and may arrive again.
    Answer(usize, bool),
    /// A node is told a record: the newest, or one from before.
    Publish(usize, usize),
    /// A controller swaps a proposal in, and another copy of it stays under way. A stale one does not look whether the
    /// members are registered.
    Take(usize, bool, bool),
    /// A controller refuses a proposal, of which another copy is under way.
    Refuse(usize, bool),
    /// A refusal arrives.
    Refusal(usize),
    /// The controller loses touch with a broker, which goes on.
    Fence(usize),
    /// It is back.
    Unfence(usize),
    /// A process dies and comes back with its disk; it may remember an older high watermark.
    Restart(usize, bool),
    /// A process dies and comes back without its disk.
    Lose(usize),
    /// A node hears which incarnations are registered.
    Learn(usize),
    /// Milliseconds pass.
    Pass(i64),
    /// A flush ends.
    Flush(usize),
    /// A client asks a node to delete records up to so many before its high watermark.
    Delete(usize, i64),
    /// A node looks for records that are older, or more, than are kept.
    Retain(usize),
    /// A node writes down where its log starts.
    Write(usize),
    /// A broker has a new session with the controller.
    Renew(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let number = 0..100_usize;
    let one_of_ten = prop::bool::weighted(0.1);
    prop_oneof![
        12 => number.clone().prop_map(Op::Produce),
        25 => number.clone().prop_map(Op::Round),
        8 => number.clone().prop_map(Op::Ask),
        8 => (number.clone(), one_of_ten).prop_map(|(k, again)| Op::Fetch(k, again)),
        8 => (number.clone(), one_of_ten).prop_map(|(k, again)| Op::Answer(k, again)),
        10 => (number.clone(), prop_oneof![4 => Just(0), 1 => 1..6_usize])
            .prop_map(|(n, k)| Op::Publish(n, k)),
        8 => (number.clone(), prop::bool::weighted(0.3), prop::bool::weighted(0.2))
            .prop_map(|(k, again, stale)| Op::Take(k, again, stale)),
        2 => (number.clone(), prop::bool::weighted(0.7)).prop_map(|(k, again)| Op::Refuse(k, again)),
        2 => number.clone().prop_map(Op::Refusal),
        3 => number.clone().prop_map(Op::Fence),
        5 => number.clone().prop_map(Op::Unfence),
        1 => (number.clone(), any::<bool>()).prop_map(|(n, old)| Op::Restart(n, old)),
        1 => number.clone().prop_map(Op::Lose),
        3 => number.clone().prop_map(Op::Learn),
        4 => prop_oneof![Just(100), Just(1_000), Just(11_000), Just(31_000)].prop_map(Op::Pass),
        6 => number.clone().prop_map(Op::Flush),
        2 => (number.clone(), prop_oneof![Just(0), 0..20_i64]).prop_map(|(n, k)| Op::Delete(n, k)),
        2 => number.clone().prop_map(Op::Retain),
        4 => number.clone().prop_map(Op::Write),
        1 => number.prop_map(Op::Renew),
    ]
}

struct Node {
    me: Member,
    partition: Partition<MemoryStorage, u64>,
    storage: MemoryStorage,
    /// The highest leader epoch that it acted under, on its disk (rule 31).
    noted: i32,
    /// The incarnations that it believes to be registered.
    known: [u64; 3],
    high_watermark: i64,
    /// Where its log starts, on its disk.
    written_start: i64,
}

/// A batch: its checksum, which no other has, and its leader epoch.
type Print = (u32, i32);

struct World {
    config: LogConfig,
    now: i64,
    nodes: Vec<Node>,
    effects: Effects<u64>,
    /// The controller's store, with all that it ever was.
    records: Vec<PartitionRecord>,
    registered: [u64; 3],
    /// The oldest incarnation since which each disk has lost nothing (rule 16).
    since: [u64; 3],
    fenced: [bool; 3],
    fetches: Vec<(Member, FetchPosition)>,
    answers: Vec<(Member, FetchPosition, Answer)>,
    proposals: Vec<(Member, IsrProposal)>,
    refusals: Vec<(Member, i32, IsrRefusal)>,
    /// What was committed, by whoever's high watermark.
    committed: BTreeMap<i64, Print>,
    /// Up to where anybody deleted records.
    deleted: i64,
    /// What was produced with acks=all and not answered yet.
    waiting: BTreeMap<u64, (i64, u32)>,
    /// What was acknowledged.
    acknowledged: Vec<(i64, u32)>,
    batches: u64,
}

fn index(broker_id: i32) -> usize {
    broker_id as usize - 1
}

fn empty_log(config: &LogConfig) -> (MemoryStorage, Log<MemoryStorage>) {
    let storage = MemoryStorage::new();
    let log = Log::create(storage.clone(), dir(), config.clone(), Uuid([7; 16]), NOW).unwrap();
    (storage, log)
}

impl World {
    fn new(config: LogConfig) -> Self {
        let first = record(common::A, 0, 0);
        let members = [common::A, common::B, common::C];
        let registered = members.map(|member| member.incarnation);
        let nodes = members.map(|me| {
            let (storage, log) = empty_log(&config);
            let partition = Partition::new(log, nobody(&first), 0, me, ITSELF);
            let known = registered;
            Node { me, partition, storage, noted: 0, known, high_watermark: 0, written_start: 0 }
        });
        Self {
            config,
            now: NOW,
            nodes: nodes.into(),
            effects: Effects::new(),
            records: vec![first],
            registered,
            since: registered,
            fenced: [false; 3],
            fetches: Vec::new(),
            answers: Vec::new(),
            proposals: Vec::new(),
            refusals: Vec::new(),
            committed: BTreeMap::new(),
            deleted: 0,
            waiting: BTreeMap::new(),
            acknowledged: Vec::new(),
            batches: 0,
        }
    }

    fn record(&self) -> &PartitionRecord {
        &self.records[self.records.len() - 1]
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Produce(n) => self.produce(n % 3),
            Op::Ask(n) => {
                let node = &self.nodes[n % 3];
                self.fetches.extend(node.partition.fetch_position().map(|position| (node.me, position)));
            }
            Op::Round(n) => {
                let node = &self.nodes[n % 3];
                if let Some(position) = node.partition.fetch_position() {
                    let me = node.me;
                    self.answer(me, position);
                    if let Some((to, position, answer)) = self.answers.pop() {
                        self.take_answer(to, position, &answer);
                    }
                }
            }
            Op::Fetch(k, again) => {
                if let Some((from, position)) = pick(&mut self.fetches, k, again) {
                    self.answer(from, position);
                }
            }
            Op::Answer(k, again) => {
                if let Some((to, position, answer)) = pick(&mut self.answers, k, again) {
                    self.take_answer(to, position, &answer);
                }
            }
            Op::Publish(n, k) => {
                let at = self.records.len() - 1 - k.min(self.records.len() - 1);
                self.publish(n % 3, at);
            }
            Op::Take(k, again, stale) => {
                if let Some((from, proposal)) = pick(&mut self.proposals, k, again) {
                    self.decide_on(from, &proposal, stale);
                }
            }
            Op::Refuse(k, again) => {
                if let Some((from, proposal)) = pick(&mut self.proposals, k, again) {
                    self.refusals.push((from, proposal.partition_epoch, IsrRefusal::StaleEpoch));
                }
            }
            Op::Refusal(k) => {
                if let Some((to, partition_epoch, reason)) = pick(&mut self.refusals, k, false) {
                    let (now, node) = (self.now, &mut self.nodes[index(to.broker_id)]);
                    if node.me == to {
                        node.partition.isr_refused(now, partition_epoch, reason, &mut self.effects);
                        self.carry_out(index(to.broker_id));
                    }
                }
            }
            Op::Fence(n) => {
                self.fenced[n % 3] = true;
                self.decide();
            }
            Op::Unfence(n) => {
                self.fenced[n % 3] = false;
                self.decide();
            }
            Op::Restart(n, old) => self.restart(n % 3, old),
            Op::Lose(n) => self.lose(n % 3),
            Op::Learn(n) => self.nodes[n % 3].known = self.registered,
            Op::Pass(ms) => {
                self.now += ms;
                (0..3).for_each(|n| self.tick(n));
            }
            Op::Flush(n) => self.flush(n % 3),
            Op::Delete(n, k) => self.delete(n % 3, k),
            Op::Retain(n) => self.retain(n % 3),
            Op::Write(n) => self.write(n % 3),
            Op::Renew(n) => {
                self.nodes[n % 3].partition.session_renewed();
                self.publish(n % 3, self.records.len() - 1);
            }
        }
        self.check();
    }

    fn produce(&mut self, n: usize) {
        self.batches += 1;
        let id = self.batches;
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(NOW, None, Some(&id.to_be_bytes()), &[]);
        let mut bytes = builder.build().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        let partition = &mut self.nodes[n].partition;
        let produced = partition.produce(self.now, &mut bytes, &header, RequiredAcks::All, &mut self.effects);
        let Ok(produced) = produced else { return };
        let batch = (produced.info.last_offset, header.crc);
        if produced.acknowledged {
            self.acknowledged.push(batch);
        } else {
            partition.await_acks(produced.info.last_offset, RequiredAcks::All, id);
            self.waiting.insert(id, batch);
        }
        self.carry_out(n);
    }

    fn answer(&mut self, from: Member, position: FetchPosition) {
        let leader = index(position.leader.broker_id);
        let node = &mut self.nodes[leader];
        let replica = index(from.broker_id);
        let fetch = ReplicaFetch {
            registered: Some(node.known[replica]),
            fenced: self.fenced[replica],
            max_bytes: 200,
            ..fetch_of(from, &position)
        };
        let read = node.partition.replica_fetch(self.now, &fetch, &mut self.effects);
        self.answers.push((from, position, Answer::of(read)));
        self.carry_out(leader);
    }

    fn take_answer(&mut self, to: Member, position: FetchPosition, answer: &Answer) {
        let n = index(to.broker_id);
        if self.nodes[n].me != to {
            return;
        }
        let fetched = Fetched {
            error: answer.error,
            diverging: answer.diverging,
            high_watermark: answer.high_watermark,
            log_start_offset: answer.log_start_offset,
            records: &answer.records,
        };
        let outcome = self.nodes[n].partition.fetched(self.now, &position, &fetched, &mut self.effects);
        outcome.unwrap_or_else(|error| panic!("broker {}: {error}", to.broker_id));
        self.carry_out(n);
    }

    fn publish(&mut self, n: usize, at: usize) {
        let record = self.records[at].clone();
        let node = &mut self.nodes[n];
        if record.leader_epoch < node.noted {
            return;
        }
        node.noted = record.leader_epoch;
        node.partition.assign(self.now, record, &mut self.effects).unwrap();
        self.carry_out(n);
    }

    /// One swap of the controller's store, whichever controller does it.
    fn decide_on(&mut self, from: Member, proposal: &IsrProposal, stale: bool) {
        let record = self.record().clone();
        let refusal = if (proposal.leader_epoch, proposal.partition_epoch)
            != (record.leader_epoch, record.partition_epoch)
        {
            Some(IsrRefusal::StaleEpoch)
        } else if proposal.isr == record.isr {
            None
        } else {
            let ineligible = proposal.isr.iter().any(|member| {
                let n = index(member.broker_id);
                self.fenced[n] || self.registered[n] != member.incarnation
            });
            (ineligible && !stale).then_some(IsrRefusal::Ineligible)
        };
        match refusal {
            Some(reason) => self.refusals.push((from, proposal.partition_epoch, reason)),
            None => {
                assert!(proposal.isr.contains(&from), "a leader proposes itself");
                let partition_epoch = record.partition_epoch + 1;
                self.records.push(PartitionRecord { isr: proposal.isr.clone(), partition_epoch, ..record });
            }
        }
    }

    /// The controller looks at the registrations: ISR members come back in a new incarnation or not (rule 17), fenced ones
    /// leave, and another leads.
    fn decide(&mut self) {
        let old = self.record().clone();
        let sound = old.isr.iter().filter(|member| self.since[index(member.broker_id)] <= member.incarnation);
        let kept: Vec<_> = sound
            .map(|member| Member { incarnation: self.registered[index(member.broker_id)], ..*member })
            .collect();
        assert!(!kept.is_empty(), "no disk is lost that was the last one in the ISR");
        let up: Vec<_> =
            kept.iter().copied().filter(|member| !self.fenced[index(member.broker_id)]).collect();
        let leader = old.leader.filter(|leader| up.contains(leader)).or(up.first().copied());
        let isr = if up.is_empty() { kept } else { up };
        if leader == old.leader && isr == old.isr {
            return;
        }
        self.records.push(PartitionRecord {
            leader,
            leader_epoch: old.leader_epoch + i32::from(leader != old.leader),
            partition_epoch: old.partition_epoch + 1,
            isr,
            ..old
        });
    }

    fn register(&mut self, n: usize) {
        self.registered[n] += 10;
        self.nodes[n].me.incarnation = self.registered[n];
    }

    fn restart(&mut self, n: usize, old_high_watermark: bool) {
        self.register(n);
        let first = nobody(&self.records[0]);
        let node = &mut self.nodes[n];
        let log_start_offset = node.written_start;
        let mode = OpenMode { clean: false, recovery_point: 0, log_start_offset };
        let (log, _) = Log::open(node.storage.clone(), dir(), self.config.clone(), mode, self.now).unwrap();
        let high_watermark = if old_high_watermark { node.high_watermark / 2 } else { node.high_watermark };
        node.partition = Partition::new(log, first, high_watermark, node.me, ITSELF);
        node.high_watermark = high_watermark;
        node.known = self.registered;
        self.decide();
    }

    /// Only where another member of the ISR has everything: that is what is promised.
    fn lose(&mut self, n: usize) {
        let counted = |member: &Member| {
            index(member.broker_id) != n && self.since[index(member.broker_id)] <= member.incarnation
        };
        if !self.record().isr.iter().any(counted) {
            return;
        }
        self.register(n);
        self.since[n] = self.registered[n];
        let first = nobody(&self.records[0]);
        let (storage, log) = empty_log(&self.config);
        let node = &mut self.nodes[n];
        let me = node.me;
        let partition = Partition::new(log, first, 0, me, ITSELF);
        let known = self.registered;
        *node = Node { me, partition, storage, noted: 0, known, high_watermark: 0, written_start: 0 };
        self.decide();
    }

    /// Only the leader does, and what it deletes is committed.
    fn delete(&mut self, n: usize, before_high_watermark: i64) {
        let partition = &mut self.nodes[n].partition;
        let offset = (partition.high_watermark() - before_high_watermark).max(0);
        if partition.delete_records(Some(offset), &mut self.effects).is_ok() {
            self.deleted = self.deleted.max(offset);
        }
        self.carry_out(n);
    }

    fn retain(&mut self, n: usize) {
        let retained = self.nodes[n].partition.retain(self.now, &mut self.effects).unwrap();
        self.deleted = self.deleted.max(retained.map_or(0, |retained| retained.to));
        self.carry_out(n);
    }

    fn write(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.written_start = node.partition.log().log_start_offset();
        node.partition.start_written(node.written_start, &mut self.effects);
        node.partition.delete_old_segments(&mut self.effects).unwrap();
        self.carry_out(n);
    }

    fn tick(&mut self, n: usize) {
        self.nodes[n].partition.tick(self.now, &mut self.effects);
        self.carry_out(n);
    }

    fn flush(&mut self, n: usize) {
        let partition = &mut self.nodes[n].partition;
        if let Some(flush) = partition.begin_flush(&mut self.effects).unwrap() {
            partition.finish_flush(self.now, flush.run(), &mut self.effects).unwrap();
        }
        self.carry_out(n);
    }

    fn carry_out(&mut self, n: usize) {
        let me = self.nodes[n].me;
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Propose { proposal, .. } => self.proposals.push((me, proposal)),
                Effect::Committed { token, outcome } => {
                    let batch = self.waiting.remove(&token).unwrap();
                    if outcome.is_ok() {
                        self.acknowledged.push(batch);
                    }
                }
                Effect::Failed { .. } => panic!("the log of broker {} failed", me.broker_id),
                Effect::FlushWanted { .. }
                | Effect::Fetchable { .. }
                | Effect::Readable { .. }
                | Effect::StartMoved { .. }
                | Effect::StartWritten { .. }
                | Effect::Moved { .. } => {}
            }
        }
    }

    /// Below anybody's high watermark is what is committed, for ever.
    fn check(&mut self) {
        for n in 0..3 {
            let (from, to) = (self.nodes[n].high_watermark, self.nodes[n].partition.high_watermark());
            assert!(from <= to, "the high watermark of broker {} fell from {from} to {to}", n + 1);
            self.nodes[n].high_watermark = to;
            let start = self.nodes[n].partition.log().log_start_offset();
            assert!(start <= to, "broker {} deleted up to {start}, and {to} is committed", n + 1);
            assert!(start <= self.deleted, "broker {} deleted up to {start}, which nobody wanted", n + 1);
            if from == to {
                continue;
            }
            let batches = self.batches_of(n);
            for (offset, print) in batches.range(from..to) {
                let committed = *self.committed.entry(*offset).or_insert(*print);
                assert_eq!(committed, *print, "broker {} has something else at offset {offset}", n + 1);
            }
        }
        for (offset, crc) in self.acknowledged.drain(..) {
            let committed = self.committed.get(&offset).map(|(crc, _)| *crc);
            assert_eq!(committed, Some(crc), "what was acknowledged at offset {offset} is not committed");
        }
    }

    fn batches_of(&mut self, n: usize) -> BTreeMap<i64, Print> {
        let partition = &mut self.nodes[n].partition;
        let mut all = BTreeMap::new();
        let mut offset = partition.log().log_start_offset();
        while let Some(range) = partition.read_to_end(offset, 1 << 20).unwrap() {
            let mut bytes = vec![0; range.len as usize];
            range.file.read_at(&mut bytes, range.position).unwrap();
            for view in Batches::new(&bytes).map_while(Result::ok) {
                view.verify_crc().unwrap();
                let header = view.header();
                all.insert(header.base_offset, (header.crc, header.partition_leader_epoch));
                offset = header.next_offset();
            }
        }
        all
    }

    /// The network is whole again, everybody is up, and nobody produces: soon all are in sync.
    fn heal(&mut self) {
        self.fetches.clear();
        self.answers.clear();
        self.refusals.clear();
        self.proposals.clear();
        self.fenced = [false; 3];
        self.decide();
        for _ in 0..100 {
            self.now += 1_000;
            for n in 0..3 {
                self.nodes[n].known = self.registered;
                self.publish(n, self.records.len() - 1);
                self.tick(n);
                self.flush(n);
                self.write(n);
                self.step(Op::Round(n));
                self.step(Op::Take(0, false, false));
                self.step(Op::Refusal(0));
            }
        }
        let record = self.record().clone();
        let leader = index(record.leader.unwrap().broker_id);
        assert_eq!(self.nodes[leader].partition.led_epoch(), Some(record.leader_epoch));
        assert_eq!(record.isr.len(), 3, "all came back: {record:?}");
        let all = self.batches_of(leader);
        let end = self.nodes[leader].partition.log().log_end_offset();
        let start = self.nodes[leader].partition.log().log_start_offset();
        for n in 0..3 {
            let own_start = self.nodes[n].partition.log().log_start_offset();
            assert!(start <= own_start, "broker {} follows the leader's start", n + 1);
            let kept: BTreeMap<_, _> =
                all.range(own_start..).map(|(offset, print)| (*offset, *print)).collect();
            assert_eq!(self.batches_of(n), kept, "broker {} has the leader's log", n + 1);
            assert_eq!(self.nodes[n].partition.high_watermark(), end, "broker {}", n + 1);
        }
        assert_eq!(self.nodes[leader].partition.low_watermark(|_| true), Ok(start));
        for (offset, print) in self.committed.range(self.deleted..) {
            assert_eq!(all.get(offset), Some(print), "what was committed at offset {offset} is lost");
        }
    }
}

/// A record from before the partition had a leader.
fn nobody(record: &PartitionRecord) -> PartitionRecord {
    PartitionRecord { leader: None, partition_epoch: -1, ..record.clone() }
}

/// Takes something that is under way, or a copy of it.
fn pick<M: Clone>(under_way: &mut Vec<M>, k: usize, again: bool) -> Option<M> {
    if under_way.is_empty() {
        return None;
    }
    let at = k % under_way.len();
    Some(if again { under_way[at].clone() } else { under_way.remove(at) })
}

fn run(config: LogConfig, ops: &[Op]) {
    let mut world = World::new(config);
    (0..3).for_each(|n| world.publish(n, 0));
    ops.iter().for_each(|op| world.step(*op));
    world.heal();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_committed_is_lost_or_differs(ops in prop::collection::vec(op(), 1..500)) {
        run(LogConfig::default(), &ops);
    }

    #[test]
    fn nor_where_records_are_flushed_before_they_count(ops in prop::collection::vec(op(), 1..500)) {
        run(LogConfig { flush_messages: 1, ..LogConfig::default() }, &ops);
    }

    #[test]
    fn nor_where_old_segments_are_deleted(ops in prop::collection::vec(op(), 1..500)) {
        run(LogConfig { segment_bytes: 200, retention_bytes: 600, ..LogConfig::default() }, &ops);
    }
}
