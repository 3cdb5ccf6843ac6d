//! The `taffrail` binary.

fn main() {}
