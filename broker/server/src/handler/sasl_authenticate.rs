//! SaslAuthenticate (key 36): another broker proves who it is, before it fetches as a replica (rule 15).

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};

use crate::call::Call;
use crate::net::parked::Answer;
use crate::peer::proof::{PeerProof, ProofRefused};
use crate::peer::{Authentication, Peer};

/// Handles a proof that came in on `socket`.
pub fn handle(
    call: Call,
    body: &[u8],
    authentication: &mut Authentication,
    socket: BorrowedFd<'_>,
) -> Answer {
    let request: SaslAuthenticateRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    if !matches!(authentication, Authentication::Begun) {
        return refuse(call, ErrorCode::ILLEGAL_SASL_STATE, "a mechanism has to be chosen first".to_owned());
    }
    let cluster = &call.broker.cluster;
    let proof = PeerProof::decode(&request.auth_bytes).map_err(|_unreadable| ProofRefused::Malformed);
    match proof.and_then(|proof| proof.check(&cluster.id, |id| cluster.broker(id))) {
        Ok(member) => {
            let watched = socket.try_clone_to_owned().ok();
            let watched = watched.map(|socket| cluster.peers.watch(member.broker_id, socket));
            *authentication = Authentication::Done(Arc::new(Peer::new(member, watched)));
            call.answer(&SaslAuthenticateResponse::default())
        }
        // Everyday business while it has just started: it hangs up by itself and tries again.
        Err(refused @ ProofRefused::Unknown(_)) => {
            tracing::debug!(client = %call.context.address, "not taken for another broker: {refused}");
            call.note_error(ErrorCode::SASL_AUTHENTICATION_FAILED);
            call.answer(&response(ErrorCode::SASL_AUTHENTICATION_FAILED, refused.to_string()))
        }
        Err(refused) => refuse(call, ErrorCode::SASL_AUTHENTICATION_FAILED, refused.to_string()),
    }
}

/// Answers with the error and ends the connection.
fn refuse(call: Call, code: ErrorCode, reason: String) -> Answer {
    call.note_error(code);
    let answer = call.encode(&response(code, reason.clone()));
    Answer::Last(answer, format!("whoever connected is not taken for another broker: {reason}"))
}

fn response(error_code: ErrorCode, message: String) -> SaslAuthenticateResponse<'static> {
    SaslAuthenticateResponse {
        error_code,
        error_message: Some(message.into()),
        ..SaslAuthenticateResponse::default()
    }
}
