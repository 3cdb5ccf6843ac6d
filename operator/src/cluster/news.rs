//! What people should be told when the conditions of a LogCluster change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use taffrail_crds::condition::READY;

use super::status::{DISK_FAILED, DISK_FULL, PAUSED, PROGRESSING, ROLL_FAILED};
use crate::events::News;

/// Reasons not to be ready that are a part of life.
const USUAL: [&str; 6] = [
    "Creating",
    "Rolling",
    "ScalingDown",
    "WaitingForBrokers",
    "ControllerNotReady",
    // Most classes make a volume only once there is a pod for it.
    "PersistentVolumeClaimPending",
];

/// The Events between two lists of conditions.
pub fn news(before: &[Condition], after: &[Condition]) -> Vec<News> {
    let find = |all: &[Condition], name: &str| all.iter().find(|condition| condition.type_ == name).cloned();
    let mut news = Vec::new();
    for condition in after {
        let old = find(before, &condition.type_);
        let same = old
            .as_ref()
            .is_some_and(|old| (&old.status, &old.reason) == (&condition.status, &condition.reason));
        if same {
            continue;
        }
        let is = condition.status == "True";
        let was = old.as_ref().is_some_and(|old| old.status == "True");
        let told = |warning: bool, reason: &str| News {
            warning,
            reason: reason.to_owned(),
            action: "Reconcile",
            note: condition.message.clone(),
        };
        match condition.type_.as_str() {
            READY if is => news.push(told(false, READY)),
            READY if condition.reason == ROLL_FAILED || USUAL.contains(&condition.reason.as_str()) => {}
            READY => news.push(told(true, &condition.reason)),
            PROGRESSING if is && !was && condition.reason == "Rolling" => {
                news.push(told(false, "RollStarted"))
            }
            ROLL_FAILED | DISK_FULL | DISK_FAILED => news.push(told(true, &condition.type_)),
            PAUSED => news.push(told(false, PAUSED)),
            _ => {}
        }
    }
    if find(before, DISK_FULL).is_some() && find(after, DISK_FULL).is_none() {
        let note = "every broker's disk has room again".to_owned();
        news.push(News { warning: false, reason: "DiskHasRoom".to_owned(), action: "Reconcile", note });
    }
    if find(before, PAUSED).is_some() && find(after, PAUSED).is_none() {
        let note = "the pause is over".to_owned();
        news.push(News { warning: false, reason: "Resumed".to_owned(), action: "Reconcile", note });
    }
    news
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn condition(name: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: name.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    fn told(before: &[Condition], after: &[Condition]) -> Vec<(bool, String)> {
        news(before, after).into_iter().map(|news| (news.warning, news.reason)).collect()
    }

    #[test]
    fn what_is_wrong_is_told_once_and_that_it_is_over_too() {
        let waiting = [condition(READY, "False", "WaitingForBrokers")];
        let broken = [condition(READY, "False", "ImagePullBackOff")];
        let ready = [condition(READY, "True", "AsWished")];
        assert_eq!(told(&[], &waiting), []);
        assert_eq!(told(&waiting, &broken), [(true, "ImagePullBackOff".to_owned())]);
        assert_eq!(told(&broken, &broken), []);
        assert_eq!(told(&broken, &ready), [(false, READY.to_owned())]);
    }

    #[test]
    fn rolls_and_pauses_are_told() {
        let rest = [condition(PROGRESSING, "False", "Settled")];
        let roll = [condition(PROGRESSING, "True", "Rolling")];
        assert_eq!(told(&rest, &roll), [(false, "RollStarted".to_owned())]);
        assert_eq!(told(&roll, &rest), []);
        let failed = [condition(ROLL_FAILED, "True", "PodFailed"), condition(READY, "False", ROLL_FAILED)];
        assert_eq!(told(&roll, &failed), [(true, ROLL_FAILED.to_owned())]);
        let full = [condition(DISK_FULL, "True", "NoRoom")];
        assert_eq!(told(&[], &full), [(true, DISK_FULL.to_owned())]);
        assert_eq!(told(&full, &full), []);
        assert_eq!(told(&full, &[]), [(false, "DiskHasRoom".to_owned())]);
        let paused = [condition(PAUSED, "True", "Asked")];
        assert_eq!(told(&[], &paused), [(false, PAUSED.to_owned())]);
        assert_eq!(told(&paused, &[]), [(false, "Resumed".to_owned())]);
    }
}
