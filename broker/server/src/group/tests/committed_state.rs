//! Nothing is told before it is committed, and what fails is told as Kafka tells it.

use taffrail_protocol::ErrorCode;

use super::harness::{Harness, Log, commit, id, join};
use crate::group::*;

fn by_hand() -> Harness {
    let mut h = Harness::new();
    h.log_mode = Log::ByHand;
    h
}

#[test]
fn a_commit_is_told_and_shown_when_the_high_watermark_has_passed_it() {
    let mut h = by_hand();
    let token = h.commit_offset(-1, "", 7);
    assert!(h.is_parked(token));
    assert_eq!(h.offsets("g"), []);
    assert!(h.list().is_empty(), "the group is not in the log yet");
    h.append_next();
    assert!(h.is_parked(token), "appended is not committed");
    assert_eq!(h.offsets("g"), []);
    h.commit();
    assert_eq!(h.committed(token), ErrorCode::NONE);
    assert_eq!(h.offsets("g"), [(id("t"), 0, 7)]);
    assert_eq!(h.list(), [id("g")]);
}

#[test]
fn a_high_watermark_that_comes_before_the_write_is_confirmed_counts() {
    let mut h = by_hand();
    let token = h.commit_offset(-1, "", 7);
    h.feed(Input::Committed { high_watermark: 1 });
    assert!(h.is_parked(token));
    let (write_id, _) = h.waiting.remove(0);
    h.feed(Input::Written { write_id, result: Ok(0) });
    assert_eq!(h.committed(token), ErrorCode::NONE);
}

#[test]
fn a_reader_of_stable_offsets_waits_for_the_commits_before_it() {
    let mut h = by_hand();
    let commit = h.commit_offset(-1, "", 7);
    let groups = vec![FetchGroup { group_id: id("g"), topics: None }];
    let fetch = h.ask(GroupRequest::OffsetFetch(OffsetFetchRequest { groups, require_stable: true }));
    let later = h.commit_offset(-1, "", 8);
    assert!(h.is_parked(fetch));
    h.append_next();
    h.commit();
    assert_eq!(h.committed(commit), ErrorCode::NONE);
    let GroupResponse::OffsetFetch(response) = h.take(fetch) else { panic!() };
    assert_eq!(response.groups[0].topics[0].partitions[0].offset, 7);
    assert!(h.is_parked(later));
}

#[test]
fn an_assignment_is_handed_out_when_it_is_committed() {
    let mut h = by_hand();
    let token = h.join_new();
    let member = h.joined(token).member_id;
    let token = h.sync(1, &member, &[(&member, b"all")]);
    h.append_next();
    h.append_next();
    assert!(h.is_parked(token));
    assert!(h.list().is_empty());
    h.commit();
    assert_eq!(*h.synced(token).assignment, *b"all");
    assert_eq!(h.list(), [id("g")]);
}

#[test]
fn a_leader_that_asks_again_while_its_assignment_is_written_writes_it_once() {
    let mut h = by_hand();
    let token = h.join_new();
    let member = h.joined(token).member_id;
    let first = h.sync(1, &member, &[(&member, b"all")]);
    let second = h.sync(1, &member, &[(&member, b"all")]);
    assert_eq!(h.synced(first).error, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(h.waiting.len(), 2, "the group and one assignment");
    h.commit_all();
    assert_eq!(*h.synced(second).assignment, *b"all");
}

#[test]
fn append_errors_are_told_as_kafka_tells_them() {
    for (append_error, told) in [
        (ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (ErrorCode::REQUEST_TIMED_OUT, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::NOT_COORDINATOR),
        (ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NOT_COORDINATOR),
        (ErrorCode::MESSAGE_TOO_LARGE, ErrorCode::UNKNOWN_SERVER_ERROR),
    ] {
        let mut h = by_hand();
        let token = h.commit_offset(-1, "", 7);
        h.fail_next(append_error);
        assert_eq!(h.committed(token), told);
        assert_eq!(h.offsets("g"), []);
        assert_eq!(h.shard.stats(), GroupStats::default(), "the group that never was is gone");
    }
}

#[test]
fn an_assignment_that_could_not_be_written_is_refused_and_the_members_rejoin() {
    let mut h = by_hand();
    let token = h.join_new();
    let member = h.joined(token).member_id;
    h.commit_all();
    let token = h.sync(1, &member, &[(&member, b"all")]);
    h.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(h.synced(token).error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(h.heartbeat(1, &member), ErrorCode::REBALANCE_IN_PROGRESS);
    let token = h.join(join(&member, "range", b"sub"));
    assert_eq!(h.joined(token).generation_id, 2);
}

#[test]
fn a_new_group_that_could_not_be_written_never_was() {
    let mut h = Harness::with(GroupConfig::default());
    h.log_mode = Log::ByHand;
    let parked = h.join_new();
    h.fail_next(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(h.joined(parked).error, ErrorCode::NOT_COORDINATOR);
    let asked = h.join(JoinGroupRequest { require_known_member_id: true, ..join("", "range", b"sub") });
    assert!(h.is_parked(asked));
    h.fail_next(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(h.joined(asked).error, ErrorCode::NOT_COORDINATOR);
    assert_eq!(h.shard.stats(), GroupStats::default());
    h.advance(3_600_000 - 1_000_000);
    assert!(h.waiting.is_empty());
}

#[test]
fn a_write_that_takes_too_long_is_given_up_by_its_client_but_not_by_the_group() {
    let mut h = by_hand();
    let token = h.commit_offset(-1, "", 7);
    h.append_next();
    h.advance(4_999);
    assert!(h.is_parked(token));
    h.advance(1);
    assert_eq!(h.committed(token), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(h.offsets("g"), []);
    h.commit();
    assert_eq!(h.offsets("g"), [(id("t"), 0, 7)], "it is in the log after all");
}

#[test]
fn a_deletion_that_could_not_be_written_leaves_the_group() {
    let mut h = Harness::new();
    let token = h.commit_offset(-1, "", 7);
    assert_eq!(h.committed(token), ErrorCode::NONE);
    h.log_mode = Log::ByHand;
    let token = h.delete(&["g", "nobody"]);
    assert_eq!(h.list(), [id("g")], "it is there until its tombstone is committed");
    assert_eq!(h.describe("g").state, GroupState::Empty);
    h.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(h.deleted(token), [ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::GROUP_ID_NOT_FOUND]);
    assert_eq!(h.list(), [id("g")]);
    assert_eq!(h.offsets("g").len(), 1);
    h.log_mode = Log::Immediate;
    let token = h.delete(&["g"]);
    assert_eq!(h.deleted(token), [ErrorCode::NONE]);
}

#[test]
fn leaving_as_the_last_member_is_told_when_it_is_committed() {
    let mut h = Harness::new();
    let member = h.stable_group();
    h.log_mode = Log::ByHand;
    let token = h.leave(&[(&member, None)]);
    assert!(h.is_parked(token));
    h.append_next();
    h.commit();
    assert_eq!(h.left(token).members[0].error, ErrorCode::NONE);
}

#[test]
fn more_than_the_bound_is_not_taken_on_while_nothing_is_committed() {
    let mut h = Harness::with(GroupConfig { max_uncommitted_bytes: 1_000, ..GroupConfig::default() });
    h.log_mode = Log::ByHand;
    let tokens: Vec<_> = (0..20).map(|n| h.commit_offset(-1, "", n)).collect();
    let refused = tokens.iter().filter(|token| !h.is_parked(**token)).count();
    assert!(refused > 5, "{refused}");
    assert_eq!(h.waiting.len(), 20 - refused);
    assert_eq!(h.committed(*tokens.last().unwrap()), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    h.commit_all();
    let token = h.commit_offset(-1, "", 30);
    assert!(h.is_parked(token), "there is room again");
}

#[test]
fn nothing_is_served_until_all_that_was_read_is_committed() {
    let mut h = Harness::new();
    let token = h.commit_offset(-1, "", 7);
    assert_eq!(h.committed(token), ErrorCode::NONE);
    let mut fresh = Harness::loading(GroupConfig::default());
    for (_, batch) in &h.log {
        fresh.feed(Input::Load { batches: batch.clone() });
    }
    fresh.feed(Input::Committed { high_watermark: 0 });
    for loaded in [false, true] {
        if loaded {
            fresh.feed(Input::Loaded { log_end_offset: 1 });
        }
        let token = fresh.ask(GroupRequest::OffsetCommit(commit("g", -1, "", &[("t", 0, 9)])));
        assert_eq!(fresh.committed(token), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        assert_eq!(fresh.heartbeat(1, "member"), ErrorCode::NONE, "no reason to rejoin");
    }
    fresh.feed(Input::Committed { high_watermark: 1 });
    assert_eq!(fresh.offsets("g"), [(id("t"), 0, 7)]);
}

#[test]
fn a_group_whose_first_record_failed_lives_on_by_the_commit_behind_it() {
    let mut h = by_hand();
    let asked = h.join(JoinGroupRequest { require_known_member_id: true, ..join("", "range", b"sub") });
    let token = h.commit_offset(-1, "", 7);
    h.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(h.joined(asked).error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    h.commit_all();
    assert_eq!(h.committed(token), ErrorCode::NONE);
    assert_eq!(h.list(), [id("g")], "or nothing would ever expire its offset");
}

#[test]
fn a_group_that_became_committed_while_its_deletion_failed_is_shown() {
    let mut h = by_hand();
    h.commit_offset(-1, "", 7);
    h.append_next();
    h.delete(&["g"]);
    h.commit();
    assert_eq!(h.list(), [id("g")]);
    h.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(h.list(), [id("g")]);
}

#[test]
fn a_failed_deletion_and_a_failed_commit_behind_it_leave_the_group_as_it_was() {
    let mut h = Harness::new();
    h.commit_offset(-1, "", 7);
    h.log_mode = Log::ByHand;
    h.delete(&["g"]);
    h.commit_offset(-1, "", 8);
    h.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
    h.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(h.list(), [id("g")]);
    assert_eq!(h.offsets("g"), [(id("t"), 0, 7)]);
}
