//! What is said about logs to a person who looks after a broker: whether they are sound ([`verify`]), what their segments
//! hold ([`segments`]), and indexes made anew ([`rebuild`]).
//!
//! Directories of Apache Kafka are read as well as ours. All of it works a partition at a time, so that the caller may
//! spread partitions over threads; memory is bounded by what one partition needs, whatever its files hold. But for
//! [`rebuild`] nothing is ever written, no lock is taken, and a broker may be running meanwhile: then the end of a log is in
//! motion, and what cannot be told from that is not called damage.

mod batches;
mod entries;
mod observation;
mod offset_entries;
mod place;
mod producers;
pub mod rebuild;
mod segment;
pub mod segments;
mod time_entries;
pub mod verify;

pub use observation::{Observation, Severity, Symptom};
pub use place::{ExamineError, Examined, Place, Surroundings, discover};
