//! What the tests of a partition share.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::PathBuf;

use taffrail_control::session::{IsrProposal, Member, PartitionRecord};
use taffrail_log::storage::{Access, Effect as Failure, Fault, Operation};
use taffrail_log::{EpochEntry, Log, LogConfig, MemoryStorage, OpenMode, Storage, StorageFile};
use taffrail_protocol::record_batch::{BatchBuilder, BatchHeader, Batches, Compression};
use taffrail_protocol::{ErrorCode, Uuid};
use taffrail_replication::follower::FollowError;
use taffrail_replication::partition::{Effect, Effects, Partition, ProduceError, Produced, RequiredAcks};
use taffrail_replication::replica_fetch::{
    FetchError, FetchPosition, Fetched, FetchedOutcome, ReplicaFetch, ReplicaRead,
};

/// When every test begins.
pub const NOW: i64 = 1_700_000_000_000;

/// Names who waits.
pub type Token = &'static str;
/// The token of what concerns the partition itself.
pub const ITSELF: Token = "itself";

pub type Replica = Partition<MemoryStorage, Token>;
type Read = ReplicaRead<<MemoryStorage as taffrail_log::Storage>::File>;

pub const A: Member = Member { broker_id: 1, incarnation: 11 };
pub const B: Member = Member { broker_id: 2, incarnation: 12 };
pub const C: Member = Member { broker_id: 3, incarnation: 13 };

/// A record of three replicas, all in sync, of which one leads.
pub fn record(leader: Member, leader_epoch: i32, partition_epoch: i32) -> PartitionRecord {
    PartitionRecord {
        topic_id: Uuid([7; 16]),
        partition: 0,
        creation: 1,
        replicas: vec![1, 2, 3],
        leader: Some(leader),
        leader_epoch,
        partition_epoch,
        isr: vec![A, B, C],
        elr: vec![],
        min_isr: 2,
        adding: vec![],
        removing: vec![],
        unclean_epoch: None,
    }
}

/// The same with another ISR.
pub fn with_isr(record: PartitionRecord, isr: &[Member]) -> PartitionRecord {
    PartitionRecord { isr: isr.to_vec(), ..record }
}

/// One replica and what it has asked for.
pub struct Node {
    pub me: Member,
    pub partition: Replica,
    pub effects: Effects<Token>,
    pub now: i64,
    storage: MemoryStorage,
    config: LogConfig,
}

pub fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

impl Node {
    /// With an empty log.
    pub fn new(me: Member) -> Self {
        Self::with_config(me, LogConfig::default())
    }

    pub fn with_config(me: Member, config: LogConfig) -> Self {
        let storage = MemoryStorage::new();
        let log = Log::create(storage.clone(), dir(), config.clone(), Uuid([7; 16]), NOW).unwrap();
        let nobody = PartitionRecord { leader: None, ..record(me, 0, 0) };
        let partition = Partition::new(log, nobody, 0, me, ITSELF);
        Self { me, partition, effects: Effects::new(), now: NOW, storage, config }
    }

    /// A bit of the last byte flips of the batch of that number in the log, from 0.
    pub fn flip_a_bit(&self, number: usize) {
        let path = dir().join("00000000000000000000.log");
        let bytes = self.storage.read_small(&path, 1 << 20).unwrap().unwrap();
        let sizes = Batches::new(&bytes).map_while(Result::ok).map(|view| view.bytes().len());
        let at = sizes.take(number + 1).sum::<usize>() - 1;
        let file = self.storage.open(&path, Access::Write).unwrap();
        file.write_all_at(&[bytes[at] ^ 4], at as u64).unwrap();
    }

    /// The process dies and comes back: what was written is there, the high watermark is that of the checkpoint.
    pub fn restart(&mut self, incarnation: u64, high_watermark: i64) {
        let log_start_offset = self.partition.log().log_start_offset();
        let mode = OpenMode { clean: false, recovery_point: 0, log_start_offset };
        let opened = Log::open(self.storage.clone(), dir(), self.config.clone(), mode, self.now);
        self.me.incarnation = incarnation;
        let nobody =
            PartitionRecord { leader: None, leader_epoch: 0, partition_epoch: 0, ..record(self.me, 0, 0) };
        self.partition = Partition::new(opened.unwrap().0, nobody, high_watermark, self.me, ITSELF);
        self.effects.clear();
    }

    pub fn assign(&mut self, record: PartitionRecord) {
        self.partition.assign(self.now, record, &mut self.effects).unwrap();
    }

    pub fn produce(&mut self, records: usize, acks: RequiredAcks) -> Result<Produced, ProduceError> {
        let mut bytes = batch(records);
        let header = BatchHeader::parse(&bytes).unwrap();
        self.partition.produce(self.now, &mut bytes, &header, acks, &mut self.effects)
    }

    /// A batch of one record of the idempotent producer `producer_id`, to be acknowledged by all.
    pub fn produce_in_sequence(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        sequence: i32,
    ) -> Result<Produced, ProduceError> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.producer(producer_id, producer_epoch, sequence);
        builder.append(NOW, None, Some(b"once"), &[]);
        let mut bytes = builder.build().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        self.partition.produce(self.now, &mut bytes, &header, RequiredAcks::All, &mut self.effects)
    }

    /// Appends so many records one by one, whoever holds them.
    pub fn append(&mut self, records: usize) {
        for _ in 0..records {
            self.produce(1, RequiredAcks::Leader).unwrap();
        }
    }

    /// From now on nothing can be written.
    pub fn fill_disk(&self) {
        self.storage.set_capacity(Some(0));
    }

    pub fn fail_next_sync(&self) {
        self.fail(Operation::Sync, 0);
    }

    /// After so many that succeed, an operation fails.
    pub fn fail(&self, operation: Operation, after: u64) {
        let (name_ends_with, effect) = (String::new(), Failure::IoError);
        self.storage.inject(Fault { operation, after, name_ends_with, effect });
    }

    pub fn free_disk(&self) {
        self.storage.set_capacity(None);
    }

    pub fn tick(&mut self) {
        self.partition.tick(self.now, &mut self.effects);
    }

    pub fn end(&self) -> i64 {
        self.partition.log().log_end_offset()
    }

    pub fn high_watermark(&self) -> i64 {
        self.partition.high_watermark()
    }

    /// The proposals made since the last call.
    pub fn proposals(&mut self) -> Vec<IsrProposal> {
        let mut proposals = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Propose { token, proposal } => {
                assert_eq!(*token, ITSELF);
                proposals.push(proposal.clone());
                false
            }
            _ => true,
        });
        proposals
    }

    /// What waiting requests were told since the last call.
    pub fn told(&mut self) -> Vec<Effect<Token>> {
        std::mem::take(&mut self.effects)
    }

    /// The outcomes of parked produces since the last call.
    pub fn outcomes(&mut self) -> Vec<(Token, Result<(), ErrorCode>)> {
        let told = self.told().into_iter().filter_map(|effect| match effect {
            Effect::Committed { token, outcome } => Some((token, outcome)),
            _ => None,
        });
        told.collect()
    }

    /// Runs the flush that was asked for.
    pub fn flush(&mut self) {
        if let Some(flush) = self.partition.begin_flush(&mut self.effects).unwrap() {
            self.partition.finish_flush(self.now, flush.run(), &mut self.effects).unwrap();
        }
    }

    /// Offset and epoch of every batch in the log, as the file has them.
    pub fn batches(&mut self) -> Vec<(i64, i32)> {
        let mut all = Vec::new();
        let mut offset = self.partition.log().log_start_offset();
        while let Some(range) = self.partition.read_to_end(offset, 1 << 20).unwrap() {
            let mut bytes = vec![0; range.len as usize];
            assert_eq!(range.file.read_at(&mut bytes, range.position).unwrap(), bytes.len());
            for view in Batches::new(&bytes).map_while(Result::ok) {
                view.verify_crc().unwrap();
                all.push((view.header().base_offset, view.header().partition_leader_epoch));
                offset = view.header().next_offset();
            }
        }
        all
    }
}

/// Batches differ by nothing but their size.
pub fn batch(records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        builder.append(NOW, None, Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

/// A batch as a leader stored it.
pub fn stored_batch(base_offset: i64, leader_epoch: i32, records: usize) -> Vec<u8> {
    let mut bytes = batch(records);
    let mut batch = taffrail_protocol::record_batch::BatchMut::new(&mut bytes).unwrap();
    batch.set_base_offset(base_offset);
    batch.set_partition_leader_epoch(leader_epoch);
    bytes
}

/// The fetch of a follower that is registered as it says.
pub fn fetch_of(replica: Member, position: &FetchPosition) -> ReplicaFetch {
    ReplicaFetch {
        replica,
        registered: Some(replica.incarnation),
        fenced: false,
        current_leader_epoch: position.leader_epoch,
        fetch_offset: position.fetch_offset,
        last_fetched_epoch: position.last_fetched_epoch,
        log_start_offset: position.log_start_offset,
        max_bytes: 1 << 20,
        at_least_one_batch: true,
    }
}

/// An answer on its way.
#[derive(Debug, Clone)]
pub struct Answer {
    pub error: ErrorCode,
    pub diverging: Option<EpochEntry>,
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub records: Vec<u8>,
}

impl Answer {
    pub fn of(read: Result<Read, FetchError>) -> Self {
        match read {
            Ok(read) => Self {
                error: read.error,
                diverging: read.diverging,
                high_watermark: read.high_watermark,
                log_start_offset: read.log_start_offset,
                records: read.records.map_or_else(Vec::new, |range| {
                    let mut bytes = vec![0; range.len as usize];
                    assert_eq!(range.file.read_at(&mut bytes, range.position).unwrap(), bytes.len());
                    bytes
                }),
            },
            Err(error) => Self::failed(error.code()),
        }
    }

    pub fn failed(error: ErrorCode) -> Self {
        Self { error, diverging: None, high_watermark: -1, log_start_offset: -1, records: Vec::new() }
    }

    pub fn records(records: Vec<u8>, high_watermark: i64) -> Self {
        Self { error: ErrorCode::NONE, diverging: None, high_watermark, log_start_offset: 0, records }
    }

    pub fn diverging(epoch: i32, end_offset: i64) -> Self {
        let diverging = Some(EpochEntry { epoch, start_offset: end_offset });
        Self { diverging, ..Self::records(Vec::new(), 0) }
    }
}

/// A leader answers one fetch of a follower.
pub fn ask(leader: &mut Node, fetch: &ReplicaFetch) -> Answer {
    Answer::of(leader.partition.replica_fetch(leader.now, fetch, &mut leader.effects))
}

/// A follower takes an answer.
pub fn take(
    follower: &mut Node,
    asked: &FetchPosition,
    answer: &Answer,
) -> Result<FetchedOutcome, FollowError> {
    let fetched = Fetched {
        error: answer.error,
        diverging: answer.diverging,
        high_watermark: answer.high_watermark,
        log_start_offset: answer.log_start_offset,
        records: &answer.records,
    };
    follower.partition.fetched(follower.now, asked, &fetched, &mut follower.effects)
}

/// One round: the follower asks, the leader answers.
pub fn round(leader: &mut Node, follower: &mut Node) -> FetchedOutcome {
    let position = follower.partition.fetch_position().expect("there is something to ask");
    let answer = ask(leader, &fetch_of(follower.me, &position));
    take(follower, &position, &answer).unwrap()
}

/// Rounds until the leader knows that the follower has everything, and the follower what is committed.
pub fn catch_up(leader: &mut Node, follower: &mut Node) {
    for _ in 0..100 {
        round(leader, follower);
        if follower.end() == leader.end() && follower.high_watermark() == leader.high_watermark() {
            // Once more: the last fetch acknowledges.
            round(leader, follower);
            return;
        }
    }
    panic!("the follower never catches up");
}
