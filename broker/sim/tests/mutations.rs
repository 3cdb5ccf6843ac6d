//! Each breakage of the protocol is found out by some check.

use clap::ValueEnum;
use taffrail_sim::mutation::Mutation;
use taffrail_sim::{Play, play};

/// So many seeds at most are played to find one out.
const SEEDS: u64 = 150;

/// The first seed whose run breaks an invariant, and the invariant. A shipped type that notices by itself and panics has
/// found it out as well.
fn found_out(mutation: Mutation) -> Option<(u64, String)> {
    (1..=SEEDS).find_map(|seed| {
        let played =
            std::panic::catch_unwind(|| play(seed, Play { mutation: Some(mutation), ..Play::default() }));
        match played {
            Ok(outcome) => outcome.violation.map(|violation| (seed, violation.invariant.to_owned())),
            Err(_) => Some((seed, "an assertion".to_owned())),
        }
    })
}

#[test]
fn every_breakage_is_found_out() {
    for mutation in Mutation::value_variants() {
        let found = found_out(*mutation);
        assert!(found.is_some(), "{SEEDS} seeds found nothing wrong with {mutation:?}");
    }
}
