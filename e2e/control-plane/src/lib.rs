//! A real Kubernetes control plane for tests: etcd, kube-apiserver and, where asked for, kube-controller-manager, as
//! processes on loopback with a directory of their own. There are no nodes and no pods.
//!
//! The binaries are looked for in `KUBEBUILDER_ASSETS`, in `/opt/kube/bin` and on the `PATH`. A test that finds none fails,
//! and says what to install: one that passed without them would have shown nothing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Who asks with this token may do everything.
const TOKEN: &str = "everything";
/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often is looked whether it is.
const LOOK: Duration = Duration::from_millis(50);
/// Where binaries are if nothing else is said.
const INSTALLED: &str = "/opt/kube/bin";

/// A control plane. Its processes are killed and its directory is removed when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    // Processes end before their directory goes.
    manager: Option<Child>,
    api_server: Option<Child>,
    _etcd: Child,
    etcd_url: String,
    port: u16,
    config: Config,
    directory: TempDir,
}

/// What to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// kube-controller-manager as well: garbage collection, namespaces that go, StatefulSets.
    pub controller_manager: bool,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready, which takes some five seconds.
    ///
    /// # Errors
    ///
    /// If a binary is missing, or does not become ready: with the end of its log.
    pub async fn start(parts: Parts) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("taffrail-control-plane-").tempdir()?;
        let at = directory.path();
        write_keys(at).await?;
        fs::write(at.join("tokens"), format!("{TOKEN},admin,1,system:masters\n"))?;
        let [client, peer, port, manager_port] = free_ports()?;
        let (etcd_url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut etcd = command("etcd", at)?;
        etcd.arg("--data-dir").arg(at.join("etcd")).arg("--unsafe-no-fsync");
        etcd.args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url]);
        etcd.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        etcd.arg("--initial-cluster").arg(format!("default={peer_url}"));
        let etcd = etcd.spawn().context("cannot start etcd")?;
        let mut api_server = start_api_server(at, &etcd_url, port, parts)?;
        await_certificate(&mut api_server, at).await?;
        let kubeconfig = write_kubeconfig(at, port)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &options).await?;
        let api_server = Some(api_server);
        let mut plane = Self { manager: None, api_server, _etcd: etcd, etcd_url, port, config, directory };
        plane.await_ready().await?;
        if parts.controller_manager {
            plane.start_manager(&kubeconfig, manager_port).await?;
        }
        Ok(plane)
    }

    /// How clients reach it, as somebody who may do everything.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// A client of it.
    ///
    /// # Errors
    ///
    /// If the operating system gives no TLS.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config())?)
    }

    /// The file that kubectl and others find it by.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Kills the API server, as a machine that loses power would. Its clients' connections break.
    ///
    /// # Errors
    ///
    /// If it was not running.
    pub async fn kill_api_server(&mut self) -> Result<()> {
        let mut child = self.api_server.take().context("the API server does not run")?;
        child.kill().await.context("cannot kill the API server")
    }

    /// Starts the API server again, under the same address, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it does not become ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        let parts = Parts { controller_manager: self.manager.is_some() };
        self.api_server = Some(start_api_server(self.directory.path(), &self.etcd_url, self.port, parts)?);
        self.await_ready().await
    }

    /// Makes definitions known and waits until their objects can be written.
    ///
    /// # Errors
    ///
    /// If the API server refuses one.
    pub async fn install(&self, definitions: Vec<CustomResourceDefinition>) -> Result<()> {
        let all: Api<CustomResourceDefinition> = Api::all(self.client()?);
        for definition in definitions {
            let name = definition.metadata.name.clone().unwrap_or_default();
            all.create(&PostParams::default(), &definition)
                .await
                .with_context(|| format!("the API server refuses the definition {name}"))?;
            let begun = Instant::now();
            while !is_established(&all.get(&name).await?) {
                if begun.elapsed() > PATIENCE {
                    bail!("the definition {name} was not established within {} s", PATIENCE.as_secs());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Makes a namespace.
    ///
    /// # Errors
    ///
    /// If the API server refuses it.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespaces: Api<Namespace> = Api::all(self.client()?);
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    async fn start_manager(&mut self, kubeconfig: &Path, port: u16) -> Result<()> {
        let at = self.directory.path();
        let mut manager = command("kube-controller-manager", at)?;
        manager.arg("--kubeconfig").arg(kubeconfig);
        manager.args(["--leader-elect=false", "--use-service-account-credentials"]);
        manager.arg("--service-account-private-key-file").arg(at.join("sa.key"));
        manager.args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()]);
        manager.arg("--cert-dir").arg(at.join("manager-certs"));
        let mut manager = manager.spawn().context("cannot start kube-controller-manager")?;
        // It works once it has made what every namespace gets from it.
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(self.client()?, "default");
        let begun = Instant::now();
        while accounts.get_opt("default").await?.is_none() {
            still_waiting("kube-controller-manager", &mut manager, at, begun)?;
            tokio::time::sleep(LOOK).await;
        }
        self.manager = Some(manager);
        Ok(())
    }

    async fn await_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            // A client of its own each time: connections that were refused are not waited for.
            let mut config = self.config();
            config.default_retry = false;
            let client = Client::try_from(config)?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
            if matches!(answer, Ok(Ok(_))) {
                return Ok(());
            }
            let server = self.api_server.as_mut().context("the API server does not run")?;
            still_waiting("kube-apiserver", server, self.directory.path(), begun)?;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The API server makes its certificate itself.
async fn await_certificate(server: &mut Child, at: &Path) -> Result<()> {
    let certificate = at.join("certs/apiserver.crt");
    let begun = Instant::now();
    while !fs::read(&certificate).is_ok_and(|text| text.ends_with(b"-----END CERTIFICATE-----\n")) {
        still_waiting("kube-apiserver", server, at, begun)?;
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// An error if there is nothing to wait for any more.
fn still_waiting(name: &str, child: &mut Child, at: &Path, since: Instant) -> Result<()> {
    let log = fs::read_to_string(log_path(name, at)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(20)..].join("\n");
    if let Some(status) = child.try_wait()? {
        bail!("{name} ended ({status}); its log ends with:\n{end}");
    }
    if since.elapsed() > PATIENCE {
        bail!("{name} was not ready within {} s; its log ends with:\n{end}", PATIENCE.as_secs());
    }
    Ok(())
}

fn start_api_server(at: &Path, etcd_url: &str, port: u16, parts: Parts) -> Result<Child> {
    let mut server = command("kube-apiserver", at)?;
    server.args(["--etcd-servers", etcd_url, "--secure-port", &port.to_string()]);
    server.args(["--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"]);
    server.arg("--cert-dir").arg(at.join("certs"));
    server.arg("--token-auth-file").arg(at.join("tokens"));
    server.args(["--authorization-mode", "RBAC", "--endpoint-reconciler-type", "none"]);
    server.args(["--service-cluster-ip-range", "10.96.0.0/16"]);
    server.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
    server.arg("--service-account-key-file").arg(at.join("sa.pub"));
    server.arg("--service-account-signing-key-file").arg(at.join("sa.key"));
    if !parts.controller_manager {
        // Nobody makes the accounts that it would ask for.
        server.args(["--disable-admission-plugins", "ServiceAccount"]);
    }
    server.spawn().context("cannot start kube-apiserver")
}

/// A command whose output goes to a log in the directory, and which ends when it is dropped.
fn command(name: &str, at: &Path) -> Result<Command> {
    let log = File::options().create(true).append(true).open(log_path(name, at))?;
    let mut command = Command::new(find(name)?);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    Ok(command)
}

fn log_path(name: &str, at: &Path) -> PathBuf {
    at.join(format!("{name}.log"))
}

fn find(name: &str) -> Result<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let directories = assets.into_iter().chain([PathBuf::from(INSTALLED)]).chain(on_path);
    let mut candidates = directories.map(|directory| directory.join(name));
    candidates.find(|candidate| candidate.is_file()).with_context(|| {
        format!(
            "{name} is neither in $KUBEBUILDER_ASSETS nor in {INSTALLED} nor on the PATH; run \
             ../shared/kube/install-control-plane, or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and \
             kube-controller-manager"
        )
    })
}

/// The key pair that the tokens of service accounts are signed with.
async fn write_keys(at: &Path) -> Result<()> {
    let (private, public) = (at.join("sa.key"), at.join("sa.pub"));
    openssl(&[OsStr::new("genrsa"), OsStr::new("-out"), private.as_os_str(), OsStr::new("2048")]).await?;
    let [rsa, input, export, output] = ["rsa", "-in", "-pubout", "-out"].map(OsStr::new);
    openssl(&[rsa, input, private.as_os_str(), export, output, public.as_os_str()]).await
}

async fn openssl(arguments: &[&OsStr]) -> Result<()> {
    let output = Command::new("openssl").args(arguments).output().await;
    let output =
        output.context("cannot run openssl, which makes the keys of service accounts; install it")?;
    if !output.status.success() {
        bail!("openssl failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn write_kubeconfig(at: &Path, port: u16) -> Result<PathBuf> {
    let cluster = serde_json::json!({
        "server": format!("https://127.0.0.1:{port}"),
        "certificate-authority": at.join("certs/apiserver.crt"),
    });
    let document = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    let path = at.join("kubeconfig");
    fs::write(&path, serde_json::to_vec_pretty(&document)?)?;
    Ok(path)
}

/// Ports that nobody listens on, all of them held until the last is known.
///
/// # Errors
///
/// If the operating system gives none.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions =
        definition.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}
