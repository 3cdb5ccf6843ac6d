//! Connections between brokers: how one proves who it is, and the client side that a follower fetches with.

pub mod connection;
pub mod proof;
pub mod watch;

use std::sync::Arc;

use parking_lot::Mutex;
use taffrail_control::session::Member;

use crate::follower_session::FollowerSession;
use crate::peer::watch::Watched;
use crate::request::Principal;
use crate::waiter::ParkedPlace;

/// The other broker of a connection that proved who it is.
pub struct Peer {
    /// The broker in the incarnation that it proved to be.
    pub member: Member,
    /// The fetch session of the connection: it ends with it.
    pub session: Mutex<Option<FollowerSession<ParkedPlace>>>,
    /// The connection is looked at when somebody asks whether that broker lives.
    _watched: Option<Watched>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Peer").field(&self.member).finish()
    }
}

impl Peer {
    /// A broker that proved who it is. Its connection is `watched`, unless there is no descriptor left for that.
    pub fn new(member: Member, watched: Option<Watched>) -> Self {
        Self { member, session: Mutex::new(None), _watched: watched }
    }
}

/// How far the other side of a connection has come in proving who it is.
#[derive(Debug)]
pub enum Authentication {
    /// It did not try to.
    None,
    /// It chose the brokers' mechanism, and has to show its proof next.
    Begun,
    /// It is a broker.
    Done(Arc<Peer>),
}

impl Authentication {
    /// Who the other side is.
    pub fn principal(&self) -> Principal {
        match self {
            Self::None | Self::Begun => Principal::Anonymous,
            Self::Done(peer) => Principal::Peer(Arc::clone(peer)),
        }
    }
}
