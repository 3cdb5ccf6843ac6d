//! DeleteGroups (key 42): groups without members are deleted with their offsets.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::delete_groups::DeletableGroupResult;
use taffrail_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::call::Call;
use crate::group::{self, DeletedGroup, GroupRequest, GroupResponse};
use crate::group_call::{owned, text};
use crate::net::parked::Answer;
use crate::request::Operation;

/// Handles a request to delete groups.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DeleteGroupsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let (allowed, refused): (Vec<_>, Vec<_>) = request
        .groups_names
        .iter()
        .map(|id| owned(id))
        .partition(|id| call.authorize_group(Operation::Delete, id).is_ok());
    let parts = allowed.into_iter().map(|id| {
        let partition = call.group_partition(&id);
        (partition, GroupRequest::DeleteGroups(group::DeleteGroupsRequest { group_ids: vec![id] }))
    });
    let parts = parts.collect();
    call.ask_groups(parts, move |call, responses| {
        let refused = refused.into_iter();
        let error = ErrorCode::GROUP_AUTHORIZATION_FAILED;
        let mut deleted: Vec<_> = refused.map(|group_id| DeletedGroup { group_id, error }).collect();
        for response in responses {
            let GroupResponse::DeleteGroups(response) = response else { return None };
            deleted.extend(response.groups);
        }
        let results = deleted.iter().map(|deleted| {
            call.note_error(deleted.error);
            DeletableGroupResult { group_id: text(&deleted.group_id), error_code: deleted.error }
        });
        Some(DeleteGroupsResponse { results: results.collect(), ..DeleteGroupsResponse::default() })
    })
}
