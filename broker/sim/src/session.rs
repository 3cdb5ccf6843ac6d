//! Sessions between brokers and controllers: streams that keep their order until they break.

use std::collections::VecDeque;

use taffrail_control::session::{FromController, ToController};
use taffrail_controller::message::{Input, SessionId};

use crate::net::Node;
use crate::world::{Event, World};

/// Names a connection.
pub type ConnId = u64;

/// How soon a message that did not get through is sent again.
const RESEND_MS: u64 = 40;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the controller.
    Up,
    /// To the broker.
    Down,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    /// The broker at one end,
    pub broker: i32,
    /// in one of its processes;
    pub run: u64,
    /// the controller's host at the other,
    pub controller: usize,
    /// in one of its lives,
    pub controller_run: u64,
    /// and what it calls the session.
    pub session: SessionId,
    /// On their way, with the time they are due; `None` ends the stream.
    up: VecDeque<(u64, Option<ToController>)>,
    down: VecDeque<(u64, Option<FromController>)>,
    /// Since when nothing gets through one way or the other, as the broker sees it.
    pub stalled_since_ms: Option<u64>,
}

impl World {
    /// Opens a connection.
    pub fn open_conn(&mut self, broker: i32, run: u64, controller: usize) -> ConnId {
        let id = self.number();
        let session = SessionId(id);
        let controller_run = self.hosts[controller].run;
        self.hosts[controller].sessions.insert(session, id);
        let (up, down) = (VecDeque::new(), VecDeque::new());
        let conn =
            Conn { broker, run, controller, controller_run, session, up, down, stalled_since_ms: None };
        self.conns.insert(id, conn);
        id
    }

    /// A broker says something.
    pub fn send_up(&mut self, id: ConnId, message: ToController) {
        self.queue_up(id, Some(message));
    }

    fn queue_up(&mut self, id: ConnId, message: Option<ToController>) {
        let delay_ms = self.net.delay(&mut self.rng);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let last_ms = conn.up.back().map_or(0, |(due_ms, _)| *due_ms);
        let due_ms = last_ms.max(self.now_ms + delay_ms);
        conn.up.push_back((due_ms, message));
        self.queue.push(due_ms, Event::SessionMoves { conn: id, direction: Direction::Up });
    }

    /// A controller says something, which is held up for so many milliseconds.
    pub fn send_down(&mut self, id: ConnId, message: FromController, late_ms: u64) {
        self.queue_down(id, Some(message), late_ms);
    }

    fn queue_down(&mut self, id: ConnId, message: Option<FromController>, late_ms: u64) {
        let delay_ms = self.net.delay(&mut self.rng) + late_ms;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let last_ms = conn.down.back().map_or(0, |(due_ms, _)| *due_ms);
        let due_ms = last_ms.max(self.now_ms + delay_ms);
        conn.down.push_back((due_ms, message));
        self.queue.push(due_ms, Event::SessionMoves { conn: id, direction: Direction::Down });
    }

    /// The controller's end is closed; what it sent before still arrives.
    pub fn close_from_controller(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.up.clear();
            self.queue_down(id, None, 0);
        }
    }

    /// The broker's end is closed; what it sent before still arrives.
    pub fn close_from_broker(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.down.clear();
            self.queue_up(id, None);
        }
    }

    /// The connection breaks: what is on its way is lost, and each end learns of it in its time.
    pub fn break_conn(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.up.clear();
            conn.down.clear();
            self.queue_up(id, None);
            self.queue_down(id, None, 0);
        }
    }

    /// The next message arrives, if it is due and gets through.
    pub fn session_moves(&mut self, id: ConnId, direction: Direction) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (broker, controller) = (Node::Broker(conn.broker), Node::Controller(conn.controller));
        let (from, to, due_ms) = match direction {
            Direction::Up => (broker, controller, conn.up.front().map(|(due_ms, _)| *due_ms)),
            Direction::Down => (controller, broker, conn.down.front().map(|(due_ms, _)| *due_ms)),
        };
        if due_ms.is_none_or(|due_ms| due_ms > self.now_ms) {
            return;
        }
        if !self.net.reaches(from, to) {
            self.at(RESEND_MS, Event::SessionMoves { conn: id, direction });
            return;
        }
        match direction {
            Direction::Up => {
                let message = conn.up.pop_front().and_then(|(_, message)| message);
                self.arrive_up(id, message);
            }
            Direction::Down => {
                let message = conn.down.pop_front().and_then(|(_, message)| message);
                self.arrive_down(id, message);
            }
        }
    }

    fn arrive_up(&mut self, id: ConnId, message: Option<ToController>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (at, session) = (conn.controller, conn.session);
        if self.hosts[at].run != conn.controller_run || !self.hosts[at].sessions.contains_key(&session) {
            // Nobody is there any more: the broker is told so, as by a reset.
            if message.is_some() && conn.down.is_empty() {
                self.queue_down(id, None, 0);
            }
            return;
        }
        match message {
            Some(message) => self.controller_hears(at, session, message),
            None => {
                self.hosts[at].sessions.remove(&session);
                self.input(at, Input::SessionEnded { session });
            }
        }
    }

    fn arrive_down(&mut self, id: ConnId, message: Option<FromController>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (broker, run) = (conn.broker, conn.run);
        match message {
            Some(message) => self.broker_hears(broker, run, id, message),
            None => self.broker_lost_session(broker, run, id),
        }
    }
}
