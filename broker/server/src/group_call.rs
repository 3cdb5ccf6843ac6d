//! What the handlers of the group APIs share: from a request to the coordinators and back to an answer.

use std::borrow::Cow;
use std::sync::Arc;

use taffrail_protocol::{ApiMessage, ErrorCode};

use crate::auto_create::OFFSETS_TOPIC;
use crate::call::Call;
use crate::group::{ClientContext, GroupRequest, GroupResponse, partition_for};
use crate::net::parked::{Answer, AwaitDelivery, Delivery};
use crate::request::{Operation, Resource, authorize};

impl Call {
    /// Asks the coordinator of one group. `encode` gives `None` when the answer is not of the kind that was asked for.
    pub fn ask_group<M: ApiMessage + 'static>(
        self,
        group_id: &str,
        request: GroupRequest,
        encode: impl FnOnce(&Self, GroupResponse) -> Option<M> + Send + 'static,
    ) -> Answer {
        let partition = self.group_partition(group_id);
        self.ask_groups(vec![(partition, request)], move |call, responses| {
            responses.into_iter().next().and_then(|response| encode(call, response))
        })
    }

    /// Asks several coordinators by the partitions they keep their groups in. `encode` gets the answers in the order of
    /// `parts`, and gives `None` when they are not of the kind that was asked for.
    pub fn ask_groups<M: ApiMessage + 'static>(
        self,
        parts: Vec<(i32, GroupRequest)>,
        encode: impl FnOnce(&Self, Vec<GroupResponse>) -> Option<M> + Send + 'static,
    ) -> Answer {
        let context = ClientContext {
            client_id: Arc::clone(&self.context.client_id),
            client_host: format!("/{}", self.context.address.ip()).into(),
        };
        let delivery = Delivery::new(self.waiter.clone());
        self.broker.groups.ask(&context, parts, delivery.clone());
        let answer = move |responses| match encode(&self, responses) {
            Some(message) => self.encode(&message),
            None => self.impossible("the coordinator's answer is of another kind than the request"),
        };
        match delivery.take() {
            Some(responses) => Answer::Now(answer(responses)),
            None => Answer::Later(Box::new(AwaitDelivery::new(delivery, answer))),
        }
    }

    /// The partition of `__consumer_offsets` that a group is kept in.
    pub fn group_partition(&self, group_id: &str) -> i32 {
        let topic = self.broker.cluster.topic(OFFSETS_TOPIC);
        // While the topic does not exist nobody coordinates partition 0 either.
        topic.map_or(0, |topic| partition_for(group_id, topic.record.partition_count))
    }

    /// Whether the principal may do this to a group.
    ///
    /// # Errors
    /// `GROUP_AUTHORIZATION_FAILED`.
    pub fn authorize_group(&self, operation: Operation, group_id: &str) -> Result<(), ErrorCode> {
        let allowed = authorize(&self.context, operation, Resource::Group(group_id));
        if allowed { Ok(()) } else { Err(ErrorCode::GROUP_AUTHORIZATION_FAILED) }
    }
}

/// Text of a request, kept beyond it.
pub fn owned(text: &str) -> Arc<str> {
    text.into()
}

/// Optional text of a request, kept beyond it.
pub fn owned_option(text: Option<&Cow<'_, str>>) -> Option<Arc<str>> {
    text.map(|text| owned(text))
}

/// Text of the coordinator for an answer.
pub fn text(text: &Arc<str>) -> Cow<'static, str> {
    Cow::Owned(text.to_string())
}

/// Optional text of the coordinator for an answer.
pub fn text_option(optional: Option<&Arc<str>>) -> Option<Cow<'static, str>> {
    optional.map(text)
}

/// Bytes of the coordinator for an answer.
pub fn bytes(bytes: &Arc<[u8]>) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.to_vec())
}
