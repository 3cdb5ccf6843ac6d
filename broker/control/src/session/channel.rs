//! A session within one process.

use tokio::sync::mpsc;

use super::{FromController, ToController};

/// Messages that may wait in either direction of an in-process session before the sender has to wait.
pub const SESSION_QUEUE: usize = 256;

/// One end of a session: what a broker (`Up = ToController`) or a controller (`Up = FromController`) holds.
#[derive(Debug)]
pub struct SessionEnd<Up, Down> {
    /// Messages to the other side. A full queue makes the sender wait.
    pub sender: mpsc::Sender<Up>,
    /// Messages from the other side; `None` when the session has ended.
    pub receiver: mpsc::Receiver<Down>,
}

/// The broker's end of a session.
pub type BrokerEnd = SessionEnd<ToController, FromController>;
/// The controller's end of a session.
pub type ControllerEnd = SessionEnd<FromController, ToController>;

/// A session within one process.
pub fn session() -> (BrokerEnd, ControllerEnd) {
    let (up_sender, up_receiver) = mpsc::channel(SESSION_QUEUE);
    let (down_sender, down_receiver) = mpsc::channel(SESSION_QUEUE);
    (
        SessionEnd { sender: up_sender, receiver: down_receiver },
        SessionEnd { sender: down_sender, receiver: up_receiver },
    )
}
