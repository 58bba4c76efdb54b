//! etcd and the Kubernetes servers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::network::NODE_IP;
use super::pki::Pki;
use super::process::Processes;
use crate::tools::Tools;

pub(super) const API_SERVER: &str = "kube-apiserver";
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
const AUDIT_POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[{"level":"Metadata"}]}"#;

/// The loopback ports of one control plane.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    etcd: u16,
    etcd_peer: u16,
    pub(super) api: u16,
    controllers: u16,
    scheduler: u16,
}

impl Ports {
    /// The usual ports, for a network of its own.
    pub(super) fn usual() -> Self {
        Ports {
            etcd: 2379,
            etcd_peer: 2380,
            api: 6443,
            controllers: 10257,
            scheduler: 10259,
        }
    }

    /// Ports that nobody uses now, below the range from which the kernel gives out ports by itself.
    pub(super) fn free() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let offset = (std::process::id() as u16).wrapping_mul(37);
        let mut found = Vec::new();
        for _ in 0..2000 {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = 16000 + offset.wrapping_add(step) % 16000;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                found.push(port);
            }
            if let [etcd, etcd_peer, api, controllers, scheduler] = found[..] {
                return Ok(Ports {
                    etcd,
                    etcd_peer,
                    api,
                    controllers,
                    scheduler,
                });
            }
        }
        anyhow::bail!("no five free ports between 16000 and 32000 on 127.0.0.1")
    }
}

/// What a control plane is started with.
pub(super) struct ControlPlane<'a> {
    pub(super) tools: &'a Tools,
    pub(super) processes: &'a Processes,
    pub(super) pki: &'a Pki,
    pub(super) directory: &'a Path,
    pub(super) ports: Ports,
    /// Where the API server listens: all addresses of a network of its own, or loopback only.
    pub(super) bind: Ipv4Addr,
    /// The version the API server was stamped with, if with another than its own.
    pub(super) kubernetes: Option<&'a str>,
    /// Where it records every request, if it does.
    pub(super) audit_log: Option<&'a Path>,
    /// Wraps a command so that it runs in the cluster's namespaces.
    pub(super) inside: &'a dyn Fn(&[String]) -> Vec<String>,
}

impl ControlPlane<'_> {
    /// Where its own components reach the API server.
    fn server(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.api).into()
    }

    /// Starts etcd and the API server and waits until that is ready, as seen through `client`.
    pub(super) async fn start_api(&self, client: &kube::Client) -> Result<()> {
        self.spawn("etcd", self.etcd())?;
        self.start_api_server(client).await
    }

    /// Starts the API server over the etcd that runs, and waits until it is ready.
    pub(super) async fn start_api_server(&self, client: &kube::Client) -> Result<()> {
        self.spawn(API_SERVER, self.api_server()?)?;
        let ready = async || {
            let request = http_get("/readyz")?;
            client
                .request_text(request)
                .await
                .context("the API server is not ready")?;
            Ok(())
        };
        self.processes
            .wait_until("the API server", Duration::from_secs(90), ready)
            .await
    }

    /// Starts the controllers and the scheduler.
    pub(super) fn start_controllers(&self) -> Result<()> {
        let name = "kube-controller-manager";
        let config = self.component_config(name, "system:kube-controller-manager", &[])?;
        self.spawn(name, self.controllers(&config))?;
        let name = "kube-scheduler";
        let config = self.component_config(name, "system:kube-scheduler", &[])?;
        self.spawn(name, self.scheduler(&config))
    }

    /// Writes the kubeconfig of a component that runs beside the API server.
    pub(super) fn component_config(
        &self,
        name: &str,
        user: &str,
        groups: &[&str],
    ) -> Result<PathBuf> {
        let path = self.directory.join(format!("{name}.kubeconfig"));
        self.pki.kubeconfig(&path, self.server(), user, groups)?;
        Ok(path)
    }

    /// Starts one of the programs of the toolbox.
    pub(super) fn spawn(&self, program: &str, flags: Vec<String>) -> Result<()> {
        let mut command = vec![self.tools.program(program)?.display().to_string()];
        command.extend(flags);
        self.processes.spawn(program, &(self.inside)(&command))
    }

    fn etcd(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        vec![
            format!("--data-dir={}", self.directory.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".into(),
            // Every version of 10,000 pods until the next compaction is more than the default of 2 GiB.
            "--quota-backend-bytes=8589934592".into(),
            "--log-level=warn".into(),
        ]
    }

    fn api_server(&self) -> Result<Vec<String>> {
        let file = |name: &str| self.pki.file(name).display().to_string();
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            format!("--secure-port={}", self.ports.api),
            format!("--bind-address={}", self.bind),
            // Loopback is refused here; without a node nobody uses it.
            format!("--advertise-address={NODE_IP}"),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--cert-dir={}", self.directory.join("certs").display()),
            "--authorization-mode=Node,RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            "--allow-privileged".into(),
            "--kubelet-preferred-address-types=InternalIP".into(),
        ];
        if let Some(version) = self.kubernetes {
            // It refuses to be compatible with minors older than the ones it knows.
            let minor: Vec<&str> = version.split('.').take(2).collect();
            flags.push(format!("--min-compatibility-version={}", minor.join(".")));
        }
        if let Some(log) = self.audit_log {
            let policy = self.directory.join("audit-policy.json");
            std::fs::write(&policy, AUDIT_POLICY)?;
            flags.push(format!("--audit-policy-file={}", policy.display()));
            flags.push(format!("--audit-log-path={}", log.display()));
        }
        Ok(flags)
    }

    fn controllers(&self, config: &Path) -> Vec<String> {
        let file = |name: &str| self.pki.file(name).display().to_string();
        let mut flags = self.controller_flags(config, self.ports.controllers);
        flags.extend([
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--cluster-signing-cert-file={}", file("ca.crt")),
            format!("--cluster-signing-key-file={}", file("ca.key")),
            "--use-service-account-credentials".into(),
            // The defaults hold back a cluster of thousands of pods that start at once.
            "--concurrent-deployment-syncs=20".into(),
            "--concurrent-replicaset-syncs=20".into(),
        ]);
        flags
    }

    fn scheduler(&self, config: &Path) -> Vec<String> {
        self.controller_flags(config, self.ports.scheduler)
    }

    fn controller_flags(&self, config: &Path, port: u16) -> Vec<String> {
        let config = config.display();
        vec![
            format!("--kubeconfig={config}"),
            format!("--authentication-kubeconfig={config}"),
            format!("--authorization-kubeconfig={config}"),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            format!(
                "--cert-dir={}",
                self.directory.join(format!("certs-{port}")).display()
            ),
            "--kube-api-qps=500".into(),
            "--kube-api-burst=1000".into(),
        ]
    }
}

/// A request for [`kube::Client::request_text`].
pub(super) fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}
