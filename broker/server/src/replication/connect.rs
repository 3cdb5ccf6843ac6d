//! Connecting to a broker, for what is fetched from it.

use std::time::Duration;

use taffrail_control::session::Member;
use taffrail_protocol::Uuid;

use crate::broker::Broker;
use crate::peer::connection::{PeerConnection, PeerError};
use crate::peer::proof::PeerProof;

/// How long a connection may take to come about: the source may be somewhere else by the next time.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// `replica.socket.timeout.ms`.
pub fn socket_timeout(broker: &Broker) -> Duration {
    Duration::from_millis(u64::try_from(broker.config.replica_socket_timeout_ms).unwrap_or(0))
}

/// Connects to broker `id`, as `me`; `token` proves that.
///
/// # Errors
/// [`PeerError`] says what failed.
pub async fn connect(broker: &Broker, me: Member, token: Uuid, id: i32) -> Result<PeerConnection, PeerError> {
    let record = broker.cluster.broker(id);
    let address = record
        .and_then(|record| record.peer_address)
        .ok_or_else(|| PeerError::Refused("no address of it is known".to_owned()))?;
    let proof = PeerProof { cluster_id: (&*broker.cluster.id).into(), member: me, token };
    let config = &broker.config;
    // One batch may be as large as the request that brought it, whatever a fetch asks for.
    let frame_bytes =
        i64::from(config.replica_fetch_response_max_bytes) + i64::from(config.socket_request_max_bytes);
    let frame_bytes = usize::try_from(frame_bytes.min(i32::MAX.into())).unwrap_or(0);
    PeerConnection::open(address, &proof, socket_timeout(broker).min(CONNECT_PATIENCE), frame_bytes).await
}
