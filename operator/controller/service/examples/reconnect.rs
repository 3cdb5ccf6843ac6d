//! What a broker's next session costs: `cargo run --release -p taffrail-controller-service --example reconnect --
//! [partitions] [partitions per topic]`. The same process comes back over the network, without saying what it holds and
//! saying it, when nothing has changed and when one topic is new.

#![allow(clippy::print_stdout, reason = "it prints figures")]
#![allow(clippy::unwrap_used, reason = "a tool for whoever works on this")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use taffrail_control::grpc::client::RemoteController;
use taffrail_control::grpc::pieces::Pieces;
use taffrail_control::session::{
    BrokerEnd, ClusterUpdate, ControllerRequest, FromController, LogClaim, NewTopic, Registration,
    SliceDigest, ToController,
};
use taffrail_control::slices::digests;
use taffrail_controller_service::{ClusterDefaults, GrpcServer, LocalController, SharedToken};
use taffrail_protocol::Uuid;
use tokio::net::TcpListener;

const ROUNDS: u32 = 20;

fn registration(slices: Vec<SliceDigest>) -> Registration {
    Registration { slices, ..Registration::new(1, Uuid([1; 16]), LogClaim::Unclean) }
}

/// How many bytes a message takes on its way.
fn bytes<M: Pieces>(message: M) -> usize {
    message.cut().ok().unwrap().map(|piece| piece.encoded_len()).sum()
}

async fn open(remote: &RemoteController, slices: Vec<SliceDigest>) -> (BrokerEnd, Arc<ClusterUpdate>) {
    let mut end = remote.connect(None, 1).await.unwrap();
    end.sender.send(ToController::Register(registration(slices))).await.unwrap();
    loop {
        if let FromController::Update(update) = end.receiver.recv().await.unwrap() {
            return (end, update);
        }
    }
}

async fn create(end: &mut BrokerEnd, names: Vec<String>, partitions: i32) {
    let topic = |name| NewTopic { name, partitions: Some(partitions), ..NewTopic::default() };
    let topics = names.into_iter().map(topic).collect();
    let request = ControllerRequest::CreateTopics { topics, validate_only: false };
    end.sender.send(ToController::Request { request_id: 1, request }).await.unwrap();
    while !matches!(end.receiver.recv().await.unwrap(), FromController::Response { .. }) {}
}

async fn report(what: &str, remote: &RemoteController, held: Option<&ClusterUpdate>) {
    let (mut spent, mut digesting, mut sent, mut told) = (Duration::ZERO, Duration::ZERO, 0, 0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let slices = held.map(|held| digests(&held.topics, &held.partitions)).unwrap_or_default();
        digesting += began.elapsed();
        let (end, update) = open(remote, slices.clone()).await;
        spent += began.elapsed();
        sent = bytes(ToController::Register(registration(slices)));
        told = bytes(FromController::Update(update));
        drop(end);
    }
    let (spent, digesting) = (spent / ROUNDS, digesting / ROUNDS);
    println!(
        "{what:<34} {sent:>6} bytes up, {told:>8} bytes down, {spent:>9.1?} in all, {digesting:>9.1?} for digests"
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<i32>().unwrap());
    let (partitions, each) = (arguments.next().unwrap_or(10_000), arguments.next().unwrap_or(10));
    let directory = std::env::temp_dir().join(format!("reconnect-{}", std::process::id()));
    let controller = LocalController::open(&directory, ClusterDefaults::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let server = GrpcServer::new(Arc::new(controller.handle()), Arc::new(SharedToken::default()));
    tokio::spawn(server.serve(listener));
    let remote = RemoteController { addresses: vec![url], ..RemoteController::default() };
    let (mut end, _) = open(&remote, Vec::new()).await;
    create(&mut end, (0..partitions / each).map(|number| format!("topic-{number}")).collect(), each).await;
    let (end, held) = open(&remote, Vec::new()).await;
    drop(end);
    println!("{} topics, {} partitions", held.topics.len(), held.partitions.len());
    report("without digests", &remote, None).await;
    report("with digests, nothing changed", &remote, Some(&held)).await;
    let (mut end, _) = open(&remote, Vec::new()).await;
    create(&mut end, vec!["new".to_owned()], 1).await;
    report("with digests, one topic is new", &remote, Some(&held)).await;
    controller.shutdown().await;
    std::fs::remove_dir_all(directory).unwrap();
}
