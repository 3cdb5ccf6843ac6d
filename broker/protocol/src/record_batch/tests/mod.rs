//! Tests of record batches as a whole: against real clients' bytes, against another implementation, against chance.

mod differential;
mod golden;
mod headers;
mod properties;
