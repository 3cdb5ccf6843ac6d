//! The broker's side: finding the active controller and carrying a session with it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::pieces::Assembler;
use super::proto::controller_client::ControllerClient;
use super::proto::{FindActiveRequest, FindActiveResponse};
use super::sentence::{chain, say};
use super::stream::Outgoing;
use super::token::{ReadTokenError, Token};
use super::{
    AUTHORIZATION, BEARER, CONTROLLER_NAME, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, LONGEST_MESSAGE_BYTES,
};
use crate::session::{
    BrokerEnd, CONTRACT_VERSION, ControllerEnd, FromController, SessionEnd, is_contract_understood, session,
};

/// How long one address may take to be resolved, to be connected to and to answer, each.
const PATIENCE: Duration = Duration::from_secs(2);
/// Addresses that are asked in one attempt, those that others have named included.
const MOST_ADDRESSES: usize = 32;
/// The longest message that is put together: the snapshot of some million partitions.
const LONGEST_UPDATE_BYTES: usize = 512 * 1024 * 1024;

/// Where a controller is: `http://HOST:PORT`, or `https://HOST:PORT` where it speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControllerUrl {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The text is not a controller's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a controller's address; expected http://HOST:PORT, such as http://127.0.0.1:9190, or https:// where \
     it speaks TLS"
)]
pub struct ParseUrlError {
    text: String,
}

impl FromStr for ControllerUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (scheme, rest) = text.trim().split_once("://")?;
            let tls = match scheme {
                "http" => false,
                "https" => true,
                _ => return None,
            };
            let (host, port) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            if let Some(bracketed) = host.strip_prefix('[') {
                let host = bracketed.strip_suffix(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                return Some(Self { tls, host: host.to_owned(), port });
            }
            let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let named = !host.is_empty() && host.chars().all(in_name);
            named.then(|| Self { tls, host: host.to_owned(), port })
        };
        read().ok_or_else(|| ParseUrlError { text: text.to_owned() })
    }
}

impl fmt::Display for ControllerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = scheme(self.tls);
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// Controllers that are reached over the network; one of them is the active one.
#[derive(Debug, Clone, Default)]
pub struct RemoteController {
    /// All that are known.
    pub addresses: Vec<ControllerUrl>,
    /// The file with addresses, separated by commas or white space, that hold instead; so that they can be replaced while
    /// the broker runs.
    pub address_file: Option<PathBuf>,
    /// The file with the certificates (PEM) of the authority that signs controllers' certificates.
    pub ca_file: Option<PathBuf>,
    /// The file of the token to show.
    pub token_file: Option<PathBuf>,
}

/// A file that says where the controllers are, or whom to believe that they are these, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadAddressError {
    /// It cannot be read.
    #[error("cannot read {path}, which says {says}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What it is for.
        says: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// An address in it is none.
    #[error("{path}: {source}")]
    Url {
        /// The file.
        path: String,
        /// What is wrong.
        source: ParseUrlError,
    },
    /// There is none in it.
    #[error("{path} names no controller; expected addresses such as https://controller.example:9190")]
    Empty {
        /// The file.
        path: String,
    },
    /// Controllers speak TLS, and nothing says whom to believe.
    #[error(
        "{url} speaks TLS: name the file with the certificate of the authority that signed its own with \
         --controller-ca-file"
    )]
    NoAuthority {
        /// A controller's address.
        url: ControllerUrl,
    },
}

/// No active controller was found.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is nothing to show to them.
    #[error(transparent)]
    Token(#[from] ReadTokenError),
    /// It is not known where they are, or whom to believe.
    #[error(transparent)]
    Address(#[from] ReadAddressError),
    /// None that answers is the active one.
    #[error("{}", .0.join("; "))]
    NotFound(Vec<String>),
}

/// What every address is asked.
struct Question {
    request: FindActiveRequest,
    tls: Option<ClientTlsConfig>,
    authorization: Option<MetadataValue<Ascii>>,
}

/// What an address, or a name that stands for several, answered.
enum Answer {
    Active(SocketAddr, ControllerClient<Channel>),
    NotActive { reasons: Vec<String>, elsewhere: Vec<ControllerUrl> },
}

impl RemoteController {
    /// Asks all addresses at once, and those that are named by others, and opens a session with the first that says it
    /// is the active controller. Nothing has been said in the session yet.
    ///
    /// # Errors
    /// [`ConnectError`] says what each address answered.
    pub async fn connect(&self, cluster_id: Option<&str>, broker_id: i32) -> Result<BrokerEnd, ConnectError> {
        let addresses = self.addresses()?;
        let question = Arc::new(Question {
            tls: self.tls(&addresses)?,
            request: FindActiveRequest {
                contract_version: CONTRACT_VERSION,
                cluster_id: cluster_id.map(str::to_owned),
                broker_id,
            },
            authorization: self.authorization()?,
        });
        let mut asked = BTreeSet::new();
        let mut asking = JoinSet::new();
        let mut ask = |asking: &mut JoinSet<Answer>, url: &ControllerUrl| {
            if asked.len() < MOST_ADDRESSES && asked.insert(url.clone()) {
                asking.spawn(ask_name(url.clone(), Arc::clone(&question)));
            }
        };
        addresses.iter().for_each(|url| ask(&mut asking, url));
        let mut reasons = Vec::new();
        // Those that are slower than the first are given up when the set is dropped.
        while let Some(answer) = asking.join_next().await {
            match answer {
                Ok(Answer::Active(address, client)) => {
                    let (broker_end, controller_end) = session();
                    let authorization = question.authorization.clone();
                    tokio::spawn(carry(address, client, authorization, controller_end));
                    return Ok(broker_end);
                }
                Ok(Answer::NotActive { reasons: more, elsewhere }) => {
                    reasons.extend(more);
                    elsewhere.iter().for_each(|url| ask(&mut asking, url));
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        reasons.sort_unstable();
        Err(ConnectError::NotFound(reasons))
    }

    /// All addresses that are known at present.
    ///
    /// # Errors
    /// If the file that holds them cannot be used.
    pub fn addresses(&self) -> Result<Vec<ControllerUrl>, ReadAddressError> {
        let Some(path) = &self.address_file else { return Ok(self.addresses.clone()) };
        let text = read(path, "where the controllers are")?;
        let shown = || path.display().to_string();
        let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        let urls: Result<Vec<ControllerUrl>, _> = words.map(str::parse).collect();
        let urls = urls.map_err(|source| ReadAddressError::Url { path: shown(), source })?;
        if urls.is_empty() { Err(ReadAddressError::Empty { path: shown() }) } else { Ok(urls) }
    }

    /// How to speak TLS, if any of the addresses asks for it.
    fn tls(&self, addresses: &[ControllerUrl]) -> Result<Option<ClientTlsConfig>, ReadAddressError> {
        let Some(url) = addresses.iter().find(|url| url.tls) else { return Ok(None) };
        let Some(path) = &self.ca_file else {
            return Err(ReadAddressError::NoAuthority { url: url.clone() });
        };
        let authority = read(path, "whose certificate controllers show")?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
        // Whatever address it is reached at: addresses come and go, and no name of theirs is anybody's for good.
        Ok(Some(tls.domain_name(CONTROLLER_NAME)))
    }

    fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, ReadTokenError> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let token = Token::read(path)?;
        let value = format!("{BEARER}{}", token.secret()).parse();
        let mut value: MetadataValue<Ascii> =
            value.map_err(|_| ReadTokenError::Content { path: path.display().to_string() })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn read(path: &Path, says: &'static str) -> Result<String, ReadAddressError> {
    let shown = path.display().to_string();
    std::fs::read_to_string(path).map_err(|source| ReadAddressError::Io { path: shown, says, source })
}

/// Asks every address that the name stands for.
async fn ask_name(url: ControllerUrl, question: Arc<Question>) -> Answer {
    let failed = |problem: String| Answer::NotActive {
        reasons: vec![format!("{url}: {problem}")],
        elsewhere: Vec::new(),
    };
    let addresses: Vec<SocketAddr> = match timeout(PATIENCE, lookup_host((&*url.host, url.port))).await {
        Ok(Ok(addresses)) => addresses.take(MOST_ADDRESSES).collect(),
        Ok(Err(error)) => return failed(format!("the name cannot be resolved: {error}")),
        Err(_elapsed) => return failed("the name was not resolved in time".to_owned()),
    };
    let mut asking = JoinSet::new();
    for address in addresses {
        let (url, question) = (url.clone(), Arc::clone(&question));
        asking.spawn(async move {
            let answer = timeout(PATIENCE, ask(address, url.tls, &question)).await;
            (address, answer.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned())))
        });
    }
    let (mut reasons, mut elsewhere) = (Vec::new(), Vec::new());
    while let Some(answer) = asking.join_next().await {
        match answer {
            Ok((address, Ok((client, response)))) if response.active => {
                return Answer::Active(address, client);
            }
            Ok((address, Ok((_, response)))) => {
                reasons.push(format!("{url} ({address}): it is not the active controller"));
                // Nobody who is trusted sends a broker to where its token can be read on the way.
                let named = response.active_address.and_then(|url| url.parse().ok());
                elsewhere.extend(named.filter(|named: &ControllerUrl| named.tls == url.tls));
            }
            Ok((address, Err(problem))) => reasons.push(format!("{url} ({address}): {problem}")),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Answer::NotActive { reasons, elsewhere }
}

async fn ask(
    address: SocketAddr,
    tls: bool,
    question: &Question,
) -> Result<(ControllerClient<Channel>, FindActiveResponse), String> {
    let endpoint = Endpoint::from_shared(format!("{}://{address}", scheme(tls)));
    let mut endpoint = endpoint.map_err(|error| chain(&error))?;
    if let Some(config) = question.tls.clone().filter(|_| tls) {
        endpoint = endpoint.tls_config(config).map_err(|error| chain(&error))?;
    }
    let endpoint = endpoint
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
    let mut client = ControllerClient::new(channel)
        .max_decoding_message_size(LONGEST_MESSAGE_BYTES)
        .max_encoding_message_size(LONGEST_MESSAGE_BYTES);
    let request = authorized(question.request.clone(), question.authorization.as_ref());
    let response = client.find_active(request).await.map_err(|status| say(&status))?.into_inner();
    let theirs = response.contract_version;
    if !is_contract_understood(theirs) {
        return Err(format!(
            "the controller speaks version {theirs} of the session contract and this broker {CONTRACT_VERSION}; run \
             releases that are at most one apart"
        ));
    }
    Ok((client, response))
}

fn authorized<T>(message: T, authorization: Option<&MetadataValue<Ascii>>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(value) = authorization {
        request.metadata_mut().insert(AUTHORIZATION, value.clone());
    }
    request
}

/// Carries a session until either side ends it.
async fn carry(
    address: SocketAddr,
    mut client: ControllerClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    end: ControllerEnd,
) {
    let SessionEnd { sender, receiver } = end;
    let outgoing = Outgoing::new(receiver, Some(sender.downgrade()));
    let request = authorized(outgoing, authorization.as_ref());
    let opened = tokio::select! {
        opened = client.session(request) => opened,
        () = sender.closed() => return,
    };
    let broke = |problem: &str| {
        tracing::warn!("the session with the controller at {address} broke: {problem}");
    };
    let mut incoming = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return broke(&say(&status)),
    };
    let mut assembler = Assembler::<FromController>::new(LONGEST_UPDATE_BYTES);
    loop {
        let piece = tokio::select! {
            piece = incoming.message() => piece,
            () = sender.closed() => return,
        };
        let message = match piece {
            Ok(Some(piece)) => assembler.add(piece),
            Ok(None) => return,
            Err(status) => return broke(&say(&status)),
        };
        match message {
            Ok(Some(message)) => {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => return broke(&format!("it sent what this release does not understand: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_form() {
        let read = |text: &str| text.parse::<ControllerUrl>().map(|url| url.to_string());
        for good in [
            "http://127.0.0.1:9190",
            "http://controller.example:1",
            "http://[::1]:9190",
            "https://controller.example:9190",
        ] {
            assert_eq!(read(good).as_deref(), Ok(good));
        }
        assert_eq!(read(" http://a:1/ ").as_deref(), Ok("http://a:1"));
        for bad in [
            "",
            "a:1",
            "ftp://a:1",
            "http://a",
            "http://:1",
            "http://a:0",
            "http://a:1/x",
            "http://[a]:1",
            "http://::1:1",
            "http://user@a:1",
        ] {
            assert!(read(bad).unwrap_err().to_string().contains("expected http://HOST:PORT"), "{bad}");
        }
    }

    #[test]
    fn addresses_in_a_file_hold_instead_and_are_read_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("address");
        let remote = RemoteController {
            addresses: vec!["http://a:1".parse().unwrap()],
            address_file: Some(path.clone()),
            ..RemoteController::default()
        };
        let shown = || match remote.addresses() {
            Ok(urls) => urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string().replace(dir.path().to_str().unwrap(), "DIR"),
        };
        assert!(shown().starts_with("cannot read DIR/address, which says where the controllers are: "));
        std::fs::write(&path, "https://b:1, https://[::1]:2\n").unwrap();
        assert_eq!(shown(), "https://b:1 https://[::1]:2");
        std::fs::write(&path, "\n").unwrap();
        assert!(shown().starts_with("DIR/address names no controller"));
        std::fs::write(&path, "b").unwrap();
        assert!(shown().starts_with("DIR/address: \"b\" is not a controller's address"));
    }
}
