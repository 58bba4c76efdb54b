//! The `mesh` profile: a real node with real containers and a real Istio; root only.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use common::{Owner, wait_gone};
use meshlift_testbed::istio::{self, IstioOptions};
use meshlift_testbed::skip::is_root_or_skips;
use meshlift_testbed::{Cluster, Options, images, versions};

const UP: Duration = Duration::from_secs(2400);
const PODS: &str = include_str!("pods.yaml");

#[tokio::test]
async fn mesh_pods_run_log_and_answer() -> Result<()> {
    if !is_root_or_skips("mesh_pods_run_log_and_answer") {
        return Ok(());
    }
    let cluster = Cluster::up(Options::mesh("pods")).await?;
    // An image that is one file on the base, which is not in its archive.
    let image = images::Image {
        name: "testbed.local/echo:1",
        base: Some(cluster.tools().rootfs()?),
        files: &[(Path::new("/bin/busybox"), "/usr/local/bin/busybox")],
        entrypoint: &[
            "/usr/local/bin/busybox",
            "nc",
            "-ll",
            "-p",
            "8080",
            "-e",
            "/bin/echo",
            "hello",
        ],
        user: "65532:65532",
    };
    cluster.load_image(&images::write(&image)?).await?;
    cluster.apply_yaml(PODS).await?;
    cluster
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "pod/echo",
            "pod/talker",
            "--timeout=60s",
        ])
        .await?;

    let logs = cluster.kubectl(&["logs", "talker"]).await?;
    assert!(logs.contains("talking"), "{logs}");
    let whoami = cluster.kubectl(&["exec", "echo", "--", "id", "-u"]).await?;
    assert_eq!(whoami.trim(), "65532");
    // By name, through the service, from another pod.
    let call = "cat < /dev/tcp/echo.default.svc/80";
    let said = cluster
        .kubectl(&["exec", "talker", "--", "bash", "-c", call])
        .await?;
    assert_eq!(said.trim(), "hello");
    // What this process serves, pods can read.
    let index = format!("{}/index.yaml", cluster.charts_url());
    let read = cluster
        .kubectl(&["exec", "talker", "--", "curl", "-sf", &index])
        .await?;
    assert!(read.contains("istiod-1.31.0.tgz"), "{read}");
    // And what pods serve, this machine.
    let address = cluster
        .kubectl(&["get", "pod", "echo", "-o", "jsonpath={.status.podIP}"])
        .await?;
    let here = cluster.forward(SocketAddr::new(address.parse()?, 8080))?;
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut std::net::TcpStream::connect(here)?, &mut answer)?;
    assert_eq!(answer.trim(), "hello");
    cluster.down().await
}

#[tokio::test]
async fn mesh_istio_injects_real_and_simulated_pods() -> Result<()> {
    if !is_root_or_skips("mesh_istio_injects_real_and_simulated_pods") {
        return Ok(());
    }
    let cluster = Cluster::up(Options::mesh("istio").kwok(3)).await?;
    istio::install(&cluster, versions::ISTIO_FROM, IstioOptions::default()).await?;
    cluster.apply_yaml(include_str!("injected.yaml")).await?;
    for workload in ["real", "simulated", "slow"] {
        let workload = format!("deployment/{workload}");
        cluster
            .kubectl(&[
                "-n",
                "injected",
                "rollout",
                "status",
                &workload,
                "--timeout=90s",
            ])
            .await?;
    }
    let expected = format!("{}/proxyv2:{}", images::ISTIO_HUB, versions::ISTIO_FROM);
    for workload in ["real", "simulated"] {
        let path = "jsonpath={.items[*].spec.initContainers[?(@.name=='istio-proxy')].image}";
        let label = format!("app={workload}");
        let found = cluster
            .kubectl(&["-n", "injected", "get", "pods", "-l", &label, "-o", path])
            .await?;
        assert_eq!(
            found, expected,
            "{workload} has a native sidecar of that version"
        );
    }
    for (workload, reason) in [("crash", "CrashLoopBackOff"), ("pull", "ImagePullBackOff")] {
        let condition = format!(
            "--for=jsonpath={{.status.containerStatuses[0].state.waiting.reason}}={reason}"
        );
        let label = format!("app={workload}");
        cluster
            .kubectl(&[
                "-n",
                "injected",
                "wait",
                "pod",
                "-l",
                &label,
                &condition,
                "--timeout=30s",
            ])
            .await?;
    }
    cluster.down().await
}

#[test]
fn mesh_a_killed_owner_leaves_nothing() -> Result<()> {
    if !is_root_or_skips("mesh_a_killed_owner_leaves_nothing") {
        return Ok(());
    }
    let mut owner = Owner::start("killed", &["--profile=mesh"])?;
    let scratch = owner.wait_ready(UP)?;
    let id = scratch
        .file_name()
        .and_then(|n| n.to_str())
        .context("no name")?
        .to_owned();
    owner.process.kill()?;
    owner.process.wait()?;
    wait_gone(&scratch, Duration::from_secs(10))?;
    assert!(
        !std::fs::read_to_string("/proc/mounts")?.contains(&id),
        "its mounts are gone"
    );
    assert!(
        owner
            .testbed()
            .args(["down", "--name", "killed"])
            .status()?
            .success()
    );
    assert!(!scratch.exists(), "{} is left", scratch.display());
    let groups = std::fs::read_dir("/sys/fs/cgroup")?
        .flatten()
        .filter(|e| e.path().join(&id).exists());
    assert_eq!(groups.count(), 0, "control groups are left");
    Ok(())
}
