//! Connections to the controller's port: so many and no more, and only such as speak HTTP/2 at once, or TLS where the port
//! does.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at a time: several for each of the largest cluster's brokers.
const MOST_CONNECTIONS: usize = 2048;
/// Connections at a time that have not shown yet that they speak HTTP/2.
const MOST_STRANGERS: usize = 256;
/// How long they may take for it, and for TLS before.
const PREFACE_PATIENCE: Duration = Duration::from_secs(2);
/// Pause after a failed accept: the process is out of file descriptors, and trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2, as TLS names it.
pub(crate) const ALPN: &[u8] = b"h2";
/// What a client of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that has a place.
pub(crate) struct Connection {
    stream: Box<dyn Duplex>,
    info: TcpConnectInfo,
    _place: OwnedSemaphorePermit,
}

/// Plain or TLS.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Accepts connections and hands over those that speak HTTP/2, by way of `tls` if there is one.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: mpsc::Sender<io::Result<Connection>>,
) -> Infallible {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let strangers = Arc::new(Semaphore::new(MOST_STRANGERS));
    loop {
        // The semaphore is never closed; a stranger's place is free again within its patience.
        let stranger = Arc::clone(&strangers).acquire_owned().await.ok();
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!("accepting a broker's connection failed: {error}; trying again");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("connection from {address} refused: {MOST_CONNECTIONS} are open");
            continue;
        };
        let (connections, tls) = (connections.clone(), tls.clone());
        tokio::spawn(async move {
            let _stranger = stranger;
            // Fails where the peer is gone, which is noticed later.
            let _ = stream.set_nodelay(true);
            let info = stream.connect_info();
            let stream = match timeout(PREFACE_PATIENCE, open(stream, tls)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(Unfit::Gone(error))) => {
                    return tracing::debug!("connection from {address} ended: {error}");
                }
                Ok(Err(Unfit::Closed(why))) => {
                    return tracing::warn!("connection from {address} closed: {why}");
                }
                Err(_elapsed) => return tracing::warn!("connection from {address} closed: it says nothing"),
            };
            // Nobody is served any more when there is no receiver.
            let _ = connections.send(Ok(Connection { stream, info, _place: place })).await;
        });
    }
}

/// Why a connection is not served.
enum Unfit {
    /// It is gone.
    Gone(io::Error),
    /// What it says is not what is spoken here.
    Closed(String),
}

/// Sees to it that the other side speaks what is spoken here.
async fn open(stream: TcpStream, tls: Option<TlsAcceptor>) -> Result<Box<dyn Duplex>, Unfit> {
    let Some(tls) = tls else {
        return match speaks_http2(&stream).await.map_err(Unfit::Gone)? {
            true => Ok(Box::new(stream)),
            false => Err(Unfit::Closed("it does not speak gRPC".to_owned())),
        };
    };
    let refused = |error: io::Error| match error.kind() {
        // A broker asks all controllers at once, and hangs up on the others when one has answered.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Unfit::Gone(error),
        _ => Unfit::Closed(format!("it does not speak TLS as it should: {error}")),
    };
    let stream = tls.accept(stream).await.map_err(refused)?;
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN) => Ok(Box::new(stream)),
        _ => Err(Unfit::Closed("it does not speak gRPC".to_owned())),
    }
}

/// Whether the other side begins as a client of HTTP/2 does. Nothing is taken out of the stream.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    let mut before = 0;
    loop {
        let length = stream.peek(&mut seen).await?;
        if seen[..length] != PREFACE[..length] || length == 0 {
            return Ok(false);
        }
        if length == PREFACE.len() {
            return Ok(true);
        }
        // What was peeked at stays readable, so waiting for readiness would not wait for more.
        if length == before {
            sleep(Duration::from_millis(10)).await;
        }
        before = length;
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
