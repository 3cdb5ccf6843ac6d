//! Whether other brokers have hung up, asked of the operating system itself.
//!
//! A process that dies closes all of its connections at once. Its clients notice in the same moment as its peers do, and ask
//! a peer who leads now; that peer's own task may not have run yet, but its socket knows already.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// The connections to other brokers, one for each.
#[derive(Default)]
pub struct PeerWatch {
    sockets: Mutex<BTreeMap<i32, OwnedFd>>,
}

impl PeerWatch {
    /// Watches the connection to broker `id` from now on, by a descriptor of its own.
    pub fn watch(&self, id: i32, socket: OwnedFd) {
        self.sockets.lock().insert(id, socket);
    }

    /// Lets the connection to broker `id` go.
    pub fn unwatch(&self, id: i32) {
        self.sockets.lock().remove(&id);
    }

    /// The brokers that have hung up.
    pub fn hung_up(&self) -> Vec<i32> {
        let sockets = self.sockets.lock();
        let mut asked: Vec<_> =
            sockets.values().map(|socket| PollFd::new(socket, PollFlags::RDHUP)).collect();
        if asked.is_empty() || poll(&mut asked, Some(&Timespec::default())).is_err() {
            return Vec::new();
        }
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let answered = sockets.keys().zip(&asked);
        answered.filter(|(_, socket)| socket.revents().intersects(gone)).map(|(id, _)| *id).collect()
    }
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
        let watch = PeerWatch::default();
        watch.watch(1, silent.into());
        watch.watch(2, dying.into());
        assert!(watch.hung_up().is_empty());
        drop(dying_end);
        assert_eq!(watch.hung_up(), [2]);
        watch.unwatch(2);
        assert!(watch.hung_up().is_empty());
    }
}
