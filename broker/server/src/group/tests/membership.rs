//! Dynamic members: joining, syncing, leaving, falling silent.

use taffrail_protocol::ErrorCode;

use super::harness::{Harness, Log, id, join, sync};
use crate::group::*;

#[test]
fn one_member_becomes_a_stable_group() {
    let mut h = Harness::new();
    let token = h.join_new();
    let member = h.joined(token);
    assert_eq!(member.error, ErrorCode::NONE);
    assert_eq!(member.generation_id, 1);
    assert_eq!(member.leader, member.member_id);
    assert_eq!(member.protocol_type, Some(id("consumer")));
    assert_eq!(member.protocol_name, Some(id("range")));
    assert_eq!(member.members.len(), 1);
    assert!(member.member_id.starts_with("client-00000000-0000-4000-8000-"), "{}", member.member_id);
    let token = h.sync(1, &member.member_id, &[(&member.member_id, b"all")]);
    let synced = h.synced(token);
    assert_eq!((synced.error, &*synced.assignment), (ErrorCode::NONE, &b"all"[..]));
    assert_eq!(h.heartbeat(1, &member.member_id), ErrorCode::NONE);
    assert_eq!(h.written(), ["g generation 0 of 0", "g generation 1 of 1"]);
    assert_eq!(h.describe("g").state, GroupState::Stable);
}

#[test]
fn a_new_member_of_version_four_is_first_given_an_id() {
    let mut h = Harness::new();
    let mut request = join("", "range", b"sub");
    request.require_known_member_id = true;
    let token = h.join(request.clone());
    let refused = h.joined(token);
    assert_eq!(refused.error, ErrorCode::MEMBER_ID_REQUIRED);
    request.member_id = refused.member_id.clone();
    let token = h.join(request);
    let joined = h.joined(token);
    assert_eq!((joined.error, &joined.member_id), (ErrorCode::NONE, &refused.member_id));
}

#[test]
fn an_id_that_is_not_used_in_time_is_forgotten() {
    let mut h = Harness::new();
    let mut request = join("", "range", b"sub");
    request.require_known_member_id = true;
    let token = h.join(request.clone());
    request.member_id = h.joined(token).member_id;
    h.advance(10_000);
    let token = h.join(request);
    assert_eq!(h.joined(token).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_pending_id_holds_a_rebalance_back_until_it_joins_or_expires() {
    let mut h = Harness::new();
    let first = h.stable_group();
    let mut request = join("", "range", b"sub");
    request.require_known_member_id = true;
    let token = h.join(request);
    assert_eq!(h.joined(token).error, ErrorCode::MEMBER_ID_REQUIRED);
    let leader = h.join(join(&first, "range", b"changed"));
    assert!(h.is_parked(leader));
    h.advance(10_000);
    assert_eq!(h.joined(leader).generation_id, 2);
}

#[test]
fn the_leader_learns_of_all_and_each_gets_its_part() {
    let mut h = Harness::new();
    let (leader, follower) = h.stable_pair();
    assert_eq!(h.heartbeat(2, &leader), ErrorCode::NONE);
    assert_eq!(h.heartbeat(2, &follower), ErrorCode::NONE);
    assert_eq!(h.heartbeat(1, &follower), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(h.heartbeat(2, "stranger"), ErrorCode::UNKNOWN_MEMBER_ID);
    let group = h.describe("g");
    assert_eq!(group.members.len(), 2);
    assert_eq!((&*group.protocol_type, &*group.protocol_data), ("consumer", "range"));
    assert_eq!(*group.members[0].metadata, *b"sub");
}

#[test]
fn heartbeats_say_that_a_rebalance_began() {
    let mut h = Harness::new();
    let first = h.stable_group();
    let second = h.join_new();
    assert!(h.is_parked(second));
    assert_eq!(h.heartbeat(1, &first), ErrorCode::REBALANCE_IN_PROGRESS);
    let token = h.sync(1, &first, &[]);
    assert_eq!(h.synced(token).error, ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_member_that_does_not_rejoin_is_left_behind() {
    let mut h = Harness::new();
    let first = h.stable_group();
    let second = h.join_new();
    for _ in 0..4 {
        h.advance(7_000);
        h.heartbeat(1, &first);
    }
    h.advance(2_000);
    let joined = h.joined(second);
    assert_eq!(joined.generation_id, 2);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.members.len(), 1);
    assert_eq!(h.heartbeat(1, &first), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_silent_member_is_taken_out_and_the_others_rebalance() {
    let mut h = Harness::new();
    let (leader, follower) = h.stable_pair();
    h.advance(9_000);
    assert_eq!(h.heartbeat(2, &leader), ErrorCode::NONE);
    h.advance(2_000);
    assert_eq!(h.heartbeat(2, &leader), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(h.heartbeat(2, &follower), ErrorCode::UNKNOWN_MEMBER_ID);
    let token = h.join(join(&leader, "range", b"sub"));
    assert_eq!(h.joined(token).generation_id, 3);
}

#[test]
fn whoever_does_not_sync_in_time_is_out() {
    let mut h = Harness::new();
    let first = h.stable_group();
    let second = h.join_new();
    let again = h.join(join(&first, "range", b"sub"));
    let follower = h.joined(second);
    assert_eq!(h.joined(again).leader, first);
    let waiting = h.sync(2, &follower.member_id, &[]);
    for _ in 0..4 {
        h.advance(7_400);
        h.heartbeat(2, &first);
    }
    assert!(h.is_parked(waiting));
    h.advance(400);
    assert_eq!(h.synced(waiting).error, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(h.heartbeat(2, &first), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_new_group_waits_for_more_members_up_to_the_rebalance_timeout() {
    let mut h = Harness::with(GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() });
    let mut request = join("", "range", b"sub");
    request.rebalance_timeout_ms = 7_000;
    request.session_timeout_ms = 20_000;
    let first = h.join(request.clone());
    h.advance(2_900);
    let second = h.join(request.clone());
    h.advance(200);
    assert!(h.is_parked(first));
    h.advance(2_700);
    let third = h.join(request);
    // 3 s and 3 s are spent; of the timeout 1 s is left.
    h.advance(1_100);
    assert!(h.is_parked(first));
    h.advance(100);
    for token in [first, second, third] {
        assert_eq!(h.joined(token).generation_id, 1);
    }
}

#[test]
fn a_new_group_of_one_starts_after_the_delay() {
    let mut h = Harness::with(GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() });
    let token = h.join_new();
    h.advance(2_999);
    assert!(h.is_parked(token));
    h.advance(1);
    assert_eq!(h.joined(token).generation_id, 1);
}

#[test]
fn leaving_frees_the_group_at_once_and_the_last_empties_it() {
    let mut h = Harness::new();
    let (leader, follower) = h.stable_pair();
    let token = h.leave(&[(&follower, None), ("stranger", None)]);
    let errors: Vec<_> = h.left(token).members.iter().map(|member| member.error).collect();
    assert_eq!(errors, [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID]);
    assert_eq!(h.heartbeat(2, &leader), ErrorCode::REBALANCE_IN_PROGRESS);
    let token = h.leave(&[(&leader, None)]);
    assert_eq!(h.left(token).error, ErrorCode::NONE);
    assert_eq!(h.describe("g").state, GroupState::Empty);
    assert_eq!(h.written().last().unwrap(), "g generation 3 of 0");
    assert_eq!(h.heartbeat(2, &leader), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_parked_member_that_is_taken_out_is_answered() {
    let mut h = Harness::new();
    let first = h.stable_group();
    let second = h.join_new();
    let again = h.join(join(&first, "range", b"sub"));
    let follower = h.joined(second).member_id;
    h.joined(again);
    let waiting = h.sync(2, &follower, &[]);
    let token = h.leave(&[(&follower, None)]);
    assert_eq!(h.left(token).members[0].error, ErrorCode::NONE);
    assert_eq!(h.synced(waiting).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn the_protocol_is_the_one_that_all_have_and_most_prefer() {
    let mut h = Harness::with(GroupConfig { initial_rebalance_delay_ms: 1_000, ..GroupConfig::default() });
    let with = |names: &[&str]| {
        let mut request = join("", "range", b"sub");
        request.protocols =
            names.iter().map(|name| Protocol { name: id(name), metadata: name.as_bytes().into() }).collect();
        request
    };
    let tokens = [
        h.join(with(&["only-here", "range", "sticky", "range"])),
        h.join(with(&["sticky", "range"])),
        h.join(with(&["sticky", "range"])),
    ];
    let refused = h.join(with(&["other"]));
    assert_eq!(h.joined(refused).error, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let mut connect = with(&["sticky"]);
    connect.protocol_type = id("connect");
    let refused = h.join(connect);
    assert_eq!(h.joined(refused).error, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    h.advance(30_000);
    for token in tokens {
        let joined = h.joined(token);
        assert_eq!(joined.protocol_name, Some(id("sticky")));
        assert!(joined.members.iter().all(|member| *member.metadata == *b"sticky"));
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut h = Harness::new();
    let mut cases = Vec::new();
    let base = || join("", "range", b"sub");
    cases.push((JoinGroupRequest { group_id: id(""), ..base() }, ErrorCode::INVALID_GROUP_ID));
    cases
        .push((JoinGroupRequest { session_timeout_ms: 5_999, ..base() }, ErrorCode::INVALID_SESSION_TIMEOUT));
    cases.push((
        JoinGroupRequest { session_timeout_ms: 1_800_001, ..base() },
        ErrorCode::INVALID_SESSION_TIMEOUT,
    ));
    cases.push((JoinGroupRequest { member_id: id("who"), ..base() }, ErrorCode::UNKNOWN_MEMBER_ID));
    cases
        .push((JoinGroupRequest { protocols: Vec::new(), ..base() }, ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    cases
        .push((JoinGroupRequest { protocol_type: id(""), ..base() }, ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    let long = "x".repeat(40_000);
    cases.push((JoinGroupRequest { protocol_type: id(&long), ..base() }, ErrorCode::INVALID_REQUEST));
    for (request, error) in cases {
        let token = h.join(request);
        assert_eq!(h.joined(token).error, error);
    }
    assert!(h.written().is_empty(), "no group comes of a refused request");
    let token = h.sync(1, "who", &[]);
    assert_eq!(h.synced(token).error, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(h.heartbeat(1, "who"), ErrorCode::UNKNOWN_MEMBER_ID);
    let token = h.leave(&[("who", None)]);
    assert_eq!(h.left(token).members[0].error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_sync_of_another_generation_or_protocol_is_refused() {
    let mut h = Harness::new();
    let member = h.stable_group();
    let token = h.sync(0, &member, &[]);
    assert_eq!(h.synced(token).error, ErrorCode::ILLEGAL_GENERATION);
    for (protocol_type, protocol_name) in [(Some("connect"), None), (None, Some("sticky"))] {
        let request = SyncGroupRequest {
            protocol_type: protocol_type.map(id),
            protocol_name: protocol_name.map(id),
            ..sync(1, &member, &[])
        };
        let token = h.ask(GroupRequest::SyncGroup(request));
        assert_eq!(h.synced(token).error, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    let token = h.sync(1, &member, &[]);
    assert_eq!(*h.synced(token).assignment, *b"all", "a stable group gives the assignment again");
}

#[test]
fn a_full_group_takes_nobody_else() {
    let config = GroupConfig { initial_rebalance_delay_ms: 0, max_size: 2, ..GroupConfig::default() };
    let mut h = Harness::with(config);
    let (leader, follower) = h.stable_pair();
    let token = h.join_new();
    assert_eq!(h.joined(token).error, ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(h.heartbeat(2, &leader), ErrorCode::NONE);
    assert_eq!(h.heartbeat(2, &follower), ErrorCode::NONE);
}

#[test]
fn a_second_join_of_the_same_member_replaces_the_first() {
    let mut h = Harness::new();
    let (leader, follower) = h.stable_pair();
    let first = h.join(join(&leader, "range", b"sub"));
    let second = h.join(join(&leader, "range", b"sub"));
    assert_eq!(h.joined(first).error, ErrorCode::REBALANCE_IN_PROGRESS);
    let other = h.join(join(&follower, "range", b"sub"));
    assert_eq!(h.joined(second).generation_id, 3);
    assert_eq!(h.joined(other).generation_id, 3);
}

#[test]
fn a_follower_that_rejoins_unchanged_is_told_of_the_generation_it_is_in() {
    let mut h = Harness::new();
    let (leader, follower) = h.stable_pair();
    let token = h.join(join(&follower, "range", b"sub"));
    let joined = h.joined(token);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 0));
    assert_eq!(h.heartbeat(2, &leader), ErrorCode::NONE);
    let token = h.join(join(&follower, "range", b"other topics"));
    assert!(h.is_parked(token));
    assert_eq!(h.heartbeat(2, &leader), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn cooperative_members_rebalance_twice_and_keep_what_they_hold() {
    let mut h = Harness::new();
    let first = {
        let token = h.join(join("", "cooperative-sticky", b"t owns nothing"));
        let first = h.joined(token).member_id;
        let token = h.sync(1, &first, &[(&first, b"0 1")]);
        h.synced(token);
        first
    };
    // The second member arrives; the first still owns both partitions and is told to give one up.
    let second = h.join(join("", "cooperative-sticky", b"t owns nothing"));
    let again = h.join(join(&first, "cooperative-sticky", b"t owns 0 1"));
    let led = h.joined(again);
    let owned: Vec<_> = led.members.iter().map(|member| member.metadata.to_vec()).collect();
    assert!(owned.contains(&b"t owns 0 1".to_vec()) && owned.contains(&b"t owns nothing".to_vec()));
    let second = h.joined(second).member_id;
    let waiting = h.sync(2, &second, &[]);
    let token = h.sync(2, &first, &[(&first, b"0"), (&second, b"")]);
    assert_eq!(*h.synced(token).assignment, *b"0");
    assert_eq!(*h.synced(waiting).assignment, *b"");
    // Having revoked it, the first joins again, and only now the second gets it.
    let again = h.join(join(&first, "cooperative-sticky", b"t owns 0"));
    assert_eq!(h.heartbeat(2, &second), ErrorCode::REBALANCE_IN_PROGRESS);
    let other = h.join(join(&second, "cooperative-sticky", b"t owns nothing"));
    assert_eq!(h.joined(again).generation_id, 3);
    assert_eq!(h.joined(other).generation_id, 3);
    let waiting = h.sync(3, &second, &[]);
    let token = h.sync(3, &first, &[(&first, b"0"), (&second, b"1")]);
    assert_eq!(*h.synced(token).assignment, *b"0");
    assert_eq!(*h.synced(waiting).assignment, *b"1");
}

#[test]
fn a_new_member_whose_client_went_away_while_parked_is_dropped_after_five_minutes() {
    let mut h = Harness::with(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() });
    let mut request = join("", "range", b"sub");
    request.rebalance_timeout_ms = 3_600_000;
    request.session_timeout_ms = 1_800_000;
    let token = h.join(request.clone());
    let first = h.joined(token).member_id;
    let token = h.sync(1, &first, &[]);
    h.synced(token);
    let parked = h.join(request);
    h.advance(299_999);
    assert!(h.is_parked(parked));
    h.advance(1);
    assert_eq!(h.joined(parked).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn losing_the_partition_answers_everything_parked() {
    let mut h = Harness::new();
    h.log_mode = Log::ByHand;
    let new_group = h.join(JoinGroupRequest { require_known_member_id: true, ..join("", "range", b"sub") });
    let commit = h.commit_offset(-1, "", 5);
    let other =
        h.join(JoinGroupRequest { group_id: id("h"), rebalance_timeout_ms: 5, ..join("", "range", b"s") });
    let member = h.joined(other).member_id;
    let syncing = h.ask(GroupRequest::SyncGroup(SyncGroupRequest {
        group_id: id("h"),
        ..sync(1, &member, &[(&member, b"all")])
    }));
    h.feed(Input::Unload);
    assert_eq!(h.joined(new_group).error, ErrorCode::NOT_COORDINATOR);
    assert_eq!(h.committed(commit), ErrorCode::NOT_COORDINATOR);
    assert_eq!(h.synced(syncing).error, ErrorCode::NOT_COORDINATOR);
    let late = h.join_new();
    assert_eq!(h.joined(late).error, ErrorCode::NOT_COORDINATOR);
    assert_eq!(h.shard.next_deadline(), None);
}
