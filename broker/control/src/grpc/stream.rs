//! A session's messages as a stream of the contract's.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::pieces::{Cut, Pieces};
use crate::session::FromController;

/// What one side says, cut into pieces as the other side takes them.
pub struct Outgoing<M: Pieces> {
    messages: mpsc::Receiver<M>,
    /// Where answers go that are given on this side.
    answers: Option<mpsc::WeakSender<FromController>>,
    pieces: Cut<M::Wire>,
}

impl<M: Pieces> Outgoing<M> {
    /// What comes out of `messages`. Answers that have to be given on this side go to `answers`.
    pub fn new(messages: mpsc::Receiver<M>, answers: Option<mpsc::WeakSender<FromController>>) -> Self {
        Self { messages, answers, pieces: Box::new(std::iter::empty()) }
    }

    /// The next piece, or `None` when nothing more will be said.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<M::Wire>> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return Poll::Ready(Some(piece));
            }
            let Some(message) = ready!(self.messages.poll_recv(context)) else { return Poll::Ready(None) };
            match message.cut() {
                Ok(pieces) => self.pieces = pieces,
                Err(answer) => {
                    if let Some(answers) = self.answers.as_ref().and_then(mpsc::WeakSender::upgrade) {
                        // If there is no room for it, whoever asked runs out of patience by himself.
                        let _ = answers.try_send(answer);
                    }
                }
            }
        }
    }
}

impl<M: Pieces> std::fmt::Debug for Outgoing<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}

impl<M: Pieces> Unpin for Outgoing<M> {}

impl<M: Pieces> Stream for Outgoing<M> {
    type Item = M::Wire;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_piece(context)
    }
}
