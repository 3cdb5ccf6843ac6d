//! The follower's rules (REPLICATION.md), one by one.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{
    A, Answer, B, C, ITSELF, NOW, Node, ask, catch_up, fetch_of, record, round, stored_batch, take, with_isr,
};
use taffrail_control::session::{LogState, PartitionRecord};
use taffrail_log::LogConfig;
use taffrail_log::storage::Operation;
use taffrail_protocol::ErrorCode;
use taffrail_replication::follower::FollowError;
use taffrail_replication::partition::{Effect, Isolation, RoleKind};
use taffrail_replication::replica_fetch::{FetchedOutcome, Truncation};

/// A replica that leads or follows as the ISR of two it is in.
fn two(leader_epoch: i32, partition_epoch: i32) -> PartitionRecord {
    PartitionRecord { min_isr: 1, ..with_isr(record(A, leader_epoch, partition_epoch), &[A, B]) }
}

/// A leads and B follows, and both have so many records, committed.
fn committed(records: usize) -> (Node, Node) {
    let (mut a, mut b) = (Node::new(A), Node::new(B));
    a.assign(two(0, 0));
    b.assign(two(0, 0));
    a.append(records);
    catch_up(&mut a, &mut b);
    (a, b)
}

/// B has so many more records than A of an epoch that it led alone, and follows A again, in `leader_epoch`.
fn parted(records: usize, leader_epoch: i32) -> (Node, Node) {
    let (mut a, mut b) = committed(4);
    b.assign(with_isr(record(B, 1, 1), &[A, B]));
    b.append(records);
    a.assign(two(leader_epoch, 2));
    b.assign(two(leader_epoch, 2));
    b.told();
    (a, b)
}

fn truncation(outcome: &FetchedOutcome) -> Truncation {
    match outcome {
        FetchedOutcome::Truncated(truncation) | FetchedOutcome::StartedAnew(truncation) => *truncation,
        other => panic!("{other:?} is no truncation"),
    }
}

#[test]
fn rule_13_a_follower_goes_back_to_where_the_logs_part() {
    let (mut a, mut b) = parted(3, 2);
    a.append(2);
    let outcome = round(&mut a, &mut b);
    let expected = Truncation { from: 7, to: 4, last_epoch: 1, lost_below: None };
    assert_eq!(outcome, FetchedOutcome::Truncated(expected));
    assert_eq!(b.high_watermark(), 4);
    catch_up(&mut a, &mut b);
    assert_eq!(b.batches(), a.batches());
    assert_eq!(b.batches()[4..], [(4, 2), (5, 2)]);
}

#[test]
fn rule_13_epochs_that_neither_knows_of_the_other_are_walked_back_one_by_one() {
    // Epochs: A 0 0 0 0 2 2 2 5, B 0 0 0 0 1 1 3 3 3: none of B's own are A's.
    let (mut a, mut b) = committed(4);
    b.assign(with_isr(record(B, 1, 1), &[A, B]));
    b.append(2);
    b.assign(with_isr(record(B, 3, 3), &[A, B]));
    b.append(3);
    a.assign(two(2, 2));
    a.append(3);
    a.assign(two(5, 5));
    a.append(1);
    b.assign(two(5, 5));
    let ends: Vec<_> = (0..3).map(|_| (round(&mut a, &mut b), b.end())).collect();
    assert_eq!(truncation(&ends[0].0).to, 6, "where B's last epoch below A's epoch 2 ends");
    assert_eq!(truncation(&ends[1].0).to, 4, "A's last epoch below B's epoch 1 is 0, and ends there");
    assert!(matches!(ends[2].0, FetchedOutcome::Appended { .. }));
    assert_eq!(b.batches(), a.batches());
}

#[test]
fn rule_13_an_answer_to_another_question_is_thrown_away() {
    let (mut a, mut b) = parted(3, 2);
    let early = b.partition.fetch_position().unwrap();
    let diverging = ask(&mut a, &fetch_of(B, &early));
    take(&mut b, &early, &diverging).unwrap();
    a.append(5);
    round(&mut a, &mut b);
    assert_eq!(b.end(), 9);
    // The network delivers it once more: it would take back what the leader counts on already.
    assert_eq!(take(&mut b, &early, &diverging).unwrap(), FetchedOutcome::Ignored);
    assert_eq!(b.end(), 9);
    let asked = b.partition.fetch_position().unwrap();
    let answer = ask(&mut a, &fetch_of(B, &asked));
    b.assign(two(3, 3));
    assert_eq!(take(&mut b, &asked, &answer).unwrap(), FetchedOutcome::Ignored, "of an earlier epoch");
    b.assign(record(C, 4, 4));
    assert_eq!(take(&mut b, &asked, &answer).unwrap(), FetchedOutcome::Ignored);
}

#[test]
fn rule_13_committed_records_are_not_given_up_without_an_unclean_election() {
    let (_, mut b) = committed(4);
    // C, which has nothing, leads: by whatever fault.
    let mut c = Node::new(C);
    c.assign(PartitionRecord { min_isr: 1, ..with_isr(record(C, 1, 1), &[C]) });
    c.append(1);
    b.assign(with_isr(record(C, 1, 1), &[C]));
    let position = b.partition.fetch_position().unwrap();
    let answer = ask(&mut c, &fetch_of(B, &position));
    let error = take(&mut b, &position, &answer).unwrap_err();
    assert!(matches!(error, FollowError::CommittedLost { to: 0, high_watermark: 4, .. }), "{error}");
    assert!(error.stops());
    assert_eq!((b.end(), b.high_watermark()), (4, 4));
    assert_eq!(b.partition.fetch_position(), None, "it stops");
    assert!(
        matches!(b.partition.health(NOW).log, LogState::Failed { reason } if reason.contains("were committed"))
    );
    assert!(b.partition.read(0, 1000, true, Isolation::ReadUncommitted).unwrap().is_some());
    // The next leader epoch gives it another chance.
    b.assign(two(2, 2));
    assert!(b.partition.fetch_position().is_some());
}

#[test]
fn rule_13_what_an_unclean_election_lost_is_given_up_and_told() {
    for unclean_epoch in [Some(0), Some(1)] {
        let (_, mut b) = committed(4);
        let unclean = PartitionRecord { unclean_epoch, min_isr: 1, ..with_isr(record(C, 1, 1), &[C]) };
        let mut c = Node::new(C);
        c.assign(unclean.clone());
        c.append(1);
        b.assign(unclean);
        let position = b.partition.fetch_position().unwrap();
        let answer = ask(&mut c, &fetch_of(B, &position));
        let outcome = take(&mut b, &position, &answer);
        if unclean_epoch == Some(0) {
            assert!(outcome.is_err(), "B's last record is of epoch 0: it has what that election took over");
            continue;
        }
        let expected = Truncation { from: 4, to: 0, last_epoch: 0, lost_below: Some((4, 1)) };
        assert_eq!(outcome.unwrap(), FetchedOutcome::Truncated(expected));
        assert_eq!((b.end(), b.high_watermark()), (0, 0));
        catch_up(&mut c, &mut b);
        assert_eq!(b.batches(), [(0, 1)]);
    }
}

#[test]
fn rule_14_the_high_watermark_is_the_leaders_up_to_the_own_end() {
    let mut b = Node::new(B);
    b.assign(two(0, 0));
    let position = b.partition.fetch_position().unwrap();
    let answer = Answer::records(stored_batch(0, 0, 3), 10);
    take(&mut b, &position, &answer).unwrap();
    assert_eq!((b.end(), b.high_watermark()), (3, 3));
    let position = b.partition.fetch_position().unwrap();
    take(&mut b, &position, &Answer::records(stored_batch(3, 0, 2), 4)).unwrap();
    assert_eq!((b.end(), b.high_watermark()), (5, 4));
    let position = b.partition.fetch_position().unwrap();
    take(&mut b, &position, &Answer::records(vec![], 2)).unwrap();
    assert_eq!(b.high_watermark(), 4, "a new leader that knows less takes nothing back");
}

#[test]
fn rule_14_an_answer_with_divergence_says_nothing_of_the_high_watermark() {
    let (_, mut b) = parted(3, 2);
    let position = b.partition.fetch_position().unwrap();
    let answer = Answer { high_watermark: 7, ..Answer::diverging(0, 6) };
    assert_eq!(truncation(&take(&mut b, &position, &answer).unwrap()).to, 4);
    assert_eq!(b.high_watermark(), 4);
}

#[test]
fn rule_14_what_cannot_follow_is_not_appended() {
    let mut damaged = stored_batch(0, 0, 1);
    *damaged.last_mut().unwrap() ^= 1;
    let stops = [
        ("a gap", Answer::records(stored_batch(1, 0, 1), 0)),
        ("an epoch above the leader's", Answer::records(stored_batch(0, 1, 1), 0)),
        ("a falling epoch", { Answer::records([stored_batch(0, 0, 1), stored_batch(1, -1, 1)].concat(), 0) }),
        ("an overlap", Answer::records([stored_batch(0, 0, 2), stored_batch(1, 0, 1)].concat(), 0)),
    ];
    for (what, answer) in stops {
        let mut b = Node::new(B);
        b.assign(two(0, 0));
        let position = b.partition.fetch_position().unwrap();
        let error = take(&mut b, &position, &answer).expect_err(what);
        assert!(error.stops(), "{what}: {error}");
        assert_eq!((b.end(), b.partition.fetch_position()), (0, None), "{what}");
    }
    let mut b = Node::new(B);
    b.assign(two(0, 0));
    let position = b.partition.fetch_position().unwrap();
    let error = take(&mut b, &position, &Answer::records(damaged, 0)).unwrap_err();
    assert!(!error.stops(), "damage on the way may be gone the next time: {error}");
    assert_eq!(b.partition.fetch_position(), Some(position));
    let cut = stored_batch(0, 0, 1);
    take(&mut b, &position, &Answer::records(cut[..cut.len() - 1].to_vec(), 0)).unwrap();
    assert_eq!(b.end(), 0);
}

#[test]
fn a_compacted_log_may_have_gaps() {
    let mut b = Node::with_config(B, LogConfig { compact: true, ..LogConfig::default() });
    b.assign(two(0, 0));
    let position = b.partition.fetch_position().unwrap();
    let records = [stored_batch(2, 0, 1), stored_batch(7, 0, 1)].concat();
    take(&mut b, &position, &Answer::records(records, 0)).unwrap();
    assert_eq!(b.end(), 8);
}

#[test]
fn holes_that_compaction_left_stay_when_a_topic_is_not_compacted_any_more() {
    let records = [stored_batch(2, 0, 1), stored_batch(7, 0, 1)].concat();
    for (high_watermark, end) in [(7, Some(8)), (6, None)] {
        let mut b = Node::new(B);
        b.assign(two(0, 0));
        let position = b.partition.fetch_position().unwrap();
        let answer = Answer { high_watermark, ..Answer::records(records.clone(), 0) };
        let taken = take(&mut b, &position, &answer).map(|_| b.end());
        assert_eq!(taken.ok(), end, "nothing that is not committed was compacted");
    }
}

#[test]
fn rule_19_a_follower_serves_what_it_knows_to_be_committed() {
    let (mut a, mut b) = committed(3);
    a.append(2);
    round(&mut a, &mut b);
    assert_eq!((b.end(), b.high_watermark()), (5, 3));
    assert_eq!(b.partition.check_reader(0), Ok(()));
    assert_eq!(b.partition.check_leader(0), Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    let read = |b: &mut Node, offset| {
        let read = b.partition.read(offset, 1 << 20, true, Isolation::ReadUncommitted);
        read.map(|range| range.is_some()).map_err(|error| error.code())
    };
    assert_eq!(read(&mut b, 2), Ok(true));
    assert_eq!(read(&mut b, 3), Ok(false), "it waits for more");
    assert_eq!(read(&mut b, 4), Err(ErrorCode::OFFSET_NOT_AVAILABLE));
    assert_eq!(read(&mut b, 99), Err(ErrorCode::OFFSET_NOT_AVAILABLE), "the leader may have it");
    assert_eq!(read(&mut b, -1), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
    b.partition.await_data("consumer");
    b.told();
    round(&mut a, &mut b);
    assert!(matches!(b.told()[..], [Effect::Readable { token: "consumer", bytes }] if bytes > 0));
}

#[test]
fn rule_26_a_follower_fetches_on_only_from_what_it_has_flushed() {
    let mut a = Node::new(A);
    a.assign(two(0, 0));
    a.append(2);
    let mut b = Node::with_config(B, LogConfig { flush_messages: 1, ..LogConfig::default() });
    b.assign(two(0, 0));
    assert_eq!(b.told(), [Effect::Fetchable { token: ITSELF }]);
    round(&mut a, &mut b);
    assert_eq!(b.partition.fetch_position(), None);
    assert_eq!(b.told(), [Effect::FlushWanted { token: ITSELF }]);
    b.flush();
    assert_eq!(b.told(), [Effect::Fetchable { token: ITSELF }]);
    assert_eq!(b.partition.fetch_position().unwrap().fetch_offset, 2);
    round(&mut a, &mut b);
    assert_eq!(a.high_watermark(), 2);
    // When the topic asks for it no more, nothing waits any more.
    a.append(1);
    round(&mut a, &mut b);
    b.told();
    assert_eq!(b.partition.fetch_position(), None);
    b.partition.update_config(NOW, LogConfig::default(), &mut b.effects);
    assert_eq!(b.told(), [Effect::Fetchable { token: ITSELF }]);
}

#[test]
fn rule_29_an_epoch_without_records_is_forgotten_by_who_follows() {
    // A wrote two records in epoch 1 that B lacks. B leads epoch 2 and appends nothing; then A leads again.
    let (mut a, mut b) = committed(4);
    a.assign(two(1, 1));
    a.append(2);
    b.assign(with_isr(record(B, 2, 2), &[A, B]));
    a.assign(two(3, 3));
    b.assign(two(3, 3));
    assert_eq!(b.partition.fetch_position().unwrap().last_fetched_epoch, 0);
    catch_up(&mut a, &mut b);
    assert_eq!(a.batches(), b.batches());
    let epochs = |node: &Node| {
        let log = node.partition.log();
        (0..log.log_end_offset()).map(|offset| log.epoch_for_offset(offset)).collect::<Vec<_>>()
    };
    assert_eq!(epochs(&b), epochs(&a), "each record is of the epoch that it was written in");
}

#[test]
fn a_follower_behind_the_leaders_start_begins_there_anew() {
    let (mut a, mut b) = committed(2);
    a.assign(PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 1), &[A]) });
    a.append(6);
    a.partition.log_mut().set_log_start_offset(5).unwrap();
    let outcome = round(&mut a, &mut b);
    let expected = Truncation { from: 2, to: 5, last_epoch: 0, lost_below: None };
    assert_eq!(outcome, FetchedOutcome::StartedAnew(expected));
    assert_eq!((b.partition.log().log_start_offset(), b.end(), b.high_watermark()), (5, 5, 5));
    catch_up(&mut a, &mut b);
    assert_eq!(b.batches(), [(5, 0), (6, 0), (7, 0)]);
}

#[test]
fn the_high_watermark_stays_in_a_log_that_fails_while_it_begins_anew() {
    let operations = [Operation::Open, Operation::Write, Operation::Remove, Operation::Rename];
    let mut moved = 0;
    for (operation, after) in
        operations.into_iter().flat_map(|operation| (0..4).map(move |after| (operation, after)))
    {
        let (mut a, mut b) = committed(2);
        a.assign(PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 1), &[A]) });
        a.append(6);
        a.partition.log_mut().set_log_start_offset(5).unwrap();
        let position = b.partition.fetch_position().unwrap();
        let answer = Answer { log_start_offset: 5, ..Answer::failed(ErrorCode::OFFSET_OUT_OF_RANGE) };
        b.fail(operation, after);
        let outcome = take(&mut b, &position, &answer);
        let log = b.partition.log();
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        assert!(
            (start..=end).contains(&b.high_watermark()),
            "{operation:?} {after}: {start}..{end}, {}",
            b.high_watermark()
        );
        moved += usize::from(outcome.is_err() && start == 5);
    }
    assert!(moved > 0, "none failed after the log had moved");
}

#[test]
fn an_empty_log_behind_the_leaders_end_gives_way_to_an_unclean_election_only() {
    for unclean_epoch in [None, Some(2)] {
        let mut b = Node::new(B);
        b.assign(PartitionRecord { unclean_epoch, ..two(2, 2) });
        let position = b.partition.fetch_position().unwrap();
        let out_of_range = Answer { log_start_offset: 50, ..Answer::failed(ErrorCode::OFFSET_OUT_OF_RANGE) };
        take(&mut b, &position, &out_of_range).unwrap();
        assert_eq!((b.end(), b.high_watermark()), (50, 50));
        let position = b.partition.fetch_position().unwrap();
        let behind = Answer { log_start_offset: 10, ..out_of_range };
        let outcome = take(&mut b, &position, &behind);
        match unclean_epoch {
            None => assert!(matches!(outcome, Err(FollowError::CommittedLost { .. }))),
            Some(_) => {
                assert_eq!(truncation(&outcome.unwrap()).lost_below, Some((50, 2)));
                assert_eq!((b.partition.log().log_start_offset(), b.end()), (10, 10));
            }
        }
    }
}

#[test]
fn the_log_start_follows_the_leaders_as_far_as_records_are_committed() {
    let (mut a, mut b) = committed(4);
    a.partition.log_mut().set_log_start_offset(3).unwrap();
    round(&mut a, &mut b);
    assert_eq!(b.partition.log().log_start_offset(), 3);
    assert_eq!(b.batches(), [(3, 0)]);
}

#[test]
fn a_divergence_that_is_none_stops_the_follower() {
    let (_, mut b) = committed(4);
    let position = b.partition.fetch_position().unwrap();
    let error = take(&mut b, &position, &Answer::diverging(0, 9)).unwrap_err();
    assert!(matches!(error, FollowError::NoDivergence { .. }) && error.stops(), "{error}");
}

#[test]
fn a_refusal_changes_nothing() {
    let (_, mut b) = committed(4);
    let position = b.partition.fetch_position().unwrap();
    for code in
        [ErrorCode::FENCED_LEADER_EPOCH, ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::STALE_BROKER_EPOCH]
    {
        let outcome = take(&mut b, &position, &Answer::failed(code)).unwrap();
        assert_eq!(outcome, FetchedOutcome::Refused(code));
        assert_eq!(b.partition.fetch_position(), Some(position));
    }
}

#[test]
fn a_follower_whose_log_fails_says_so_and_asks_no_more() {
    let (mut a, mut b) = committed(1);
    a.append(1);
    b.told();
    b.fill_disk();
    let position = b.partition.fetch_position().unwrap();
    let answer = ask(&mut a, &fetch_of(B, &position));
    let error = take(&mut b, &position, &answer).unwrap_err();
    assert!(matches!(error, FollowError::Log(_)), "{error}");
    assert_eq!(b.told(), [Effect::Failed { token: ITSELF }]);
    assert_eq!(b.partition.fetch_position(), None);
}

#[test]
fn who_is_no_replica_any_more_is_idle() {
    let (_, mut b) = committed(1);
    b.assign(PartitionRecord { replicas: vec![1, 3], ..with_isr(record(A, 1, 1), &[A]) });
    assert_eq!(b.partition.role(), RoleKind::Idle);
    assert_eq!(b.partition.fetch_position(), None);
    b.assign(PartitionRecord { leader: None, ..record(A, 2, 2) });
    assert_eq!(b.partition.role(), RoleKind::Idle);
    b.assign(two(3, 3));
    assert_eq!(b.partition.role(), RoleKind::Follower);
}

#[test]
fn rule_17_a_leader_without_a_record_of_its_epoch_reaches_into_it() {
    let (_, mut b) = parted(3, 2);
    b.assign(PartitionRecord { leader: Some(B), ..record(A, 4, 4) });
    assert_eq!(
        b.partition.log_end().last_epoch,
        4,
        "it may commit what it has, and appends nothing for that"
    );
    b.assign(record(A, 5, 5));
    assert_eq!(b.partition.log_end().last_epoch, 4);
    b.restart(B.incarnation + 1, 0);
    b.partition.has_led_in(4);
    let end = b.partition.log_end();
    assert_eq!((end.last_epoch, end.end_offset), (4, 7));
}

#[test]
fn a_follower_is_asked_how_far_its_log_reaches() {
    let (_, b) = parted(3, 2);
    let end = b.partition.log_end();
    assert_eq!((end.last_epoch, end.end_offset), (1, 7));
    let empty = Node::new(C).partition.log_end();
    assert_eq!((empty.last_epoch, empty.end_offset), (-1, 0));
}

#[test]
fn a_follower_that_is_held_fetches_nothing_and_goes_on_where_it_was() {
    let (mut a, mut b) = committed(2);
    a.append(1);
    let asked = b.partition.fetch_position().unwrap();
    let answer = ask(&mut a, &fetch_of(B, &asked));
    b.told();
    b.partition.hold_writes(Some("full".into()), &mut b.effects);
    assert_eq!(b.partition.fetch_position(), None);
    assert_eq!(take(&mut b, &asked, &answer).unwrap(), FetchedOutcome::Ignored, "it was on its way");
    assert_eq!(b.told(), []);
    b.partition.hold_writes(None, &mut b.effects);
    assert_eq!(b.told(), [Effect::Fetchable { token: ITSELF }]);
    catch_up(&mut a, &mut b);
    assert_eq!(b.batches(), a.batches());
}

#[test]
fn a_follower_whose_disk_was_full_goes_on_when_it_has_room() {
    let (mut a, mut b) = committed(2);
    a.append(1);
    b.told();
    b.fill_disk();
    assert!(matches!(
        take_error(&mut a, &mut b),
        FollowError::Log(poisoned) if poisoned.lost_nothing()
    ));
    assert_eq!(b.told(), [Effect::Failed { token: ITSELF }]);
    b.free_disk();
    b.partition.heal(NOW, &mut b.effects).unwrap();
    assert_eq!(b.told(), [Effect::Fetchable { token: ITSELF }]);
    catch_up(&mut a, &mut b);
    assert_eq!(b.batches(), a.batches());
}

fn take_error(a: &mut Node, b: &mut Node) -> FollowError {
    let asked = b.partition.fetch_position().unwrap();
    let answer = ask(a, &fetch_of(B, &asked));
    take(b, &asked, &answer).unwrap_err()
}
