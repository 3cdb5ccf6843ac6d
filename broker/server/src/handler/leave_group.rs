//! LeaveGroup (key 13): members leave a group.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::leave_group::MemberResponse;
use taffrail_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::call::Call;
use crate::group::{self, GroupRequest, GroupResponse, LeftMember, MemberIdentity};
use crate::group_call::{owned, owned_option, text, text_option};
use crate::net::parked::Answer;
use crate::request::Operation;

/// From this version on several members can leave at once (KIP-345); before it, the only member's error is the answer's.
const SEVERAL_MEMBERS_FROM: i16 = 3;

/// Handles members' leave.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: LeaveGroupRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    if let Err(code) = call.authorize_group(Operation::Read, &request.group_id) {
        call.note_error(code);
        return call.answer(&LeaveGroupResponse { error_code: code, ..LeaveGroupResponse::default() });
    }
    let members = if call.version() < SEVERAL_MEMBERS_FROM {
        vec![MemberIdentity { member_id: owned(&request.member_id), group_instance_id: None }]
    } else {
        let members = request.members.iter().map(|member| MemberIdentity {
            member_id: owned(&member.member_id),
            group_instance_id: owned_option(member.group_instance_id.as_ref()),
        });
        members.collect()
    };
    let asked =
        GroupRequest::LeaveGroup(group::LeaveGroupRequest { group_id: owned(&request.group_id), members });
    call.ask_group(&request.group_id, asked, |call, response| {
        let GroupResponse::LeaveGroup(response) = response else { return None };
        Some(answer(call, &response))
    })
}

fn answer(call: &Call, response: &group::LeaveGroupResponse) -> LeaveGroupResponse<'static> {
    let several = call.version() >= SEVERAL_MEMBERS_FROM;
    let only_error = response.members.first().map_or(ErrorCode::NONE, |left| left.error);
    let error_code = if !several && response.error == ErrorCode::NONE { only_error } else { response.error };
    call.note_error(error_code);
    LeaveGroupResponse {
        error_code,
        members: if several { response.members.iter().map(member).collect() } else { Vec::new() },
        ..LeaveGroupResponse::default()
    }
}

fn member(left: &LeftMember) -> MemberResponse<'static> {
    MemberResponse {
        member_id: text(&left.member.member_id),
        group_instance_id: text_option(left.member.group_instance_id.as_ref()),
        error_code: left.error,
    }
}
