//! A broker whose controller is replaced by another, over the network.

use std::path::Path;
use std::sync::Arc;

use taffrail_control::grpc::client::RemoteController;
use taffrail_control::session::{ControllerRequest, ControllerResponse, Endpoint, NewTopic};
use taffrail_controller_service::{ClusterDefaults, GrpcServer, LocalController, SharedToken};
use taffrail_server::admin::Readiness;
use taffrail_server::cluster::Topic;
use taffrail_server::config::BrokerConfig;
use taffrail_server::controller_address::ControllerAddress;
use taffrail_server::lifecycle::{BrokerListener, BrokerSetup, RunningBroker};
use taffrail_server::metrics::Metrics;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::PATIENCE;

/// A controller that serves brokers on a port.
struct Served {
    controller: LocalController,
    serving: JoinHandle<()>,
}

impl Served {
    async fn start(directory: &Path, listener: TcpListener) -> Self {
        let controller = LocalController::open(directory, ClusterDefaults::default()).unwrap();
        let server = GrpcServer::new(Arc::new(controller.handle()), Arc::new(SharedToken::default()));
        Self { controller, serving: tokio::spawn(async move { server.serve(listener).await.unwrap() }) }
    }

    /// Ends all sessions.
    async fn stop(self) {
        self.controller.shutdown().await;
        self.serving.abort();
        // The port is free again.
        let _ = self.serving.await;
    }
}

async fn start_broker(dir: &Path, controllers: &[std::net::SocketAddr]) -> RunningBroker {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let advertised =
        Endpoint { listener: "PLAINTEXT".to_owned(), host: address.ip().to_string(), port: address.port() };
    let addresses = controllers.iter().map(|address| format!("http://{address}").parse().unwrap()).collect();
    let mut config = BrokerConfig::from_settings(std::iter::empty::<(&str, &str)>()).unwrap();
    config.fit_into(256 << 20);
    let setup = BrokerSetup {
        id: 1,
        config,
        log_dirs: vec![dir.to_owned()],
        listeners: vec![BrokerListener { socket, advertised }],
        peer_address: address,
        controller: ControllerAddress::Remote(RemoteController { addresses, ..RemoteController::default() }),
        readiness: Arc::new(Readiness::of_broker()),
        metrics: Arc::new(Metrics::new()),
    };
    RunningBroker::start(setup).await.unwrap()
}

/// Makes a topic, and waits until the broker knows it. Asked again while there is no session.
async fn create(broker: &RunningBroker, name: &str) -> Arc<Topic> {
    let made = async {
        loop {
            let topic = NewTopic { name: name.to_owned(), partitions: Some(2), ..NewTopic::default() };
            let request = ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false };
            let response = broker.broker.controller.request(request).await;
            if let (ControllerResponse::Topics(_), Some(topic)) =
                (response, broker.broker.cluster.topic(name))
            {
                return topic;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, made).await.expect("the topic is made in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_takes_from_another_controller_only_what_it_does_not_hold() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("controller");
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
    let served = Served::start(&store, first).await;
    let broker = start_broker(&dir.path().join("broker"), &addresses).await;
    let before = [create(&broker, "a").await, create(&broker, "b").await];
    served.stop().await;

    let served = Served::start(&store, second).await;
    // Answered in the new session, and so after its snapshot was applied.
    create(&broker, "c").await;
    for topic in &before {
        let now = broker.broker.cluster.topic(&topic.name).unwrap();
        assert!(Arc::ptr_eq(topic, &now), "{} was told again", topic.name);
    }
    broker.stop().await;
    served.stop().await;
}
