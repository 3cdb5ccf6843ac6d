//! DescribeGroups (key 15): groups in full.

use std::collections::HashSet;

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use taffrail_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use crate::call::Call;
use crate::group::{self, DescribedMember, GroupRequest, GroupResponse, GroupState};
use crate::group_call::{bytes, owned, text, text_option};
use crate::net::parked::Answer;
use crate::request::{OPERATIONS_NOT_ASKED, Operation, Resource, authorized_operations};

/// From this version on a missing group has an error of its own (KIP-1043).
const REPORTS_MISSING_GROUP_FROM: i16 = 6;

/// Handles a request for descriptions.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DescribeGroupsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let reports_missing_group = call.version() >= REPORTS_MISSING_GROUP_FROM;
    let show_operations = request.include_authorized_operations;
    // A group named again and again would make an answer of any size.
    let mut seen = HashSet::with_capacity(request.groups.len());
    let (allowed, refused): (Vec<_>, Vec<_>) = request
        .groups
        .iter()
        .filter(|id| seen.insert(&***id))
        .map(|id| owned(id))
        .partition(|id| call.authorize_group(Operation::Describe, id).is_ok());
    let parts = allowed.into_iter().map(|id| {
        let partition = call.group_partition(&id);
        let asked = group::DescribeGroupsRequest { group_ids: vec![id], reports_missing_group };
        (partition, GroupRequest::DescribeGroups(asked))
    });
    let parts = parts.collect();
    call.ask_groups(parts, move |call, responses| {
        let refused = refused.into_iter().map(|id| {
            group::DescribedGroup::without_members(
                id,
                ErrorCode::GROUP_AUTHORIZATION_FAILED,
                GroupState::Dead,
            )
        });
        let mut groups: Vec<_> = refused.collect();
        for response in responses {
            let GroupResponse::DescribeGroups(response) = response else { return None };
            groups.extend(response.groups);
        }
        let groups = groups.iter().map(|group| described(call, group, show_operations)).collect();
        Some(DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() })
    })
}

fn described(call: &Call, group: &group::DescribedGroup, show_operations: bool) -> DescribedGroup<'static> {
    call.note_error(group.error);
    let missing = group.error == ErrorCode::GROUP_ID_NOT_FOUND;
    DescribedGroup {
        error_code: group.error,
        error_message: missing.then(|| format!("group {} does not exist", group.group_id).into()),
        group_id: text(&group.group_id),
        group_state: group.state.name().into(),
        protocol_type: text(&group.protocol_type),
        protocol_data: text(&group.protocol_data),
        members: group.members.iter().map(member).collect(),
        authorized_operations: if show_operations {
            authorized_operations(&call.context, Resource::Group(&group.group_id))
        } else {
            OPERATIONS_NOT_ASKED
        },
    }
}

fn member(member: &DescribedMember) -> DescribedGroupMember<'static> {
    DescribedGroupMember {
        member_id: text(&member.member_id),
        group_instance_id: text_option(member.group_instance_id.as_ref()),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        member_metadata: bytes(&member.metadata),
        member_assignment: bytes(&member.assignment),
    }
}
