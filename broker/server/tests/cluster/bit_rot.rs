//! Bits that flip on a leader's disk: nothing corrupt is replicated, a replica with a sound copy takes over, and the one that
//! led has its log mended.

use std::os::unix::fs::FileExt;

use taffrail_control::session::LogState;
use taffrail_protocol::record_batch::BatchHeader;

use crate::clients::{consume, create_topic, numbers, produce, producer};
use crate::harness::{Cluster, eventually};

#[test]
fn a_corrupt_batch_is_not_replicated_and_mended_under_a_leader_who_has_it_whole() {
    let mut cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    let sender = producer(&cluster);
    produce(&sender, "t", &numbers(0..10)).unwrap();
    cluster.in_sync("t", 0);
    let leader = cluster.leader("t", 0);
    let away = (leader + 1) % 3;
    cluster.stop_broker(away);
    for from in [10, 20, 30] {
        produce(&sender, "t", &numbers(from..from + 10)).unwrap();
    }
    let (offset, file, position) = flip_a_bit(&cluster, leader, 20);
    cluster.start_broker(away);
    eventually("another broker leads", || cluster.leader("t", 0) != leader);
    eventually("the follower has everything", || {
        cluster.replica(away, "t", 0).is_some_and(|replica| replica.lock().high_watermark() == 40)
    });
    assert_eq!(consume(&cluster, "t", &[]), numbers(0..40));
    for id in (0..3).filter(|id| *id != leader) {
        let replica = cluster.replica(id, "t", 0).unwrap();
        assert_eq!(replica.lock().log_mut().check_batch(offset).unwrap(), None, "broker {id}");
    }
    let replica = cluster.replica(leader, "t", 0).unwrap();
    eventually("the old leader's log is mended", || replica.lock().corrupt_batch().is_none());
    assert_eq!(replica.lock().health(0).log, LogState::Online);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(BatchHeader::parse(&bytes[position..]).unwrap().base_offset, offset, "it is where it was");
    produce(&sender, "t", &numbers(40..50)).unwrap();
    cluster.in_sync("t", 0);
    for offset in 0..50 {
        assert_eq!(replica.lock().log_mut().check_batch(offset).unwrap(), None);
    }
    // And it leads again, with what it was given.
    for id in (0..3).filter(|id| *id != leader) {
        cluster.stop_broker(id);
    }
    eventually("it leads", || cluster.leader("t", 0) == leader);
    assert_eq!(consume(&cluster, "t", &[]), numbers(0..50));
}

#[test]
fn a_segment_that_could_not_be_read_is_checked_and_what_is_lost_is_mended() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &[]);
    let sender = producer(&cluster);
    for from in [0, 10, 20] {
        produce(&sender, "t", &numbers(from..from + 10)).unwrap();
    }
    cluster.in_sync("t", 0);
    let follower = (cluster.leader("t", 0) + 1) % 3;
    let replica = cluster.replica(follower, "t", 0).unwrap();
    eventually("the follower has everything", || replica.lock().high_watermark() == 30);
    let (_, file, _) = flip_a_bit(&cluster, follower, 10);
    let damaged = std::fs::read(&file).unwrap();
    cluster.broker(follower).broker.errands.unreadable(file.clone().into());
    eventually("it is written anew", || std::fs::read(&file).unwrap() != damaged);
    eventually("it is well", || replica.lock().corrupt_batch().is_none());
    assert!((0..30).all(|offset| replica.lock().log_mut().check_batch(offset).unwrap().is_none()));
}

/// Flips a bit of the batch that has `offset` in a broker's log. Its first offset, the file, and where in it the batch is.
fn flip_a_bit(cluster: &Cluster, id: usize, offset: i64) -> (i64, String, usize) {
    let replica = cluster.replica(id, "t", 0).unwrap();
    let path = replica.lock().log().dir().join("00000000000000000000.log");
    let bytes = std::fs::read(&path).unwrap();
    let mut position = 0;
    loop {
        let header = BatchHeader::parse(&bytes[position..]).unwrap();
        let end = position + header.size_in_bytes();
        if header.last_offset() >= offset {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[bytes[end - 1] ^ 1], end as u64 - 1).unwrap();
            return (header.base_offset, path.display().to_string(), position);
        }
        position = end;
    }
}
