//! What a broker shows when it connects to another: a SASL mechanism of Taffrail's own.
//!
//! Each broker draws a token when it starts and tells it to the controller, which hands it to the other brokers. Who
//! connects as a replica shows the token, so that nobody else's fetches are ever counted (rule 15).

use std::borrow::Cow;

use subtle::ConstantTimeEq;
use taffrail_control::session::{BrokerRecord, Member};
use taffrail_protocol::codec::{Encode, Form};
use taffrail_protocol::{Decode, DecodeError, EncodeError, Reader, Uuid, Writer};

/// The name of the mechanism.
pub const MECHANISM: &str = "TAFFRAIL-PEER";

/// The fields have no versions; strings are compact.
const FORM: Form = Form { version: 0, flexible: true };

/// The only message of the mechanism: the cluster's id, who connects, and its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerProof<'a> {
    /// The cluster that the broker means to be in.
    pub cluster_id: Cow<'a, str>,
    /// The broker that connects.
    pub member: Member,
    /// What only this broker, the controller and its other brokers know.
    pub token: Uuid,
}

/// Why a proof was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefused {
    /// It is not written as a proof is.
    #[error("the message is not one of this mechanism")]
    Malformed,
    /// It belongs to another cluster.
    #[error("it belongs to another cluster")]
    OtherCluster,
    /// Nobody with that id and incarnation is known here, which for a broker that just started will change soon.
    #[error("broker {} is not known here in incarnation {}", .0.broker_id, .0.incarnation)]
    Unknown(Member),
    /// The token is another one.
    #[error("the token is not that of broker {} in incarnation {}", .0.broker_id, .0.incarnation)]
    WrongToken(Member),
}

impl<'a> PeerProof<'a> {
    /// The message.
    ///
    /// # Errors
    /// When the cluster's id is longer than any string can be.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new();
        self.cluster_id.encode(&mut writer, FORM)?;
        self.member.broker_id.encode(&mut writer, FORM)?;
        writer.put(&self.member.incarnation.to_be_bytes());
        writer.put(&self.token.0);
        Ok(writer.buf)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong with it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let proof = Self {
            cluster_id: Decode::decode(&mut reader, FORM)?,
            member: Member {
                broker_id: Decode::decode(&mut reader, FORM)?,
                incarnation: u64::from_be_bytes(reader.take_array()?),
            },
            token: Uuid(reader.take_array()?),
        };
        reader.finish()?;
        Ok(proof)
    }

    /// Who shows the proof, if it holds. `broker` is what is known of the broker of an id.
    ///
    /// # Errors
    /// [`ProofRefused`] says why it does not hold.
    pub fn check(
        &self,
        cluster_id: &str,
        broker: impl FnOnce(i32) -> Option<std::sync::Arc<BrokerRecord>>,
    ) -> Result<Member, ProofRefused> {
        if self.cluster_id != cluster_id {
            return Err(ProofRefused::OtherCluster);
        }
        let member = self.member;
        let known = broker(member.broker_id).filter(|record| record.incarnation == member.incarnation);
        let token = known.and_then(|record| record.peer_token).ok_or(ProofRefused::Unknown(member))?;
        // In a time that does not tell how much of a guess is right.
        if token.0.ct_eq(&self.token.0).into() { Ok(member) } else { Err(ProofRefused::WrongToken(member)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MEMBER: Member = Member { broker_id: 2, incarnation: 7 };
    const TOKEN: Uuid = Uuid([9; 16]);

    fn proof() -> PeerProof<'static> {
        PeerProof { cluster_id: "cluster".into(), member: MEMBER, token: TOKEN }
    }

    fn known(peer_token: Option<Uuid>) -> Arc<BrokerRecord> {
        Arc::new(BrokerRecord {
            broker_id: 2,
            incarnation: 7,
            endpoints: vec![],
            rack: None,
            fenced: false,
            peer_address: None,
            peer_token,
        })
    }

    fn check(proof: &PeerProof<'_>, peer_token: Option<Uuid>) -> Result<Member, ProofRefused> {
        proof.check("cluster", |id| (id == 2).then(|| known(peer_token)))
    }

    #[test]
    fn a_proof_reads_back_and_nothing_shorter_or_longer_does() {
        let bytes = proof().encode().unwrap();
        assert_eq!(PeerProof::decode(&bytes).unwrap(), proof());
        for end in 0..bytes.len() {
            assert!(PeerProof::decode(&bytes[..end]).is_err(), "{end}");
        }
        assert!(PeerProof::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn only_the_registered_incarnation_with_its_token_is_believed() {
        assert_eq!(check(&proof(), Some(TOKEN)), Ok(MEMBER));
        let mut other = TOKEN;
        other.0[15] ^= 1;
        assert_eq!(check(&proof(), Some(other)), Err(ProofRefused::WrongToken(MEMBER)));
        assert_eq!(check(&proof(), None), Err(ProofRefused::Unknown(MEMBER)));
        let older = Member { incarnation: 6, ..MEMBER };
        let earlier = PeerProof { member: older, ..proof() };
        assert_eq!(check(&earlier, Some(TOKEN)), Err(ProofRefused::Unknown(older)));
        let stranger = Member { broker_id: 3, ..MEMBER };
        let strange = PeerProof { member: stranger, ..proof() };
        assert_eq!(check(&strange, Some(TOKEN)), Err(ProofRefused::Unknown(stranger)));
        let elsewhere = PeerProof { cluster_id: "other".into(), ..proof() };
        assert_eq!(check(&elsewhere, Some(TOKEN)), Err(ProofRefused::OtherCluster));
    }
}
