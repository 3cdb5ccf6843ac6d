//! Sessions with brokers over gRPC.
//!
//! Whoever connects has to speak HTTP/2 at once and to be let in by the [`Doorkeeper`]. A session is handed to the
//! controller that decides for the broker's cluster once its first message has come; from then on messages are carried
//! between the stream and the controller until either ends, and the other is told at once.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use taffrail_control::grpc::pieces::Assembler;
use taffrail_control::grpc::proto::controller_server::{Controller, ControllerServer};
use taffrail_control::grpc::proto::{self, FindActiveRequest, FindActiveResponse};
use taffrail_control::grpc::sentence::say;
use taffrail_control::grpc::stream::Outgoing;
use taffrail_control::grpc::{
    AUTHORIZATION, BEARER, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, LONGEST_MESSAGE_BYTES,
};
use taffrail_control::session::{CONTRACT_VERSION, FromController, Registration, SessionEnd, ToController};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::doorkeeper::{Caller, Doorkeeper};
use crate::incoming::{self, Connection};
use crate::local::ControllerHandle;

/// How long a broker may take to register once its session is open.
const REGISTRATION_PATIENCE: Duration = Duration::from_secs(10);
/// Calls that one connection may have open; a broker has one or two.
const MOST_CALLS_PER_CONNECTION: u32 = 8;
/// The longest message that is put together: all replicas of a broker.
const LONGEST_REPORT_BYTES: usize = 64 * 1024 * 1024;

/// Who decides for a broker.
#[derive(Debug)]
pub enum Decider {
    /// This controller.
    Here(ControllerHandle),
    /// Another one; its address (`http://HOST:PORT`) if it is known.
    Elsewhere {
        /// The address.
        active: Option<String>,
    },
    /// Nobody: the cluster is not known here.
    Nobody {
        /// The sentence that the broker is refused with.
        reason: String,
    },
}

/// The controllers behind one endpoint.
pub trait Controllers: Send + Sync + 'static {
    /// Who decides for the broker `broker_id` of this cluster, which `caller` says to be; of whichever cluster there is,
    /// where its disks are empty.
    fn decider(&self, caller: &Caller, cluster_id: Option<&str>, broker_id: i32) -> Decider;
}

/// One controller alone decides for every broker that comes.
impl Controllers for ControllerHandle {
    fn decider(&self, _caller: &Caller, _cluster_id: Option<&str>, _broker_id: i32) -> Decider {
        Decider::Here(self.clone())
    }
}

/// Serves sessions to brokers.
pub struct GrpcServer {
    controllers: Arc<dyn Controllers>,
    doorkeeper: Arc<dyn Doorkeeper>,
    tls: Option<TlsAcceptor>,
}

impl GrpcServer {
    /// Whoever is let in by `doorkeeper` is brought to one of `controllers`.
    pub fn new(controllers: Arc<dyn Controllers>, doorkeeper: Arc<dyn Doorkeeper>) -> Self {
        Self { controllers, doorkeeper, tls: None }
    }

    /// Speaks TLS and nothing else, with the certificate that `config` has for each connection.
    #[must_use]
    pub fn with_tls(mut self, mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![incoming::ALPN.to_vec()];
        self.tls = Some(TlsAcceptor::from(Arc::new(config)));
        self
    }

    /// Serves the port until the future is dropped.
    ///
    /// # Errors
    /// A sentence, if it cannot go on.
    pub async fn serve(self, listener: TcpListener) -> Result<(), tonic::transport::Error> {
        let tls = self.tls.clone();
        let service = ControllerServer::new(self)
            .max_decoding_message_size(LONGEST_MESSAGE_BYTES)
            .max_encoding_message_size(LONGEST_MESSAGE_BYTES);
        let (sender, connections) = mpsc::channel::<std::io::Result<Connection>>(1);
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(Some(MOST_CALLS_PER_CONNECTION));
        tokio::select! {
            served = server.add_service(service).serve_with_incoming(ReceiverStream::new(connections)) => served,
            never = incoming::accept(listener, tls, sender) => match never {},
        }
    }

    async fn admit(&self, metadata: &MetadataMap, from: Option<SocketAddr>) -> Result<Caller, Status> {
        let shown = metadata.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let admitted = self.doorkeeper.admit(shown.and_then(|value| value.strip_prefix(BEARER))).await;
        if let Err(status) = &admitted {
            tracing::warn!("{} was refused: {}", Peer(from), status.message());
        }
        admitted
    }
}

type Downstream = Pin<Box<dyn Stream<Item = Result<proto::FromController, Status>> + Send>>;

#[tonic::async_trait]
impl Controller for GrpcServer {
    async fn find_active(
        &self,
        request: Request<FindActiveRequest>,
    ) -> Result<Response<FindActiveResponse>, Status> {
        let caller = self.admit(request.metadata(), request.remote_addr()).await?;
        let FindActiveRequest { cluster_id, broker_id, .. } = request.into_inner();
        let decider = self.controllers.decider(&caller, cluster_id.as_deref(), broker_id);
        let (active, active_address) = match decider {
            // Who is refused shall be told why, which is done in the session.
            Decider::Here(_) | Decider::Nobody { .. } => (true, None),
            Decider::Elsewhere { active } => (false, active),
        };
        Ok(Response::new(FindActiveResponse { contract_version: CONTRACT_VERSION, active, active_address }))
    }

    type SessionStream = Downstream;

    async fn session(
        &self,
        request: Request<Streaming<proto::ToController>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let from = request.remote_addr();
        let caller = self.admit(request.metadata(), from).await?;
        let mut upstream = Upstream::new(request.into_inner(), Peer(from));
        let registration = match timeout(REGISTRATION_PATIENCE, upstream.registration()).await {
            Ok(registration) => registration?,
            Err(_elapsed) => return Err(Status::deadline_exceeded("no registration came in time")),
        };
        let (cluster_id, broker_id) = (registration.cluster_id.as_deref(), registration.broker_id);
        let decider = match caller.is_not(broker_id) {
            Some(reason) => Decider::Nobody { reason },
            None => self.controllers.decider(&caller, cluster_id, broker_id),
        };
        let answer = match decider {
            Decider::Here(controller) => {
                let SessionEnd { sender, receiver } = controller.connect();
                // If the controller has stopped, the stream ends as soon as it has begun.
                let _ = sender.send(ToController::Register(registration)).await;
                tokio::spawn(upstream.carry(broker_id, sender));
                return Ok(Response::new(downstream(receiver)));
            }
            Decider::Elsewhere { active } => FromController::Redirect { active },
            Decider::Nobody { reason } => {
                tracing::warn!("broker {broker_id} at {} was refused: {reason}", Peer(from));
                FromController::Refused { reason }
            }
        };
        let (sender, receiver) = mpsc::channel(1);
        // There is room for one.
        let _ = sender.try_send(answer);
        Ok(Response::new(downstream(receiver)))
    }
}

fn downstream(messages: mpsc::Receiver<FromController>) -> Downstream {
    Box::pin(Outgoing::new(messages, None).map(Ok))
}

/// Where somebody speaks from, for a log line.
#[derive(Debug, Clone, Copy)]
struct Peer(Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("somebody"),
        }
    }
}

/// What a broker says.
struct Upstream {
    pieces: Streaming<proto::ToController>,
    assembler: Assembler<ToController>,
    peer: Peer,
}

impl Upstream {
    fn new(pieces: Streaming<proto::ToController>, peer: Peer) -> Self {
        Self { pieces, assembler: Assembler::new(LONGEST_REPORT_BYTES), peer }
    }

    /// The next whole message; `None` at the end.
    async fn next(&mut self) -> Result<Option<ToController>, Status> {
        loop {
            let Some(piece) = self.pieces.message().await? else { return Ok(None) };
            match self.assembler.add(piece) {
                Ok(None) => {}
                Ok(Some(message)) => return Ok(Some(message)),
                Err(error) => {
                    tracing::warn!(
                        "{} sent a message that is refused: {error}; its session is ended",
                        self.peer
                    );
                    return Err(Status::invalid_argument(error.to_string()));
                }
            }
        }
    }

    async fn registration(&mut self) -> Result<Registration, Status> {
        match self.next().await? {
            Some(ToController::Register(registration)) => Ok(registration),
            Some(_) => {
                tracing::warn!("{} did not begin with a registration; its session is ended", self.peer);
                Err(Status::failed_precondition("a session begins with a registration"))
            }
            None => Err(Status::cancelled("the session ended before the registration")),
        }
    }

    /// Carries what the broker says to the controller until either ends; the controller is told when this returns, as
    /// `sender` is gone then.
    async fn carry(mut self, broker_id: i32, sender: mpsc::Sender<ToController>) {
        loop {
            let message = tokio::select! {
                message = self.next() => message,
                () = sender.closed() => return,
            };
            match message {
                Ok(Some(ToController::Register(_))) => {
                    tracing::warn!(
                        "broker {broker_id} at {} registered twice; its session is ended",
                        self.peer
                    );
                    return;
                }
                Ok(Some(message)) => {
                    if sender.send(message).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    tracing::info!(
                        "the session with broker {broker_id} at {} broke: {}",
                        self.peer,
                        say(&status)
                    );
                    return;
                }
            }
        }
    }
}
