//! The `api` profile: a real control plane for any user.

mod common;

use std::time::Duration;

use anyhow::{Context, Result};
use common::{Owner, processes_of, wait_gone};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ListParams, PostParams};
use meshlift_testbed::charts::Mode;
use meshlift_testbed::{Cluster, Options, versions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const UP: Duration = Duration::from_secs(1800);

#[tokio::test]
async fn api_every_kind_of_client_reaches_it() -> Result<()> {
    let cluster = Cluster::up(Options::api("clients")).await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let map = serde_json::from_value(
        serde_json::json!({"metadata": {"name": "one"}, "data": {"a": "b"}}),
    )?;
    maps.create(&PostParams::default(), &map).await?;
    let name = cluster
        .kubectl(&["get", "configmap", "one", "-o", "jsonpath={.data.a}"])
        .await?;
    assert_eq!(name, "b");
    let releases = cluster
        .helm(&["list", "--all-namespaces", "--output", "json"])
        .await?;
    assert_eq!(releases.trim(), "[]");
    let version = cluster.client().apiserver_version().await?;
    assert_eq!(version.git_version, format!("v{}", versions::KUBERNETES));
    let scratch = cluster.scratch().to_owned();
    cluster.down().await?;
    assert!(!scratch.exists(), "{} is left", scratch.display());
    assert_eq!(processes_of(&scratch)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn api_a_plain_user_is_refused_and_recorded() -> Result<()> {
    let cluster = Cluster::up(Options::api("users").audit()).await?;
    let alice = cluster.client_for("alice", &[]).await?;
    let secrets: Api<Secret> = Api::namespaced(alice, "default");
    let refused = secrets.list(&ListParams::default()).await;
    let code = refused.err().and_then(|error| match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    });
    assert_eq!(code, Some(403));
    let admin = cluster.client_for("bob", &["system:masters"]).await?;
    Api::<Secret>::namespaced(admin, "default")
        .list(&ListParams::default())
        .await?;
    let log = std::fs::read_to_string(cluster.audit_log())?;
    let by = |user: &str| {
        log.lines()
            .filter(|line| line.contains(&format!("\"username\":\"{user}\"")))
            .count()
    };
    assert_eq!((by("alice"), by("bob")), (1, 1));
    Ok(())
}

#[tokio::test]
async fn api_the_server_can_be_of_another_version() -> Result<()> {
    for version in ["1.31.4", "1.40.0"] {
        let cluster = Cluster::up(Options::api("versions").kubernetes(version)).await?;
        let said = cluster.client().apiserver_version().await?;
        assert_eq!(said.git_version, format!("v{version}"));
        assert_eq!(said.minor, version.split('.').nth(1).context("no minor")?);
        cluster.down().await?;
    }
    Ok(())
}

#[tokio::test]
async fn api_two_side_by_side_know_nothing_of_each_other() -> Result<()> {
    let (one, two) = tokio::try_join!(
        Cluster::up(Options::api("one")),
        Cluster::up(Options::api("two"))
    )?;
    one.apply_yaml("{apiVersion: v1, kind: Namespace, metadata: {name: only-here}}")
        .await?;
    assert!(
        one.kubectl(&["get", "namespace", "only-here"])
            .await
            .is_ok()
    );
    assert!(
        two.kubectl(&["get", "namespace", "only-here"])
            .await
            .is_err()
    );
    Ok(())
}

#[tokio::test]
async fn api_the_chart_repository_works_and_misbehaves_when_told() -> Result<()> {
    let cluster = Cluster::up(Options::api("charts")).await?;
    let index = format!("{}/index.yaml", cluster.charts_url());
    let client = reqwest::Client::builder()
        .timeout(Duration::from_millis(500))
        .build()?;
    let get = async || client.get(&index).send().await;
    let text = get().await?.error_for_status()?.text().await?;
    let parsed: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text)?;
    let istiod = parsed["entries"]["istiod"]
        .as_sequence()
        .context("no istiod in the index")?;
    let found: Vec<&str> = istiod
        .iter()
        .filter_map(|entry| entry["version"].as_str())
        .collect();
    assert_eq!(found, [versions::ISTIO_TO, versions::ISTIO_FROM]);
    let rendered = cluster
        .helm(&[
            "template",
            "istiod",
            "istiod",
            "--repo",
            &cluster.charts_url(),
            "--version",
            versions::ISTIO_TO,
        ])
        .await?;
    assert!(rendered.contains(&format!(
        "registry.istio.io/release/pilot:{}",
        versions::ISTIO_TO
    )));

    cluster.charts().set_mode(Mode::Down(503));
    assert_eq!(get().await?.status().as_u16(), 503);
    cluster
        .charts()
        .set_mode(Mode::Slow(Duration::from_secs(30)));
    assert!(get().await.is_err_and(|error| error.is_timeout()));
    cluster.charts().set_mode(Mode::Rubbish);
    let rubbish = get().await?.text().await?;
    assert!(serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&rubbish).is_err());
    cluster.charts().set_mode(Mode::Ok);
    assert_eq!(get().await?.text().await?, text);
    Ok(())
}

#[test]
fn api_a_killed_owner_takes_everything_with_it() -> Result<()> {
    let mut owner = Owner::start("killed", &["--profile=api"])?;
    let scratch = owner.wait_ready(UP)?;
    assert!(
        processes_of(&scratch)?.len() >= 4,
        "etcd and three servers run"
    );
    owner.process.kill()?;
    owner.process.wait()?;
    wait_gone(&scratch, Duration::from_secs(10))?;
    let status = owner.testbed().arg("status").output()?;
    assert!(
        String::from_utf8_lossy(&status.stdout).starts_with("killed\tdead"),
        "{status:?}"
    );
    assert!(
        owner
            .testbed()
            .args(["down", "--name", "killed"])
            .status()?
            .success()
    );
    assert!(!scratch.exists(), "{} is left", scratch.display());
    Ok(())
}

#[test]
fn api_an_interrupted_owner_stops_in_order() -> Result<()> {
    let mut owner = Owner::start("interrupted", &["--profile=api"])?;
    let scratch = owner.wait_ready(UP)?;
    kill(
        Pid::from_raw(owner.process.id().cast_signed()),
        Signal::SIGINT,
    )?;
    assert!(owner.process.wait()?.success());
    assert!(!scratch.exists(), "{} is left", scratch.display());
    assert_eq!(processes_of(&scratch)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn api_an_owner_that_loses_a_server_says_which() -> Result<()> {
    let mut owner = Owner::start("broken", &["--profile=api"])?;
    let scratch = owner.wait_ready(UP)?;
    // By its exact data directory: no other etcd has it.
    let data = format!("--data-dir={}", scratch.join("etcd").display());
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&data) {
            let pid = path
                .file_name()
                .and_then(|n| n.to_str())
                .context("a process without a number")?;
            kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL)?;
        }
    }
    assert!(!owner.process.wait()?.success());
    assert_eq!(processes_of(&scratch)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn api_a_cluster_is_upgraded_goes_away_and_comes_back_with_all_it_held() -> Result<()> {
    let mut cluster = Cluster::up(Options::api("upgraded").kubernetes("1.31.4")).await?;
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: kept}}";
    cluster.apply_yaml(namespace).await?;
    cluster.restart_api_server("1.33.2").await?;
    let said = cluster.client().apiserver_version().await?;
    assert_eq!(said.git_version, "v1.33.2");
    cluster.kubectl(&["get", "namespace", "kept"]).await?;

    cluster.stop_api_server()?;
    assert!(cluster.client().apiserver_version().await.is_err());
    cluster.check()?;
    cluster.start_api_server().await?;
    cluster.kubectl(&["get", "namespace", "kept"]).await?;

    cluster.freeze_api_server()?;
    let client = cluster.client();
    let asked = tokio::time::timeout(Duration::from_secs(1), client.apiserver_version()).await;
    assert!(asked.is_err(), "a frozen server answers: {asked:?}");
    cluster.thaw_api_server()?;
    cluster.client().apiserver_version().await?;
    Ok(())
}
