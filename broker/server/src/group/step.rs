//! What goes into a group shard and what comes out.

use taffrail_protocol::ErrorCode;

use super::{ClientContext, GroupRequest, GroupResponse};

/// What happened. `T` is whatever the shell needs to find the request again that an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<T> {
    /// More of the partition, read back from its start: whole batches, back to back, in order.
    Load {
        /// The batches.
        batches: Vec<u8>,
    },
    /// The partition has been read to its end. Requests are served once the high watermark reaches that end, so that
    /// nothing is told that could still be lost.
    Loaded {
        /// The offset after the last record read.
        log_end_offset: i64,
    },
    /// A client asks.
    Request {
        /// Comes back with the answer.
        token: T,
        /// Who asks.
        context: ClientContext,
        /// What is asked.
        request: GroupRequest,
    },
    /// An [`Output::Append`] was appended to the log, or was not and never will be.
    Written {
        /// Which.
        write_id: u64,
        /// The offset of its last record, or why it was not appended.
        result: Result<i64, ErrorCode>,
    },
    /// The partition's high watermark: the offset after the last committed record. It may come before the `Written`
    /// of what it covers, and more than once.
    Committed {
        /// The high watermark.
        high_watermark: i64,
    },
    /// Time has passed; due at the latest at `next_deadline`.
    Tick,
    /// The partition is led elsewhere now. Everything parked is answered; the shard serves nothing afterwards.
    Unload,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<T> {
    /// Answer a request. Each token comes back once.
    Reply {
        /// The request's token.
        token: T,
        /// The answer.
        response: GroupResponse,
    },
    /// Append a batch to the partition, as its leader, and say so with [`Input::Written`]. Batches are appended in
    /// the order in which they come out.
    Append {
        /// Names the write.
        write_id: u64,
        /// One record batch.
        batch: Vec<u8>,
    },
    /// What was read back makes no sense; the shard answers NOT_COORDINATOR from now on.
    LoadFailed {
        /// What does not make sense, as a sentence for the log.
        reason: String,
    },
}
