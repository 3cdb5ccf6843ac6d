//! Fetch (key 1): ranges of segment files to consumers and followers, without looking into them.

mod consumer;
mod follower;

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::{FetchRequest, FetchResponse};

use crate::call::Call;
use crate::fetch_session::NO_SESSION;
use crate::net::parked::Answer;
use crate::request::Principal;

/// The replica id of a consumer.
const CONSUMER: i32 = -1;

/// Handles a fetch request.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: FetchRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    if request.replica_id.max(request.replica_state.replica_id) <= CONSUMER {
        return consumer::handle(call, &request);
    }
    match call.context.principal.clone() {
        Principal::Peer(peer) => follower::handle(call, &peer, &request),
        // Anybody could have followers counted that do not exist.
        Principal::Anonymous => refuse(&call, ErrorCode::CLUSTER_AUTHORIZATION_FAILED),
    }
}

fn refuse(call: &Call, code: ErrorCode) -> Answer {
    call.note_error(code);
    call.answer(&FetchResponse { error_code: code, session_id: NO_SESSION, ..FetchResponse::default() })
}
