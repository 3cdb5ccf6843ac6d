//! The leader's rules (REPLICATION.md), one by one.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{A, B, C, ITSELF, NOW, Node, ask, catch_up, fetch_of, record, round, take, with_isr};
use taffrail_control::session::{IsrRefusal, LogState, Member, PartitionRecord};
use taffrail_log::{EpochEntry, LogConfig};
use taffrail_protocol::ErrorCode;
use taffrail_replication::isr::PROPOSAL_PATIENCE_MS;
use taffrail_replication::partition::{AssignError, Effect, Isolation, ProduceError, RequiredAcks, RoleKind};
use taffrail_replication::replica_fetch::{FetchedOutcome, ReplicaFetch};

/// A leads, B and C follow.
fn three() -> (Node, Node, Node) {
    let mut nodes = (Node::new(A), Node::new(B), Node::new(C));
    for node in [&mut nodes.0, &mut nodes.1, &mut nodes.2] {
        node.assign(record(A, 0, 0));
    }
    nodes.0.told();
    nodes
}

/// What a follower with an agreeing log would ask.
fn fetch(replica: Member, fetch_offset: i64, last_fetched_epoch: i32, leader_epoch: i32) -> ReplicaFetch {
    ReplicaFetch {
        replica,
        registered: Some(replica.incarnation),
        fenced: false,
        current_leader_epoch: leader_epoch,
        fetch_offset,
        last_fetched_epoch,
        log_start_offset: 0,
        max_bytes: 1 << 20,
        at_least_one_batch: true,
    }
}

fn error(leader: &mut Node, fetch: &ReplicaFetch) -> ErrorCode {
    ask(leader, fetch).error
}

fn isr_of(node: &mut Node) -> Vec<Member> {
    let mut proposals = node.proposals();
    assert_eq!(proposals.len(), 1, "{proposals:?}");
    proposals.remove(0).isr
}

#[test]
fn rule_2_records_with_a_lower_creation_or_partition_epoch_are_ignored() {
    let mut node = Node::new(A);
    node.assign(record(A, 3, 7));
    node.assign(record(B, 4, 6));
    assert_eq!(node.partition.led_epoch(), Some(3));
    node.assign(PartitionRecord { creation: 0, ..record(B, 9, 9) });
    assert_eq!(node.partition.led_epoch(), Some(3));
    node.assign(record(B, 4, 8));
    assert_eq!(node.partition.role(), RoleKind::Follower);
}

#[test]
fn rule_2_a_leader_epoch_that_falls_in_a_newer_record_is_refused() {
    let mut node = Node::new(A);
    node.assign(record(A, 3, 7));
    let fell = node.partition.assign(NOW, record(B, 2, 8), &mut node.effects);
    assert!(matches!(fell, Err(AssignError::EpochFell { leader_epoch: 2, held: 3, .. })), "{fell:?}");
    assert_eq!(node.partition.led_epoch(), Some(3));
}

#[test]
fn rule_2_one_leader_epoch_has_one_leader() {
    let mut node = Node::new(C);
    node.assign(record(A, 3, 7));
    let changed = node.partition.assign(NOW, record(B, 3, 8), &mut node.effects);
    assert!(matches!(changed, Err(AssignError::TwoLeaders { held: A, named: B, .. })), "{changed:?}");
    assert_eq!(node.partition.fetch_position().unwrap().leader, A);
    node.assign(PartitionRecord { leader: None, ..record(A, 4, 9) });
    node.assign(record(B, 5, 10));
    assert_eq!(node.partition.fetch_position().unwrap().leader, B);
}

#[test]
fn rule_7_only_the_incarnation_that_the_record_names_leads() {
    let mut node = Node::new(A);
    node.assign(record(Member { incarnation: 10, ..A }, 0, 0));
    assert_eq!(node.partition.role(), RoleKind::Idle);
    assert_eq!(node.produce(1, RequiredAcks::Leader).unwrap_err().code(), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    node.assign(record(A, 1, 1));
    assert_eq!(node.partition.role(), RoleKind::Leader);
}

#[test]
fn rule_7_the_epoch_is_noted_before_anything_is_appended_under_it() {
    let mut node = Node::new(A);
    node.assign(record(A, 3, 0));
    assert_eq!(node.partition.log().leader_epochs(), [EpochEntry { epoch: 3, start_offset: 0 }]);
}

#[test]
fn rule_31_a_log_that_is_ahead_of_the_record_neither_leads_nor_follows() {
    let mut node = Node::new(A);
    node.assign(record(A, 5, 5));
    node.append(3);
    node.restart(21, 0);
    for late in [record(node.me, 3, 3), record(B, 4, 4)] {
        let assigned = node.partition.assign(NOW, late, &mut node.effects);
        assert!(matches!(assigned, Err(AssignError::LogAhead { log_epoch: 5, .. })), "{assigned:?}");
        assert_eq!(node.partition.role(), RoleKind::Idle);
        assert_eq!(node.partition.fetch_position(), None);
    }
    assert_eq!(node.end(), 3);
    node.assign(record(B, 6, 6));
    assert_eq!(node.partition.role(), RoleKind::Follower);
}

#[test]
fn rule_8_the_high_watermark_is_the_smallest_end_of_the_isr() {
    let (mut a, mut b, mut c) = three();
    a.append(4);
    catch_up_without_c(&mut a, &mut b);
    assert_eq!(a.high_watermark(), 0, "C has not been heard of in this leader epoch");
    round(&mut a, &mut c);
    assert_eq!(a.high_watermark(), 0, "C asked from 0 on");
    round(&mut a, &mut c);
    assert_eq!(a.high_watermark(), 4);
    a.append(1);
    assert_eq!(a.high_watermark(), 4);
    round(&mut a, &mut b);
    assert_eq!(b.high_watermark(), 4, "a follower learns it with the records behind it");
}

fn catch_up_without_c(a: &mut Node, b: &mut Node) {
    round(a, b);
    round(a, b);
    assert_eq!(b.end(), a.end());
}

#[test]
fn rule_8_a_former_life_of_a_member_does_not_count() {
    let (mut a, mut b, mut c) = three();
    a.append(2);
    catch_up_without_c(&mut a, &mut b);
    catch_up(&mut a, &mut c);
    assert_eq!(a.high_watermark(), 2);
    a.append(1);
    round(&mut a, &mut b);
    round(&mut a, &mut b);
    // C comes back with another disk, and asks for the end: the ISR's member is gone.
    let reborn = Member { incarnation: 33, ..C };
    assert_eq!(error(&mut a, &fetch(reborn, 3, 0, 0)), ErrorCode::NONE);
    assert_eq!(a.high_watermark(), 2);
    // The controller keeps its place for the new life (rule 17).
    a.assign(with_isr(record(A, 0, 1), &[A, B, reborn]));
    assert_eq!(a.high_watermark(), 3);
}

#[test]
fn rule_8_a_new_life_inherits_nothing_from_the_one_before() {
    let (mut a, mut b, mut c) = three();
    a.append(2);
    catch_up_without_c(&mut a, &mut b);
    catch_up(&mut a, &mut c);
    a.append(1);
    for replica in [B, C] {
        ask(&mut a, &fetch(replica, 3, 0, 0));
    }
    assert_eq!(a.high_watermark(), 3);
    a.append(1);
    ask(&mut a, &fetch(B, 4, 0, 0));
    ask(&mut a, &fetch(C, 4, 0, 0));
    a.append(1);
    ask(&mut a, &fetch(B, 5, 0, 0));
    // What it holds is not known yet: its first fetch diverged.
    let reborn = Member { incarnation: 33, ..C };
    assert!(ask(&mut a, &fetch(reborn, 9, 0, 0)).diverging.is_some());
    a.assign(with_isr(record(A, 0, 1), &[A, B, reborn]));
    a.assign(with_isr(record(A, 0, 2), &[A, reborn]));
    a.append(1);
    assert_eq!(a.high_watermark(), 4);
    assert_eq!(a.partition.health(a.now).followers[1].records, 6);
}

#[test]
fn rule_8_nothing_counts_that_was_said_in_an_earlier_leader_epoch() {
    let (mut a, mut b, mut c) = three();
    a.append(2);
    catch_up_without_c(&mut a, &mut b);
    catch_up(&mut a, &mut c);
    a.assign(record(A, 1, 1));
    a.append(1);
    assert_eq!(error(&mut a, &fetch(B, 3, 1, 1)), ErrorCode::NONE);
    assert_eq!(a.high_watermark(), 2, "C may not even know the new epoch");
    assert_eq!(error(&mut a, &fetch(C, 3, 1, 1)), ErrorCode::NONE);
    assert_eq!(a.high_watermark(), 3);
}

#[test]
fn rule_8_whose_addition_is_proposed_holds_the_high_watermark_back() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 4), &[A, B]));
    a.append(2);
    ask(&mut a, &fetch(B, 2, 0, 0));
    assert_eq!(a.high_watermark(), 2);
    ask(&mut a, &fetch(C, 2, 0, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
    a.append(1);
    ask(&mut a, &fetch(B, 3, 0, 0));
    assert_eq!(a.high_watermark(), 2, "C may be in the ISR already");
    // The same record once more decides nothing; one with a higher partition epoch does, whatever is in it.
    a.assign(with_isr(record(A, 0, 4), &[A, B]));
    assert_eq!(a.high_watermark(), 2);
    a.assign(with_isr(record(A, 0, 5), &[A, B]));
    assert_eq!(a.high_watermark(), 3);
}

#[test]
fn rule_8_a_member_whose_removal_is_proposed_still_holds_it_back() {
    let (mut a, mut b, _c) = three();
    a.append(1);
    catch_up_without_c(&mut a, &mut b);
    for node in [&mut a, &mut b] {
        node.now += 30_001;
    }
    round(&mut a, &mut b);
    a.tick();
    assert_eq!(isr_of(&mut a), [A, B]);
    assert_eq!(a.high_watermark(), 0);
    a.assign(with_isr(record(A, 0, 1), &[A, B]));
    assert_eq!(a.high_watermark(), 1);
}

#[test]
fn rules_8_and_9_nothing_is_committed_while_the_isr_is_below_its_minimum() {
    let (mut a, mut b, _c) = three();
    a.assign(with_isr(record(A, 0, 1), &[A]));
    a.append(2);
    assert_eq!(a.high_watermark(), 0);
    assert_eq!(a.produce(1, RequiredAcks::All).unwrap_err().code(), ErrorCode::NOT_ENOUGH_REPLICAS);
    assert!(a.partition.is_under_min_isr());
    b.assign(with_isr(record(A, 0, 1), &[A]));
    catch_up_without_c(&mut a, &mut b);
    assert_eq!(a.high_watermark(), 0);
    a.assign(with_isr(record(A, 0, 2), &[A, B]));
    assert_eq!(a.high_watermark(), 2);
    assert!(!a.partition.is_under_min_isr() && a.partition.is_at_min_isr());
    assert!(a.partition.is_under_replicated());
}

#[test]
fn rule_9_an_isr_that_shrinks_below_its_minimum_fails_producers_and_not_coordinators() {
    let (mut a, _b, _c) = three();
    let produced = a.produce(1, RequiredAcks::All).unwrap();
    assert!(!produced.acknowledged);
    a.partition.await_acks(0, RequiredAcks::All, "producer");
    a.partition.await_commit(0, "coordinator");
    a.assign(with_isr(record(A, 0, 1), &[A, B]));
    assert_eq!(a.outcomes(), [], "another ISR disturbs nobody");
    a.assign(with_isr(record(A, 0, 2), &[A]));
    assert_eq!(a.outcomes(), [("producer", Err(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND))]);
    a.assign(with_isr(record(A, 0, 3), &[A, B]));
    ask(&mut a, &fetch(B, 1, 0, 0));
    assert_eq!(a.outcomes(), [("coordinator", Ok(()))]);
}

#[test]
fn rule_9_a_batch_is_acknowledged_when_the_high_watermark_passes_it() {
    let (mut a, _b, _c) = three();
    let produced = a.produce(3, RequiredAcks::All).unwrap();
    assert!(!produced.acknowledged);
    a.partition.await_acks(produced.info.last_offset, RequiredAcks::All, "producer");
    ask(&mut a, &fetch(B, 3, 0, 0));
    assert_eq!(a.outcomes(), []);
    ask(&mut a, &fetch(C, 3, 0, 0));
    assert_eq!(a.outcomes(), [("producer", Ok(()))]);
    assert!(a.produce(1, RequiredAcks::Leader).unwrap().acknowledged, "acks=1 waits for nobody");
}

#[test]
fn rule_10_a_follower_joins_at_the_high_watermark_and_this_epochs_start() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 0), &[A, B]));
    a.append(4);
    ask(&mut a, &fetch(B, 2, 0, 0));
    assert_eq!(a.high_watermark(), 2);
    ask(&mut a, &fetch(C, 1, 0, 0));
    assert!(a.proposals().is_empty(), "below the high watermark");
    // A new epoch begins at 4, and the high watermark is known up to 2.
    a.assign(with_isr(record(A, 1, 1), &[A, B]));
    ask(&mut a, &fetch(C, 3, 0, 1));
    assert!(a.proposals().is_empty(), "the former leader may have committed up to 4");
    ask(&mut a, &fetch(C, 4, 0, 1));
    let proposal = a.proposals().remove(0);
    assert_eq!((proposal.leader_epoch, proposal.partition_epoch), (1, 1));
    assert_eq!(proposal.isr, [A, B, C]);
}

#[test]
fn rule_10_one_proposal_is_in_flight_and_is_made_again_when_nobody_answers() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 0), &[A, B]));
    ask(&mut a, &fetch(C, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
    ask(&mut a, &fetch(C, 0, -1, 0));
    a.tick();
    assert!(a.proposals().is_empty());
    a.now += PROPOSAL_PATIENCE_MS;
    a.tick();
    assert_eq!(isr_of(&mut a), [A, B, C]);
    a.partition.session_renewed();
    a.tick();
    assert_eq!(isr_of(&mut a), [A, B, C]);
}

#[test]
fn rule_10_what_a_sessions_first_record_does_not_decide_is_proposed_in_it_once() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 0), &[A, B]));
    ask(&mut a, &fetch(C, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
    a.partition.session_renewed();
    a.assign(with_isr(record(A, 0, 1), &[A, B]));
    assert_eq!(isr_of(&mut a), [A, B, C]);
    a.tick();
    assert!(a.proposals().is_empty());
    // A second refusal would be taken for that of the old ISR, which nobody refused.
    a.partition.isr_refused(a.now, 1, IsrRefusal::StaleEpoch, &mut a.effects);
    assert_eq!(isr_of(&mut a), [A, B]);
    a.assign(with_isr(record(A, 0, 2), &[A, B]));
    assert_eq!(isr_of(&mut a), [A, B, C]);
}

#[test]
fn rule_10_a_refused_proposal_is_followed_by_the_old_isr_which_makes_it_void() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 3), &[A, B]));
    ask(&mut a, &fetch(B, 0, -1, 0));
    ask(&mut a, &fetch(C, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
    a.partition.isr_refused(a.now, 2, IsrRefusal::StaleEpoch, &mut a.effects);
    assert!(a.proposals().is_empty(), "a refusal of an older proposal says nothing of this one");
    a.partition.isr_refused(a.now, 3, IsrRefusal::Ineligible, &mut a.effects);
    assert_eq!(isr_of(&mut a), [A, B]);
    a.append(1);
    ask(&mut a, &fetch(B, 1, 0, 0));
    assert_eq!(a.high_watermark(), 0, "another copy of the proposal may still be taken");
    a.partition.isr_refused(a.now, 3, IsrRefusal::StaleEpoch, &mut a.effects);
    assert!(a.proposals().is_empty(), "the newer record is on its way");
    a.assign(with_isr(record(A, 0, 4), &[A, B]));
    assert_eq!(a.high_watermark(), 1);
    // It goes on to qualify, but was refused a moment ago.
    ask(&mut a, &fetch(C, 1, 0, 0));
    assert!(a.proposals().is_empty());
    a.now += 1_000;
    ask(&mut a, &fetch(C, 1, 0, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
}

#[test]
fn rule_10_who_is_refused_keeps_nobody_else_out() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 3), &[A]));
    ask(&mut a, &fetch(C, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, C]);
    // While the leader waits for a newer record both catch up.
    a.partition.isr_refused(a.now, 3, IsrRefusal::StaleEpoch, &mut a.effects);
    assert_eq!(isr_of(&mut a), [A]);
    a.partition.isr_refused(a.now, 3, IsrRefusal::StaleEpoch, &mut a.effects);
    ask(&mut a, &fetch(B, 0, -1, 0));
    ask(&mut a, &fetch(C, 0, -1, 0));
    a.now += 2_000;
    a.partition.tick(a.now, &mut a.effects);
    assert_eq!(isr_of(&mut a), [A, B, C]);
    // The controller will not have B, whose log has failed, and does not tell whom.
    let mut refuse = |epoch: i32, next: &[Member]| {
        a.partition.isr_refused(a.now, epoch, IsrRefusal::Ineligible, &mut a.effects);
        assert_eq!(isr_of(&mut a), [A]);
        a.assign(with_isr(record(A, 0, epoch + 1), &[A]));
        a.now += 600;
        a.partition.tick(a.now, &mut a.effects);
        assert_eq!(isr_of(&mut a), next);
    };
    refuse(3, &[A, B]);
    refuse(4, &[A, C]);
}

/// A leads epoch 0 with B, has committed four records, and is given the record of that once more: C is not in sync.
fn leads_again(give_up: impl FnOnce(&mut Node)) -> (Node, Node, PartitionRecord) {
    let (mut a, mut b, _) = three();
    let held = with_isr(record(A, 0, 1), &[A, B]);
    a.assign(held.clone());
    b.assign(held.clone());
    a.append(4);
    catch_up_without_c(&mut a, &mut b);
    assert_eq!(a.high_watermark(), 4);
    a.told();
    give_up(&mut a);
    a.assign(held.clone());
    assert_eq!(a.partition.led_epoch(), Some(0));
    (a, b, held)
}

/// The log was closed and opened again, by the same process.
fn take_back(node: &mut Node) {
    node.restart(A.incarnation, 0);
    node.partition.has_led_in(0);
}

#[test]
fn rule_10_a_leader_that_leads_again_in_its_epoch_adds_nobody_who_has_not_reached_its_end() {
    let (mut a, _, held) = leads_again(take_back);
    a.told();
    let held = PartitionRecord { partition_epoch: 2, ..held };
    a.assign(held);
    ask(&mut a, &fetch(C, 3, 0, 0));
    assert_eq!(a.proposals(), []);
    ask(&mut a, &fetch(C, 4, 0, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
}

#[test]
fn rule_8_a_leader_that_leads_again_in_its_epoch_commits_nothing_before_its_earlier_proposals_are_void() {
    let resign = |node: &mut Node| node.partition.resign(&mut node.effects);
    for (give_up, high_watermark) in
        [(Box::new(resign) as Box<dyn FnOnce(&mut Node)>, 4), (Box::new(take_back), 0)]
    {
        let (mut a, mut b, held) = leads_again(give_up);
        assert_eq!(isr_of(&mut a), [A, B], "C may have been proposed, and what was proposed is to be void");
        a.append(1);
        catch_up_without_c(&mut a, &mut b);
        assert_eq!(a.high_watermark(), high_watermark);
        a.assign(PartitionRecord { partition_epoch: 2, ..held });
        round(&mut a, &mut b);
        assert_eq!(a.high_watermark(), 5);
    }
}

#[test]
fn a_sole_replica_that_leads_again_in_its_epoch_has_nobody_to_wait_for() {
    let mut a = Node::new(A);
    let sole = PartitionRecord { replicas: vec![1], isr: vec![A], min_isr: 1, ..record(A, 0, 0) };
    a.assign(sole.clone());
    a.append(2);
    a.partition.resign(&mut a.effects);
    a.assign(sole);
    a.append(1);
    assert_eq!((a.high_watermark(), a.proposals()), (3, Vec::new()));
}

#[test]
fn rule_10_whatever_the_reason_of_a_refusal_the_old_isr_comes_first() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 3), &[A, B]));
    ask(&mut a, &fetch(C, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
    a.partition.isr_refused(a.now, 3, IsrRefusal::NotLeader, &mut a.effects);
    assert_eq!(isr_of(&mut a), [A, B]);
}

#[test]
fn rule_10_who_has_just_joined_has_as_long_as_others_to_catch_up() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 0), &[A, B]));
    a.append(1);
    ask(&mut a, &fetch(C, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
    a.now += 29_000;
    ask(&mut a, &fetch(B, 1, 0, 0));
    assert_eq!(isr_of(&mut a), [A, B, C], "nobody has answered");
    a.now += 2_000;
    a.assign(record(A, 0, 1));
    a.tick();
    assert!(a.proposals().is_empty(), "C has not been caught up for 31 s, and was taken in this moment");
    a.now += 30_001;
    ask(&mut a, &fetch(B, 1, 0, 0));
    a.tick();
    assert_eq!(isr_of(&mut a), [A, B]);
}

#[test]
fn rule_10_an_addition_that_is_not_wished_for_any_more_is_made_void() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 3), &[A, B]));
    ask(&mut a, &fetch(C, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
    a.now += 30_001;
    a.append(1);
    ask(&mut a, &fetch(B, 1, 0, 0));
    a.tick();
    assert_eq!(isr_of(&mut a), [A, B], "C was not heard of since, and holds the high watermark back");
}

#[test]
fn rule_10_who_is_not_caught_up_in_time_leaves() {
    let (mut a, mut b, mut c) = three();
    a.append(1);
    catch_up_without_c(&mut a, &mut b);
    catch_up(&mut a, &mut c);
    a.now += 100_000;
    a.tick();
    assert!(a.proposals().is_empty(), "nothing was appended that they could lack");
    a.append(1);
    a.tick();
    assert_eq!(isr_of(&mut a), [A]);
}

#[test]
fn rule_10_a_follower_one_fetch_behind_a_busy_leader_stays() {
    let (mut a, mut b, mut c) = three();
    a.partition.set_lag_time_max_ms(1_000);
    for _ in 0..10 {
        a.append(2);
        a.now += 400;
        // They ask for what was the end at their last fetch, never for the end.
        round(&mut a, &mut b);
        round(&mut a, &mut c);
        a.append(1);
        a.tick();
        assert!(a.proposals().is_empty());
    }
    // B had all that there was at its last fetch, which is 601 ms ago; C the same 400 ms earlier.
    a.now += 601;
    round(&mut a, &mut b);
    a.append(1);
    a.tick();
    assert_eq!(isr_of(&mut a), [A, B]);
    let health = a.partition.health(a.now);
    assert_eq!(health.log, LogState::Online);
    let lag = |node: &Node, id| {
        let lags = node.partition.health(node.now).followers;
        lags.into_iter().find(|lag| lag.broker_id == id).map(|lag| (lag.records, lag.ms))
    };
    assert_eq!(lag(&a, 2), Some((2, 601)));
    assert_eq!(lag(&a, 3), Some((5, 1_001)));
}

#[test]
fn rule_10_a_fenced_follower_is_served_and_not_proposed() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 0), &[A, B]));
    assert_eq!(error(&mut a, &ReplicaFetch { fenced: true, ..fetch(C, 0, -1, 0) }), ErrorCode::NONE);
    assert!(a.proposals().is_empty());
    ask(&mut a, &fetch(C, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
}

#[test]
fn rule_10_who_was_taken_out_of_the_isr_is_not_proposed_before_it_fetches_again() {
    let (mut a, mut b, mut c) = three();
    a.append(1);
    catch_up_without_c(&mut a, &mut b);
    catch_up(&mut a, &mut c);
    a.assign(PartitionRecord { partition_epoch: 1, ..with_isr(record(A, 0, 0), &[A, B]) });
    a.tick();
    assert!(a.proposals().is_empty(), "what it fetched before it was fenced says nothing");
    ask(&mut a, &fetch(C, 1, 0, 0));
    assert_eq!(isr_of(&mut a), [A, B, C]);
}

#[test]
fn rule_12_a_higher_epoch_ends_everything_that_waits() {
    let (mut a, _b, _c) = three();
    a.append(1);
    a.partition.await_acks(0, RequiredAcks::All, "producer");
    a.partition.await_data("consumer");
    a.partition.await_append("follower");
    a.assign(record(B, 1, 1));
    let outcome = Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(
        a.told(),
        [
            Effect::Committed { token: "producer", outcome },
            Effect::Moved { token: "consumer" },
            Effect::Moved { token: "follower" },
            Effect::Fetchable { token: ITSELF },
        ]
    );
    assert_eq!(error(&mut a, &fetch(B, 1, 0, 0)), ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!(error(&mut a, &fetch(B, 1, 0, 1)), ErrorCode::NOT_LEADER_OR_FOLLOWER);
}

#[test]
fn rule_15_a_fetch_of_another_incarnation_is_refused() {
    let (mut a, _b, _c) = three();
    a.append(1);
    let stale = ReplicaFetch { registered: Some(99), ..fetch(B, 1, 0, 0) };
    assert_eq!(error(&mut a, &stale), ErrorCode::STALE_BROKER_EPOCH);
    assert_eq!(error(&mut a, &ReplicaFetch { registered: None, ..stale }), ErrorCode::STALE_BROKER_EPOCH);
    // A late fetch of a former life, when this broker does not know of the new one but from its fetches.
    let reborn = Member { incarnation: 40, ..B };
    assert_eq!(error(&mut a, &fetch(reborn, 0, -1, 0)), ErrorCode::NONE);
    assert_eq!(error(&mut a, &fetch(B, 1, 0, 0)), ErrorCode::STALE_BROKER_EPOCH);
    assert_eq!(a.high_watermark(), 0);
    let stranger = Member { broker_id: 9, incarnation: 1 };
    assert_eq!(error(&mut a, &fetch(stranger, 1, 0, 0)), ErrorCode::UNKNOWN_LEADER_EPOCH);
}

#[test]
fn rule_19_a_new_leader_does_not_tell_where_its_readable_records_end() {
    let (mut a, mut b, _c) = three();
    a.append(3);
    catch_up_without_c(&mut a, &mut b);
    b.assign(record(B, 1, 1));
    assert_eq!(b.partition.check_offsets_known(), Err(ErrorCode::OFFSET_NOT_AVAILABLE));
    assert!(b.partition.read(2, 1000, true, Isolation::ReadUncommitted).unwrap().is_none());
    ask(&mut b, &fetch(A, 3, 0, 1));
    ask(&mut b, &fetch(C, 2, 0, 1));
    assert_eq!(b.partition.check_offsets_known(), Err(ErrorCode::OFFSET_NOT_AVAILABLE));
    ask(&mut b, &fetch(C, 3, 0, 1));
    assert_eq!(b.partition.check_offsets_known(), Ok(()));
}

#[test]
fn rule_20_every_epoch_is_checked() {
    let mut a = Node::new(A);
    a.assign(record(A, 5, 0));
    assert_eq!(error(&mut a, &fetch(B, 0, -1, 4)), ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!(error(&mut a, &fetch(B, 0, -1, 6)), ErrorCode::UNKNOWN_LEADER_EPOCH);
    assert_eq!(error(&mut a, &fetch(B, 0, -1, -1)), ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!(a.partition.check_leader(4), Err(ErrorCode::FENCED_LEADER_EPOCH));
    assert_eq!(a.partition.end_offset_for_epoch(5, 6), Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
    assert_eq!(a.partition.end_offset_for_epoch(5, 5), Ok(EpochEntry { epoch: 5, start_offset: 0 }));
    assert_eq!(a.partition.end_offset_for_epoch(9, -1), Ok(EpochEntry { epoch: -1, start_offset: -1 }));
}

#[test]
fn rule_23_the_minimum_of_the_record_holds_at_once() {
    let (mut a, _b, _c) = three();
    a.append(1);
    for replica in [B, C] {
        ask(&mut a, &fetch(replica, 1, 0, 0));
    }
    assert_eq!(a.high_watermark(), 1);
    a.assign(PartitionRecord { min_isr: 4, ..record(A, 0, 1) });
    assert_eq!(a.produce(1, RequiredAcks::All).unwrap_err().code(), ErrorCode::NOT_ENOUGH_REPLICAS);
    a.append(1);
    for replica in [B, C] {
        ask(&mut a, &fetch(replica, 2, 0, 0));
    }
    assert_eq!(a.high_watermark(), 1);
}

#[test]
fn rule_26_only_what_is_flushed_counts() {
    let mut a = Node::with_config(A, LogConfig { flush_messages: 1, ..LogConfig::default() });
    a.assign(record(A, 0, 0));
    let produced = a.produce(1, RequiredAcks::Leader).unwrap();
    assert!(!produced.acknowledged);
    a.partition.await_acks(0, RequiredAcks::Leader, "acks 1");
    a.partition.await_acks(0, RequiredAcks::All, "acks all");
    assert_eq!(a.told(), [Effect::FlushWanted { token: ITSELF }]);
    a.append(1);
    assert_eq!(a.told(), [], "one flush serves everybody who came before it began");
    for replica in [B, C] {
        ask(&mut a, &fetch(replica, 2, 0, 0));
    }
    assert_eq!(a.high_watermark(), 0, "the followers have it, the leader's disk does not");
    let flush = a.partition.begin_flush(&mut a.effects).unwrap().unwrap();
    a.append(1);
    assert_eq!(a.told(), [Effect::FlushWanted { token: ITSELF }], "what comes during a flush wants another");
    a.partition.finish_flush(NOW, flush.run(), &mut a.effects).unwrap();
    assert_eq!(a.high_watermark(), 2);
    assert_eq!(a.outcomes(), [("acks 1", Ok(())), ("acks all", Ok(()))]);
    assert!(a.partition.flush_wanted());
    a.flush();
    assert!(!a.partition.flush_wanted());
}

#[test]
fn rule_27_a_duplicate_waits_for_the_original() {
    let (mut a, _b, _c) = three();
    for duplicate in [false, true] {
        let produced = a.produce_in_sequence(5, 0, 0).unwrap();
        assert_eq!((produced.info.duplicate, produced.acknowledged), (duplicate, false));
    }
    for replica in [B, C] {
        ask(&mut a, &fetch(replica, 1, 0, 0));
    }
    let produced = a.produce_in_sequence(5, 0, 0).unwrap();
    assert!(produced.info.duplicate && produced.acknowledged);
}

/// What each of these sequence numbers of producer 5, in epoch 0, is told.
fn told(node: &mut Node, sequences: &[i32]) -> Vec<ErrorCode> {
    let code =
        |produced: Result<_, ProduceError>| produced.map_or_else(|error| error.code(), |_| ErrorCode::NONE);
    sequences.iter().map(|sequence| code(node.produce_in_sequence(5, 0, *sequence))).collect()
}

#[test]
fn what_comes_behind_a_batch_that_was_refused_is_not_out_of_order_but_refused_too() {
    for known in [true, false] {
        let (mut a, _b, _c) = three();
        if known {
            assert_eq!(told(&mut a, &[7]), [ErrorCode::NONE]);
        }
        a.assign(with_isr(record(A, 0, 1), &[A]));
        assert_eq!(told(&mut a, &[8, 9]), [ErrorCode::NOT_ENOUGH_REPLICAS; 2]);
        a.assign(with_isr(record(A, 0, 2), &[A, B]));
        assert_eq!(
            told(&mut a, &[10]),
            [ErrorCode::NOT_ENOUGH_REPLICAS],
            "it was under way when 8 was refused"
        );
        assert_eq!(told(&mut a, &[8, 9, 10]), [ErrorCode::NONE; 3]);
        assert_eq!(
            told(&mut a, &[12]),
            [ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER],
            "nothing was refused before it"
        );
    }
}

#[test]
fn what_comes_behind_a_batch_that_was_refused_before_this_broker_led_is_refused_too() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(B, 0, 0), &[A, B]));
    assert_eq!(told(&mut a, &[0]), [ErrorCode::NOT_LEADER_OR_FOLLOWER]);
    a.assign(with_isr(record(A, 1, 1), &[A, B]));
    assert_eq!(
        told(&mut a, &[1, 0, 1]),
        [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::NONE, ErrorCode::NONE]
    );
}

#[test]
fn the_first_batch_under_a_new_leader_is_not_out_of_order_but_may_be_sent_again_behind_what_it_lacks() {
    let (mut a, _b, _c) = three();
    assert_eq!(told(&mut a, &[7]), [ErrorCode::NONE]);
    let out_of_order = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
    assert_eq!(told(&mut a, &[9]), [out_of_order], "8 was refused nowhere");
    let not_yet = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    a.assign(record(A, 2, 2));
    assert_eq!(told(&mut a, &[9, 10, 9]), [not_yet; 3], "8 may have been refused by the leader between");
    assert_eq!(
        told(&mut a, &[8, 9, 10, 12]),
        [ErrorCode::NONE, ErrorCode::NONE, ErrorCode::NONE, out_of_order]
    );
    a.assign(record(A, 3, 3));
    assert_eq!(told(&mut a, &[13]), [not_yet]);
    a.now += 9_999;
    assert_eq!(told(&mut a, &[13, 14]), [not_yet; 2]);
    a.now += 1;
    assert_eq!(told(&mut a, &[13, 14]), [out_of_order; 2], "nobody will send 11 any more");
    a.assign(record(A, 4, 4));
    assert_eq!(told(&mut a, &[13]), [not_yet], "another leader epoch");
}

#[test]
fn a_batch_that_was_refused_is_not_waited_for_in_another_producer_epoch_nor_for_ever() {
    let (mut a, _b, _c) = three();
    assert_eq!(told(&mut a, &[0]), [ErrorCode::NONE]);
    a.assign(with_isr(record(A, 0, 1), &[A]));
    assert_eq!(told(&mut a, &[1]), [ErrorCode::NOT_ENOUGH_REPLICAS]);
    a.assign(with_isr(record(A, 0, 2), &[A, B]));
    let behind = a.produce_in_sequence(5, 1, 3).map(|_| ()).map_err(|error| error.code());
    assert_eq!(behind, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER), "a new epoch begins with 0");
    assert_eq!(told(&mut a, &[2]), [ErrorCode::NOT_ENOUGH_REPLICAS]);
    a.now += 10_000;
    assert_eq!(told(&mut a, &[2]), [ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER]);
}

#[test]
fn rule_27_a_fetch_that_diverges_counts_for_nothing() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 0), &[A, B]));
    a.append(4);
    a.assign(with_isr(record(A, 2, 1), &[A, B]));
    a.append(4);
    // B led epoch 1 and has two records of it behind two of epoch 0.
    let answer = ask(&mut a, &fetch(B, 4, 1, 2));
    assert_eq!(answer.diverging, Some(EpochEntry { epoch: 0, start_offset: 4 }));
    assert!(answer.records.is_empty());
    // C has more of epoch 0 than there was.
    let answer = ask(&mut a, &fetch(C, 6, 0, 2));
    assert_eq!(answer.diverging, Some(EpochEntry { epoch: 0, start_offset: 4 }));
    assert_eq!(a.high_watermark(), 0);
    assert!(a.proposals().is_empty());
}

#[test]
fn a_fetch_outside_of_the_log_learns_where_the_log_starts_and_does_not_count() {
    let mut a = Node::new(A);
    a.assign(with_isr(record(A, 0, 0), &[A]));
    a.assign(PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 1), &[A]) });
    a.append(6);
    a.partition.log_mut().set_log_start_offset(4).unwrap();
    let answer = ask(&mut a, &fetch(B, 3, 0, 0));
    assert_eq!((answer.error, answer.log_start_offset), (ErrorCode::OFFSET_OUT_OF_RANGE, 4));
    let answer = ask(&mut a, &fetch(C, 9, -1, 0));
    assert_eq!((answer.error, answer.log_start_offset), (ErrorCode::OFFSET_OUT_OF_RANGE, 4));
    assert!(a.proposals().is_empty());
}

#[test]
fn a_follower_is_told_a_new_high_watermark_without_waiting_for_records() {
    let (mut a, _b, _c) = three();
    a.append(1);
    assert_eq!(ask(&mut a, &fetch(B, 1, 0, 0)).high_watermark, 0);
    a.partition.await_append("B");
    a.told();
    assert_eq!(ask(&mut a, &fetch(C, 1, 0, 0)).high_watermark, 1);
    assert_eq!(a.told(), [Effect::Readable { token: "B", bytes: 0 }]);
    assert_eq!(ask(&mut a, &fetch(B, 1, 0, 0)).high_watermark, 1);
}

#[test]
fn a_leader_whose_log_fails_says_so_once_and_goes_on_answering() {
    let (mut a, _b, _c) = three();
    a.append(2);
    a.fill_disk();
    let failed = a.produce(1, RequiredAcks::Leader).unwrap_err();
    assert_eq!(failed.code(), ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(a.told(), [Effect::Failed { token: ITSELF }]);
    a.tick();
    a.produce(1, RequiredAcks::Leader).unwrap_err();
    assert_eq!(a.told(), []);
    assert!(matches!(a.partition.health(NOW).log, LogState::Failed { .. }));
    assert_eq!(ask(&mut a, &fetch(B, 0, -1, 0)).error, ErrorCode::NONE);
}

#[test]
fn a_leader_that_is_held_refuses_what_is_produced_and_serves_what_it_has() {
    let (mut a, mut b, mut c) = three();
    a.append(2);
    let full: std::sync::Arc<str> = "the disk is nearly full".into();
    assert!(a.partition.hold_writes(Some(full.clone()), &mut a.effects));
    assert!(!a.partition.hold_writes(Some(full), &mut a.effects));
    let refused = a.produce(1, RequiredAcks::All).unwrap_err();
    assert_eq!(
        (refused.code(), &*refused.to_string()),
        (ErrorCode::KAFKA_STORAGE_ERROR, "the disk is nearly full")
    );
    assert!(matches!(a.partition.health(NOW).log, LogState::Failed { reason } if reason.contains("full")));
    // What was appended before is committed, and read.
    catch_up(&mut a, &mut b);
    catch_up(&mut a, &mut c);
    assert_eq!(a.high_watermark(), 2);
    assert!(a.partition.read(0, 1 << 20, true, Isolation::ReadUncommitted).unwrap().is_some());
    a.partition.hold_writes(None, &mut a.effects);
    assert_eq!(a.partition.health(NOW).log, LogState::Online);
    assert_eq!(a.produce(1, RequiredAcks::All).unwrap().info.base_offset, 2);
}

#[test]
fn batches_behind_one_that_found_the_disk_full_do_not_overtake_it() {
    let (mut a, ..) = three();
    a.partition.hold_writes(Some("full".into()), &mut a.effects);
    let code = |result: Result<_, ProduceError>| result.map(drop).map_err(|error| error.code());
    assert_eq!(code(a.produce_in_sequence(7, 0, 0)), Err(ErrorCode::KAFKA_STORAGE_ERROR));
    a.partition.hold_writes(None, &mut a.effects);
    assert_eq!(code(a.produce_in_sequence(7, 0, 1)), Err(ErrorCode::KAFKA_STORAGE_ERROR));
    assert_eq!(code(a.produce_in_sequence(7, 0, 0)), Ok(()));
    assert_eq!(code(a.produce_in_sequence(7, 0, 1)), Ok(()));
}

#[test]
fn a_leader_whose_disk_was_full_leads_on_when_it_has_room() {
    let (mut a, mut b, mut c) = three();
    a.append(2);
    a.fill_disk();
    a.produce(1, RequiredAcks::All).unwrap_err();
    a.told();
    a.free_disk();
    assert!(a.partition.heal(NOW, &mut a.effects).unwrap().is_some());
    assert_eq!(a.partition.health(NOW).log, LogState::Online);
    a.append(3);
    catch_up(&mut a, &mut b);
    catch_up(&mut a, &mut c);
    assert_eq!(a.batches(), b.batches());
    assert_eq!(a.high_watermark(), 5);
    a.fill_disk();
    a.produce(1, RequiredAcks::All).unwrap_err();
    assert_eq!(a.told(), [Effect::Failed { token: ITSELF }], "a second time is told as well");
}

#[test]
fn rule_28_a_sync_that_fails_after_a_write_found_no_room_is_told_as_well() {
    let (mut a, ..) = three();
    a.append(2);
    let flush = a.partition.begin_flush(&mut a.effects).unwrap().unwrap();
    a.fill_disk();
    a.produce(1, RequiredAcks::Leader).unwrap_err();
    assert!(a.partition.log().poisoned().unwrap().lost_nothing());
    a.told();
    a.fail_next_sync();
    let flushed = flush.run();
    a.partition.finish_flush(NOW, flushed, &mut a.effects).unwrap_err();
    assert_eq!(a.told(), [Effect::Failed { token: ITSELF }]);
    assert!(!a.partition.log().poisoned().unwrap().lost_nothing());
    a.free_disk();
    a.partition.heal(NOW, &mut a.effects).unwrap_err();
}

#[test]
fn rule_7_a_leader_that_heals_before_its_first_record_notes_its_epoch_once_more() {
    let (mut a, mut b, _c) = three();
    a.append(1);
    catch_up_without_c(&mut a, &mut b);
    a.assign(record(A, 4, 9));
    a.fill_disk();
    a.produce(1, RequiredAcks::Leader).unwrap_err();
    a.free_disk();
    a.partition.heal(NOW, &mut a.effects).unwrap();
    a.append(1);
    assert_eq!(a.batches(), [(0, 0), (1, 4)]);
    assert_eq!(a.partition.log().latest_epoch(), Some(4));
}

#[test]
fn a_new_life_of_a_member_takes_its_place_in_one_proposal() {
    let (mut a, _b, _c) = three();
    let reborn = Member { incarnation: 40, ..B };
    ask(&mut a, &fetch(reborn, 0, -1, 0));
    assert_eq!(isr_of(&mut a), [A, C, reborn]);
    a.append(1);
    ask(&mut a, &fetch(reborn, 1, 0, 0));
    ask(&mut a, &fetch(C, 1, 0, 0));
    assert_eq!(a.high_watermark(), 0, "the former life is in the ISR still");
}

#[test]
fn one_replica_alone_commits_what_it_appends() {
    let mut a = Node::new(A);
    let alone = PartitionRecord { replicas: vec![1], min_isr: 1, ..with_isr(record(A, 0, 0), &[A]) };
    a.assign(alone);
    assert!(a.produce(2, RequiredAcks::All).unwrap().acknowledged);
    assert_eq!(a.high_watermark(), 2);
    a.tick();
    assert_eq!(a.told(), []);
}

#[test]
fn a_follower_that_catches_up_holds_the_same_bytes() {
    let (mut a, mut b, mut c) = three();
    for records in [1, 3, 2] {
        a.produce(records, RequiredAcks::Leader).unwrap();
    }
    assert!(matches!(round(&mut a, &mut b), FetchedOutcome::Appended { bytes, .. } if bytes > 0));
    catch_up_without_c(&mut a, &mut b);
    catch_up(&mut a, &mut c);
    catch_up(&mut a, &mut b);
    assert_eq!(b.batches(), [(0, 0), (1, 0), (4, 0)]);
    assert_eq!(a.batches(), b.batches());
    assert_eq!((b.high_watermark(), c.high_watermark()), (6, 6));
    let position = b.partition.fetch_position().unwrap();
    assert_eq!(fetch_of(B, &position), fetch(B, 6, 0, 0));
    assert!(ask(&mut a, &fetch(B, 6, 0, 0)).records.is_empty());
}

/// The records that a consumer gets from `offset` on, or the error.
fn readable(node: &mut Node, offset: i64) -> Result<u32, ErrorCode> {
    let read = node.partition.read(offset, 1 << 20, true, Isolation::ReadUncommitted);
    read.map(|range| range.map_or(0, |range| range.len)).map_err(|error| error.code())
}

#[test]
fn rule_14_a_batch_that_became_corrupt_on_the_leader_is_not_replicated_and_another_may_lead() {
    let (mut a, mut b, mut c) = three();
    a.append(8);
    catch_up(&mut a, &mut b);
    a.flip_a_bit(2);
    a.told();
    assert!(matches!(round(&mut a, &mut c), FetchedOutcome::Appended { .. }));
    assert_eq!(c.end(), 2, "what is sound before it is taken");
    let position = c.partition.fetch_position().unwrap();
    let sent = ask(&mut a, &fetch_of(C, &position));
    assert!(sent.error == ErrorCode::NONE && !sent.records.is_empty());
    let refused = take(&mut c, &position, &sent).unwrap_err();
    assert!(!refused.stops() && refused.to_string().contains("corrupt"), "{refused}");
    assert_eq!((c.end(), a.partition.health(NOW).log), (2, LogState::Online));
    // Asked for it again, the leader looks at what it has.
    assert_eq!(ask(&mut a, &fetch_of(C, &position)).error, ErrorCode::CORRUPT_MESSAGE);
    assert_eq!(a.told(), [Effect::Failed { token: ITSELF }]);
    let LogState::Failed { reason } = a.partition.health(NOW).log else { panic!("it is not well") };
    assert!(reason.starts_with("the batch of offset 2 at position "), "{reason}");
    assert_eq!(ask(&mut a, &fetch_of(C, &position)).error, ErrorCode::CORRUPT_MESSAGE);
    a.tick();
    assert!(!a.told().iter().any(|effect| matches!(effect, Effect::Failed { .. })), "told once");
    // It goes on with everything else, as it may be the only replica.
    a.assign(PartitionRecord { min_isr: 1, ..with_isr(record(A, 0, 1), &[A]) });
    a.tick();
    assert_eq!(a.high_watermark(), 8);
    let whole = readable(&mut a, 7).unwrap();
    assert_eq!((readable(&mut a, 0), readable(&mut a, 3)), (Ok(2 * whole), Ok(5 * whole)));
    assert_eq!(readable(&mut a, 2), Err(ErrorCode::CORRUPT_MESSAGE));
    a.append(2);
    assert_eq!(a.high_watermark(), 10);
}

#[test]
fn a_follower_whose_leader_has_a_corrupt_batch_gets_it_from_the_next_leader() {
    let (mut a, mut b, mut c) = three();
    a.append(8);
    catch_up(&mut a, &mut b);
    a.flip_a_bit(2);
    round(&mut a, &mut c);
    for node in [&mut a, &mut b, &mut c] {
        node.assign(record(B, 1, 1));
    }
    catch_up(&mut b, &mut c);
    catch_up(&mut b, &mut a);
    catch_up(&mut b, &mut c);
    assert_eq!((c.end(), c.batches()), (8, b.batches()));
    assert_eq!(b.high_watermark(), 8);
}

#[test]
fn a_follower_that_asks_again_for_what_is_sound_gets_it_again() {
    let (mut a, _, mut c) = three();
    a.append(2);
    a.told();
    let position = c.partition.fetch_position().unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&mut a, &fetch_of(C, &position)).error, ErrorCode::NONE);
    }
    assert_eq!(a.partition.health(NOW).log, LogState::Online);
    round(&mut a, &mut c);
    assert_eq!(c.end(), 2);
}
