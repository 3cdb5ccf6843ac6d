//! Who is taken for another broker.

use taffrail_control::session::Member;
use taffrail_protocol::messages::fetch::{FetchPartition, FetchTopic, ReplicaState};
use taffrail_protocol::messages::{
    FetchRequest, FetchResponse, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use taffrail_protocol::{ErrorCode, Uuid};
use taffrail_server::peer::proof::{MECHANISM, PeerProof};

use crate::harness::Cluster;
use crate::scripted::{CLUSTER, ME, OTHER, OTHERS_TOKEN, Scripted, TOPIC, led, topic};
use crate::session::produce;
use crate::wire::Connection;

/// The proof of broker 1, as broker 0 would have it.
fn proof(cluster: &Cluster) -> PeerProof<'static> {
    let record = cluster.broker(0).broker.cluster.broker(1).unwrap();
    PeerProof {
        cluster_id: cluster.broker(0).broker.cluster.id.to_string().into(),
        member: Member { broker_id: 1, incarnation: record.incarnation },
        token: record.peer_token.unwrap(),
    }
}

fn authenticate(connection: &mut Connection, proof: &PeerProof<'_>) -> ErrorCode {
    let handshake = SaslHandshakeRequest { mechanism: MECHANISM.into() };
    let chosen: SaslHandshakeResponse<'_> = connection.ask(&handshake, 1);
    assert_eq!(chosen.error_code, ErrorCode::NONE);
    let request = SaslAuthenticateRequest { auth_bytes: proof.encode().unwrap().into() };
    let answer: SaslAuthenticateResponse<'_> = connection.ask(&request, 2);
    answer.error_code
}

fn fetch_as(member: Member) -> FetchRequest<'static> {
    let replica_state = ReplicaState {
        replica_id: member.broker_id,
        replica_epoch: i64::try_from(member.incarnation).unwrap(),
    };
    FetchRequest { replica_state, session_epoch: 0, ..FetchRequest::default() }
}

#[test]
fn only_who_shows_the_token_fetches_as_a_replica_and_only_as_itself() {
    let cluster = Cluster::start();
    let proof = proof(&cluster);
    let mut connection = Connection::to(cluster.address(0));
    let refused: FetchResponse<'_> = connection.ask(&fetch_as(proof.member), 18);
    assert_eq!(refused.error_code, ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "nothing was shown");
    assert_eq!(authenticate(&mut connection, &proof), ErrorCode::NONE);
    let taken: FetchResponse<'_> = connection.ask(&fetch_as(proof.member), 18);
    assert_eq!(taken.error_code, ErrorCode::NONE);
    assert_ne!(taken.session_id, 0);
    for other in [
        Member { broker_id: 2, ..proof.member },
        Member { incarnation: proof.member.incarnation + 1, ..proof.member },
    ] {
        let refused: FetchResponse<'_> = connection.ask(&fetch_as(other), 18);
        assert_eq!(refused.error_code, ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "{other:?}");
    }
}

#[test]
fn whoever_shows_a_wrong_token_is_told_so_and_closed() {
    let cluster = Cluster::start();
    let proof = proof(&cluster);
    for wrong in [
        PeerProof { token: Uuid([1; 16]), ..proof.clone() },
        PeerProof { cluster_id: "another".into(), ..proof.clone() },
    ] {
        let mut connection = Connection::to(cluster.address(0));
        assert_eq!(authenticate(&mut connection, &wrong), ErrorCode::SASL_AUTHENTICATION_FAILED);
        connection.assert_closed();
    }
    // What was not registered yet may be by the next time: nobody is thrown out for that.
    let member = Member { incarnation: proof.member.incarnation + 9, ..proof.member };
    let mut connection = Connection::to(cluster.address(0));
    let early = PeerProof { member, ..proof };
    assert_eq!(authenticate(&mut connection, &early), ErrorCode::SASL_AUTHENTICATION_FAILED);
    assert_eq!(authenticate(&mut connection, &early), ErrorCode::SASL_AUTHENTICATION_FAILED);
}

#[test]
fn mechanisms_and_proofs_come_in_their_order() {
    let cluster = Cluster::start();
    let mut connection = Connection::to(cluster.address(0));
    let other = SaslHandshakeRequest { mechanism: "PLAIN".into() };
    let refused: SaslHandshakeResponse<'_> = connection.ask(&other, 1);
    assert_eq!(refused.error_code, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
    assert_eq!(refused.mechanisms, [MECHANISM]);
    let request = SaslAuthenticateRequest { auth_bytes: proof(&cluster).encode().unwrap().into() };
    let early: SaslAuthenticateResponse<'_> = connection.ask(&request, 2);
    assert_eq!(early.error_code, ErrorCode::ILLEGAL_SASL_STATE);
    connection.assert_closed();
}

#[test]
fn rule_15_a_fetch_of_a_stranger_moves_no_high_watermark() {
    let scripted = Scripted::start(&[], topic(&[], vec![led(0, &[ME, OTHER])]));
    assert_eq!(produce(&scripted, 0, "value"), ErrorCode::NONE);
    let fetch = |member, fetch_offset| {
        let partition = FetchPartition {
            current_leader_epoch: 0,
            fetch_offset,
            last_fetched_epoch: 0,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let topic = FetchTopic { topic_id: TOPIC, partitions: vec![partition], ..FetchTopic::default() };
        FetchRequest { topics: vec![topic], ..fetch_as(member) }
    };
    let replica = scripted.replica(0);
    let mut stranger = Connection::to(scripted.address);
    let refused: FetchResponse<'_> = stranger.ask(&fetch(OTHER, 1), 18);
    assert_eq!(refused.error_code, ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    assert_eq!(replica.lock().high_watermark(), 0);
    // The follower itself has it all by the same request.
    let mut follower = Connection::to(scripted.address);
    let proof = PeerProof { cluster_id: CLUSTER.into(), member: OTHER, token: OTHERS_TOKEN };
    assert_eq!(authenticate(&mut follower, &proof), ErrorCode::NONE);
    let taken: FetchResponse<'_> = follower.ask(&fetch(OTHER, 1), 18);
    assert_eq!(taken.error_code, ErrorCode::NONE);
    assert_eq!(replica.lock().high_watermark(), 1);
}
