//! Who leads when the leader cannot (rules 4, 5, 17, 22, 30), and when somebody asks (KIP-460).

use taffrail_control::session::{ControllerRequest, ElectionKind, LogClaim, LogEnd, LogState, ToController};
use taffrail_controller::Policy;
use taffrail_controller::directory::Directory;
use taffrail_controller::message::{Event, Input};
use taffrail_protocol::{ErrorCode, Uuid};

use crate::cluster::{Cluster, elected};

const MIN_2: [(&str, &str); 1] = [("min.insync.replicas", "2")];
const UNCLEAN: [(&str, &str); 1] = [("unclean.leader.election.enable", "true")];

fn failed() -> LogState {
    LogState::Failed { reason: "no space left on device".into() }
}

fn unclean_elections(cluster: &Cluster) -> usize {
    cluster.events.iter().filter(|event| matches!(event, Event::UncleanElection { .. })).count()
}

#[test]
fn rule_17_when_all_are_back_unclean_the_longest_log_of_all_replicas_wins() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    // 3 leaves, then 2 is the last to go.
    cluster.kill(3, &[1, 2]);
    cluster.kill(1, &[2]);
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2], vec![]));
    cluster.break_session(2);
    cluster.start_broker(3, LogClaim::Clean);
    cluster.pass(4_000, 500, &[3]);
    assert_eq!(cluster.state(topic, 0), (None, 2, vec![2], vec![]), "3 may lack what 2 committed");
    assert_eq!(cluster.queries(3), [], "2 may come back with everything");
    cluster.start_broker(2, LogClaim::Unclean);
    assert_eq!(cluster.state(topic, 0), (None, 2, vec![2], vec![]), "rule 5");
    assert_eq!(cluster.answer_log_ends(2, Some((0, 90))), 1);
    assert_eq!(cluster.state(topic, 0).0, None, "3 has not answered");
    assert_eq!(cluster.answer_log_ends(3, Some((1, 80))), 1);
    let record = cluster.record(topic, 0);
    assert_eq!(cluster.state(topic, 0), (Some(3), 3, vec![3], vec![]), "the highest last epoch wins");
    assert_eq!((record.unclean_epoch, unclean_elections(&cluster)), (Some(3), 1));
}

#[test]
fn rule_17_a_member_that_does_not_answer_is_waited_for_and_another_replica_is_not() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &MIN_2);
    cluster.kill(3, &[1, 2]);
    for id in [1, 2] {
        cluster.start_broker(id, LogClaim::Unclean);
    }
    cluster.start_broker(3, LogClaim::Clean);
    assert_eq!(cluster.state(topic, 0), (None, 2, vec![2], vec![]));
    cluster.answer_log_ends(1, Some((0, 5)));
    cluster.pass(3_000, 500, &[1, 2, 3]);
    assert_eq!(cluster.state(topic, 0).0, None, "2 was in the ISR and has not answered");
    assert!(cluster.answer_log_ends(2, Some((0, 7))) > 1, "it was asked again");
    assert_eq!(cluster.state(topic, 0), (Some(2), 3, vec![2], vec![]));
}

#[test]
fn rule_30_nothing_is_left_anywhere_and_the_partition_begins_anew() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    for id in [1, 2] {
        cluster.start_broker(id, LogClaim::Unclean);
    }
    assert_eq!(cluster.state(topic, 0).0, None);
    for id in [1, 2] {
        cluster.report(id, topic, 0, LogState::Missing);
        cluster.answer_log_ends(id, None);
    }
    let (leader, epoch, isr, elr) = cluster.state(topic, 0);
    assert_eq!((leader, isr, elr), (Some(1), vec![1], vec![]));
    assert_eq!(cluster.record(topic, 0).unclean_epoch, Some(epoch), "which lets it make an empty log");
    cluster.pass(3_000, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).1, epoch, "once");
}

#[test]
fn rule_30_a_missing_log_loses_its_place_and_its_leadership() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &MIN_2);
    cluster.report(1, topic, 0, LogState::Missing);
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2, 3], vec![]));
    cluster.report(3, topic, 0, LogState::Missing);
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2], vec![]), "it is not eligible either");
    cluster.report(3, topic, 0, LogState::Online);
    assert_eq!(cluster.propose(2, vec![cluster.proposal(topic, 0, &cluster.members(&[2, 3]))]), []);
}

#[test]
fn rule_30_the_only_replica_without_its_log_begins_anew_once() {
    let mut cluster = Cluster::start(1, Policy::default());
    let topic = cluster.create("t", &[&[1]], &[]);
    cluster.start_broker(1, LogClaim::Clean);
    assert_eq!(cluster.state(topic, 0), (Some(1), 1, vec![1], vec![]));
    cluster.report(1, topic, 0, LogState::Missing);
    assert_eq!(cluster.state(topic, 0), (Some(1), 2, vec![1], vec![]));
    assert_eq!(cluster.record(topic, 0).unclean_epoch, Some(2));
    // Every record is looked at again.
    cluster.start_broker(2, LogClaim::Unclean);
    assert_eq!(cluster.state(topic, 0).1, 2);
}

#[test]
fn leadership_leaves_a_log_that_takes_no_writes_while_another_member_can_lead() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &MIN_2);
    cluster.report(1, topic, 0, failed());
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2, 3], vec![]));
    cluster.report(2, topic, 0, failed());
    assert_eq!(
        cluster.state(topic, 0),
        (Some(3), 2, vec![3], vec![2]),
        "it lacks nothing and stays eligible"
    );
    cluster.report(3, topic, 0, failed());
    assert_eq!(cluster.state(topic, 0), (Some(3), 2, vec![3], vec![2]), "the last one serves what it has");
    cluster.report(2, topic, 0, LogState::Online);
    assert_eq!(cluster.state(topic, 0), (Some(2), 3, vec![2], vec![3]), "the disk has space again");
    assert_eq!(cluster.controller.health().bad_logs(), 2);
    // A new life of the broker says anew how its logs are.
    cluster.start_broker(3, LogClaim::Clean);
    assert_eq!(cluster.controller.health().bad_logs(), 1);
}

#[test]
fn rule_4_a_topic_that_allows_it_gets_the_longest_log_in_session_at_once() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &UNCLEAN);
    let safe = cluster.create("safe", &[&[1, 2, 3]], &[]);
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1]))]);
    cluster.propose(1, vec![cluster.proposal(safe, 0, &cluster.members(&[1]))]);
    cluster.kill(1, &[2, 3]);
    cluster.answer_log_ends(2, Some((0, 10)));
    cluster.answer_log_ends(3, Some((0, 11)));
    assert_eq!(cluster.state(topic, 0), (Some(3), 2, vec![3], vec![]));
    assert_eq!(cluster.record(topic, 0).unclean_epoch, Some(2));
    assert_eq!(cluster.state(safe, 0), (None, 1, vec![1], vec![]));
}

#[test]
fn rule_4_an_answer_counts_for_nothing_once_somebody_has_led_since_it_was_asked_for() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &UNCLEAN);
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1]))]);
    cluster.kill(1, &[2, 3]);
    let former = cluster.queries(2);
    assert_eq!((former.len(), cluster.queries(3).len()), (1, 1));
    // 1 comes back with everything, leads, and is gone again.
    cluster.start_broker(1, LogClaim::SameBoot);
    cluster.kill(1, &[2, 3]);
    assert_eq!(cluster.state(topic, 0), (None, 3, vec![1], vec![]));
    let incarnation = cluster.brokers[&2].incarnation;
    let ends = vec![LogEnd { topic_id: topic, partition: 0, last_epoch: 5, end_offset: 10 }];
    cluster.say(2, ToController::LogEnds { incarnation, query_id: former[0].0, ends });
    cluster.settle();
    assert_eq!(cluster.answer_log_ends(3, Some((0, 9))), 1);
    assert_eq!(cluster.state(topic, 0).0, None, "2 has not said how far its log reaches today");
    assert_eq!(cluster.answer_log_ends(2, Some((0, 8))), 1, "it was asked again at once");
    assert_eq!(cluster.state(topic, 0), (Some(3), 4, vec![3], vec![]));
}

#[test]
fn rule_4_who_does_not_answer_in_time_is_not_waited_for() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &UNCLEAN);
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1]))]);
    cluster.kill(1, &[2, 3]);
    cluster.pass(3_000, 500, &[2, 3]);
    assert_eq!(cluster.state(topic, 0).0, None, "nobody answered");
    cluster.answer_log_ends(2, Some((0, 10)));
    cluster.pass(500, 500, &[2, 3]);
    assert_eq!(cluster.state(topic, 0), (Some(2), 2, vec![2], vec![]));
}

#[test]
fn a_member_that_comes_back_with_everything_ends_the_search_for_the_longest_log() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &UNCLEAN);
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1]))]);
    cluster.kill(1, &[2]);
    cluster.start_broker(1, LogClaim::SameBoot);
    assert_eq!(cluster.state(topic, 0), (Some(1), 2, vec![1], vec![]));
    cluster.answer_log_ends(2, Some((0, 10)));
    assert_eq!((cluster.state(topic, 0).1, unclean_elections(&cluster)), (2, 0));
}

#[test]
fn the_preferred_replica_leads_when_somebody_asks_and_it_is_in_sync() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2], &[2, 1]], &[]);
    cluster.kill(1, &[2]);
    cluster.start_broker(1, LogClaim::Clean);
    let preferred = ElectionKind::Preferred;
    let (needless, not_available) =
        (ErrorCode::ELECTION_NOT_NEEDED.0, ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE.0);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    assert_eq!(
        cluster.elect(preferred, &[("t", 0), ("t", 1), ("t", 2), ("u", 0)]).unwrap(),
        [Err(not_available), Err(needless), Err(unknown), Err(unknown)]
    );
    cluster.propose(2, vec![cluster.proposal(topic, 0, &cluster.members(&[1, 2]))]);
    let all = ControllerRequest::ElectLeaders { kind: preferred, partitions: None };
    let response = cluster.request(all.clone()).unwrap();
    assert_eq!(elected(&response), [Ok(())], "only those that it concerns are named");
    assert_eq!(cluster.state(topic, 0), (Some(1), 2, vec![1, 2], vec![]));
    assert_eq!(elected(&cluster.request(all).unwrap()), []);
}

#[test]
fn rule_4_a_person_orders_an_unclean_election() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    cluster.create("alone", &[&[3]], &[]);
    let unclean = ElectionKind::Unclean;
    assert_eq!(cluster.elect(unclean, &[("t", 0)]).unwrap(), [Err(ErrorCode::ELECTION_NOT_NEEDED.0)]);
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1]))]);
    cluster.kill(1, &[2, 3]);
    cluster.kill(3, &[2]);
    let none = ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE.0;
    assert_eq!(cluster.elect(unclean, &[("t", 0), ("alone", 0)]), None, "2 is asked how far its log reaches");
    cluster.answer_log_ends(2, Some((0, 3)));
    assert_eq!(cluster.state(topic, 0), (Some(2), 2, vec![2], vec![]));
    assert_eq!(elected(&cluster.response(2).unwrap()), [Ok(()), Err(none)]);
}

#[test]
fn leaders_go_back_to_preferred_replicas_where_a_broker_leads_too_few() {
    let policy = Policy { leader_imbalance_check_ms: 10_000, ..Policy::default() };
    let mut cluster = Cluster::start(2, policy);
    let topic = cluster.create("t", &[&[1, 2], &[1, 2], &[2, 1]], &[]);
    cluster.kill(1, &[2]);
    cluster.start_broker(1, LogClaim::Clean);
    let both = cluster.members(&[1, 2]);
    cluster.propose(2, vec![cluster.proposal(topic, 0, &both)]);
    cluster.pass(8_000, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(2), "not before it is time");
    cluster.pass(4_000, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(1));
    assert_eq!(cluster.state(topic, 1).0, Some(2), "1 is not in sync there");
    let off = Policy { auto_leader_rebalance: false, ..policy };
    cluster.restart_controller(off);
    cluster.connect(1, LogClaim::Clean);
    cluster.connect(2, LogClaim::Clean);
    cluster.propose(2, vec![cluster.proposal(topic, 1, &both)]);
    cluster.pass(30_000, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 1).0, Some(2));
}

/// Two brokers that check the balance every 100 s, of which 1 came back 95 s after the start and is in sync.
fn back_and_in_sync(name_ttl_ms: u64) -> (Cluster, Uuid) {
    let policy = Policy { leader_imbalance_check_ms: 100_000, ..Policy::default() };
    let mut cluster = Cluster::start(2, policy);
    cluster.input(Input::Directory(Directory { name_ttl_ms, ..Directory::default() }));
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    cluster.kill(1, &[2]);
    cluster.pass(94_900, 100, &[2]);
    cluster.start_broker(1, LogClaim::Clean);
    cluster.propose(2, vec![cluster.proposal(topic, 0, &cluster.members(&[1, 2]))]);
    (cluster, topic)
}

#[test]
fn leaders_go_back_as_soon_as_clients_know_where_the_broker_is_and_no_sooner() {
    let (mut cluster, topic) = back_and_in_sync(30_000);
    cluster.pass(20_000, 500, &[1, 2]);
    // The session breaks, and the same process opens another.
    cluster.break_session(1);
    cluster.connect(1, LogClaim::Clean);
    let writes = cluster.writes;
    cluster.pass(9_500, 500, &[1, 2]);
    assert_eq!((cluster.state(topic, 0).0, cluster.writes), (Some(2), writes));
    cluster.pass(500, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(1), "the next check would be due in 75 s");
    cluster.kill(1, &[2]);
    cluster.start_broker(1, LogClaim::Clean);
    cluster.propose(2, vec![cluster.proposal(topic, 0, &cluster.members(&[1, 2]))]);
    cluster.pass(90_000, 500, &[1, 2]);
    assert_eq!(
        cluster.state(topic, 0).0,
        Some(2),
        "nobody waited for it when the balance was last looked at"
    );
    cluster.pass(10_000, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(1));
}

#[test]
fn a_broker_whose_name_is_not_known_yet_is_elected_when_it_has_to_be() {
    let (mut cluster, topic) = back_and_in_sync(30_000);
    cluster.kill(2, &[1]);
    assert_eq!(cluster.state(topic, 0).0, Some(1));
}

#[test]
fn a_controller_that_takes_over_counts_from_when_it_meets_a_broker() {
    let (mut cluster, topic) = back_and_in_sync(30_000);
    cluster.pass(4_000, 500, &[1, 2]);
    let policy = Policy { leader_imbalance_check_ms: 1_000, ..Policy::default() };
    cluster.restart_controller(policy);
    let directory = Directory { name_ttl_ms: 30_000, ..Directory::default() };
    cluster.input(Input::Directory(directory));
    cluster.pass(1_500, 500, &[]);
    [1, 2].into_iter().for_each(|id| cluster.connect(id, LogClaim::Clean));
    cluster.pass(29_500, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(2));
    cluster.pass(1_000, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(1));
}

#[test]
fn a_broker_that_restarts_again_is_waited_for_again() {
    let (mut cluster, topic) = back_and_in_sync(30_000);
    cluster.pass(20_000, 500, &[1, 2]);
    cluster.start_broker(1, LogClaim::Clean);
    cluster.propose(2, vec![cluster.proposal(topic, 0, &cluster.members(&[1, 2]))]);
    cluster.pass(29_500, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(2));
    cluster.pass(500, 500, &[1, 2]);
    assert_eq!(cluster.state(topic, 0).0, Some(1));
}
