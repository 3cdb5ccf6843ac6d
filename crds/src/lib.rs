//! The custom resources of Taffrail: what people apply, and what the operator remembers in.
