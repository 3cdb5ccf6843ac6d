//! Heartbeat (key 12): a member of a group lives.

use taffrail_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::call::Call;
use crate::group::{self, GroupRequest, GroupResponse};
use crate::group_call::{owned, owned_option};
use crate::net::parked::Answer;
use crate::request::Operation;

/// Handles a heartbeat.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: HeartbeatRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    if let Err(code) = call.authorize_group(Operation::Read, &request.group_id) {
        call.note_error(code);
        return call.answer(&HeartbeatResponse { error_code: code, ..HeartbeatResponse::default() });
    }
    let asked = GroupRequest::Heartbeat(group::HeartbeatRequest {
        group_id: owned(&request.group_id),
        generation_id: request.generation_id,
        member_id: owned(&request.member_id),
        group_instance_id: owned_option(request.group_instance_id.as_ref()),
    });
    call.ask_group(&request.group_id, asked, |call, response| {
        let GroupResponse::Heartbeat(response) = response else { return None };
        call.note_error(response.error);
        Some(HeartbeatResponse { error_code: response.error, ..HeartbeatResponse::default() })
    })
}
