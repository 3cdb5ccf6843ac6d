//! The Apache Kafka wire protocol: bytes to values and back, without sockets, files or an async runtime.
//!
//! - [`codec`]: the reader and writer, and the traits that the [`Message`] derive implements;
//! - [`messages`]: one module per API, its request and response together;
//! - [`header`] and [`frame`]: what stands around a message on a connection;
//! - [`record_batch`]: the batches inside of produce requests, fetch responses and log segments;
//! - [`ApiKey`]: every API's name, and the version ranges of those whose messages are here.

// The derive writes absolute paths, so that other crates can use it too.
extern crate self as taffrail_protocol;

mod api_key;
pub mod codec;
mod error_code;
pub mod frame;
pub mod header;
pub mod messages;
pub mod record_batch;
#[cfg(test)]
mod testing;
mod uuid;

pub use api_key::{ApiKey, Spoken};
pub use codec::{ApiMessage, Decode, DecodeError, Encode, EncodeError, Message, Reader, Splice, Writer};
pub use error_code::ErrorCode;
pub use taffrail_protocol_derive::Message;
pub use uuid::{ParseUuidError, Uuid};
