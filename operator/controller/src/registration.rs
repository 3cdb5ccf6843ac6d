//! Decisions on the [`ClusterState`]: registrations, fencing, and numbers that nobody else gets.

use std::collections::BTreeMap;

use taffrail_protocol::{ErrorCode, Uuid};

use crate::cell::Verdict;
use crate::configs;
use crate::directory::Directory;
use crate::message::SessionId;
use crate::model::{BrokerState, ClusterState, Endpoint, Member, Other};
use crate::requests::Ticket;
use taffrail_control::session::{ApiError, ConfigChange, LogClaim, Registration};

/// Producer ids handed out at a time, as in Kafka (`ProducerIdsBlock`).
pub const PRODUCER_ID_BLOCK: i32 = 1_000;

/// What producer ids leap by where the store is behind its brokers (rule 25): over more blocks than are handed out between
/// backups, and often enough for as many restores as there may ever be.
pub(crate) const PRODUCER_ID_LEAP: i64 = PRODUCER_ID_BLOCK as i64 * (1 << 30);

/// Creations that a controller reserves at a time, so that making a topic does not cost a write of the cluster state.
pub(crate) const CREATION_BLOCK: u64 = 1_000;

/// A bound on what one registration may put into the cluster state.
const MAX_ENDPOINTS: usize = 64;

/// Something to be decided on the cluster state.
#[derive(Debug, Clone)]
pub(crate) enum ClusterIntent {
    Register {
        session: SessionId,
        registration: Box<Registration>,
    },
    ReserveCreations,
    /// What is known of brokers by others is to hold.
    Correct,
    /// Brokers know of more than the store, and of topics up to that creation: none of it may be handed out again.
    LiftCounters {
        above: u64,
    },
    AllocateProducerIds {
        session: SessionId,
        request_id: u64,
    },
    Fence {
        broker: Member,
        why: &'static str,
    },
    Unfence {
        broker: Member,
    },
    /// Dynamic configuration of brokers shall change.
    Configure {
        ticket: Ticket,
        change: Box<ConfigChange>,
        validate_only: bool,
    },
    /// A broker shall be forgotten.
    Unregister {
        ticket: Ticket,
        broker_id: i32,
        /// It was decided before, and that may have been stored.
        proposed: bool,
    },
}

/// What it came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClusterOutcome {
    Registered {
        member: Member,
        kept_everything: bool,
        again: bool,
    },
    Refused {
        reason: String,
    },
    Creations {
        first: u64,
    },
    ProducerIds {
        first: i64,
    },
    NoMoreProducerIds,
    Fenced,
    Unfenced,
    /// A part of a request is through.
    Through(Result<(), ApiError>),
    /// It no longer mattered.
    Moot,
}

type Decided = Verdict<ClusterIntent, ClusterOutcome>;

/// Decides one intent on `state`. `in_use` says of brokers that must not be forgotten why, and `directory` what is known of
/// them better than by themselves.
pub(crate) fn decide(
    state: &mut ClusterState,
    intent: ClusterIntent,
    random: &mut dyn FnMut() -> [u8; 16],
    in_use: &BTreeMap<i32, String>,
    directory: &Directory,
) -> Decided {
    match intent {
        ClusterIntent::Register { session, registration } => {
            let before = state.clone();
            let outcome = register(state, &registration, random);
            directory.correct_all(state);
            let intent = ClusterIntent::Register { session, registration };
            if matches!(outcome, ClusterOutcome::Refused { .. }) {
                *state = before;
                return Verdict::Unchanged(intent, outcome);
            }
            if *state == before {
                Verdict::Unchanged(intent, outcome)
            } else {
                Verdict::Changed(intent, outcome)
            }
        }
        ClusterIntent::ReserveCreations => {
            let first = state.next_creation;
            state.next_creation += CREATION_BLOCK;
            Verdict::Changed(intent, ClusterOutcome::Creations { first })
        }
        ClusterIntent::Correct => {
            if directory.correct_all(state) {
                Verdict::Changed(intent, ClusterOutcome::Moot)
            } else {
                Verdict::Unchanged(intent, ClusterOutcome::Moot)
            }
        }
        ClusterIntent::LiftCounters { above } => {
            state.next_creation = state.next_creation.max(above + 1);
            leap_producer_ids(state);
            Verdict::Changed(intent, ClusterOutcome::Moot)
        }
        ClusterIntent::AllocateProducerIds { .. } => {
            let first = state.next_producer_id;
            let Some(next) = first.checked_add(i64::from(PRODUCER_ID_BLOCK)) else {
                return Verdict::Unchanged(intent, ClusterOutcome::NoMoreProducerIds);
            };
            state.next_producer_id = next;
            Verdict::Changed(intent, ClusterOutcome::ProducerIds { first })
        }
        ClusterIntent::Fence { broker, .. } => set_fenced(state, broker, true, intent),
        ClusterIntent::Unfence { broker } => set_fenced(state, broker, false, intent),
        ClusterIntent::Configure { ref change, validate_only, .. } => {
            match configs::configure_brokers(state, change, validate_only) {
                Ok(true) => Verdict::Changed(intent, ClusterOutcome::Through(Ok(()))),
                Ok(false) => Verdict::Unchanged(intent, ClusterOutcome::Through(Ok(()))),
                Err(error) => Verdict::Unchanged(intent, ClusterOutcome::Through(Err(error))),
            }
        }
        ClusterIntent::Unregister { ticket, broker_id, proposed } => {
            unregister(state, ticket, broker_id, proposed, in_use)
        }
    }
}

/// Nobody tells which producer ids were handed out since the backup, and of two producers with one id each would be told
/// that what the other sent is its own, sent twice.
fn leap_producer_ids(state: &mut ClusterState) {
    if let Some(next) = state.next_producer_id.checked_add(PRODUCER_ID_LEAP) {
        state.next_producer_id = next;
    }
}

/// A broker that was forgotten gets a new incarnation should it ever come back, and its disks prove nothing then.
fn unregister(
    state: &mut ClusterState,
    ticket: Ticket,
    broker_id: i32,
    proposed: bool,
    in_use: &BTreeMap<i32, String>,
) -> Decided {
    let through = |result| ClusterOutcome::Through(result);
    let intent = |proposed| ClusterIntent::Unregister { ticket, broker_id, proposed };
    if state.broker(broker_id).is_none() {
        let unknown = || {
            let message = format!("broker {broker_id} is not registered");
            ApiError { code: ErrorCode::BROKER_ID_NOT_REGISTERED, message }
        };
        // Decided before with a lost answer, and stored.
        return Verdict::Unchanged(intent(proposed), through(if proposed { Ok(()) } else { Err(unknown()) }));
    }
    if let Some(why) = in_use.get(&broker_id) {
        let message = format!("broker {broker_id} cannot be unregistered: {why}");
        let error = ApiError { code: ErrorCode::INVALID_REQUEST, message };
        return Verdict::Unchanged(intent(proposed), through(Err(error)));
    }
    state.remove_broker(broker_id);
    Verdict::Changed(intent(true), through(Ok(())))
}

fn set_fenced(state: &mut ClusterState, member: Member, fenced: bool, intent: ClusterIntent) -> Decided {
    match state.broker_mut(member.broker_id) {
        // A later life of the broker is not meant.
        Some(broker) if broker.incarnation == member.incarnation && broker.fenced != fenced => {
            broker.fenced = fenced;
            Verdict::Changed(intent, if fenced { ClusterOutcome::Fenced } else { ClusterOutcome::Unfenced })
        }
        _ => Verdict::Unchanged(intent, ClusterOutcome::Moot),
    }
}

/// Rule 16. A refusal leaves `state` in pieces; the caller puts it back.
fn register(
    state: &mut ClusterState,
    registration: &Registration,
    random: &mut dyn FnMut() -> [u8; 16],
) -> ClusterOutcome {
    if let Some(reason) = refusal(state, registration) {
        return ClusterOutcome::Refused { reason };
    }
    if state.cluster_id.is_empty() {
        state.cluster_id = Uuid(random()).to_string();
    }
    let Registration { broker_id, process_id, endpoints, rack, log_dirs, peer_address, .. } =
        registration.clone();
    let endpoints: Vec<Endpoint> = endpoints.into_iter().map(Into::into).collect();
    let before = state.broker(broker_id).cloned();
    if let Some(same) = before.as_ref().filter(|broker| broker.process_id == process_id) {
        let member = same.member();
        let again = BrokerState { endpoints, rack, log_dirs, peer_address, fenced: false, ..same.clone() };
        state.put_broker(again);
        let kept_everything = same.last.is_some();
        return ClusterOutcome::Registered { member, kept_everything, again: true };
    }
    if let Some(reason) = before.as_ref().and_then(|broker| superseded(broker, registration)) {
        return ClusterOutcome::Refused { reason };
    }
    // A broker that names an incarnation which was never handed out here has seen more than this store, as after a
    // restore from a backup: numbers go on above what it was told (rule 25), and its claim proves nothing. A process that
    // runs keeps the incarnation that it has.
    let knows_more = registration.last_incarnation.max(registration.resumes) >= Some(state.next_incarnation);
    if knows_more {
        leap_producer_ids(state);
    }
    let above = state.next_incarnation.max(registration.last_incarnation.map_or(0, |last| last + 1));
    let incarnation = registration.resumes.unwrap_or(above);
    let chain = before.as_ref().and_then(|broker| unbroken_since(broker, registration));
    let broker = BrokerState {
        broker_id,
        incarnation,
        process_id,
        endpoints,
        rack,
        log_dirs,
        peer_address,
        fenced: false,
        since: chain.map_or(incarnation, |(since, _)| since),
        last: chain.map(|(_, last)| last),
        skipped: chain.zip(before.as_ref()).is_some_and(|((_, last), before)| last < before.incarnation),
        other: before.as_ref().map_or_else(Other::new, |broker| broker.other.clone()),
    };
    assert!(before.is_none_or(|b| b.incarnation < incarnation), "rule 16: an incarnation only grows");
    state.next_incarnation = above.max(incarnation + 1);
    state.put_broker(broker);
    let member = Member { broker_id, incarnation };
    ClusterOutcome::Registered { member, kept_everything: chain.is_some(), again: false }
}

/// Why a process that had the id before has it no more: of two processes with one id the older is fenced.
fn superseded(before: &BrokerState, registration: &Registration) -> Option<String> {
    let resumes = registration.resumes.filter(|resumes| *resumes <= before.incarnation)?;
    Some(format!(
        "another process has registered as broker {} since (incarnation {}, this one has {resumes}); give each broker an \
         id of its own",
        before.broker_id, before.incarnation
    ))
}

/// The incarnations (since, last) over which the broker's disks have lost nothing; `None` after an UNCLEAN start.
///
/// The disks name the incarnation under which they were last served. Within the chain that is on record they are the
/// chain's disks, and have lost nothing since it began. Named from outside of it they are other disks, or older ones.
/// If the life before came with disks that had not served in the one before that, an incarnation within the chain may have
/// been served by others: what continues that life goes back no further than to it.
fn unbroken_since(before: &BrokerState, registration: &Registration) -> Option<(u64, u64)> {
    let last = registration.last_incarnation.filter(|_| registration.claim != LogClaim::Unclean)?;
    let since = if before.skipped && last == before.incarnation { before.incarnation } else { before.since };
    (before.since <= last && last <= before.incarnation).then_some((since, last))
}

fn refusal(state: &ClusterState, registration: &Registration) -> Option<String> {
    let id = registration.broker_id;
    if id < 0 {
        return Some(format!("a broker id must not be negative, and {id} is"));
    }
    if registration.endpoints.len() > MAX_ENDPOINTS || registration.log_dirs.len() > MAX_ENDPOINTS {
        return Some(format!(
            "a broker may have at most {MAX_ENDPOINTS} listeners and as many log directories"
        ));
    }
    if registration.last_incarnation.max(registration.resumes) == Some(u64::MAX) {
        return Some(format!("broker {id} names an incarnation that cannot be: {}", u64::MAX));
    }
    match &registration.cluster_id {
        Some(theirs) if state.cluster_id.is_empty() => Some(format!(
            "the disks of broker {id} belong to cluster {theirs}, but this controller's store is empty; bring back the \
             store that belongs to the disks, or start with empty disks"
        )),
        Some(theirs) if *theirs != state.cluster_id => Some(format!(
            "the disks of broker {id} belong to cluster {theirs}, but this is cluster {}; check which controller the \
             broker was given, or start with empty disks",
            state.cluster_id
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(process: u8, last_incarnation: Option<u64>) -> Registration {
        let claim = if last_incarnation.is_some() { LogClaim::Clean } else { LogClaim::Unclean };
        Registration { last_incarnation, ..Registration::new(1, Uuid([process; 16]), claim) }
    }

    fn registered(state: &mut ClusterState, registration: &Registration) -> BrokerState {
        let outcome = register(state, registration, &mut || [7; 16]);
        assert!(matches!(outcome, ClusterOutcome::Registered { .. }), "{outcome:?}");
        state.broker(1).unwrap().clone()
    }

    #[test]
    fn rule_16_the_same_process_gets_the_same_incarnation_and_another_a_higher_one() {
        let mut state = ClusterState::default();
        let first = registered(&mut state, &registration(1, None));
        assert_eq!(registered(&mut state, &registration(1, None)), first);
        let second = registered(&mut state, &registration(2, Some(first.incarnation)));
        assert!(second.incarnation > first.incarnation);
        assert_eq!((second.since, second.last), (first.incarnation, Some(first.incarnation)));
        assert!(second.carries(first.incarnation) && !second.carries(second.incarnation));
    }

    #[test]
    fn an_unclean_start_breaks_the_chain_also_for_the_clean_one_after_it() {
        let mut state = ClusterState::default();
        let first = registered(&mut state, &registration(1, None));
        let unclean = registered(&mut state, &registration(2, None));
        assert!(!unclean.carries(first.incarnation));
        let clean = registered(&mut state, &registration(3, Some(unclean.incarnation)));
        assert!(clean.carries(unclean.incarnation) && !clean.carries(first.incarnation));
    }

    #[test]
    fn disks_of_an_earlier_life_carry_only_what_they_served() {
        let mut state = ClusterState::default();
        let first = registered(&mut state, &registration(1, None));
        let second = registered(&mut state, &registration(2, Some(first.incarnation)));
        // The process of `second` died before it noted its incarnation, or an older copy of the disk was mounted.
        let third = registered(&mut state, &registration(3, Some(first.incarnation)));
        assert!(third.carries(first.incarnation) && !third.carries(second.incarnation));
        // Nor does a later life of these disks, though they have lost nothing since.
        let fourth = registered(&mut state.clone(), &registration(4, Some(third.incarnation)));
        assert!(fourth.carries(third.incarnation) && !fourth.carries(second.incarnation));
        // One that dies before it noted anything costs nothing.
        let again = registered(&mut state, &registration(5, Some(first.incarnation)));
        assert!(again.carries(first.incarnation) && !again.carries(third.incarnation));
    }

    #[test]
    fn rule_25_numbers_go_on_above_what_a_broker_was_told() {
        let mut state = ClusterState::default();
        let broker = registered(&mut state, &registration(1, Some(40)));
        assert_eq!((broker.incarnation, broker.last), (41, None));
        assert_eq!(state.next_incarnation, 42);
        assert_eq!(state.next_producer_id, PRODUCER_ID_LEAP);
        registered(&mut state, &registration(2, Some(41)));
        assert_eq!(state.next_producer_id, PRODUCER_ID_LEAP, "this store has handed out 41");
    }

    #[test]
    fn a_process_that_resumes_keeps_its_incarnation_unless_another_has_the_id_by_now() {
        let mut state = ClusterState::default();
        let first = registered(&mut state, &registration(1, None));
        let again = Registration { resumes: Some(first.incarnation), ..registration(1, None) };
        assert_eq!(registered(&mut state, &again), first);
        let second = registered(&mut state, &registration(2, None));
        let before = state.clone();
        let outcome = register(&mut state, &again, &mut || [7; 16]);
        assert!(matches!(outcome, ClusterOutcome::Refused { .. }), "{outcome:?}");
        assert_eq!((state.broker(1), &state), (Some(&second), &before));
        // This store has never heard of it: it was restored from a backup.
        let resumed =
            Registration { resumes: Some(50), last_incarnation: Some(49), ..registration(3, Some(49)) };
        for mut state in [ClusterState::default(), state] {
            let resumed = registered(&mut state, &resumed);
            assert_eq!((resumed.incarnation, resumed.last, state.next_incarnation), (50, None, 51));
        }
    }

    #[test]
    fn disks_of_another_cluster_are_refused() {
        let mut state = ClusterState::default();
        let stranger = Registration { cluster_id: Some("other".into()), ..registration(1, None) };
        assert!(refusal(&state, &stranger).unwrap().contains("store is empty"));
        registered(&mut state, &registration(1, None));
        assert!(refusal(&state, &stranger).unwrap().contains("belong to cluster other"));
        let ours = Registration { cluster_id: Some(state.cluster_id.clone()), ..registration(1, None) };
        assert_eq!(refusal(&state, &ours), None);
        assert_eq!(state.cluster_id, "BwcHBwcHBwcHBwcHBwcHBw");
    }
}
