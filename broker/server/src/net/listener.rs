//! Accepting connections, within limits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Pause after a failed accept: the process is out of file descriptors, and trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are accepted.
#[derive(Debug, Clone, Copy)]
pub struct AcceptLimits {
    /// In all (`max.connections`).
    pub total: usize,
    /// From one address (`max.connections.per.ip`).
    pub per_ip: usize,
}

/// Counts open connections and refuses those above the limits.
#[derive(Debug)]
pub struct Admission {
    open: Mutex<Open>,
    all_closed: Notify,
}

#[derive(Debug)]
struct Open {
    limits: AcceptLimits,
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// One open connection's place, given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    ip: IpAddr,
}

/// Which limit refused a connection.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// `max.connections`.
    #[error("{limit} connections are open, as many as max.connections allows")]
    Total {
        /// The limit.
        limit: usize,
    },
    /// `max.connections.per.ip`.
    #[error("{limit} connections from this address are open, as many as max.connections.per.ip allows")]
    PerIp {
        /// The limit.
        limit: usize,
    },
}

impl Admission {
    /// Nothing is open yet.
    pub fn new(limits: AcceptLimits) -> Arc<Self> {
        let open = Open { limits, total: 0, per_ip: HashMap::new() };
        Arc::new(Self { open: Mutex::new(open), all_closed: Notify::new() })
    }

    /// From now on other limits hold. Who is connected already stays.
    pub fn set_limits(&self, limits: AcceptLimits) {
        self.open.lock().limits = limits;
    }

    /// Takes a place for a connection from `ip`.
    ///
    /// # Errors
    /// [`Refusal`] names the limit that is reached.
    pub fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Admitted, Refusal> {
        let mut open = self.open.lock();
        let limits = open.limits;
        if open.total >= limits.total {
            return Err(Refusal::Total { limit: limits.total });
        }
        let from_ip = open.per_ip.get(&ip).copied().unwrap_or(0);
        if from_ip >= limits.per_ip {
            return Err(Refusal::PerIp { limit: limits.per_ip });
        }
        open.total += 1;
        open.per_ip.insert(ip, from_ip + 1);
        Ok(Admitted { admission: Arc::clone(self), ip })
    }

    /// Completes when no connection is open.
    pub async fn closed(&self) {
        loop {
            let closed = self.all_closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.lock().total
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        open.total -= 1;
        if open.total == 0 {
            self.admission.all_closed.notify_waiters();
        }
        if let Some(count) = open.per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.per_ip.remove(&self.ip);
            }
        }
    }
}

/// Accepts until `stop` changes, and hands each admitted connection to `serve`.
pub async fn accept_loop(
    listener: TcpListener,
    admission: Arc<Admission>,
    mut stop: watch::Receiver<bool>,
    mut refused: impl FnMut(&Refusal),
    mut serve: impl FnMut(TcpStream, SocketAddr, Admitted),
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, address)) => match admission.admit(address.ip()) {
                Ok(admitted) => serve(stream, address, admitted),
                Err(refusal) => {
                    refused(&refusal);
                    tracing::warn!(client = %address, "connection refused: {refusal}");
                }
            },
            Err(error) => {
                tracing::error!("accepting a connection failed: {error}; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_places_come_back() {
        let admission = Admission::new(AcceptLimits { total: 3, per_ip: 2 });
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = admission.admit(a).unwrap();
        let _second = admission.admit(a).unwrap();
        assert_eq!(admission.admit(a).unwrap_err(), Refusal::PerIp { limit: 2 });
        let _third = admission.admit(b).unwrap();
        assert_eq!(admission.admit(b).unwrap_err(), Refusal::Total { limit: 3 });
        drop(first);
        assert_eq!(admission.open(), 2);
        assert!(admission.admit(a).is_ok());
    }
}
