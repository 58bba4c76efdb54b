//! The real node: containerd, kubelet, kube-proxy and the cluster's DNS.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use super::control_plane::ControlPlane;
use super::network::NODE_IP;
use crate::images;

/// The name of the real node.
pub const NODE: &str = "node-1";
const POD_RANGE: &str = "10.244.0.0/24";

/// The containerd socket of a cluster with this scratch directory.
pub(super) fn socket(directory: &Path) -> PathBuf {
    directory.join("containerd.sock")
}

/// Starts containerd and waits until it answers.
pub(super) async fn start_containerd(plane: &ControlPlane<'_>) -> Result<()> {
    let directory = plane.directory;
    let cni = directory.join("cni");
    fs::create_dir_all(&cni)?;
    fs::write(cni.join("10-mesh.conflist"), network_config(directory))?;
    let config = directory.join("containerd.toml");
    fs::write(&config, containerd_config(directory))?;
    let command = [
        "containerd".to_owned(),
        format!("--config={}", config.display()),
    ];
    plane
        .processes
        .spawn("containerd", &(plane.inside)(&command))?;
    let ready = async || {
        let version = ["version".to_owned()];
        ctr(plane, &version).await
    };
    plane
        .processes
        .wait_until("containerd", Duration::from_secs(30), ready)
        .await
}

/// Starts kubelet, kube-proxy and CoreDNS.
pub(super) fn start_node(plane: &ControlPlane<'_>, cgroup: &str) -> Result<()> {
    let directory = plane.directory;
    let name = format!("system:node:{NODE}");
    let kubeconfig = plane.component_config("kubelet", &name, &["system:nodes"])?;
    let config = directory.join("kubelet.yaml");
    fs::write(&config, kubelet_config(directory, cgroup))?;
    plane.spawn(
        "kubelet",
        vec![
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--root-dir={}", directory.join("kubelet").display()),
            format!("--cert-dir={}", directory.join("certs-kubelet").display()),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={NODE_IP}"),
        ],
    )?;
    let kubeconfig = plane.component_config("kube-proxy", "system:kube-proxy", &[])?;
    let config = directory.join("kube-proxy.yaml");
    fs::write(&config, proxy_config(&kubeconfig))?;
    plane.spawn(
        "kube-proxy",
        vec![
            format!("--config={}", config.display()),
            format!("--hostname-override={NODE}"),
        ],
    )?;
    let kubeconfig = plane.component_config("coredns", "testbed:coredns", &["system:masters"])?;
    let corefile = directory.join("Corefile");
    fs::write(&corefile, dns_config(&kubeconfig))?;
    plane.spawn("coredns", vec![format!("-conf={}", corefile.display())])
}

/// Waits until the node says Ready.
pub(super) async fn wait_ready(plane: &ControlPlane<'_>, client: &kube::Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let ready = async || {
        let node = nodes
            .get(NODE)
            .await
            .context("the node has not registered")?;
        let conditions = node.status.and_then(|s| s.conditions).unwrap_or_default();
        match conditions.into_iter().find(|c| c.type_ == "Ready") {
            Some(c) if c.status == "True" => Ok(()),
            Some(c) => bail!("the node is not ready: {}", c.message.unwrap_or_default()),
            None => bail!("the node says nothing about being ready"),
        }
    };
    plane
        .processes
        .wait_until("the node", Duration::from_secs(90), ready)
        .await
}

/// Runs containerd's own client against this cluster.
pub(super) async fn ctr(plane: &ControlPlane<'_>, arguments: &[String]) -> Result<()> {
    let mut command = vec![
        "ctr".to_owned(),
        "--address".into(),
        socket(plane.directory).display().to_string(),
    ];
    command.extend_from_slice(arguments);
    let command = (plane.inside)(&command);
    super::commands::run(&command[0], &command[1..], &[])
        .await
        .map(drop)
}

/// Loads an OCI archive into the node.
pub(super) async fn import(plane: &ControlPlane<'_>, archive: &Path) -> Result<()> {
    let arguments = [
        "-n",
        "k8s.io",
        "images",
        "import",
        &archive.display().to_string(),
    ]
    .map(str::to_owned);
    ctr(plane, &arguments)
        .await
        .with_context(|| format!("cannot load the images in {}", archive.display()))
}

fn containerd_config(directory: &Path) -> String {
    let cri = r#"plugins."io.containerd.grpc.v1.cri""#;
    let directory = directory.display();
    let pause = images::PAUSE;
    format!(
        r#"version = 2
root = "{directory}/containerd/root"
state = "{directory}/containerd/state"
[grpc]
  address = "{directory}/containerd.sock"
[{cri}]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
[{cri}.containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  BinaryName = "/usr/sbin/runc"
  SystemdCgroup = false
[{cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{directory}/cni"
"#
    )
}

// Every pod has a link of its own to the node (`ptp`), so all traffic is routed and the service rules see it;
// on a bridge, replies between pods would pass below them unless the kernel has br_netfilter.
fn network_config(directory: &Path) -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "mesh",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": directory.join("ipam"),
                "ranges": [[{"subnet": POD_RANGE, "rangeStart": "10.244.0.10"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
    .to_string()
}

fn kubelet_config(directory: &Path, cgroup: &str) -> String {
    let low = serde_json::json!({"memory.available": "1%", "nodefs.available": "1%", "imagefs.available": "1%"});
    serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "failSwapOn": false,
        "cgroupDriver": "cgroupfs",
        // Two kubelets on one machine would remove each other's pods as orphans.
        "cgroupRoot": format!("/{cgroup}"),
        "containerRuntimeEndpoint": format!("unix://{}", socket(directory).display()),
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "address": "0.0.0.0",
        "clusterDNS": [NODE_IP.to_string()],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "podLogsDir": directory.join("pod-logs"),
        "imageGCHighThresholdPercent": 100,
        "evictionHard": low,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
        "maxPods": 220,
        // Start as many pods at once as there are, not five a second.
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "serializeImagePulls": false,
        "nodeStatusUpdateFrequency": "5s",
    })
    .to_string()
}

fn proxy_config(kubeconfig: &Path) -> String {
    serde_json::json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": kubeconfig, "qps": 200, "burst": 400},
        "clusterCIDR": POD_RANGE,
        // These belong to the machine and cannot be set from a network of one's own.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "100ms"},
    })
    .to_string()
}

fn dns_config(kubeconfig: &Path) -> String {
    format!(
        ".:53 {{\n  errors\n  health\n  ready\n  cache 5\n  kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {}\n    pods insecure\n    ttl 2\n  }}\n}}\n",
        kubeconfig.display()
    )
}
