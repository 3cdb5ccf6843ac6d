//! Brokers that fall silent, come back, and stop (rule 6).

use taffrail_control::session::{FromController, LogClaim, ToController};
use taffrail_controller::Policy;
use taffrail_controller::message::{Event, Input};

use crate::cluster::Cluster;

const NOBODY: [i32; 0] = [];

fn grace_ms() -> u64 {
    Policy::default().session_grace_ms
}

fn fenced(cluster: &Cluster) -> Vec<i32> {
    let brokers = cluster.stored().brokers;
    brokers.iter().filter(|broker| broker.fenced).map(|broker| broker.broker_id).collect()
}

#[test]
fn a_broken_session_costs_its_grace_and_one_batch_of_writes() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3], &[2, 3, 1]], &[]);
    cluster.heartbeat(2);
    cluster.wake_ms = None;
    cluster.break_session(1);
    assert_eq!(cluster.wake_ms, Some(cluster.now_ms + grace_ms()), "the shell is to wake the controller");
    cluster.now_ms += grace_ms();
    cluster.input(Input::Tick);
    assert_eq!(cluster.asked.len(), 2, "fencing and elections go to the store together: {:?}", cluster.asked);
    cluster.settle();
    assert_eq!(fenced(&cluster), [1]);
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2, 3], vec![]));
    assert_eq!(cluster.state(topic, 1), (Some(2), 0, vec![2, 3], vec![]));
    assert_eq!(cluster.told(2, topic, 0).unwrap().leader_epoch, 1);
}

#[test]
fn a_tick_that_comes_a_moment_early_is_not_the_last() {
    let mut cluster = Cluster::start(2, Policy::default());
    cluster.break_session(1);
    cluster.now_ms += grace_ms() - 1;
    cluster.wake_ms = None;
    cluster.input(Input::Tick);
    assert_eq!(cluster.wake_ms, Some(cluster.now_ms + 1));
}

#[test]
fn a_broker_that_opens_its_next_session_within_the_grace_loses_nothing() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    let writes = cluster.writes;
    cluster.break_session(1);
    cluster.now_ms += grace_ms() - 1;
    cluster.input(Input::Tick);
    cluster.connect(1, LogClaim::Clean);
    cluster.pass(2_000, 100, &[1, 2]);
    assert_eq!((cluster.writes, cluster.state(topic, 0)), (writes, (Some(1), 0, vec![1, 2], vec![])));
}

#[test]
fn a_broker_that_says_nothing_in_its_session_is_fenced_after_the_session_time_and_may_come_back() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    cluster.pass(2_900, 100, &[2, 3]);
    assert_eq!(fenced(&cluster), NOBODY);
    cluster.pass(100, 100, &[2, 3]);
    assert_eq!((fenced(&cluster), cluster.state(topic, 0).0), (vec![1], Some(2)));
    cluster.heartbeat(1);
    cluster.settle();
    assert_eq!(fenced(&cluster), NOBODY);
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2, 3], vec![]), "its leader lets it back in");
    cluster.pass(5_000, 500, &[1, 2, 3]);
    assert_eq!(fenced(&cluster), NOBODY);
}

#[test]
fn everything_that_a_broker_says_counts() {
    let mut cluster = Cluster::start(2, Policy::default());
    for _ in 0..10 {
        cluster.say(1, ToController::ProposeIsr { incarnation: 1, proposals: Vec::new() });
        cluster.pass(500, 500, &[2]);
    }
    assert_eq!(fenced(&cluster), NOBODY);
}

#[test]
fn rule_6_when_every_broker_falls_silent_none_is_fenced_and_all_get_time_to_come_back() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    // Their last words came at different times.
    cluster.pass(400, 200, &[1, 2, 3]);
    cluster.pass(200, 200, &[2, 3]);
    cluster.pass(200, 200, &[3]);
    cluster.pass(20_000, 200, &[]);
    assert_eq!(fenced(&cluster), NOBODY);
    let told = |event: &&Event| matches!(event, Event::AllSilent { brokers: 3 });
    assert_eq!(cluster.events.iter().filter(told).count(), 1);
    cluster.pass(2_000, 500, &[3]);
    assert_eq!(fenced(&cluster), NOBODY, "the others have a session time from now on");
    cluster.pass(1_500, 500, &[3]);
    assert_eq!((fenced(&cluster), cluster.state(topic, 0).0), (vec![1, 2], Some(3)));
}

#[test]
fn rule_6_when_all_sessions_break_together_whoever_is_back_first_does_not_cost_the_others_theirs() {
    let mut cluster = Cluster::start(3, Policy::default());
    cluster.create("t", &[&[1, 2, 3]], &[]);
    for id in 1..=3 {
        cluster.break_session(id);
        cluster.now_ms += 10;
    }
    cluster.pass(200, 50, &[]);
    cluster.connect(2, LogClaim::Clean);
    cluster.pass(1_000, 50, &[2]);
    assert_eq!(fenced(&cluster), NOBODY);
    cluster.connect(1, LogClaim::Clean);
    cluster.pass(3_000, 500, &[1, 2]);
    assert_eq!(fenced(&cluster), [3]);
}

#[test]
fn the_last_broker_is_not_fenced() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    cluster.kill(1, &[2]);
    cluster.break_session(2);
    cluster.pass(10_000, 500, &[]);
    assert_eq!((fenced(&cluster), cluster.state(topic, 0).0), (vec![1], Some(2)));
}

#[test]
fn a_controller_that_was_paused_or_whose_clock_was_set_fences_nobody_for_it() {
    let mut cluster = Cluster::start(3, Policy::default());
    for now_ms in [cluster.now_ms + 600_000, 5_000, cluster.now_ms] {
        cluster.now_ms = now_ms;
        cluster.input(Input::Tick);
        cluster.heartbeat(3);
        cluster.input(Input::Tick);
        cluster.pass(1_000, 500, &[1, 2, 3]);
        assert_eq!(fenced(&cluster), NOBODY, "at {now_ms}");
    }
}

#[test]
fn rule_6_a_fresh_controller_waits_one_session_time_for_brokers_to_come() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    cluster.restart_controller(Policy::default());
    cluster.connect(2, LogClaim::Clean);
    cluster.connect(3, LogClaim::Clean);
    cluster.pass(2_900, 100, &[2, 3]);
    assert_eq!(fenced(&cluster), NOBODY);
    cluster.pass(100, 100, &[2, 3]);
    assert_eq!((fenced(&cluster), cluster.state(topic, 0).0), (vec![1], Some(2)));
}

fn granted(cluster: &Cluster, id: i32) -> bool {
    cluster.brokers[&id].inbox.contains(&FromController::ShutdownGranted)
}

fn ask_to_stop(cluster: &mut Cluster, id: i32) {
    let incarnation = cluster.brokers[&id].incarnation;
    cluster.say(id, ToController::ControlledShutdown { incarnation });
}

#[test]
fn a_broker_may_stop_when_others_lead_what_it_led() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let alone = cluster.create("alone", &[&[1]], &[]);
    ask_to_stop(&mut cluster, 1);
    assert!(!granted(&cluster, 1), "nothing is stored yet");
    cluster.settle();
    assert!(granted(&cluster, 1));
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2, 3], vec![]));
    assert_eq!(cluster.state(alone, 0), (None, 1, vec![1], vec![]), "nobody else could");
    cluster.heartbeat(1);
    cluster.settle();
    assert_eq!(fenced(&cluster), [1], "it is not let in again");
    cluster.break_session(1);
    cluster.start_broker(1, LogClaim::Clean);
    assert_eq!(cluster.state(alone, 0), (Some(1), 2, vec![1], vec![]));
}

#[test]
fn the_last_broker_may_stop_at_once_and_goes_on_leading() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    cluster.kill(1, &[2]);
    ask_to_stop(&mut cluster, 2);
    assert!(granted(&cluster, 2));
    cluster.settle();
    assert_eq!((fenced(&cluster), cluster.state(topic, 0).0), (vec![1], Some(2)));
}

#[test]
fn in_a_rolling_restart_a_broker_waits_for_the_one_before_it_to_catch_up() {
    let min_2 = [("min.insync.replicas", "2")];
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &min_2);
    ask_to_stop(&mut cluster, 1);
    cluster.settle();
    assert!(granted(&cluster, 1), "there is nothing to wait for");
    cluster.break_session(1);
    cluster.start_broker(1, LogClaim::Clean);
    ask_to_stop(&mut cluster, 2);
    cluster.pass(1_000, 500, &[1, 2, 3]);
    assert!(!granted(&cluster, 2), "1 is not in sync yet, and 3 alone is too few");
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2, 3], vec![]));
    let all = cluster.members(&[1, 2, 3]);
    let proposal = cluster.proposal(topic, 0, &all);
    let incarnation = cluster.brokers[&2].incarnation;
    cluster.say(2, ToController::ProposeIsr { incarnation, proposals: vec![proposal] });
    cluster.settle();
    cluster.pass(500, 500, &[1, 2, 3]);
    assert!(granted(&cluster, 2));
    assert_eq!(cluster.state(topic, 0), (Some(1), 2, vec![1, 3], vec![]));
    // 2 does not come back; who waits for a replica that does not catch up waits only so long.
    cluster.break_session(2);
    cluster.start_broker(2, LogClaim::Clean);
    ask_to_stop(&mut cluster, 3);
    cluster.pass(2_500, 500, &[1, 2, 3]);
    assert!(!granted(&cluster, 3));
    cluster.pass(500, 500, &[1, 2, 3]);
    assert!(granted(&cluster, 3));
    assert_eq!(cluster.state(topic, 0), (Some(1), 2, vec![1], vec![3]));
}

#[test]
fn brokers_are_told_the_tokens_of_the_others_and_only_what_is_new() {
    let mut cluster = Cluster::start(2, Policy::default());
    let token = |cluster: &Cluster, of: i32| {
        let updates = cluster.brokers[&1].inbox.iter().filter_map(|message| match message {
            FromController::Update(update) => Some(update.clone()),
            _ => None,
        });
        let tokens =
            updates.flat_map(|update| update.brokers.clone()).filter(|broker| broker.broker_id == of);
        tokens.filter_map(|broker| Some(broker.peer_token?.0[0])).collect::<Vec<u8>>()
    };
    assert_eq!(token(&cluster, 1), [101], "in the snapshot");
    assert_eq!(token(&cluster, 2), [101], "when it came");
    // A fresh controller hears it from each broker again.
    cluster.restart_controller(Policy::default());
    cluster.connect(1, LogClaim::Clean);
    cluster.connect(2, LogClaim::Clean);
    assert_eq!(token(&cluster, 2).len(), 1, "once");
    cluster.break_session(2);
    cluster.connect(2, LogClaim::Clean);
    assert_eq!(token(&cluster, 2).len(), 1, "and not again");
}
