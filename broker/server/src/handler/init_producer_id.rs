//! InitProducerId (key 22): ids for idempotent producers (KIP-98, KIP-360).

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use crate::call::Call;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};

/// Stands for no producer id and no producer epoch.
const NONE: i16 = -1;

/// Handles a request for a producer id.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: InitProducerIdRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    if let Err(code) = check(&call.context, &request) {
        call.note_error(code);
        return call.answer(&failed(&call.context, code));
    }
    let context = call.context.clone();
    call.answer_later(move |broker| async move {
        match broker.producer_ids.next(&broker.controller).await {
            // A producer that brings an id asks for a higher epoch, after its sequence broke. Only a coordinator of its
            // transactions could keep epochs apart; without one Kafka gives a new id too, which does the same.
            Ok(producer_id) => InitProducerIdResponse {
                throttle_time_ms: throttle_time_ms(&context),
                producer_id,
                producer_epoch: 0,
                ..InitProducerIdResponse::default()
            },
            Err(error) => {
                tracing::warn!("no producer id could be given to {}: {}", context.client_id, error.message);
                broker.metrics.request_error(taffrail_protocol::ApiKey::InitProducerId, error.code);
                failed(&context, error.code)
            }
        }
    })
}

/// What is checked before an id is used up.
fn check(context: &RequestContext, request: &InitProducerIdRequest<'_>) -> Result<(), ErrorCode> {
    match request.transactional_id.as_deref() {
        Some("") => return Err(ErrorCode::INVALID_REQUEST),
        // There are no transactions yet. Of the codes that a client may expect here, this is the one on which the Java
        // client and librdkafka both give up at once; librdkafka goes on asking after every other that would fit.
        Some(_) => return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        None => {}
    }
    if !authorize(context, Operation::IdempotentWrite, Resource::Cluster) {
        return Err(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    }
    if (request.producer_id == i64::from(NONE)) != (request.producer_epoch == NONE) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    Ok(())
}

fn failed(context: &RequestContext, error_code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        throttle_time_ms: throttle_time_ms(context),
        error_code,
        producer_id: NONE.into(),
        producer_epoch: NONE,
    }
}
