//! Sessions over the network: a real server and a real client on loopback.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use taffrail_control::grpc::CONTROLLER_NAME;
use taffrail_control::grpc::client::{ControllerUrl, RemoteController};
use taffrail_control::grpc::proto;
use taffrail_control::grpc::proto::controller_client::ControllerClient;
use taffrail_control::session::{
    BrokerEnd, CONTRACT_VERSION, ClusterUpdate, ControllerRequest, ControllerResponse, Endpoint,
    FromController, LogClaim, NewTopic, Registration, ToController,
};
use taffrail_controller_service::{
    Caller, ClusterDefaults, ControllerHandle, Controllers, Decider, Doorkeeper, GrpcServer, LocalController,
    SharedToken,
};
use taffrail_protocol::Uuid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tonic::transport::Channel;

/// Nothing that works takes this long; it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(controllers: impl Controllers, token_file: Option<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = GrpcServer::new(Arc::new(controllers), Arc::new(SharedToken { file: token_file }));
        Self { address, task: tokio::spawn(async move { server.serve(listener).await.unwrap() }) }
    }

    fn url(&self) -> ControllerUrl {
        format!("http://{}", self.address).parse().unwrap()
    }
}

/// A client that says what it likes.
async fn raw(server: &Server) -> ControllerClient<Channel> {
    let channel = Channel::from_shared(server.url().to_string()).unwrap().connect().await.unwrap();
    ControllerClient::new(channel)
}

fn open(directory: &Path) -> LocalController {
    LocalController::open(directory, ClusterDefaults::default()).unwrap()
}

fn remote(addresses: &[ControllerUrl]) -> RemoteController {
    RemoteController { addresses: addresses.to_vec(), ..RemoteController::default() }
}

fn registration(broker_id: i32, process: u8) -> Registration {
    Registration {
        endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 }],
        log_dirs: vec![Uuid([9; 16])],
        ..Registration::new(broker_id, Uuid([process; 16]), LogClaim::Unclean)
    }
}

async fn next(end: &mut BrokerEnd) -> Option<FromController> {
    tokio::time::timeout(PATIENCE, end.receiver.recv()).await.expect("an answer in time")
}

/// Registers and returns the cluster's id, the incarnation and the snapshot.
async fn register(end: &mut BrokerEnd, registration: Registration) -> (String, u64, Arc<ClusterUpdate>) {
    end.sender.send(ToController::Register(registration)).await.unwrap();
    let Some(FromController::Registered { cluster_id, incarnation, .. }) = next(end).await else {
        panic!("not registered")
    };
    let Some(FromController::Update(snapshot)) = next(end).await else { panic!("no snapshot") };
    assert!(snapshot.snapshot);
    (cluster_id, incarnation, snapshot)
}

async fn session(remote: &RemoteController, process: u8) -> (BrokerEnd, String, u64, Arc<ClusterUpdate>) {
    let mut end = remote.connect(None, 1).await.unwrap();
    let (cluster_id, incarnation, snapshot) = register(&mut end, registration(1, process)).await;
    (end, cluster_id, incarnation, snapshot)
}

async fn create(end: &mut BrokerEnd, name: &str, partitions: i32) -> ControllerResponse {
    let topic = NewTopic { name: name.into(), partitions: Some(partitions), ..NewTopic::default() };
    let request = ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false };
    end.sender.send(ToController::Request { request_id: 5, request }).await.unwrap();
    loop {
        match next(end).await.expect("the session goes on") {
            FromController::Response { request_id: 5, response } => return response,
            FromController::Update(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broker_of_the_next_release_is_served_in_the_version_that_both_speak() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let server = Server::start(controller.handle(), None).await;
    let mut end = remote(&[server.url()]).connect(None, 1).await.unwrap();
    let ahead = Registration { contract_version: CONTRACT_VERSION + 1, ..registration(1, 1) };
    let (_, incarnation, snapshot) = register(&mut end, ahead).await;
    let applied = ToController::Heartbeat { incarnation, applied_version: snapshot.version };
    end.sender.send(applied).await.unwrap();
    let response = create(&mut end, "t", 1).await;
    assert!(matches!(response, ControllerResponse::Topics(results) if results[0].is_ok()));
    let further = Registration { contract_version: CONTRACT_VERSION + 2, ..registration(2, 2) };
    let mut end = remote(&[server.url()]).connect(None, 2).await.unwrap();
    end.sender.send(ToController::Register(further)).await.unwrap();
    let Some(FromController::Refused { reason }) = next(&mut end).await else { panic!("not refused") };
    assert!(reason.contains("run releases that are at most one apart"), "{reason}");
    controller.shutdown().await;
}

#[tokio::test]
async fn a_broker_registers_asks_and_gets_a_large_snapshot_in_its_next_session() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let server = Server::start(controller.handle(), None).await;
    let remote = remote(&[server.url()]);
    let (mut end, cluster_id, incarnation, snapshot) = session(&remote, 1).await;
    assert!(snapshot.topics.is_empty());
    let response = create(&mut end, "large", 60_000).await;
    assert!(matches!(response, ControllerResponse::Topics(results) if results[0].is_ok()));
    drop(end);
    // The same process: the same incarnation; and the snapshot is longer than a piece.
    let (_end, same_cluster, same, snapshot) = session(&remote, 1).await;
    assert_eq!((same_cluster, same), (cluster_id, incarnation));
    assert_eq!(snapshot.partitions.len(), 60_000);
    let mut numbers: Vec<_> = snapshot.partitions.iter().map(|record| record.partition).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..60_000));
    controller.shutdown().await;
}

#[tokio::test]
async fn the_end_of_either_side_ends_the_session_and_the_broker_comes_back_to_another_controller() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let one = Server::start(first.handle(), None).await;
    let spare = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = spare.local_addr().unwrap();
    drop(spare);
    let remote = remote(&[one.url(), format!("http://{other}").parse().unwrap()]);
    let (mut end, cluster_id, incarnation, _) = session(&remote, 1).await;
    let sessions = async |handle: &ControllerHandle| handle.summary().await.unwrap().sessions;
    assert_eq!(sessions(&first.handle()).await, 1);

    // The broker's end: the controller knows at once.
    drop(end);
    let told = async {
        while sessions(&first.handle()).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();

    // The controller's end.
    (end, ..) = session(&remote, 1).await;
    first.shutdown().await;
    assert_eq!(next(&mut end).await, None);
    drop(one);
    assert!(remote.connect(None, 1).await.is_err());

    let second = open(directory.path());
    let listener = TcpListener::bind(other).await.unwrap();
    let server = GrpcServer::new(Arc::new(second.handle()), Arc::new(SharedToken::default()));
    let serving = tokio::spawn(server.serve(listener));
    let mut end = remote.connect(Some(&cluster_id), 1).await.unwrap();
    let again = Registration { resumes: Some(incarnation), ..registration(1, 1) };
    assert_eq!(register(&mut end, again).await.1, incarnation);
    second.shutdown().await;
    serving.abort();
}

/// A controller that is not the active one.
struct Standby(Option<String>);

impl Controllers for Standby {
    fn decider(&self, _caller: &Caller, _cluster_id: Option<&str>, _broker_id: i32) -> Decider {
        Decider::Elsewhere { active: self.0.clone() }
    }
}

#[tokio::test]
async fn the_active_controller_is_found_among_many_and_by_redirects() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let active = Server::start(controller.handle(), None).await;
    let standby = Server::start(Standby(Some(active.url().to_string())), None).await;
    let lost = Server::start(Standby(None), None).await;
    // Accepts connections and says nothing: whoever asks one after the other would wait for it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent: ControllerUrl = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let (end, ..) = session(&remote(&[silent, lost.url(), standby.url()]), 1).await;
    drop(end);

    let error = remote(&[lost.url()]).connect(None, 1).await.unwrap_err().to_string();
    assert!(error.contains("it is not the active controller"), "{error}");
    let nowhere = "http://no-such-name.invalid:1".parse().unwrap();
    let error = remote(&[nowhere]).connect(None, 1).await.unwrap_err().to_string();
    assert!(error.contains("http://no-such-name.invalid:1: the name cannot be resolved"), "{error}");

    // Who opens a session all the same is told where to go.
    let mut client = raw(&standby).await;
    let message = proto::to_controller::Message::Register(proto::Registration {
        contract_version: CONTRACT_VERSION,
        process_id: vec![1; 16],
        peer_token: vec![1; 16],
        claim: proto::LogClaim::Unclean.into(),
        ..Default::default()
    });
    let message = proto::ToController { message: Some(message), more: false };
    let answer = client.session(tokio_stream::iter([message])).await.unwrap().into_inner().message().await;
    let Some(proto::from_controller::Message::Redirect(redirect)) = answer.unwrap().unwrap().message else {
        panic!("not redirected")
    };
    assert_eq!(redirect.active, Some(active.url().to_string()));
    controller.shutdown().await;
}

/// Two clusters behind one port.
struct Clusters {
    known: ControllerHandle,
}

impl Controllers for Clusters {
    fn decider(&self, _caller: &Caller, cluster_id: Option<&str>, _broker_id: i32) -> Decider {
        match cluster_id {
            None => Decider::Here(self.known.clone()),
            Some(other) => Decider::Nobody { reason: format!("cluster {other} is not known here") },
        }
    }
}

#[tokio::test]
async fn a_broker_of_an_unknown_cluster_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let server = Server::start(Clusters { known: controller.handle() }, None).await;
    let remote = remote(&[server.url()]);
    let (_end, ..) = session(&remote, 1).await;
    let mut end = remote.connect(Some("x"), 2).await.unwrap();
    let stranger = Registration { cluster_id: Some("x".into()), ..registration(2, 2) };
    end.sender.send(ToController::Register(stranger)).await.unwrap();
    let refused = FromController::Refused { reason: "cluster x is not known here".into() };
    assert_eq!(next(&mut end).await, Some(refused));
    assert_eq!(next(&mut end).await, None);
    controller.shutdown().await;
}

#[tokio::test]
async fn of_two_processes_with_one_id_the_older_is_refused_and_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let server = Server::start(controller.handle(), None).await;
    let remote = remote(&[server.url()]);
    let (mut older, _, incarnation, _) = session(&remote, 1).await;
    let (_newer, ..) = session(&remote, 2).await;
    let refused = async |end: &mut BrokerEnd| loop {
        match next(end).await {
            Some(FromController::Refused { reason }) => break reason,
            Some(FromController::Update(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(&mut older).await.contains("another process has registered as broker 1"));
    let mut again = remote.connect(None, 1).await.unwrap();
    let message = Registration { resumes: Some(incarnation), ..registration(1, 1) };
    again.sender.send(ToController::Register(message)).await.unwrap();
    assert!(refused(&mut again).await.contains("another process has registered as broker 1"));
    controller.shutdown().await;
}

#[tokio::test]
async fn without_the_token_nobody_is_served_and_a_new_token_counts_from_the_next_session_on() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(&directory.path().join("state"));
    let (theirs, ours) = (directory.path().join("theirs"), directory.path().join("ours"));
    std::fs::write(&theirs, "secret").unwrap();
    let server = Server::start(controller.handle(), Some(theirs.clone())).await;
    let with = |token_file| RemoteController {
        addresses: vec![server.url()],
        token_file,
        ..RemoteController::default()
    };
    let refusal = async |token_file| with(token_file).connect(None, 1).await.unwrap_err().to_string();
    assert!(refusal(None).await.contains("the broker showed no token"));
    assert!(refusal(Some(ours.clone())).await.contains("cannot read the token file"));
    std::fs::write(&ours, "secre").unwrap();
    assert!(refusal(Some(ours.clone())).await.contains("the broker showed the wrong token"));
    std::fs::write(&ours, "secret\n").unwrap();
    let remote = with(Some(ours.clone()));
    let (mut end, ..) = session(&remote, 1).await;
    std::fs::write(&theirs, "changed").unwrap();
    assert!(refusal(Some(ours.clone())).await.contains("the broker showed the wrong token"));
    assert!(matches!(create(&mut end, "t", 1).await, ControllerResponse::Topics(_)), "the session goes on");
    // A session cannot be had past the question for the active controller either.
    let mut client = raw(&server).await;
    let status = client.session(tokio_stream::iter([])).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    controller.shutdown().await;
}

#[tokio::test]
async fn messages_that_are_not_of_the_contract_end_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let server = Server::start(controller.handle(), None).await;
    let mut client = raw(&server).await;
    let nothing = proto::ToController::default();
    let status = client.session(tokio_stream::iter([nothing.clone()])).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    assert!(status.message().starts_with("message: it is missing"), "{status}");
    let heartbeat = proto::to_controller::Message::Heartbeat(proto::Heartbeat::default());
    let early = proto::ToController { message: Some(heartbeat), more: false };
    let status = client.session(tokio_stream::iter([early])).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");

    // In a session of a registered broker the same ends the session.
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let register = proto::to_controller::Message::Register(proto::Registration {
        contract_version: CONTRACT_VERSION,
        broker_id: 1,
        process_id: vec![1; 16],
        peer_token: vec![1; 16],
        claim: proto::LogClaim::Unclean.into(),
        ..Default::default()
    });
    sender.send(proto::ToController { message: Some(register), more: false }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.session(stream).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap().message.unwrap();
    assert!(matches!(first, proto::from_controller::Message::Registered(_)), "{first:?}");
    sender.send(nothing).await.unwrap();
    let ended = async { while let Ok(Some(_)) = answers.message().await {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    controller.shutdown().await;
}

#[tokio::test]
async fn garbage_and_silence_on_the_port_are_cut_off_and_others_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let server = Server::start(controller.handle(), None).await;
    let ends = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(read.is_err() || answer.is_empty(), "{answer:?}");
    };
    ends(b"GET / HTTP/1.1\r\n\r\n").await;
    ends(&[0, 0, 0, 18, 0, 18, 0, 4, 0, 0, 0, 0]).await;
    // Begins right, and says no more.
    ends(b"PRI * HTTP/2.0\r\n").await;
    // Begins right, and goes on with garbage.
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0xff; 1000]);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    let (_end, ..) = session(&remote(&[server.url()]), 1).await;
    controller.shutdown().await;
}

/// An authority, and the certificate that it gave a controller.
fn signed(directory: &Path, name: &str) -> (PathBuf, ServerConfig) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let file = directory.join(format!("{name}.crt"));
    std::fs::write(&file, certificate.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth();
    (file, config.with_single_cert(vec![leaf.der().clone()], key.into()).unwrap())
}

#[tokio::test]
async fn a_controller_that_speaks_tls_is_believed_where_its_authority_is_and_its_name_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let start = |config: ServerConfig| {
        let handle = controller.handle();
        async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = GrpcServer::new(Arc::new(handle), Arc::new(SharedToken::default())).with_tls(config);
            let task = tokio::spawn(async move { server.serve(listener).await.unwrap() });
            (Server { address, task }, format!("https://{address}"))
        }
    };
    let (ca, config) = signed(directory.path(), CONTROLLER_NAME);
    let (server, url) = start(config).await;
    let with = |url: &str, ca_file: Option<&PathBuf>| RemoteController {
        addresses: vec![url.parse().unwrap()],
        ca_file: ca_file.cloned(),
        ..RemoteController::default()
    };
    let (mut end, ..) = session(&with(&url, Some(&ca)), 1).await;
    assert!(matches!(create(&mut end, "t", 1).await, ControllerResponse::Topics(_)));

    let refusal = async |remote: RemoteController| remote.connect(None, 1).await.unwrap_err().to_string();
    assert!(refusal(with(&url, None)).await.contains("--controller-ca-file"));
    let (other, config) = signed(directory.path(), "controller.example");
    let stranger = refusal(with(&url, Some(&other))).await;
    assert!(stranger.contains("certificate"), "{stranger}");
    let (_misnamed, url_of_misnamed) = start(config).await;
    let misnamed = refusal(with(&url_of_misnamed, Some(&other))).await;
    assert!(misnamed.contains("certificate"), "{misnamed}");
    // Who does not speak TLS is not served, and holds nobody up.
    assert!(remote(&[server.url()]).connect(None, 1).await.is_err());
    controller.shutdown().await;
}

#[tokio::test]
async fn nobody_is_sent_from_tls_to_where_the_token_could_be_read_on_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let active = Server::start(controller.handle(), None).await;
    let (ca, config) = signed(directory.path(), CONTROLLER_NAME);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let standby = Standby(Some(active.url().to_string()));
    let server = GrpcServer::new(Arc::new(standby), Arc::new(SharedToken::default())).with_tls(config);
    let task = tokio::spawn(async move { server.serve(listener).await.unwrap() });
    let _standby = Server { address, task };
    let remote = RemoteController {
        addresses: vec![format!("https://{address}").parse().unwrap()],
        ca_file: Some(ca),
        ..RemoteController::default()
    };
    assert!(remote.connect(None, 1).await.is_err());
    controller.shutdown().await;
}

/// Knows everybody who comes.
struct Known(Caller);

#[tonic::async_trait]
impl Doorkeeper for Known {
    async fn admit(&self, _shown: Option<&str>) -> Result<Caller, tonic::Status> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn a_broker_that_is_known_has_no_other_id_than_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let known = Known(Caller::Broker { cluster: "shop/orders".into(), broker_id: 1 });
    let server = GrpcServer::new(Arc::new(controller.handle()), Arc::new(known));
    let task = tokio::spawn(async move { server.serve(listener).await.unwrap() });
    let server = Server { address, task };
    let remote = remote(&[server.url()]);
    let (_end, ..) = session(&remote, 1).await;
    let mut end = remote.connect(None, 2).await.unwrap();
    end.sender.send(ToController::Register(registration(2, 2))).await.unwrap();
    let Some(FromController::Refused { reason }) = next(&mut end).await else { panic!("not refused") };
    assert!(reason.starts_with("its token is that of broker 1 of cluster shop/orders"), "{reason}");
    controller.shutdown().await;
}
