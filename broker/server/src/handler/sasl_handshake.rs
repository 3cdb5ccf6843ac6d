//! SaslHandshake (key 17): chooses how to sign in. Only brokers do, by a mechanism of their own.

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};

use crate::call::Call;
use crate::net::parked::Answer;
use crate::peer::Authentication;
use crate::peer::proof::MECHANISM;

/// Handles the choice of a mechanism.
pub fn handle(call: Call, body: &[u8], authentication: &mut Authentication) -> Answer {
    let request: SaslHandshakeRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let error_code = match authentication {
        // Who somebody is does not change on a connection.
        Authentication::Done(_) => ErrorCode::ILLEGAL_SASL_STATE,
        _ if request.mechanism == MECHANISM => {
            *authentication = Authentication::Begun;
            ErrorCode::NONE
        }
        _ => ErrorCode::UNSUPPORTED_SASL_MECHANISM,
    };
    call.note_error(error_code);
    call.answer(&SaslHandshakeResponse { error_code, mechanisms: vec![MECHANISM.into()] })
}
