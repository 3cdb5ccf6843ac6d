//! What a broker does about a replica's log when the controller assigns it (rules 18, 30, 31).
//!
//! | the record | a directory of the name | a stray of the topic id | verdict |
//! |---|---|---|---|
//! | older than what the broker acted on | any | any | Ignore |
//! | any | of this topic | any | Open |
//! | of an earlier creation than the directory | of another topic | any | Ignore |
//! | any other | of another topic, or does not tell | any | set it aside, then as without one |
//! | any | none | there | TakeBack |
//! | ISR and ELR do not name the broker | none | none | Create |
//! | names it as leader of an unclean election | none | none | Create |
//! | the first, in this incarnation, or never acted on by disks that kept all | none | none | Create |
//! | any other | none | none | Missing |
//!
//! A log that is taken back and turns out to be damaged, where the ISR or ELR names the broker, is Missing: it is set aside for
//! good.

use taffrail_control::session::{LogClaim, Member, PartitionRecord};
use taffrail_protocol::Uuid;

/// What is on the disk for a partition's name, and what the broker knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnDisk {
    /// The directory that has the partition's name.
    pub named: Option<NamedDir>,
    /// There is a directory that was moved aside and holds this topic id and partition.
    pub stray: bool,
    /// The broker has acted under a higher epoch ([`is_behind`](super::epochs::EpochNotes::is_behind)).
    pub behind: bool,
    /// The broker has acted under some record of the partition ([`knows`](super::epochs::EpochNotes::knows)).
    pub known: bool,
    /// What the broker stated about its disks at registration.
    pub claim: LogClaim,
}

/// A directory that has a partition's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedDir {
    /// The topic's id in it. `None` where it does not tell: a power cut may have left the records of a log and not its
    /// `partition.metadata`. Whose they are cannot be known then, and the name proves nothing: the topic may have been
    /// deleted and made again while this broker was away.
    pub topic_id: Option<Uuid>,
    /// The creation of that topic, if the broker acted for it.
    pub creation: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: a newer record has been acted on.
    Ignore,
    /// Open what is there.
    Open,
    /// Open, make or take back the log, after the directory of another topic was moved aside.
    SetAside(Fresh),
    /// There is no directory in the way.
    Fresh(Fresh),
}

impl Opening {
    /// Whether a log that was moved aside is the partition's again.
    pub fn takes_back(self) -> bool {
        matches!(self, Self::Fresh(Fresh::TakeBack) | Self::SetAside(Fresh::TakeBack))
    }
}

/// Where a replica without a directory of its own gets its log from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// An empty log is made.
    Create,
    /// The directory that was moved aside gets its name back.
    TakeBack,
    /// The record counts on a log that is not there: to be reported, and neither led nor fetched.
    Missing,
}

/// The verdict on a record, for the broker `me`.
pub fn opening(record: &PartitionRecord, me: Member, disk: &OnDisk) -> Opening {
    if disk.behind {
        return Opening::Ignore;
    }
    match disk.named {
        None => Opening::Fresh(fresh(record, me, disk)),
        Some(NamedDir { topic_id: Some(topic_id), .. }) if topic_id == record.topic_id => Opening::Open,
        Some(NamedDir { creation: Some(creation), .. }) if creation > record.creation => Opening::Ignore,
        Some(_) => Opening::SetAside(fresh(record, me, disk)),
    }
}

/// The member of the ISR or ELR that is this broker, in whichever incarnation.
pub(super) fn named_in(record: &PartitionRecord, me: Member) -> Option<&Member> {
    record.isr.iter().chain(&record.elr).find(|member| member.broker_id == me.broker_id)
}

fn fresh(record: &PartitionRecord, me: Member, disk: &OnDisk) -> Fresh {
    if disk.stray {
        return Fresh::TakeBack;
    }
    // By id and not by incarnation: an earlier life's place may be carried over to this one (rule 17), and an empty log
    // made now would be taken for the one that is missing.
    let Some(named) = named_in(record, me) else { return Fresh::Create };
    let decided = record.leader == Some(me) && record.unclean_epoch == Some(record.leader_epoch);
    let never_made = *named == me || disk.claim != LogClaim::Unclean;
    if decided || record.leader_epoch == 0 && !disk.known && never_made {
        return Fresh::Create;
    }
    Fresh::Missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::test_support::record;

    const ME: Member = Member { broker_id: 1, incarnation: 9 };
    const FORMER: Member = Member { broker_id: 1, incarnation: 8 };
    const OTHER: Member = Member { broker_id: 2, incarnation: 5 };
    const EMPTY: OnDisk =
        OnDisk { named: None, stray: false, behind: false, known: false, claim: LogClaim::SameBoot };

    fn in_isr(member: Member, leader_epoch: i32) -> PartitionRecord {
        PartitionRecord { isr: vec![OTHER, member], ..record(0, 5, leader_epoch) }
    }

    fn named(topic_id: Option<Uuid>, creation: Option<u64>) -> OnDisk {
        OnDisk { named: Some(NamedDir { topic_id, creation }), ..EMPTY }
    }

    #[test]
    fn a_record_that_is_behind_moves_nothing() {
        for disk in [EMPTY, named(Some(Uuid([3; 16])), None), named(Some(record(0, 0, 0).topic_id), Some(5))]
        {
            let disk = OnDisk { behind: true, stray: true, ..disk };
            assert_eq!(opening(&in_isr(ME, 2), ME, &disk), Opening::Ignore);
        }
    }

    #[test]
    fn what_is_there_is_opened() {
        let own = named(Some(record(0, 0, 0).topic_id), Some(5));
        for disk in [own, OnDisk { stray: true, ..own }] {
            assert_eq!(opening(&in_isr(ME, 2), ME, &disk), Opening::Open);
        }
    }

    #[test]
    fn rule_18_a_log_that_does_not_tell_whose_it_is_is_nobodys() {
        let nameless = named(None, None);
        assert_eq!(opening(&record(0, 5, 2), ME, &nameless), Opening::SetAside(Fresh::Create));
        assert_eq!(opening(&in_isr(ME, 2), ME, &nameless), Opening::SetAside(Fresh::Missing));
        let stray = OnDisk { stray: true, ..nameless };
        assert_eq!(opening(&in_isr(ME, 2), ME, &stray), Opening::SetAside(Fresh::TakeBack));
    }

    #[test]
    fn rule_18_another_topics_log_is_set_aside_unless_the_record_is_older() {
        let other = Some(Uuid([3; 16]));
        let absent = record(0, 5, 2);
        for creation in [None, Some(4), Some(5)] {
            assert_eq!(opening(&absent, ME, &named(other, creation)), Opening::SetAside(Fresh::Create));
        }
        let stray = OnDisk { stray: true, ..named(other, None) };
        assert_eq!(opening(&absent, ME, &stray), Opening::SetAside(Fresh::TakeBack));
        assert_eq!(opening(&in_isr(ME, 2), ME, &named(other, None)), Opening::SetAside(Fresh::Missing));
        assert_eq!(opening(&absent, ME, &named(other, Some(6))), Opening::Ignore);
    }

    #[test]
    fn rule_18_a_stray_is_taken_back() {
        let disk = OnDisk { stray: true, ..EMPTY };
        for record in [record(0, 5, 2), in_isr(ME, 2), in_isr(ME, 0)] {
            assert_eq!(opening(&record, ME, &disk), Opening::Fresh(Fresh::TakeBack));
        }
    }

    #[test]
    fn rule_30_an_empty_log_is_made_where_nobody_counts_on_one() {
        let in_elr = |member| PartitionRecord { elr: vec![member], ..record(0, 5, 2) };
        let unclean = |leader, unclean_epoch| PartitionRecord {
            leader: Some(leader),
            unclean_epoch: Some(unclean_epoch),
            ..in_isr(ME, 2)
        };
        let known = OnDisk { known: true, ..EMPTY };
        let wiped = OnDisk { claim: LogClaim::Unclean, ..EMPTY };
        use Fresh::{Create, Missing};
        for (record, disk, expected, why) in [
            (record(0, 5, 2), EMPTY, Create, "not in ISR or ELR"),
            (record(0, 5, 2), known, Create, "not in ISR or ELR, whatever it had"),
            (in_isr(ME, 0), EMPTY, Create, "the first record"),
            (in_isr(ME, 0), wiped, Create, "the first record, on a new disk"),
            (in_isr(FORMER, 0), EMPTY, Create, "made while this broker was away, or died before it made it"),
            (in_isr(FORMER, 0), wiped, Missing, "the disk may have had it"),
            (in_isr(FORMER, 0), known, Missing, "the disk did have it"),
            (in_isr(ME, 0), known, Missing, "carried over, and the disk did have it"),
            (in_isr(ME, 2), EMPTY, Missing, "counted on"),
            (in_isr(FORMER, 2), EMPTY, Missing, "may be carried over"),
            (in_elr(ME), EMPTY, Missing, "counted on, in the ELR"),
            (in_elr(FORMER), EMPTY, Missing, "may be carried over, in the ELR"),
            (unclean(ME, 2), EMPTY, Create, "the controller decided that it leads all the same"),
            (unclean(ME, 1), EMPTY, Missing, "that decision was about another epoch"),
            (unclean(OTHER, 2), EMPTY, Missing, "that decision was about another broker"),
        ] {
            assert_eq!(opening(&record, ME, &disk), Opening::Fresh(expected), "{why}");
        }
    }
}
