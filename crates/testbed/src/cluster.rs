//! A cluster: what it is made of, how it starts and how it ends.

mod api_server;
pub(crate) mod commands;
mod control_plane;
mod kwok;
mod network;
mod node;
mod options;
mod pki;
pub(crate) mod process;
mod remote;
pub(crate) mod scratch;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use kwok::KEY as SIMULATED_NODE;
pub use node::NODE;
pub use options::{Options, Profile};

use crate::charts::{self, ChartServer};
use crate::tools::{Need, Tools};
use crate::{images, progress};
use control_plane::{ControlPlane, Ports};
use network::{NODE_IP, Network};
use pki::Pki;
use process::Processes;
use scratch::Scratch;

/// A running cluster. It ends when this is dropped, or when this process ends in any way.
pub struct Cluster {
    options: Options,
    tools: Tools,
    kubeconfig: PathBuf,
    audit_log: PathBuf,
    address: SocketAddr,
    config: kube::Config,
    charts: ChartServer,
    pki: Pki,
    ports: Ports,
    // The order of the fields is the order in which things end.
    network: Option<Network>,
    processes: Processes,
    scratch: Scratch,
}

impl Cluster {
    /// Installs and builds what is missing, starts the cluster and waits until it is ready.
    pub async fn up(options: Options) -> Result<Cluster> {
        let need = match options.profile {
            Profile::Api => Need::ControlPlane,
            Profile::Mesh => Need::Istio,
        };
        require_root(&options)?;
        let kwok = options.kwok_nodes > 0;
        let stamp = options.kubernetes.clone();
        let istio = options.istio();
        let (tools, repository) = tokio::task::spawn_blocking(move || {
            let mut tools = Tools::ensure(need, kwok, &istio)?;
            if let Some(version) = stamp {
                tools.stamp_api_server(&version)?;
            }
            let repository = charts::repository(tools.program("helm")?, &istio)?;
            anyhow::Ok((tools, repository))
        })
        .await??;
        let task = progress::task(format!("start the cluster `{}`", options.name));
        let cluster = Cluster::start(options, tools, &repository).await?;
        task.done();
        Ok(cluster)
    }

    async fn start(options: Options, tools: Tools, repository: &Path) -> Result<Cluster> {
        let mesh = options.profile == Profile::Mesh;
        let scratch = Scratch::new()?;
        let directory = scratch.path().to_owned();
        let processes = Processes::new(directory.join("logs"))?;
        let network = if mesh {
            Some(Network::new(&processes, &directory)?)
        } else {
            None
        };
        let ports = if mesh { Ports::usual() } else { Ports::free()? };
        let inner = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.api));
        let address = match &network {
            Some(network) => network.forward(inner)?,
            None => inner,
        };
        let pki = Pki::new(directory.join("pki"), &serving_addresses())?;
        let kubeconfig = directory.join("kubeconfig");
        pki.kubeconfig(&kubeconfig, address, "testbed:admin", &["system:masters"])?;
        let config = config_from(&kubeconfig).await?;
        let client = kube::Client::try_from(config.clone())?;
        let listener = listen(network.as_ref(), 0).await?;
        let charts = ChartServer::start(repository.to_owned(), listener, Default::default())?;
        let audit_log = directory.join("audit.log");
        let cluster = Cluster {
            options,
            tools,
            kubeconfig,
            audit_log,
            address,
            config,
            charts,
            pki,
            ports,
            network,
            processes,
            scratch,
        };
        cluster.start_servers(&client).await?;
        Ok(cluster)
    }

    async fn start_servers(&self, client: &kube::Client) -> Result<()> {
        let inside = |command: &[String]| self.inside(command);
        let plane = self.control_plane(&inside);
        let mesh = self.options.profile == Profile::Mesh;
        if mesh {
            let (tools, more) = (self.tools.clone(), self.options.more_istio);
            let archives = tokio::task::spawn_blocking(move || {
                let mut archives = vec![images::system(&tools)?];
                if !more.is_empty() {
                    archives.push(images::more_istio(&tools, more)?);
                }
                anyhow::Ok(archives)
            });
            let load = async {
                node::start_containerd(&plane).await?;
                for archive in archives.await?? {
                    node::import(&plane, &archive).await?;
                }
                anyhow::Ok(())
            };
            let serve = async {
                plane.start_api(client).await?;
                plane.start_controllers()?;
                self.scratch.create_cgroups()?;
                node::start_node(&plane, self.scratch.cgroup())
            };
            tokio::try_join!(load, serve)?;
        } else {
            plane.start_api(client).await?;
            plane.start_controllers()?;
        }
        if self.options.kwok_nodes > 0 {
            kwok::start(&plane, client, self.options.kwok_nodes).await?;
        }
        self.wait_for_accounts(client).await?;
        if mesh {
            node::wait_ready(&plane, client).await?;
        }
        Ok(())
    }

    // Without it no pod can be created: the controllers make it.
    async fn wait_for_accounts(&self, client: &kube::Client) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let ready = async || {
            accounts
                .get("default")
                .await
                .context("the controllers made no service account yet")?;
            Ok(())
        };
        self.processes
            .wait_until("the controllers", Duration::from_secs(60), ready)
            .await
    }

    fn control_plane<'a>(
        &'a self,
        inside: &'a dyn Fn(&[String]) -> Vec<String>,
    ) -> ControlPlane<'a> {
        let mesh = self.network.is_some();
        ControlPlane {
            tools: &self.tools,
            processes: &self.processes,
            pki: &self.pki,
            directory: self.scratch.path(),
            ports: self.ports,
            bind: if mesh {
                Ipv4Addr::UNSPECIFIED
            } else {
                Ipv4Addr::LOCALHOST
            },
            kubernetes: self.options.kubernetes.as_deref(),
            audit_log: self.options.audit.then_some(self.audit_log.as_path()),
            inside,
        }
    }

    fn inside(&self, command: &[String]) -> Vec<String> {
        match &self.network {
            Some(network) => network.inside(command),
            None => command.to_vec(),
        }
    }

    /// A new client that speaks as administrator; it lives on the runtime of the caller.
    pub fn client(&self) -> kube::Client {
        kube::Client::try_from(self.config.clone())
            .expect("a client was made from this when the cluster started")
    }

    /// The administrator's kubeconfig; it works for every program on this machine.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes a kubeconfig for a plain user, who is in at most one group.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = user
            .chars()
            .chain("-".chars())
            .chain(groups.concat().chars())
            .map(safe)
            .collect();
        let path = self.scratch.path().join(format!("{name}.user.kubeconfig"));
        self.pki.kubeconfig(&path, self.address, user, groups)?;
        Ok(path)
    }

    /// A client that speaks as a plain user, who is in at most one group.
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> Result<kube::Client> {
        let config = config_from(&self.kubeconfig_for(user, groups)?).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// The record of every request, one JSON object a line; empty unless asked for with [`Options::audit`].
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// The address on this machine that reaches `target` in the cluster: a pod, a service, the node.
    pub fn forward(&self, target: SocketAddr) -> Result<SocketAddr> {
        match &self.network {
            Some(network) => network.forward(target),
            None => Ok(target),
        }
    }

    /// A listener that pods reach at [`Cluster::gateway`] (port 0: any free port).
    pub async fn listen(&self, port: u16) -> Result<TcpListener> {
        listen(self.network.as_ref(), port).await
    }

    /// The address under which pods reach listeners of this process.
    pub fn gateway(&self) -> IpAddr {
        if self.network.is_some() {
            NODE_IP.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        }
    }

    /// Closes a port of every pod to what runs on the node, as a firewall does: kubelet, and whoever asks through the
    /// API server. Until [`Cluster::open_ports`].
    pub async fn close_port(&self, port: u16) -> Result<()> {
        let chain = "add chain ip closed out { type filter hook output priority 0; }";
        let rule = format!("add rule ip closed out tcp dport {port} reject with tcp reset");
        self.nft(&format!("add table ip closed; {chain}; {rule}"))
            .await
    }

    /// Opens again what was closed.
    pub async fn open_ports(&self) -> Result<()> {
        self.nft("delete table ip closed").await
    }

    async fn nft(&self, script: &str) -> Result<()> {
        let command = self.inside(&["nft".to_owned(), script.to_owned()]);
        commands::run(&command[0], &command[1..], &[])
            .await
            .map(drop)
    }

    /// The chart repository, as pods reach it.
    pub fn charts_url(&self) -> String {
        format!("http://{}", self.charts.address())
    }

    /// The chart repository, as programs on this machine reach it.
    pub fn charts_url_host(&self) -> Result<String> {
        Ok(format!("http://{}", self.forward(self.charts.address())?))
    }

    /// The chart repository itself; it can be told to misbehave.
    pub fn charts(&self) -> &ChartServer {
        &self.charts
    }

    /// Loads an OCI archive (see [`images`]) into the node.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        let inside = |command: &[String]| self.inside(command);
        node::import(&self.control_plane(&inside), archive).await
    }

    /// What it is made of.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// How it was started.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether it has a node that runs pods.
    pub fn has_node(&self) -> bool {
        self.options.profile == Profile::Mesh
    }

    /// A directory that lives as long as the cluster; the logs of its processes are in `logs/`.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Fails, with the end of its log, if one of the cluster's processes has ended.
    pub fn check(&self) -> Result<()> {
        self.processes.check()
    }

    /// Stops everything and removes what it made.
    pub async fn down(self) -> Result<()> {
        Ok(tokio::task::spawn_blocking(move || drop(self)).await?)
    }
}

async fn listen(network: Option<&Network>, port: u16) -> Result<TcpListener> {
    if let Some(network) = network {
        return network.listen((NODE_IP, port).into()).await;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn config_from(kubeconfig: &Path) -> Result<kube::Config> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    Ok(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
}

fn serving_addresses() -> [IpAddr; 3] {
    let service = Ipv4Addr::new(10, 96, 0, 1);
    [Ipv4Addr::LOCALHOST.into(), NODE_IP.into(), service.into()]
}

fn require_root(options: &Options) -> Result<()> {
    if options.profile == Profile::Mesh && !nix::unistd::geteuid().is_root() {
        anyhow::bail!(
            "the `mesh` profile makes namespaces and containers and must be root: run it with sudo, or use the `api` profile"
        );
    }
    Ok(())
}
