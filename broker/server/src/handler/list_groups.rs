//! ListGroups (key 16): the groups that this broker coordinates.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::list_groups::ListedGroup;
use taffrail_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::call::Call;
use crate::group::{self, GroupRequest, GroupResponse};
use crate::group_call::{owned, text};
use crate::net::parked::Answer;
use crate::request::Operation;

/// Handles a request for the list.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: ListGroupsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let asked = group::ListGroupsRequest {
        states: request.states_filter.iter().map(|state| owned(state)).collect(),
        types: request.types_filter.iter().map(|kind| owned(kind)).collect(),
    };
    let partitions = call.broker.groups.partitions().into_iter();
    let parts = partitions.map(|partition| (partition, GroupRequest::ListGroups(asked.clone()))).collect();
    call.ask_groups(parts, |call, responses| {
        let mut error_code = ErrorCode::NONE;
        let mut groups = Vec::new();
        for response in responses {
            let GroupResponse::ListGroups(response) = response else { return None };
            // One coordinator that is not ready makes the list incomplete, which the client has to know.
            if response.error != ErrorCode::NONE {
                error_code = response.error;
            }
            groups.extend(response.groups);
        }
        call.note_error(error_code);
        groups.retain(|group| call.authorize_group(Operation::Describe, &group.group_id).is_ok());
        let groups = groups.iter().map(|group| ListedGroup {
            group_id: text(&group.group_id),
            protocol_type: text(&group.protocol_type),
            group_state: group.state.name().into(),
            group_type: group.group_type.into(),
        });
        Some(ListGroupsResponse { error_code, groups: groups.collect(), ..ListGroupsResponse::default() })
    })
}
