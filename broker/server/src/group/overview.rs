//! DescribeGroups and ListGroups.

use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::classic::ClassicGroup;
use super::response::{DescribedGroup, DescribedMember, ListedGroup};
use super::shard::{Group, GroupShard};
use super::{
    DescribeGroupsRequest, DescribeGroupsResponse, GroupResponse, GroupState, ListGroupsRequest,
    ListGroupsResponse,
};

/// What ListGroups calls a classic group (`Group.GroupType.CLASSIC`).
const CLASSIC: &str = "classic";

impl<T> GroupShard<T> {
    pub(super) fn describe_groups(&mut self, token: T, request: &DescribeGroupsRequest) {
        let groups = request.group_ids.iter().map(|group_id| match self.shown_group(group_id) {
            Some(group) => group.describe(),
            None => {
                let error = if request.reports_missing_group {
                    ErrorCode::GROUP_ID_NOT_FOUND
                } else {
                    ErrorCode::NONE
                };
                DescribedGroup::without_members(group_id.clone(), error, GroupState::Dead)
            }
        });
        let response = DescribeGroupsResponse { groups: groups.collect() };
        self.out.reply(token, GroupResponse::DescribeGroups(response));
    }

    pub(super) fn list_groups(&mut self, token: T, request: &ListGroupsRequest) {
        let contains = |filter: &[Arc<str>], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let live = self.groups.values().map(|Group::Classic(group)| group).filter(|group| group.durable);
        let has_live = |group: &ClassicGroup<T>| matches!(self.groups.get(&group.id), Some(Group::Classic(live)) if live.durable);
        let leaving = self.out.leaving_groups().filter(|group| group.durable && !has_live(group));
        let groups = live
            .chain(leaving)
            .filter(|group| contains(&request.states, group.state().name()))
            .filter(|_| contains(&request.types, CLASSIC))
            .map(|group| ListedGroup {
                group_id: group.id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
                state: group.state(),
                group_type: CLASSIC,
            });
        let response = ListGroupsResponse { error: ErrorCode::NONE, groups: groups.collect() };
        self.out.reply(token, GroupResponse::ListGroups(response));
    }

    /// The group as far as it is committed: not before its first record is, and until its tombstone is.
    fn shown_group(&self, group_id: &str) -> Option<&ClassicGroup<T>> {
        match self.groups.get(group_id) {
            Some(Group::Classic(group)) if group.durable => Some(group),
            _ => self.out.leaving_groups().find(|group| group.durable && *group.id == *group_id),
        }
    }
}

impl<T> ClassicGroup<T> {
    fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol_name.clone().filter(|_| self.state() == GroupState::Stable);
        let members = self.members().map(|member| DescribedMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(protocol.as_deref()),
            assignment: member.assignment.clone(),
        });
        DescribedGroup {
            error: ErrorCode::NONE,
            group_id: self.id.clone(),
            state: self.state(),
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            members: members.collect(),
            protocol_data: protocol.unwrap_or_else(|| Arc::from("")),
        }
    }
}
