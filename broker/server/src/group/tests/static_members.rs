//! Static members (KIP-345, KIP-814).

use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::harness::{Harness, Log, join_static, sync};
use crate::group::*;

/// A stable group of two static members, `a` leading, in generation 2.
fn static_pair(h: &mut Harness) -> (Arc<str>, Arc<str>) {
    let token = h.join(join_static("a", ""));
    let a = h.joined(token).member_id;
    assert!(a.starts_with("a-"));
    let token = h.sync(1, &a, &[(&a, b"all")]);
    h.synced(token);
    let second = h.join(join_static("b", ""));
    let again = h.join(join_static("a", &a));
    let b = h.joined(second).member_id;
    assert_eq!(h.joined(again).leader, a);
    let waiting = h.sync(2, &b, &[]);
    let token = h.sync(2, &a, &[(&a, b"left"), (&b, b"right")]);
    h.synced(token);
    h.synced(waiting);
    (a, b)
}

#[test]
fn a_follower_that_restarts_takes_its_place_without_a_rebalance() {
    let mut h = Harness::new();
    let (a, b) = static_pair(&mut h);
    let token = h.join(join_static("b", ""));
    let joined = h.joined(token);
    assert_eq!((joined.error, joined.generation_id, &joined.leader), (ErrorCode::NONE, 2, &a));
    assert_ne!(joined.member_id, b);
    assert!(joined.members.is_empty());
    assert_eq!(h.heartbeat(2, &a), ErrorCode::NONE, "nobody else notices");
    assert_eq!(h.heartbeat_as(2, &b, Some("b")), ErrorCode::FENCED_INSTANCE_ID);
    let token = h.sync(2, &joined.member_id, &[]);
    assert_eq!(*h.synced(token).assignment, *b"right");
    assert_eq!(h.written().last().unwrap(), "g generation 2 of 2");
    // The old id's session ends without effect.
    h.advance(9_000);
    h.heartbeat(2, &a);
    h.heartbeat(2, &joined.member_id);
    h.advance(5_000);
    assert_eq!(h.describe("g").state, GroupState::Stable);
}

#[test]
fn a_leader_that_restarts_is_told_to_keep_the_assignment() {
    let mut h = Harness::new();
    let (a, _) = static_pair(&mut h);
    let mut request = join_static("a", "");
    request.supports_skipping_assignment = true;
    let token = h.join(request);
    let joined = h.joined(token);
    assert_eq!(joined.leader, joined.member_id);
    assert!(joined.skip_assignment);
    assert_eq!(joined.members.len(), 2, "it watches the topics of all");
    // Without the flag it would assign again, so it is told of its old self as the leader.
    let token = h.join(join_static("a", ""));
    let again = h.joined(token);
    assert_eq!(again.leader, joined.member_id);
    assert_ne!(again.leader, again.member_id);
    assert!(!again.skip_assignment && again.members.is_empty());
    assert_ne!(a, again.member_id);
}

#[test]
fn a_restart_with_another_protocol_rebalances() {
    let mut h = Harness::new();
    let token = h.join(join_static("a", ""));
    let a = h.joined(token).member_id;
    let token = h.sync(1, &a, &[(&a, b"all")]);
    h.synced(token);
    let mut request = join_static("a", "");
    request.protocols.insert(0, Protocol { name: "sticky".into(), metadata: Arc::from(*b"s") });
    let token = h.join(request);
    let joined = h.joined(token);
    assert_eq!((joined.generation_id, joined.protocol_name.as_deref()), (2, Some("sticky")));
}

#[test]
fn a_restart_while_the_leader_assigns_begins_another_generation() {
    let mut h = Harness::new();
    let token = h.join(join_static("a", ""));
    let a = h.joined(token).member_id;
    let token = h.sync(1, &a, &[(&a, b"all")]);
    h.synced(token);
    let second = h.join(join_static("b", ""));
    let again = h.join(join_static("a", &a));
    let b = h.joined(second).member_id;
    h.joined(again);
    let waiting = h.sync(2, &b, &[]);
    let restarted = h.join(join_static("b", ""));
    assert_eq!(h.synced(waiting).error, ErrorCode::FENCED_INSTANCE_ID);
    let late = h.sync(2, &a, &[(&a, b"left"), (&b, b"right")]);
    assert_eq!(h.synced(late).error, ErrorCode::REBALANCE_IN_PROGRESS);
    let again = h.join(join_static("a", &a));
    assert_eq!(h.joined(restarted).generation_id, 3);
    assert_eq!(h.joined(again).generation_id, 3);
}

#[test]
fn a_replaced_member_is_fenced_wherever_it_shows_its_name() {
    let mut h = Harness::new();
    let (_, b) = static_pair(&mut h);
    let token = h.join(join_static("b", ""));
    h.joined(token);
    let token = h.join(join_static("b", &b));
    assert_eq!(h.joined(token).error, ErrorCode::FENCED_INSTANCE_ID);
    let request = SyncGroupRequest { group_instance_id: Some("b".into()), ..sync(2, &b, &[]) };
    let token = h.ask(GroupRequest::SyncGroup(request));
    assert_eq!(h.synced(token).error, ErrorCode::FENCED_INSTANCE_ID);
    let token = h.leave(&[(&b, Some("b"))]);
    assert_eq!(h.left(token).members[0].error, ErrorCode::FENCED_INSTANCE_ID);
    let mut commit = super::harness::commit("g", 2, &b, &[("t", 0, 1)]);
    commit.group_instance_id = Some("b".into());
    let token = h.ask(GroupRequest::OffsetCommit(commit));
    assert_eq!(h.committed(token), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(h.heartbeat_as(2, "x", Some("nobody")), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_name() {
    let mut h = Harness::new();
    let (a, _) = static_pair(&mut h);
    let token = h.leave(&[("", Some("b")), ("", Some("nobody")), ("", None)]);
    let errors: Vec<_> = h.left(token).members.iter().map(|member| member.error).collect();
    assert_eq!(errors, [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::UNKNOWN_MEMBER_ID]);
    assert_eq!(h.heartbeat(2, &a), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn static_members_that_do_not_rejoin_stay_until_their_session_ends() {
    let mut h = Harness::new();
    let patient = |instance: &str, member_id: &str| {
        let mut request = join_static(instance, member_id);
        request.session_timeout_ms = 60_000;
        request
    };
    let token = h.join(patient("a", ""));
    let a = h.joined(token).member_id;
    let token = h.sync(1, &a, &[(&a, b"all")]);
    h.synced(token);
    // `b` joins, `a` is away longer than the rebalance timeout: it stays a member of the next generation.
    let token = h.join(patient("b", ""));
    h.advance(30_000);
    let joined = h.joined(token);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 2));
    assert_eq!(joined.leader, joined.member_id, "one that is here leads");
}

#[test]
fn a_group_whose_members_are_all_away_waits_for_the_end_of_their_sessions() {
    let mut h = Harness::new();
    let (a, b) = static_pair(&mut h);
    let token = h.leave(&[(&b, None)]);
    h.left(token);
    // Only `a` is left, in a rebalance that it never joins.
    h.advance(9_999);
    assert_eq!(h.describe("g").state, GroupState::PreparingRebalance);
    assert_eq!(h.describe("g").members[0].member_id, a);
    h.advance(1);
    assert_eq!(h.describe("g").state, GroupState::Empty);
}

#[test]
fn a_replacement_that_could_not_be_written_is_undone() {
    let mut h = Harness::new();
    let (a, b) = static_pair(&mut h);
    h.log_mode = Log::ByHand;
    let token = h.join(join_static("b", ""));
    assert!(h.is_parked(token));
    assert_eq!(h.heartbeat_as(2, &b, Some("b")), ErrorCode::FENCED_INSTANCE_ID);
    h.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
    let refused = h.joined(token);
    assert_eq!((refused.error, &*refused.member_id), (ErrorCode::COORDINATOR_NOT_AVAILABLE, ""));
    assert_eq!(h.heartbeat_as(2, &b, Some("b")), ErrorCode::NONE);
    assert_eq!(h.heartbeat(2, &a), ErrorCode::NONE);
}

#[test]
fn a_rebalance_that_begins_meanwhile_answers_the_replaced_member() {
    let mut h = Harness::new();
    let (a, _) = static_pair(&mut h);
    h.log_mode = Log::ByHand;
    let replaced = h.join(join_static("b", ""));
    let again = h.join(join_static("a", &a));
    assert_eq!(h.joined(replaced).generation_id, 3);
    assert_eq!(h.joined(again).generation_id, 3);
    h.commit_all();
}

#[test]
fn a_member_that_restarts_before_it_has_synced_must_still_do_so() {
    let mut h = Harness::new();
    let token = h.join(join_static("a", ""));
    let a = h.joined(token).member_id;
    let token = h.sync(1, &a, &[(&a, b"all")]);
    h.synced(token);
    let second = h.join(join_static("b", ""));
    let again = h.join(join_static("a", &a));
    h.joined(second);
    h.joined(again);
    let token = h.sync(2, &a, &[(&a, b"left")]);
    h.synced(token);
    let token = h.join(join_static("b", ""));
    let b = h.joined(token).member_id;
    for _ in 0..3 {
        h.advance(9_000);
        assert_eq!(h.heartbeat(2, &a), ErrorCode::NONE);
        assert_eq!(h.heartbeat(2, &b), ErrorCode::NONE);
    }
    h.advance(3_000);
    assert_eq!(h.heartbeat(2, &b), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(h.heartbeat(2, &a), ErrorCode::REBALANCE_IN_PROGRESS);
}
