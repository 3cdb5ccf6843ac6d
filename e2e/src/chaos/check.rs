//! Accounts for every record of one partition: what its producers were told, what its log holds, what its readers saw.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;

use crate::record::Identity;

/// What a producer knows of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent, and may be in the log or not.
    InDoubt,
    /// It is in the log, at this offset if that is not negative.
    Acknowledged(i64),
}

/// A record that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The highest offset in the partition that its producer knew of when it sent the record; -1 if it knew of none.
    pub behind: i64,
    /// What became of it.
    pub outcome: Outcome,
}

/// All that is known of one partition.
#[derive(Debug, Default)]
pub struct History {
    /// The partition's number.
    pub partition: u16,
    /// Whether its producers are idempotent.
    pub idempotent: bool,
    /// What became of each producer's records, by their numbers.
    pub sent: BTreeMap<u16, Vec<Sent>>,
    /// The log, from its first record to its last; `None` stands for a record that is none of ours.
    pub log: BTreeMap<i64, Option<Identity>>,
    /// What the readers saw while it was written, by offset.
    pub seen: BTreeMap<i64, Option<Identity>>,
}

/// How many records of each kind there are. All kinds up to `fatal` have to be 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Acknowledged, and not in the log.
    pub lost: u64,
    /// Acknowledged, and not at the offset that the acknowledgement named.
    pub misplaced: u64,
    /// In the log before what was acknowledged when it was sent, or behind a later one of the same idempotent producer.
    pub reordered: u64,
    /// In the log again, although the producer is idempotent.
    pub duplicated: u64,
    /// In the log, and never sent to that partition.
    pub strange: u64,
    /// Seen by a reader, and no longer in the log.
    pub vanished: u64,
    /// Seen by a reader, where the log now holds another.
    pub changed: u64,
    /// In the log, and never seen by the group.
    pub unseen: u64,
    /// Producers that gave up.
    pub fatal: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// In doubt to the end.
    pub in_doubt: u64,
    /// In the log again, of producers that are not idempotent: allowed.
    pub repeated: u64,
    /// In the log behind a later one of the same producer, which is not idempotent and had both under way: allowed. One
    /// request under way is a limit of librdkafka's for each connection. It does not wait for the old leader's answer
    /// before it turns to the new one, and what the old one never answered is sent again behind what the new one took.
    pub overtaken: u64,
    /// In the log.
    pub in_log: u64,
}

impl Findings {
    /// Whether nothing happened that must not.
    pub fn sound(&self) -> bool {
        let counted = [self.lost, self.misplaced, self.reordered, self.duplicated, self.strange];
        let read = [self.vanished, self.changed, self.unseen, self.fatal];
        counted.iter().chain(&read).all(|count| *count == 0)
    }
}

impl AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.misplaced += other.misplaced;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.strange += other.strange;
        self.vanished += other.vanished;
        self.changed += other.changed;
        self.unseen += other.unseen;
        self.fatal += other.fatal;
        self.acknowledged += other.acknowledged;
        self.in_doubt += other.in_doubt;
        self.repeated += other.repeated;
        self.overtaken += other.overtaken;
        self.in_log += other.in_log;
    }
}

/// Accounts for one partition.
pub fn check(history: &History) -> Findings {
    let mut found = Findings { in_log: history.log.len() as u64, ..Findings::default() };
    // How often each record was found, by producer and number.
    let mut times: BTreeMap<u16, Vec<u32>> =
        history.sent.iter().map(|(producer, sent)| (*producer, vec![0; sent.len()])).collect();
    let mut latest: BTreeMap<u16, u64> = BTreeMap::new();
    for (offset, record) in &history.log {
        let Some((record, times)) = record.as_ref().and_then(|record| ours(record, history, &mut times))
        else {
            found.strange += 1;
            continue;
        };
        let sent = history.sent[&record.producer][record.number as usize];
        let mut reordered = *offset <= sent.behind;
        *times += 1;
        if *times > 1 {
            found.reordered += u64::from(reordered);
            let again = if history.idempotent { &mut found.duplicated } else { &mut found.repeated };
            *again += 1;
            continue;
        }
        let latest = latest.entry(record.producer).or_insert(record.number);
        if record.number < *latest {
            reordered |= history.idempotent;
            found.overtaken += u64::from(!history.idempotent);
        }
        found.reordered += u64::from(reordered);
        *latest = record.number.max(*latest);
    }
    check_acknowledged(history, &times, &mut found);
    check_seen(history, &mut found);
    found
}

fn ours<'a>(
    record: &'a Identity,
    history: &History,
    times: &'a mut BTreeMap<u16, Vec<u32>>,
) -> Option<(&'a Identity, &'a mut u32)> {
    let times = times.get_mut(&record.producer)?.get_mut(usize::try_from(record.number).ok()?)?;
    (record.partition == history.partition).then_some((record, times))
}

fn check_acknowledged(history: &History, times: &BTreeMap<u16, Vec<u32>>, found: &mut Findings) {
    for (producer, sent) in &history.sent {
        for (number, sent) in sent.iter().enumerate() {
            let Outcome::Acknowledged(offset) = sent.outcome else {
                found.in_doubt += 1;
                continue;
            };
            found.acknowledged += 1;
            if times.get(producer).is_none_or(|times| times[number] == 0) {
                found.lost += 1;
                continue;
            }
            let named = Identity { producer: *producer, partition: history.partition, number: number as u64 };
            if offset >= 0 && history.log.get(&offset) != Some(&Some(named)) {
                found.misplaced += 1;
            }
        }
    }
}

fn check_seen(history: &History, found: &mut Findings) {
    for (offset, seen) in &history.seen {
        match history.log.get(offset) {
            None => found.vanished += 1,
            Some(record) if record != seen => found.changed += 1,
            Some(_) => {}
        }
    }
    found.unseen += history.log.keys().filter(|offset| !history.seen.contains_key(offset)).count() as u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition whose one producer had all of its records acknowledged where the log has them.
    fn history(numbers: &[u64], idempotent: bool) -> History {
        let log: BTreeMap<_, _> = (0..).zip(numbers.iter().map(|number| Some(record(*number)))).collect();
        let sent = (0..numbers.iter().max().map_or(0, |max| max + 1)).map(|number| {
            let at = numbers.iter().position(|at| *at == number);
            sent(at.map_or(Outcome::InDoubt, |at| Outcome::Acknowledged(at as i64)))
        });
        let sent = BTreeMap::from([(1, sent.collect())]);
        History { partition: 3, idempotent, sent, seen: log.clone(), log }
    }

    fn sent(outcome: Outcome) -> Sent {
        Sent { behind: -1, outcome }
    }

    fn record(number: u64) -> Identity {
        Identity { producer: 1, partition: 3, number }
    }

    #[test]
    fn a_partition_without_faults_is_sound_though_records_may_be_in_doubt() {
        let mut history = history(&[0, 1, 3], true);
        history.sent.insert(2, vec![sent(Outcome::InDoubt)]);
        let found = check(&history);
        assert!(found.sound(), "{found:?}");
        assert_eq!((found.acknowledged, found.in_doubt, found.in_log), (3, 2, 3));
    }

    #[test]
    fn an_acknowledged_record_that_is_gone_is_lost() {
        let mut history = history(&[0, 1, 2], true);
        history.log.remove(&1);
        history.seen.remove(&1);
        assert_eq!(check(&history).lost, 1);
        assert!(!check(&history).sound());
    }

    #[test]
    fn an_acknowledgement_that_names_another_offset_is_found() {
        let mut history = history(&[0, 1, 2], true);
        let outcomes = [0, 7, -1].map(|offset| sent(Outcome::Acknowledged(offset)));
        history.sent.insert(1, outcomes.into());
        let found = check(&history);
        assert_eq!((found.misplaced, found.lost), (1, 0));
    }

    #[test]
    fn repeated_records_are_a_fault_of_idempotent_producers_only() {
        let found = check(&history(&[0, 1, 0, 1, 2], true));
        assert_eq!((found.duplicated, found.repeated, found.reordered), (2, 0, 0));
        let found = check(&history(&[0, 1, 0, 1, 2], false));
        assert!(found.sound());
        assert_eq!((found.duplicated, found.repeated), (0, 2));
    }

    #[test]
    fn records_behind_later_ones_are_reordered_if_their_producer_is_idempotent() {
        assert_eq!(check(&history(&[0, 2, 1], true)).reordered, 1);
        let found = check(&history(&[0, 2, 1], false));
        assert_eq!((found.reordered, found.overtaken), (0, 1));
    }

    #[test]
    fn records_before_what_was_acknowledged_when_they_were_sent_are_reordered() {
        for idempotent in [true, false] {
            let mut history = history(&[0, 1, 2], idempotent);
            let second = |history: &mut History, behind| history.sent.get_mut(&1).unwrap()[1].behind = behind;
            second(&mut history, 0);
            assert!(check(&history).sound());
            second(&mut history, 1);
            assert_eq!(check(&history).reordered, 1);
        }
    }

    #[test]
    fn records_that_nobody_sent_there_are_strange() {
        let mut history = history(&[0, 1], true);
        let others = [
            Some(record(9)),
            Some(Identity { producer: 8, ..record(0) }),
            Some(Identity { partition: 4, ..record(0) }),
            None,
        ];
        history.log.extend((2..).zip(others));
        history.seen = history.log.clone();
        let found = check(&history);
        assert_eq!((found.strange, found.lost, found.duplicated), (4, 0, 0));
    }

    #[test]
    fn what_readers_saw_has_to_stay_and_all_has_to_be_seen() {
        let mut history = history(&[0, 1, 2], true);
        history.seen.insert(1, Some(record(2)));
        history.seen.insert(3, Some(record(3)));
        history.seen.remove(&2);
        let found = check(&history);
        assert_eq!((found.changed, found.vanished, found.unseen), (1, 1, 1));
    }
}
