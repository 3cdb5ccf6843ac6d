//! Who speaks to whom, and how each knows the other: the operator shows brokers a certificate of its own authority
//! ([`authority`]), and brokers show the operator the token of their pod's ServiceAccount ([`token_review`]).

pub mod authority;
pub mod token_review;

/// For whom a broker's token is made out; a token for anybody else is none here.
pub const AUDIENCE: &str = "controller.taffrail.dev";
