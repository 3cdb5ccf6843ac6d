//! What is known of brokers' disks.

use taffrail_control::session::{
    FromController, LOG_DIRS, LogClaim, LogDirHealth, LogDirState, LogState, ToController,
};
use taffrail_controller::Policy;

use crate::cluster::Cluster;

fn dir(state: LogDirState) -> LogDirHealth {
    LogDirHealth { path: "/data".into(), state, reason: "why".into() }
}

fn tell(cluster: &mut Cluster, id: i32, dirs: Vec<LogDirHealth>) {
    let incarnation = cluster.brokers[&id].incarnation;
    cluster.say(id, ToController::LogDirs { incarnation, dirs });
    cluster.settle();
}

fn told(cluster: &Cluster) -> Vec<(i32, LogDirState)> {
    let all = cluster.controller.health().log_dirs().iter();
    all.flat_map(|(id, dirs)| dirs.iter().map(|dir| (*id, dir.state))).collect()
}

#[test]
fn the_newest_that_a_broker_says_of_its_directories_holds_until_its_next_life() {
    let mut cluster = Cluster::start(2, Policy::default());
    let greeting = &cluster.brokers[&1].inbox[0];
    assert!(
        matches!(greeting, FromController::Registered { features, .. } if features.contains(&LOG_DIRS.into())),
        "{greeting:?}"
    );
    let writes = cluster.writes;
    tell(&mut cluster, 1, vec![dir(LogDirState::Full)]);
    tell(&mut cluster, 2, vec![dir(LogDirState::Full), dir(LogDirState::Failed)]);
    assert_eq!(told(&cluster), [(1, LogDirState::Full), (2, LogDirState::Full), (2, LogDirState::Failed)]);
    tell(&mut cluster, 2, vec![]);
    assert_eq!(told(&cluster), [(1, LogDirState::Full)]);
    tell(&mut cluster, 2, vec![dir(LogDirState::Full); 1_000]);
    assert_eq!(told(&cluster).len(), 1 + 100, "no more than a bound is kept");
    assert_eq!(cluster.writes, writes, "nothing of it is stored");
    cluster.kill(2, &[1]);
    cluster.connect(2, LogClaim::SameBoot);
    assert_eq!(told(&cluster).len(), 1 + 100, "another session of the same process");
    cluster.start_broker(2, LogClaim::SameBoot);
    assert_eq!(told(&cluster), [(1, LogDirState::Full)]);
}

#[test]
fn a_leader_whose_disk_is_full_gives_way_and_leads_on_where_all_disks_are_full() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let full = || LogState::Failed { reason: "full".into() };
    let leader = |cluster: &Cluster| cluster.record(topic, 0).leader.map(|leader| leader.broker_id);
    cluster.report(1, topic, 0, full());
    assert_eq!(leader(&cluster), Some(2));
    assert_eq!(cluster.record(topic, 0).isr.len(), 2, "who takes nothing is not waited for");
    cluster.report(2, topic, 0, full());
    assert_eq!(leader(&cluster), Some(3));
    cluster.report(3, topic, 0, full());
    let last = leader(&cluster);
    assert!(last.is_some(), "somebody serves what there is");
    cluster.report(3, topic, 0, LogState::Online);
    assert_eq!(leader(&cluster), Some(3));
}
