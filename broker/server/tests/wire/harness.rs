//! A broker process, and a connection that sends and reads single messages.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use taffrail_protocol::frame::{read_response, write_request};
use taffrail_protocol::header::RequestHeader;
use taffrail_protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use taffrail_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse,
};
use taffrail_protocol::record_batch::{BatchBuilder, Compression};
use taffrail_protocol::{ApiKey, ApiMessage, Decode, ErrorCode, Uuid, Writer};
use tempfile::TempDir;

/// Ends a test that would hang; nothing that works takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The timestamp of the first record of each batch that is not an idempotent producer's.
pub const TIMESTAMP: i64 = 1_700_000_000_000;

/// A running broker with its data. Killed when dropped.
pub struct Broker {
    child: Child,
    dir: TempDir,
    address: String,
    options: &'static [&'static str],
}

impl Broker {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further options.
    pub fn start_with(options: &'static [&'static str]) -> Self {
        let dir = TempDir::new().unwrap();
        let (child, address) = spawn(dir.path(), options);
        Self { child, dir, address, options }
    }

    pub fn connect(&self) -> Connection {
        Connection::to(&self.address)
    }

    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// SIGTERM; the exit status has to be 0.
    pub fn stop(&mut self) {
        let signalled = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(signalled.success());
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same data, after [`Broker::stop`] or [`Broker::kill`].
    pub fn start_again(&mut self) {
        (self.child, self.address) = spawn(self.dir.path(), self.options);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, options: &[&str]) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("TAFFRAIL_")) {
        command.env_remove(key);
    }
    let mut child = command
        .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(dir)
        .args(["--set", "group.initial.rebalance.delay.ms=0", "--set", "log.segment.delete.delay.ms=0"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, addresses) = mpsc::channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("listening on ") {
                let _ = sender.send(address.trim().to_owned());
            }
        }
    });
    let address = addresses.recv_timeout(PATIENCE).expect("the banner names the address");
    (child, address)
}

/// A connection that speaks in messages.
pub struct Connection {
    stream: TcpStream,
    next_id: i32,
}

/// A request that was sent, by its correlation id.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    id: i32,
    api: ApiKey,
    version: i16,
}

impl Connection {
    pub fn to(address: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, next_id: 0x0102_0304 }
    }

    pub fn send<M: ApiMessage>(&mut self, request: &M, version: i16) -> Sent {
        let id = self.next_id;
        self.next_id += 1;
        let mut writer = Writer::new();
        let header =
            RequestHeader { correlation_id: id, client_id: Some("wire".into()), ..Default::default() };
        write_request(&mut writer, &header, request, version).unwrap();
        self.stream.write_all(&writer.buf).unwrap();
        Sent { id, api: M::API_KEY, version }
    }

    /// Reads the next answer, which has to be the one to `sent` and well-formed in its version to the last byte.
    pub fn receive<R: ApiMessage + Decode<'static>>(&mut self, sent: Sent) -> R {
        let Sent { id, api, version } = sent;
        let frame =
            self.read_frame().unwrap_or_else(|| panic!("{api} {version}: closed instead of answered"));
        read_response(frame, id, version, usize::MAX)
            .unwrap_or_else(|error| panic!("{api} {version}: {error}"))
    }

    pub fn ask<M: ApiMessage, R: ApiMessage + Decode<'static>>(&mut self, request: &M, version: i16) -> R {
        let sent = self.send(request, version);
        self.receive(sent)
    }

    /// The broker ends the connection without an answer.
    pub fn assert_closed(&mut self) {
        assert_eq!(self.read_frame(), None);
    }

    /// Frames are kept to the end of the test, so that messages can borrow from them.
    fn read_frame(&mut self) -> Option<&'static [u8]> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer in time"),
            Err(_closed) => return None,
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut frame).unwrap();
        Some(frame.leak())
    }

    /// Makes a topic and returns its id.
    pub fn create_topic(
        &mut self,
        name: &'static str,
        partitions: i32,
        configs: &[(&'static str, &'static str)],
    ) -> Uuid {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let created: CreateTopicsResponse<'_> = self.ask(&request, 7);
        assert_eq!(created.topics[0].error_code, ErrorCode::NONE, "{created:?}");
        created.topics[0].topic_id
    }

    /// The topic's id and how many partitions it has.
    pub fn topic(&mut self, name: &'static str) -> Result<(Uuid, usize), ErrorCode> {
        use taffrail_protocol::messages::metadata::MetadataRequestTopic;
        let topic = MetadataRequestTopic { topic_id: Uuid::ZERO, name: Some(name.into()) };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let metadata: MetadataResponse<'_> = self.ask(&request, 12);
        let topic = &metadata.topics[0];
        match topic.error_code {
            ErrorCode::NONE => Ok((topic.topic_id, topic.partitions.len())),
            error => Err(error),
        }
    }
}

/// The version of `api` that is nearest to `version`. Produce is advertised below what it is answered in.
pub fn nearest(api: ApiKey, version: i16) -> i16 {
    let advertised = api.spoken().unwrap().advertised;
    let min = if api == ApiKey::Produce { 3 } else { advertised.min };
    version.clamp(min, advertised.max)
}

/// A batch of one record for each value.
pub fn batch(values: &[&str]) -> Vec<u8> {
    producer_batch(values, None)
}

/// The same of an idempotent producer: id, epoch, sequence number.
pub fn producer_batch(values: &[&str], producer: Option<(i64, i16, i32)>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    let mut timestamp = TIMESTAMP;
    if let Some((id, epoch, sequence)) = producer {
        builder.producer(id, epoch, sequence);
        // A producer whose last record is old by its timestamp is forgotten with a restart.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        timestamp = i64::try_from(now.as_millis()).unwrap();
    }
    for (at, value) in (0..).zip(values) {
        builder.append(timestamp + at, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}
