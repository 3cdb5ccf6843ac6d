//! Whether other brokers have hung up, asked of the operating system itself.
//!
//! A process that dies closes all of its connections, one after the other. Its clients notice as soon as its peers do, and
//! ask a peer who leads now; that peer's own task may not have run yet, but its sockets know already. Both directions are
//! watched, as the connections that the dead process made itself are the first that are closed
//! ([`super::connection`]).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// For how long a broker that hung up is said to have, after the connection was let go: until its others are seen to be
/// closed, or it has connected again.
const REMEMBERED: Duration = Duration::from_millis(100);

/// The connections to and from other brokers.
#[derive(Default)]
pub struct PeerWatch {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    sockets: BTreeMap<u64, (i32, OwnedFd)>,
    /// Who hung up on a connection that is not watched any more, and until when that is remembered.
    ended: BTreeMap<i32, Instant>,
}

/// A connection that is watched until this is dropped.
pub struct Watched {
    watch: Arc<PeerWatch>,
    number: u64,
}

impl PeerWatch {
    /// Watches a connection to or from broker `id` from now on, by a descriptor of its own.
    pub fn watch(self: &Arc<Self>, id: i32, socket: OwnedFd) -> Watched {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.sockets.insert(number, (id, socket));
        Watched { watch: Arc::clone(self), number }
    }

    /// The brokers that have hung up, as remembered at `now`.
    pub fn hung_up(&self, now: Instant) -> Vec<i32> {
        let mut state = self.state.lock();
        state.ended.retain(|_, until| now < *until);
        let ended = state.ended.keys().copied();
        ended.chain(hung_up(state.sockets.values())).collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut state = self.watch.state.lock();
        let socket = state.sockets.remove(&self.number);
        for id in hung_up(socket.iter()) {
            state.ended.insert(id, Instant::now() + REMEMBERED);
        }
    }
}

fn hung_up<'a>(sockets: impl Iterator<Item = &'a (i32, OwnedFd)> + Clone) -> Vec<i32> {
    let mut asked: Vec<_> =
        sockets.clone().map(|(_, socket)| PollFd::new(socket, PollFlags::RDHUP)).collect();
    if asked.is_empty() || poll(&mut asked, Some(&Timespec::default())).is_err() {
        return Vec::new();
    }
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let answered = sockets.zip(&asked);
    answered.filter(|(_, socket)| socket.revents().intersects(gone)).map(|((id, _), _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_hung_up_is_told_from_who_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (silent, dying) = (connect(), connect());
        let (_silent_end, dying_end) = (listener.accept().unwrap(), listener.accept().unwrap());
        let watch = Arc::new(PeerWatch::default());
        let _silent = watch.watch(1, silent.into());
        let dying = watch.watch(2, dying.into());
        let now = Instant::now();
        assert!(watch.hung_up(now).is_empty());
        drop(dying_end);
        assert_eq!(watch.hung_up(now), [2]);
        drop(dying);
        assert_eq!(watch.hung_up(now), [2], "it is remembered for a moment");
        assert!(watch.hung_up(now + Duration::from_secs(60)).is_empty(), "and for no longer");
    }

    #[test]
    fn a_connection_that_was_closed_here_says_nothing_of_the_other_side() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _theirs = listener.accept().unwrap();
        let watch = Arc::new(PeerWatch::default());
        drop(watch.watch(1, ours.into()));
        assert!(watch.hung_up(Instant::now()).is_empty());
    }
}
