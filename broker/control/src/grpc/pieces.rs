//! Long messages in pieces: cut by the sender, put together again by the receiver before anything is done with them.

use std::collections::VecDeque;
use std::mem::discriminant;
use std::sync::Arc;

use prost::Message;

use super::{InvalidMessageError, LONGEST_REQUEST_BYTES, PIECE_BYTES, from, proto, to};
use crate::session::{ApiError, ClusterUpdate, ControllerResponse, FromController, ToController};
use taffrail_protocol::ErrorCode;

/// What a message is cut into.
pub type Cut<W> = Box<dyn Iterator<Item = W> + Send>;

/// A message of a session, on its way into the contract's messages and out of them.
pub trait Pieces: Sized + Send + 'static {
    /// The contract's message.
    type Wire: Message + Default + Send + 'static;

    /// The pieces, in order.
    ///
    /// # Errors
    /// A message that is too long gives the one that stands in for it: the answer for whoever waits for one, to be given
    /// on this side.
    fn cut(self) -> Result<Cut<Self::Wire>, FromController>;

    /// The message, and whether another piece follows.
    ///
    /// # Errors
    /// If this release does not understand it.
    fn read(wire: Self::Wire) -> Result<(Self, bool), InvalidMessageError>;

    /// Adds a later piece. `false` if it is not one of the same message.
    fn append(&mut self, later: Self) -> bool;
}

/// Puts messages together from pieces that come in.
#[derive(Debug)]
pub struct Assembler<M> {
    begun: Option<M>,
    bytes: usize,
    limit_bytes: usize,
}

impl<M: Pieces> Assembler<M> {
    /// No message may be longer than `limit_bytes` in all.
    pub fn new(limit_bytes: usize) -> Self {
        Self { begun: None, bytes: 0, limit_bytes }
    }

    /// Takes a piece; gives the message when it is whole.
    ///
    /// # Errors
    /// If the piece is not understood, belongs to another message, or makes it too long.
    pub fn add(&mut self, wire: M::Wire) -> Result<Option<M>, InvalidMessageError> {
        self.bytes += wire.encoded_len();
        if self.bytes > self.limit_bytes {
            let problem = format!("the message has more than {} bytes in all", self.limit_bytes);
            return Err(InvalidMessageError::new("more", problem));
        }
        let (piece, more) = M::read(wire)?;
        let message = match self.begun.take() {
            None => piece,
            Some(mut begun) => {
                if !begun.append(piece) {
                    return Err(InvalidMessageError::new("more", "what follows is of another message"));
                }
                begun
            }
        };
        if more {
            self.begun = Some(message);
            return Ok(None);
        }
        self.bytes = 0;
        Ok(Some(message))
    }
}

/// Cuts a list so that each part encodes to a piece's length, or is a single element. There is one part at least.
fn parts<T: Message>(items: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for item in items {
        let length = item.encoded_len();
        if bytes + length > PIECE_BYTES && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += length;
        part.push(item);
    }
    parts.push(part);
    parts
}

fn to_pieces<T: Message>(
    items: impl IntoIterator<Item = T>,
    message: impl Fn(Vec<T>) -> proto::to_controller::Message,
) -> VecDeque<proto::ToController> {
    let wrap = |part| proto::ToController { message: Some(message(part)), more: true };
    let mut pieces: VecDeque<_> = parts(items).into_iter().map(wrap).collect();
    if let Some(last) = pieces.back_mut() {
        last.more = false;
    }
    pieces
}

fn from_pieces(
    messages: impl IntoIterator<Item = proto::from_controller::Message>,
) -> VecDeque<proto::FromController> {
    let wrap = |message| proto::FromController { message: Some(message), more: true };
    let mut pieces: VecDeque<_> = messages.into_iter().map(wrap).collect();
    if let Some(last) = pieces.back_mut() {
        last.more = false;
    }
    pieces
}

impl Pieces for ToController {
    type Wire = proto::ToController;

    fn cut(self) -> Result<Cut<Self::Wire>, FromController> {
        use proto::to_controller::Message as M;
        let one = |message| VecDeque::from([proto::ToController { message: Some(message), more: false }]);
        let pieces = match self {
            Self::Register(registration) => one(M::Register(to::registration(registration))),
            Self::Heartbeat { incarnation, applied_version } => {
                one(M::Heartbeat(proto::Heartbeat { incarnation, applied_version }))
            }
            Self::Held { incarnation, partitions } => {
                to_pieces(partitions.into_iter().map(to::held), |partitions| {
                    M::Held(proto::Held { incarnation, partitions })
                })
            }
            Self::ProposeIsr { incarnation, proposals } => {
                to_pieces(proposals.into_iter().map(to::proposal), |proposals| {
                    M::ProposeIsr(proto::ProposeIsr { incarnation, proposals })
                })
            }
            Self::Health { incarnation, full, replicas } => {
                to_pieces(replicas.into_iter().map(to::health), |replicas| {
                    M::Health(proto::Health { incarnation, full, replicas })
                })
            }
            Self::LogEnds { incarnation, query_id, ends } => {
                to_pieces(ends.into_iter().map(to::log_end), |ends| {
                    M::LogEnds(proto::LogEnds { incarnation, query_id, ends })
                })
            }
            Self::PartitionSizes { incarnation, partitions } => {
                to_pieces(partitions.into_iter().map(to::partition_size), |partitions| {
                    M::PartitionSizes(proto::PartitionSizes { incarnation, partitions })
                })
            }
            Self::LogDirs { incarnation, dirs } => to_pieces(dirs.into_iter().map(to::log_dir), |dirs| {
                M::LogDirs(proto::LogDirs { incarnation, dirs })
            }),
            Self::ControlledShutdown { incarnation } => {
                one(M::ControlledShutdown(proto::ControlledShutdown { incarnation }))
            }
            Self::Request { request_id, request } => {
                let message = to::request(request_id, request);
                if message.encoded_len() > LONGEST_REQUEST_BYTES {
                    let response = too_long(ErrorCode::INVALID_REQUEST, "the request");
                    return Err(FromController::Response { request_id, response });
                }
                one(M::Request(message))
            }
        };
        Ok(Box::new(pieces.into_iter()))
    }

    fn read(wire: Self::Wire) -> Result<(Self, bool), InvalidMessageError> {
        from::to_controller(wire)
    }

    fn append(&mut self, later: Self) -> bool {
        if discriminant(self) != discriminant(&later) {
            return false;
        }
        match (self, later) {
            (Self::Held { incarnation: a, partitions }, Self::Held { incarnation: b, partitions: later })
                if *a == b =>
            {
                partitions.extend(later)
            }
            (
                Self::ProposeIsr { incarnation: a, proposals },
                Self::ProposeIsr { incarnation: b, proposals: later },
            ) if *a == b => proposals.extend(later),
            (
                Self::Health { incarnation: a, full: c, replicas },
                Self::Health { incarnation: b, full: d, replicas: later },
            ) if (*a, *c) == (b, d) => replicas.extend(later),
            (
                Self::LogEnds { incarnation: a, query_id: c, ends },
                Self::LogEnds { incarnation: b, query_id: d, ends: later },
            ) if (*a, *c) == (b, d) => ends.extend(later),
            (
                Self::PartitionSizes { incarnation: a, partitions },
                Self::PartitionSizes { incarnation: b, partitions: later },
            ) if *a == b => partitions.extend(later),
            (Self::LogDirs { incarnation: a, dirs }, Self::LogDirs { incarnation: b, dirs: later })
                if *a == b =>
            {
                dirs.extend(later)
            }
            _ => return false,
        }
        true
    }
}

fn too_long(code: ErrorCode, what: &str) -> ControllerResponse {
    let message = format!(
        "{what} would take more than {} MiB; ask about fewer things at a time",
        LONGEST_REQUEST_BYTES / (1024 * 1024)
    );
    ControllerResponse::Failed(ApiError { code, message })
}

impl Pieces for FromController {
    type Wire = proto::FromController;

    fn cut(self) -> Result<Cut<Self::Wire>, FromController> {
        use proto::from_controller::Message as M;
        let one = |message| from_pieces([message]);
        let pieces = match self {
            Self::Registered { cluster_id, incarnation, rack, endpoints, features } => {
                one(M::Registered(to::registered(cluster_id, incarnation, rack, endpoints, features)))
            }
            Self::Redirect { active } => one(M::Redirect(proto::Redirect { active })),
            Self::Refused { reason } => one(M::Refused(proto::Refused { reason })),
            Self::Update(update) => return Ok(Box::new(UpdateCutter::new(update))),
            Self::Response { request_id, response } => {
                let mut message = to::response(request_id, response);
                if message.encoded_len() > LONGEST_REQUEST_BYTES {
                    let response = too_long(ErrorCode::UNKNOWN_SERVER_ERROR, "the answer");
                    message = to::response(request_id, response);
                }
                one(M::Response(message))
            }
            Self::IsrRefused { refused } => {
                let parts = parts(refused.into_iter().map(to::refused_isr));
                from_pieces(parts.into_iter().map(|refused| M::IsrRefused(proto::IsrRefused { refused })))
            }
            Self::QueryLogEnds { query_id, partitions } => {
                let parts = parts(partitions.into_iter().map(to::partition_ref));
                let query = |partitions| M::QueryLogEnds(proto::QueryLogEnds { query_id, partitions });
                from_pieces(parts.into_iter().map(query))
            }
            Self::ShutdownGranted => one(M::ShutdownGranted(proto::ShutdownGranted {})),
        };
        Ok(Box::new(pieces.into_iter()))
    }

    fn read(wire: Self::Wire) -> Result<(Self, bool), InvalidMessageError> {
        from::from_controller(wire)
    }

    fn append(&mut self, later: Self) -> bool {
        match (self, later) {
            (Self::Update(update), Self::Update(later)) if is_same_update(update, &later) => {
                let (update, later) = (Arc::make_mut(update), Arc::unwrap_or_clone(later));
                update.unchanged_slices.extend(later.unchanged_slices);
                update.brokers.extend(later.brokers);
                update.removed_brokers.extend(later.removed_brokers);
                update.topics.extend(later.topics);
                update.removed_topics.extend(later.removed_topics);
                update.partitions.extend(later.partitions);
                update.broker_configs.extend(later.broker_configs);
            }
            (Self::IsrRefused { refused }, Self::IsrRefused { refused: later }) => refused.extend(later),
            (
                Self::QueryLogEnds { query_id: a, partitions },
                Self::QueryLogEnds { query_id: b, partitions: later },
            ) if *a == b => partitions.extend(later),
            _ => return false,
        }
        true
    }
}

fn is_same_update(update: &ClusterUpdate, later: &ClusterUpdate) -> bool {
    (update.version, update.snapshot) == (later.version, later.snapshot)
}

/// Cuts an update, element by element, each piece when it is asked for: as many sessions as there are brokers may be told a
/// whole snapshot at the same time.
struct UpdateCutter {
    update: Arc<ClusterUpdate>,
    begun: bool,
    ended: bool,
    /// How much of each list is cut.
    brokers: usize,
    topics: usize,
    removed_topics: usize,
    partitions: usize,
    broker_configs: usize,
}

impl UpdateCutter {
    fn new(update: Arc<ClusterUpdate>) -> Self {
        let (begun, ended) = (false, false);
        let (brokers, topics, removed_topics, partitions, broker_configs) = (0, 0, 0, 0, 0);
        Self { update, begun, ended, brokers, topics, removed_topics, partitions, broker_configs }
    }
}

impl Iterator for UpdateCutter {
    type Item = proto::FromController;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let update = &*self.update;
        let mut piece = proto::ClusterUpdate {
            version: update.version,
            snapshot: update.snapshot,
            ..proto::ClusterUpdate::default()
        };
        if !std::mem::replace(&mut self.begun, true) {
            piece.unchanged_slices.clone_from(&update.unchanged_slices);
            piece.removed_brokers.clone_from(&update.removed_brokers);
        }
        let mut room = Room { bytes: 0 };
        let more = room.is_short(&update.brokers, &mut self.brokers, to::broker_record, &mut piece.brokers)
            || room.is_short(&update.topics, &mut self.topics, to::topic_record, &mut piece.topics)
            || room.is_short(
                &update.removed_topics,
                &mut self.removed_topics,
                |topic_id| to::removed_topic(*topic_id),
                &mut piece.removed_topics,
            )
            || room.is_short(
                &update.partitions,
                &mut self.partitions,
                to::partition_record,
                &mut piece.partitions,
            )
            || room.is_short(
                &update.broker_configs,
                &mut self.broker_configs,
                to::broker_config,
                &mut piece.broker_configs,
            );
        self.ended = !more;
        Some(proto::FromController { message: Some(proto::from_controller::Message::Update(piece)), more })
    }
}

/// What a piece has taken up.
struct Room {
    bytes: usize,
}

impl Room {
    /// Puts elements of a list into a piece, from the one at `at` on. Whether there is no room for all.
    fn is_short<A, B: Message>(
        &mut self,
        items: &[A],
        at: &mut usize,
        convert: impl Fn(&A) -> B,
        into: &mut Vec<B>,
    ) -> bool {
        while let Some(item) = items.get(*at) {
            let item = convert(item);
            let bytes = self.bytes + item.encoded_len();
            if self.bytes > 0 && bytes > PIECE_BYTES {
                return true;
            }
            self.bytes = bytes;
            into.push(item);
            *at += 1;
        }
        false
    }
}
