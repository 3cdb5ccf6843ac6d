//! JoinGroup (key 11): becoming a member of a group's next generation.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::join_group::JoinGroupResponseMember;
use taffrail_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::call::Call;
use crate::group::{self, GroupRequest, GroupResponse, JoinedMember, Protocol};
use crate::group_call::{bytes, owned, owned_option, text, text_option};
use crate::net::parked::Answer;
use crate::request::Operation;

/// From this version on a new member is first given an id to join with (KIP-394).
const KNOWN_MEMBER_ID_FROM: i16 = 4;
/// Up to this version the answer cannot leave the protocol out.
const PROTOCOL_REQUIRED_UP_TO: i16 = 6;
/// From this version on the leader can be told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// Handles a request to join.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: JoinGroupRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    if let Err(code) = call.authorize_group(Operation::Read, &request.group_id) {
        return refuse(&call, &request, code);
    }
    let version = call.version();
    let protocols = request
        .protocols
        .iter()
        .map(|protocol| Protocol { name: owned(&protocol.name), metadata: (&*protocol.metadata).into() });
    let asked = GroupRequest::JoinGroup(group::JoinGroupRequest {
        group_id: owned(&request.group_id),
        member_id: owned(&request.member_id),
        group_instance_id: owned_option(request.group_instance_id.as_ref()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: owned(&request.protocol_type),
        protocols: protocols.collect(),
        require_known_member_id: version >= KNOWN_MEMBER_ID_FROM && request.group_instance_id.is_none(),
        supports_skipping_assignment: version >= SKIP_ASSIGNMENT_FROM,
    });
    call.ask_group(&request.group_id, asked, |call, response| {
        let GroupResponse::JoinGroup(response) = response else { return None };
        Some(answer(call, &response))
    })
}

fn refuse(call: &Call, request: &JoinGroupRequest<'_>, code: ErrorCode) -> Answer {
    let response = group::JoinGroupResponse::error(owned(&request.member_id), code);
    call.answer(&answer(call, &response))
}

fn answer(call: &Call, response: &group::JoinGroupResponse) -> JoinGroupResponse<'static> {
    call.note_error(response.error);
    let protocol_name = text_option(response.protocol_name.as_ref());
    JoinGroupResponse {
        error_code: response.error,
        generation_id: response.generation_id,
        protocol_type: text_option(response.protocol_type.as_ref()),
        protocol_name: match protocol_name {
            None if call.version() <= PROTOCOL_REQUIRED_UP_TO => Some("".into()),
            other => other,
        },
        leader: text(&response.leader),
        skip_assignment: response.skip_assignment,
        member_id: text(&response.member_id),
        members: response.members.iter().map(member).collect(),
        ..JoinGroupResponse::default()
    }
}

fn member(member: &JoinedMember) -> JoinGroupResponseMember<'static> {
    JoinGroupResponseMember {
        member_id: text(&member.member_id),
        group_instance_id: text_option(member.group_instance_id.as_ref()),
        metadata: bytes(&member.metadata),
    }
}
