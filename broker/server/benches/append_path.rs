//! Where shall a partition be stepped: on the connection's thread under a short lock, or by an owner thread with an
//! inbox? Both over the shipped partition and real files, with as many client threads as a small machine has cores.
//!
//! Run with `cargo bench -p taffrail-server --bench append_path`. The figures stand in broker/ARCHITECTURE.md.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use taffrail_control::session::{Member, PartitionRecord};
use taffrail_log::{FileStorage, Log, LogConfig};
use taffrail_protocol::Uuid;
use taffrail_protocol::record_batch::{BatchBuilder, BatchHeader, Compression};
use taffrail_replication::partition::{Effects, Partition, RequiredAcks};

const CLIENTS: usize = 2;
const OWNERS: usize = 2;
/// Requests that a client has under way at an owner before it waits for an answer.
const PIPELINE: usize = 64;
const NOW_MS: i64 = 1_700_000_000_000;

type Replica = Mutex<Partition<FileStorage, u64>>;

/// One batch on its way to an owner thread, which sends it back as the answer.
struct Request {
    partition: usize,
    batch: Vec<u8>,
    answer: Sender<Vec<u8>>,
}

fn partitions(dir: &Path, count: usize) -> Vec<Arc<Replica>> {
    let me = Member { broker_id: 0, incarnation: 1 };
    let make = |partition: usize| {
        let dir = dir.join(format!("bench-{partition}"));
        let topic_id = Uuid([1; 16]);
        let log = Log::create(FileStorage::default(), dir, LogConfig::default(), topic_id, NOW_MS);
        let record = PartitionRecord {
            topic_id,
            partition: partition as i32,
            creation: 1,
            replicas: vec![0],
            leader: Some(me),
            leader_epoch: 0,
            partition_epoch: 0,
            isr: vec![me],
            elr: Vec::new(),
            min_isr: 1,
            adding: vec![],
            removing: vec![],
            unclean_epoch: None,
        };
        let mut partition = Partition::new(log.expect("a log can be made"), record.clone(), 0, me, 0);
        partition.assign(NOW_MS, record, &mut Effects::new()).expect("the partition can be led");
        Arc::new(Mutex::new(partition))
    };
    (0..count).map(make).collect()
}

fn batch(record_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(NOW_MS, None, Some(&vec![b'x'; record_bytes]), &[]);
    builder.build().expect("the batch can be built")
}

fn append(replica: &Replica, batch: &mut [u8], effects: &mut Effects<u64>) {
    let header = BatchHeader::parse(batch).expect("the batch is sound");
    let produced = replica.lock().produce(NOW_MS, batch, &header, RequiredAcks::All, effects);
    produced.expect("the batch is appended");
    effects.clear();
}

fn inline(replicas: &[Arc<Replica>], record_bytes: usize, requests: usize) {
    let run = |client: usize| {
        let mut effects = Effects::new();
        let mut batch = batch(record_bytes);
        for request in 0..requests {
            // A leader puts the offset in; a client's batch begins at 0.
            batch[..8].fill(0);
            append(&replicas[(request * CLIENTS + client) % replicas.len()], &mut batch, &mut effects);
        }
    };
    std::thread::scope(|scope| (0..CLIENTS).for_each(|client| drop(scope.spawn(move || run(client)))));
}

fn own(inbox: &Receiver<Request>, replicas: &[Arc<Replica>]) {
    let mut effects = Effects::new();
    while let Ok(mut request) = inbox.recv() {
        append(&replicas[request.partition], &mut request.batch, &mut effects);
        request.batch[..8].fill(0);
        // The client may have left.
        let _ = request.answer.send(request.batch);
    }
}

fn ask(
    client: usize,
    inboxes: &[SyncSender<Request>],
    partitions: usize,
    record_bytes: usize,
    requests: usize,
) {
    let (answer, answers) = channel();
    let mut spare = vec![batch(record_bytes); PIPELINE];
    for request in 0..requests {
        let batch = spare.pop().unwrap_or_else(|| answers.recv().expect("the owner answers"));
        let partition = (request * CLIENTS + client) % partitions;
        let request = Request { partition, batch, answer: answer.clone() };
        inboxes[partition % OWNERS].send(request).expect("the owner lives");
    }
    drop(answer);
    while answers.recv().is_ok() {}
}

fn owned(replicas: &[Arc<Replica>], record_bytes: usize, requests: usize) {
    std::thread::scope(|scope| {
        let mut inboxes = Vec::new();
        for _ in 0..OWNERS {
            let (sender, inbox) = sync_channel(1024);
            inboxes.push(sender);
            scope.spawn(move || own(&inbox, replicas));
        }
        let barrier = Arc::new(Barrier::new(CLIENTS));
        for client in 0..CLIENTS {
            let (inboxes, barrier) = (inboxes.clone(), Arc::clone(&barrier));
            scope.spawn(move || {
                barrier.wait();
                ask(client, &inboxes, replicas.len(), record_bytes, requests);
            });
        }
    });
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

fn main() {
    println!("record bytes, partitions, way: appends/s, CPU µs per append (median of 5)");
    for record_bytes in [100, 1024] {
        for count in [1, 100] {
            for (way, run) in [("inline", inline as fn(&[Arc<Replica>], usize, usize)), ("owner", owned)] {
                let mut rates = Vec::new();
                for _ in 0..5 {
                    let dir = tempfile::tempdir().expect("a directory can be made");
                    let replicas = partitions(dir.path(), count);
                    let requests = 100_000;
                    let (started, cpu_before) = (Instant::now(), cpu());
                    run(&replicas, record_bytes, requests);
                    let appends = (requests * CLIENTS) as f64;
                    let spent = (cpu() - cpu_before).as_secs_f64();
                    rates.push((appends / started.elapsed().as_secs_f64(), spent * 1e6 / appends));
                }
                rates.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (rate, cpu) = rates[rates.len() / 2];
                println!("{record_bytes:5} {count:4} {way:7} {rate:10.0} {cpu:8.2}");
            }
        }
    }
}
