//! Randomness from the operating system.

use taffrail_protocol::Uuid;

/// A random id.
///
/// # Panics
/// When the operating system has no randomness to give, which it always has after boot.
pub fn uuid() -> Uuid {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    Uuid(bytes)
}

/// A number from 0 to `bound`, inclusive; 0 where `bound` is negative.
pub fn below(bound: i64) -> i64 {
    let bytes = uuid().0;
    let number = i64::from_be_bytes([
        bytes[0] & 0x7f,
        bytes[1],
        bytes[2],
        bytes[3],
        bytes[4],
        bytes[5],
        bytes[6],
        bytes[7],
    ]);
    match bound {
        ..=0 => 0,
        i64::MAX => number,
        bound => number % (bound + 1),
    }
}
