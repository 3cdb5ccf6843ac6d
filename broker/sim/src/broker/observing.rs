//! What the checks are shown of a replica, after each step of it.

use std::collections::BTreeMap;

use taffrail_log::{FileRange, MemoryStorage, Storage, StorageFile};
use taffrail_protocol::record_batch::Batches;
use taffrail_replication::partition::Partition;

use super::Token;
use crate::checks::Tp;
use crate::checks::committed::Batch;
use crate::trace::digest;
use crate::world::World;

/// The batches in some bytes; one that is cut off at the end is left out.
pub fn batches_of(bytes: &[u8]) -> Vec<Batch> {
    let views = Batches::new(bytes).map_while(Result::ok);
    let batches = views.map(|view| {
        let header = view.header();
        let records = view.records(1 << 16);
        let records = records.iter().flat_map(|records| records.iter()).filter_map(|record| {
            let record = record.ok()?;
            let value = u64::from_be_bytes(*record.value?.first_chunk()?);
            Some((record.offset, value))
        });
        let is_sound = view.verify_crc().is_ok();
        Batch {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            epoch: header.partition_leader_epoch,
            hash: if is_sound { digest(&view.bytes()) } else { Batch::CORRUPT },
            records: if is_sound { records.collect() } else { Vec::new() },
        }
    });
    batches.collect()
}

/// What a range of a log's file holds; nothing where it cannot be read.
pub fn bytes_of(range: &FileRange<<MemoryStorage as Storage>::File>) -> Vec<u8> {
    let mut bytes = vec![0; range.len as usize];
    let read = range.file.read_at(&mut bytes, range.position).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// The batches of a log from `from` up to `to`.
pub fn batches_in(partition: &mut Partition<MemoryStorage, Token>, from: i64, to: i64) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut at = from;
    while at < to {
        let Ok(Some(range)) = partition.read_to_end(at, 1 << 20) else { break };
        let some = batches_of(&bytes_of(&range));
        let Some(last) = some.last() else { break };
        at = last.next_offset;
        batches.extend(some.into_iter().filter(|batch| batch.base_offset >= from && batch.next_offset <= to));
    }
    batches
}

/// With what was in batches whose bits have flipped since. They are there all the same: who reads them finds out.
pub fn made_whole(whole: &BTreeMap<(Tp, i64), Batch>, tp: Tp, batches: Vec<Batch>) -> Vec<Batch> {
    let flipped = |batch: &Batch| whole.get(&(tp, batch.base_offset)).filter(|_| batch.is_corrupt());
    batches.into_iter().map(|batch| flipped(&batch).cloned().unwrap_or(batch)).collect()
}

impl World {
    /// Shows a replica to the checks.
    pub fn observe(&mut self, id: i32, tp: Tp) {
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        let Some(serving) = broker.serving_mut() else { return };
        let me = serving.me;
        let Some(replica) = serving.replicas.get_mut(&tp) else { return };
        let life = replica.life;
        let who = format!("broker {id}");
        let partition = &mut replica.partition;
        let record = partition.record();
        let (creation, partition_epoch, epoch) =
            (record.creation, record.partition_epoch, record.leader_epoch);
        let unclean_epoch = record.unclean_epoch;
        let high_watermark = partition.high_watermark();
        let led = partition.led_epoch();
        let start = partition.log().log_start_offset();
        // What was deleted before it was looked at here was looked at where it was committed first.
        replica.seen = replica.seen.max(start);
        let news =
            (replica.seen < high_watermark).then(|| batches_in(partition, replica.seen, high_watermark));
        if let Some(last) = news.as_ref().and_then(|news| news.last()) {
            replica.seen = last.next_offset;
        }
        let news = news.map(|news| made_whole(&self.whole, tp, news));
        let checks = &mut self.checks;
        let mut checked = vec![
            checks.epochs.holds(id, life, tp, (creation, partition_epoch)),
            checks.high_watermark.is(id, life, tp, high_watermark, unclean_epoch),
            checks.log_starts.is(&checks.committed, &who, tp, start, high_watermark),
        ];
        if let Some(news) = &news {
            checked.push(checks.committed.saw(&who, tp, epoch, news));
        }
        if let Some(led) = led {
            match checks.leaders.leads(tp, led, me) {
                Err(violation) => checked.push(Err(violation)),
                Ok(false) => {}
                Ok(true) => {
                    let end = partition.log().log_end_offset();
                    let all = made_whole(&self.whole, tp, batches_in(partition, start, end));
                    let deleted = checks.log_starts.decided(tp);
                    checked.push(checks.committed.leads(&who, tp, led, deleted, &all));
                }
            }
        }
        checked.into_iter().for_each(|checked| self.check(checked));
        if led.is_some() {
            self.acts(id, tp);
        }
        if news.is_some() {
            self.note(&[60, id as u64, high_watermark as u64, epoch as u64], || {
                let name = crate::checks::name(tp);
                format!("broker {id}: high watermark of {name} is {high_watermark} in epoch {epoch}")
            });
        }
    }

    /// A replica acts under its record's epochs.
    pub fn acts(&mut self, id: i32, tp: Tp) {
        let Some(broker) = self.brokers.get(&id) else { return };
        let disk = broker.disk;
        let Some(replica) = broker.serving().and_then(|serving| serving.replicas.get(&tp)) else { return };
        let record = replica.partition.record();
        let epochs = (record.creation, record.leader_epoch);
        let checked = self.checks.epochs.acts(id, disk, tp, epochs);
        self.check(checked);
    }
}
