//! Committing, fetching and losing offsets; deleting groups.

use taffrail_protocol::ErrorCode;

use super::harness::{Harness, Log, commit, id, join};
use crate::group::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn ask_commit(h: &mut Harness, request: OffsetCommitRequest) -> ErrorCode {
    let token = h.ask(GroupRequest::OffsetCommit(request));
    h.committed(token)
}

#[test]
fn a_consumer_without_group_management_commits_and_finds_its_offsets() {
    let mut h = Harness::new();
    assert_eq!(ask_commit(&mut h, commit("solo", -1, "", &[("t", 0, 7), ("u", 3, 9)])), ErrorCode::NONE);
    assert_eq!(h.offsets("solo"), [(id("t"), 0, 7), (id("u"), 3, 9)]);
    let group = h.describe("solo");
    assert_eq!((group.state, &*group.protocol_type), (GroupState::Empty, ""));
    let topics = Some(vec![FetchTopic { topic: id("t"), partitions: vec![0, 1] }]);
    let request = OffsetFetchRequest {
        groups: vec![
            FetchGroup { group_id: id("solo"), topics: topics.clone() },
            FetchGroup { group_id: id("nobody"), topics },
        ],
        require_stable: true,
    };
    let token = h.ask(GroupRequest::OffsetFetch(request));
    let GroupResponse::OffsetFetch(response) = h.take(token) else { panic!() };
    let partitions = &response.groups[0].topics[0].partitions;
    assert_eq!((partitions[0].offset, partitions[0].leader_epoch, &*partitions[0].metadata), (7, 0, "note"));
    assert_eq!((partitions[1].offset, partitions[1].leader_epoch, &*partitions[1].metadata), (-1, -1, ""));
    assert_eq!(response.groups[1].topics[0].partitions[0].offset, -1);
    assert_eq!(response.groups[1].error, ErrorCode::NONE);
}

#[test]
fn a_commit_is_accepted_from_members_of_the_generation_only() {
    let mut h = Harness::new();
    assert_eq!(ask_commit(&mut h, commit("g", 3, "who", &[("t", 0, 1)])), ErrorCode::GROUP_ID_NOT_FOUND);
    let mut old = commit("g", 3, "who", &[("t", 0, 1)]);
    old.reports_missing_group = false;
    assert_eq!(ask_commit(&mut h, old), ErrorCode::ILLEGAL_GENERATION);
    let member = h.stable_group();
    assert_eq!(ask_commit(&mut h, commit("g", 1, &member, &[("t", 0, 1)])), ErrorCode::NONE);
    assert_eq!(ask_commit(&mut h, commit("g", 2, &member, &[("t", 0, 1)])), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(ask_commit(&mut h, commit("g", 1, "who", &[("t", 0, 1)])), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(ask_commit(&mut h, commit("g", -1, "", &[("t", 0, 1)])), ErrorCode::UNKNOWN_MEMBER_ID);
    // While the others join, what was consumed in the last generation may still be committed; once joined, not.
    let other = h.join_new();
    assert_eq!(ask_commit(&mut h, commit("g", 1, &member, &[("t", 0, 2)])), ErrorCode::NONE);
    let again = h.join(join(&member, "range", b"sub"));
    h.joined(other);
    h.joined(again);
    assert_eq!(ask_commit(&mut h, commit("g", 2, &member, &[("t", 0, 3)])), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(h.offsets("g"), [(id("t"), 0, 2)]);
}

#[test]
fn a_commit_counts_as_a_heartbeat() {
    let mut h = Harness::new();
    let member = h.stable_group();
    h.advance(9_000);
    assert_eq!(ask_commit(&mut h, commit("g", 1, &member, &[("t", 0, 1)])), ErrorCode::NONE);
    h.advance(9_000);
    assert_eq!(h.heartbeat(1, &member), ErrorCode::NONE);
}

#[test]
fn metadata_that_is_too_long_fails_its_partition_only() {
    let mut h = Harness::with(GroupConfig { offset_metadata_max_bytes: 4, ..GroupConfig::default() });
    let mut request = commit("solo", -1, "", &[("t", 0, 7), ("t", 1, 8), ("t", 2, 9)]);
    request.topics[0].partitions[0].metadata = Some(id("12345"));
    // Four UTF-16 units in twelve bytes.
    request.topics[1].partitions[0].metadata = Some(id("\u{20ac}\u{20ac}\u{20ac}\u{20ac}"));
    request.topics[2].partitions[0].metadata = None;
    let token = h.ask(GroupRequest::OffsetCommit(request));
    let GroupResponse::OffsetCommit(response) = h.take(token) else { panic!() };
    let errors: Vec<_> = response.topics.iter().map(|topic| topic.partitions[0].1).collect();
    assert_eq!(errors, [ErrorCode::OFFSET_METADATA_TOO_LARGE, ErrorCode::NONE, ErrorCode::NONE]);
    assert_eq!(h.offsets("solo"), [(id("t"), 1, 8), (id("t"), 2, 9)]);
}

#[test]
fn a_group_is_deleted_with_its_offsets_but_not_with_members() {
    let mut h = Harness::new();
    ask_commit(&mut h, commit("solo", -1, "", &[("t", 0, 7)]));
    let member = h.stable_group();
    let token = h.delete(&["g", "solo", "nobody"]);
    let errors = h.deleted(token);
    assert_eq!(errors, [ErrorCode::NON_EMPTY_GROUP, ErrorCode::NONE, ErrorCode::GROUP_ID_NOT_FOUND]);
    assert_eq!(h.offsets("solo"), []);
    assert_eq!(h.describe("solo").error, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(h.written()[3..], ["solo t-0 gone", "solo gone"]);
    let token = h.leave(&[(&member, None)]);
    h.left(token);
    let token = h.delete(&["g"]);
    assert_eq!(h.deleted(token), [ErrorCode::NONE]);
    assert!(h.list().is_empty());
}

#[test]
fn deleting_takes_commits_with_it_that_are_still_on_their_way() {
    let mut h = Harness::new();
    h.log_mode = Log::ByHand;
    let first = h.commit_offset(-1, "", 1);
    let delete = h.delete(&["g"]);
    let second = h.ask(GroupRequest::OffsetCommit(commit("g", -1, "", &[("u", 0, 2)])));
    h.commit_all();
    assert_eq!(h.committed(first), ErrorCode::NONE);
    assert_eq!(h.deleted(delete), [ErrorCode::NONE]);
    assert_eq!(h.committed(second), ErrorCode::NONE);
    assert_eq!(h.offsets("g"), [(id("u"), 0, 2)], "the later commit began a new group");
    let mut fresh = h.reload(GroupConfig::default());
    assert_eq!(fresh.offsets("g"), [(id("u"), 0, 2)]);
    assert_eq!(fresh.list(), h.list());
}

#[test]
fn offsets_of_a_lone_consumer_expire_after_their_commit_and_take_the_group_along() {
    let mut h = Harness::new();
    ask_commit(&mut h, commit("solo", -1, "", &[("t", 0, 7)]));
    h.advance(4 * DAY_MS);
    ask_commit(&mut h, commit("solo", -1, "", &[("u", 0, 8)]));
    h.advance(3 * DAY_MS);
    assert_eq!(h.offsets("solo"), [(id("u"), 0, 8)]);
    h.advance(4 * DAY_MS + 600_000);
    assert_eq!(h.offsets("solo"), []);
    assert!(h.list().is_empty());
    assert_eq!(h.written()[2..], ["solo t-0 gone", "solo u-0 gone", "solo gone"]);
}

#[test]
fn offsets_of_an_empty_group_live_on_from_when_its_last_member_left() {
    let mut h = Harness::new();
    let member = h.stable_group();
    ask_commit(&mut h, commit("g", 1, &member, &[("t", 0, 7)]));
    for _ in 0..(10 * DAY_MS / 9_000) {
        h.now_ms += 9_000;
        h.heartbeat(1, &member);
    }
    assert_eq!(h.offsets("g").len(), 1, "it cannot be told what the member subscribes to");
    let token = h.leave(&[(&member, None)]);
    h.left(token);
    h.advance(6 * DAY_MS);
    assert_eq!(h.offsets("g").len(), 1);
    h.advance(DAY_MS + 600_000);
    assert_eq!(h.offsets("g"), []);
    assert!(h.list().is_empty());
}

#[test]
fn a_working_consumer_loses_the_offsets_of_topics_it_no_longer_reads() {
    let mut h = Harness::new();
    let subscription = [0, 1, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
    let mut request = join("", "range", &subscription);
    request.session_timeout_ms = 1_800_000;
    let token = h.join(request);
    let member = h.joined(token).member_id;
    let token = h.sync(1, &member, &[(&member, b"all")]);
    h.synced(token);
    ask_commit(&mut h, commit("g", 1, &member, &[("t", 0, 7), ("old", 0, 8)]));
    for _ in 0..(8 * DAY_MS / 1_000_000) {
        h.advance(1_000_000);
        h.heartbeat(1, &member);
    }
    assert_eq!(h.offsets("g"), [(id("t"), 0, 7)]);
}

#[test]
fn an_offset_with_its_own_expiry_keeps_it() {
    let mut h = Harness::new();
    let mut request = commit("solo", -1, "", &[("t", 0, 7)]);
    request.retention_time_ms = Some(30 * DAY_MS);
    ask_commit(&mut h, request);
    h.advance(29 * DAY_MS);
    let mut fresh = h.reload(GroupConfig::default());
    assert_eq!(fresh.offsets("solo").len(), 1);
    fresh.advance(DAY_MS + 600_000);
    assert_eq!(fresh.offsets("solo"), []);
}

#[test]
fn expiry_is_cut_into_batches_and_waits_for_its_last_round() {
    let config = GroupConfig { max_tombstone_batch_bytes: 200, ..GroupConfig::default() };
    let mut h = Harness::with(config);
    for n in 0..20 {
        ask_commit(&mut h, commit(&format!("solo-{n:02}"), -1, "", &[("t", 0, 7)]));
    }
    h.log_mode = Log::ByHand;
    h.advance(8 * DAY_MS);
    let asked = h.waiting.len();
    assert!(asked > 5, "{asked}");
    h.advance(DAY_MS);
    assert_eq!(h.waiting.len(), asked, "nothing is written twice");
    assert_eq!(h.list().len(), 20, "nothing is gone before it is committed");
    h.commit_all();
    assert!(h.list().is_empty());
    assert_eq!(h.shard.stats(), GroupStats::default());
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut h = Harness::new();
    ask_commit(&mut h, commit("solo", -1, "", &[("t", 0, 7)]));
    h.stable_group();
    let mut list = |states: &[&str], types: &[&str]| {
        let ids = |names: &[&str]| names.iter().map(|name| id(name)).collect();
        let request = ListGroupsRequest { states: ids(states), types: ids(types) };
        let token = h.ask(GroupRequest::ListGroups(request));
        let GroupResponse::ListGroups(response) = h.take(token) else { panic!() };
        response.groups.iter().map(|group| group.group_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(&[], &[]), ["g", "solo"]);
    assert_eq!(list(&["sTable"], &[]), ["g"]);
    assert_eq!(list(&["Empty", "Dead"], &["Classic"]), ["solo"]);
    assert!(list(&[], &["consumer"]).is_empty());
}
