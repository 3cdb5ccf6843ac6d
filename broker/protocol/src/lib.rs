//! The Apache Kafka wire protocol: bytes to values and back, without sockets, files or an async runtime.

mod error_code;
pub mod record_batch;
mod uuid;

pub use error_code::ErrorCode;
pub use uuid::Uuid;
