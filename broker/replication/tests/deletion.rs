//! Deleting the oldest records: what a leader and its followers do, and who hears of it.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{A, B, C, ITSELF, NOW, Node, ask, catch_up, fetch_of, record, round, with_isr};
use taffrail_control::session::PartitionRecord;
use taffrail_log::{EpochEntry, LogConfig};
use taffrail_protocol::ErrorCode;
use taffrail_replication::partition::{DeleteError, Effect, Isolation, RequiredAcks};
use taffrail_replication::replica_fetch::FetchError;

/// Segments of one record of time [`NOW`] each.
fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 100, ..LogConfig::default() }
}

/// A leads and B follows, and both have so many records, committed. C is a replica too, out of sync.
fn committed(records: usize) -> (Node, Node) {
    let of_two = PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 0), &[A, B]) };
    let mut nodes = [A, B].map(|me| Node::with_config(me, small_segments()));
    for node in &mut nodes {
        node.assign(of_two.clone());
    }
    let [mut a, mut b] = nodes;
    a.append(records);
    catch_up(&mut a, &mut b);
    a.told();
    b.told();
    (a, b)
}

fn delete(node: &mut Node, offset: i64) -> Result<i64, DeleteError> {
    node.partition.delete_records(Some(offset), &mut node.effects)
}

/// Its log's start is on the disk.
fn write(node: &mut Node) {
    node.partition.start_written(node.partition.log().log_start_offset(), &mut node.effects);
}

fn start(node: &Node) -> i64 {
    node.partition.log().log_start_offset()
}

fn low_watermark(leader: &Node, living: &[i32]) -> i64 {
    leader.partition.low_watermark(|id| living.contains(&id)).unwrap()
}

fn read(node: &mut Node, offset: i64) -> Result<(), FetchError> {
    node.partition.read(offset, 1 << 20, true, Isolation::ReadUncommitted).map(drop)
}

#[test]
fn records_are_deleted_up_to_what_is_committed_and_no_further() {
    let (mut a, _b) = committed(4);
    a.append(2);
    let code = |result: Result<i64, DeleteError>| result.unwrap_err().code();
    assert_eq!(code(delete(&mut a, 5)), ErrorCode::OFFSET_OUT_OF_RANGE, "only 4 are committed");
    assert_eq!(code(delete(&mut a, -2)), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(start(&a), 0);
    assert_eq!(delete(&mut a, 3).unwrap(), 3);
    assert_eq!(start(&a), 3);
    assert_eq!(delete(&mut a, 1).unwrap(), 1, "is so already");
    assert_eq!(start(&a), 3);
    assert_eq!(a.partition.delete_records(None, &mut a.effects).unwrap(), 4, "the high watermark");
    assert_eq!((start(&a), a.end()), (4, 6));
    assert_eq!(read(&mut a, 3).unwrap_err().code(), ErrorCode::OFFSET_OUT_OF_RANGE);
    read(&mut a, 4).unwrap();
}

#[test]
fn only_the_leader_deletes_and_knows_the_low_watermark() {
    let (_a, mut b) = committed(4);
    assert_eq!(delete(&mut b, 3).unwrap_err().code(), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(b.partition.low_watermark(|_| true), Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    assert_eq!(start(&b), 0);
}

#[test]
fn the_low_watermark_is_what_all_that_live_have_written_down() {
    let (mut a, mut b) = committed(4);
    assert_eq!(low_watermark(&a, &[1, 2]), 0);
    assert_eq!(low_watermark(&a, &[1, 2, 3]), -1, "nothing is known of C yet");
    delete(&mut a, 3).unwrap();
    assert_eq!(low_watermark(&a, &[1]), 0, "a crash would take it back");
    write(&mut a);
    assert_eq!(low_watermark(&a, &[1]), 3);
    assert_eq!(low_watermark(&a, &[1, 2]), 0);
    round(&mut a, &mut b);
    round(&mut a, &mut b);
    assert_eq!((start(&b), low_watermark(&a, &[1, 2])), (3, 0), "B has not written it down");
    write(&mut b);
    round(&mut a, &mut b);
    assert_eq!(low_watermark(&a, &[1, 2]), 3);
}

#[test]
fn a_new_leader_counts_anew() {
    let (mut a, mut b) = committed(4);
    delete(&mut a, 3).unwrap();
    write(&mut a);
    for node in [&mut a, &mut b] {
        node.assign(PartitionRecord { min_isr: 1, ..with_isr(record(B, 1, 1), &[A, B]) });
    }
    assert_eq!(low_watermark(&b, &[1, 2]), -1);
    round(&mut b, &mut a);
    assert_eq!(low_watermark(&b, &[1, 2]), 0, "its own log begins there");
    assert_eq!(start(&a), 3, "a follower's log may begin behind its leader's");
}

#[test]
fn who_waits_hears_of_each_start_that_was_written_and_of_the_end_of_leadership() {
    let (mut a, mut b) = committed(4);
    delete(&mut a, 3).unwrap();
    a.told();
    let waits = a.partition.await_deletion("deletion");
    a.partition.await_deletion("another");
    let told = ["deletion", "another"].map(|token| Effect::StartWritten { token });
    write(&mut a);
    assert_eq!(a.told(), told);
    write(&mut a);
    assert_eq!(a.told(), [], "nothing new");
    round(&mut a, &mut b);
    assert_eq!(a.told(), [], "B has written down nothing");
    write(&mut b);
    round(&mut a, &mut b);
    assert_eq!(a.told(), told);
    a.partition.leave(waits);
    a.partition.resign(&mut a.effects);
    assert_eq!(a.told(), [Effect::Moved { token: "another" }]);
}

#[test]
fn a_followers_parked_fetch_is_rung_when_the_start_moves() {
    let (mut a, mut b) = committed(4);
    let position = b.partition.fetch_position().unwrap();
    a.partition.await_append("B");
    delete(&mut a, 3).unwrap();
    assert_eq!(
        a.told(),
        [Effect::Readable { token: "B", bytes: 0 }, Effect::StartMoved { token: ITSELF }],
        "and it is to be written down"
    );
    let answer = ask(&mut a, &fetch_of(B, &position));
    common::take(&mut b, &position, &answer).unwrap();
    assert_eq!(b.told(), [Effect::StartMoved { token: ITSELF }]);
    write(&mut b);
    assert_eq!(b.told(), [Effect::Fetchable { token: ITSELF }], "its leader is to be told");
    assert_eq!(b.partition.fetch_position().unwrap().log_start_offset, 3);
}

#[test]
fn a_follower_never_goes_past_its_own_high_watermark() {
    let (mut a, mut b) = committed(2);
    a.assign(PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 1), &[A]) });
    a.append(4);
    delete(&mut a, 2).unwrap();
    let position = b.partition.fetch_position().unwrap();
    let mut answer = ask(&mut a, &fetch_of(B, &position));
    // Leader and follower may disagree on what is committed.
    (answer.high_watermark, answer.log_start_offset) = (2, 3);
    common::take(&mut b, &position, &answer).unwrap();
    assert_eq!((start(&b), b.high_watermark(), b.end()), (2, 2, 3));
}

#[test]
fn segments_go_only_once_the_start_is_on_the_disk() {
    let (mut a, _b) = committed(4);
    let segments = a.partition.log().segment_count();
    delete(&mut a, 3).unwrap();
    assert_eq!(a.partition.delete_old_segments(&mut a.effects).unwrap(), 0);
    assert_eq!(a.partition.log().segment_count(), segments);
    write(&mut a);
    delete(&mut a, 4).unwrap();
    assert_eq!(a.partition.delete_old_segments(&mut a.effects).unwrap(), 0, "it moved again meanwhile");
    write(&mut a);
    assert_eq!(a.partition.delete_old_segments(&mut a.effects).unwrap(), 3);
    assert!(a.partition.begin_sweep(NOW, true).is_some());
}

#[test]
fn retention_takes_what_is_committed_on_leader_and_follower_alike() {
    let (mut a, mut b) = committed(4);
    a.append(3);
    let later = NOW + small_segments().retention_ms + 1;
    assert_eq!(a.partition.retain(NOW, &mut a.effects).unwrap(), None);
    let retained = a.partition.retain(later, &mut a.effects).unwrap().unwrap();
    assert_eq!((retained.from, retained.to), (0, 4), "what is not committed stays, however old");
    assert_eq!(a.told(), [Effect::StartMoved { token: ITSELF }]);
    let retained = b.partition.retain(later, &mut b.effects).unwrap().unwrap();
    assert_eq!((retained.to, b.end()), (4, 4), "by its own clock");
    for _ in 0..3 {
        round(&mut a, &mut b);
    }
    assert_eq!(b.batches(), [(4, 0), (5, 0), (6, 0)]);
}

#[test]
fn a_log_without_records_goes_on_where_it_ended() {
    let (mut a, mut b) = committed(4);
    delete(&mut a, 4).unwrap();
    round(&mut a, &mut b);
    for node in [&mut a, &mut b] {
        write(node);
        node.partition.delete_old_segments(&mut node.effects).unwrap();
        assert_eq!((start(node), node.end()), (4, 4));
    }
    assert_eq!(a.partition.end_offset_for_epoch(0, 0), Ok(EpochEntry { epoch: 0, start_offset: 4 }));
    for node in [&mut a, &mut b] {
        node.assign(PartitionRecord { min_isr: 1, ..with_isr(record(B, 1, 1), &[A, B]) });
    }
    b.append(2);
    catch_up(&mut b, &mut a);
    assert_eq!(a.batches(), [(4, 1), (5, 1)]);
}

#[test]
fn a_replica_that_was_away_begins_at_the_leaders_start() {
    let (mut a, _b) = committed(4);
    delete(&mut a, 3).unwrap();
    write(&mut a);
    let mut c = Node::with_config(C, small_segments());
    c.assign(PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 0), &[A, B]) });
    round(&mut a, &mut c);
    assert_eq!((start(&c), c.end()), (3, 3));
    assert!(c.told().contains(&Effect::StartMoved { token: ITSELF }));
    write(&mut c);
    round(&mut a, &mut c);
    assert_eq!(low_watermark(&a, &[1, 3]), 3);
    assert_eq!(c.batches(), [(3, 0)]);
}

#[test]
fn a_replica_that_was_away_begins_inside_of_a_batch_where_the_leader_does() {
    let mut a = Node::new(A);
    a.assign(PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 0), &[A]) });
    for _ in 0..3 {
        a.produce(3, RequiredAcks::Leader).unwrap();
    }
    delete(&mut a, 4).unwrap();
    write(&mut a);
    let mut c = Node::new(C);
    c.assign(PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 0), &[A]) });
    round(&mut a, &mut c);
    write(&mut c);
    catch_up(&mut a, &mut c);
    assert_eq!((start(&c), c.end(), c.high_watermark()), (4, 9, 9));
    assert_eq!(c.batches(), [(3, 0), (6, 0)]);
    assert_eq!(low_watermark(&a, &[1, 3]), 4);
}
