//! UnregisterBroker (key 64): a broker that is gone for good is forgotten.

use taffrail_control::session::{ControllerRequest, ControllerResponse};
use taffrail_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::call::Call;
use crate::net::parked::Answer;
use crate::request::{Operation, Resource, authorize, throttle_time_ms};
use crate::topic_changes::{ask, refuse, unexpected};

/// Handles a request to forget a broker.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: UnregisterBrokerRequest = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let context = call.context.clone();
    call.answer_later(move |broker| async move {
        let outcome = if authorize(&context, Operation::Alter, Resource::Cluster) {
            let request = ControllerRequest::UnregisterBroker { broker_id: request.broker_id };
            match ask(&broker.controller, 0, request).await {
                ControllerResponse::Done => Ok(()),
                ControllerResponse::Failed(error) => Err(error),
                _ => Err(unexpected()),
            }
        } else {
            refuse(ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "not authorized to unregister brokers")
        };
        let error = outcome.err();
        if let Some(error) = &error {
            broker.metrics.request_error(ApiKey::UnregisterBroker, error.code);
        }
        UnregisterBrokerResponse {
            throttle_time_ms: throttle_time_ms(&context),
            error_code: error.as_ref().map_or(ErrorCode::NONE, |error| error.code),
            error_message: error.map(|error| error.message.into()),
        }
    })
}
