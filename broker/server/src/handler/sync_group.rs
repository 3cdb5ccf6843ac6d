//! SyncGroup (key 14): a member's assignment in the new generation.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::call::Call;
use crate::group::{self, Assignment, GroupRequest, GroupResponse};
use crate::group_call::{bytes, owned, owned_option, text_option};
use crate::net::parked::Answer;
use crate::request::Operation;

/// From this version on the request names the protocol it believes in (KIP-559).
const PROTOCOL_FROM: i16 = 5;

/// Handles a request for an assignment.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: SyncGroupRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let lacks_protocol = request.protocol_type.is_none() || request.protocol_name.is_none();
    let refusal = if call.version() >= PROTOCOL_FROM && lacks_protocol {
        Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
    } else {
        call.authorize_group(Operation::Read, &request.group_id)
    };
    if let Err(code) = refusal {
        return call.answer(&answer(&call, &group::SyncGroupResponse::error(code)));
    }
    let assignments = request.assignments.iter().map(|assignment| Assignment {
        member_id: owned(&assignment.member_id),
        assignment: (&*assignment.assignment).into(),
    });
    let asked = GroupRequest::SyncGroup(group::SyncGroupRequest {
        group_id: owned(&request.group_id),
        generation_id: request.generation_id,
        member_id: owned(&request.member_id),
        group_instance_id: owned_option(request.group_instance_id.as_ref()),
        protocol_type: owned_option(request.protocol_type.as_ref()),
        protocol_name: owned_option(request.protocol_name.as_ref()),
        assignments: assignments.collect(),
    });
    call.ask_group(&request.group_id, asked, |call, response| {
        let GroupResponse::SyncGroup(response) = response else { return None };
        Some(answer(call, &response))
    })
}

fn answer(call: &Call, response: &group::SyncGroupResponse) -> SyncGroupResponse<'static> {
    call.note_error(response.error);
    SyncGroupResponse {
        error_code: response.error,
        protocol_type: text_option(response.protocol_type.as_ref()),
        protocol_name: text_option(response.protocol_name.as_ref()),
        assignment: bytes(&response.assignment),
        ..SyncGroupResponse::default()
    }
}
