//! The demo: a real mesh under a real load is upgraded before your eyes.

mod follow;
mod image;
mod stages;
mod summary;
mod values;
mod versions;

use std::future::pending;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::ResourceExt;
use meshlift_api::MeshUpgrade;

pub use image::{OperatorImage, REPOSITORY, build as build_operator_image};

use crate::istio::{self, Ingress, Injection, IstioOptions};
use crate::shop::serve::terminated;
use crate::shop::{self, LoadOptions};
use crate::tools::{Need, Tools};
use crate::versions::{ISTIO, ISTIO_FROM, ISTIO_TO};
use crate::{Cluster, Options, progress};
use stages::Stages;
use summary::Summary;

/// Namespace the operator is installed in.
const OPERATOR_NAMESPACE: &str = "meshlift-system";
/// The profile that the operator is built in: that of the tests and of this program, so that each serves the others.
const PROFILE: &str = "dev";
/// What a person would apply.
const UPGRADE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/examples/upgrade.yaml"
));

/// Arguments of `testbed demo`.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
}

/// What must outlive an interruption.
#[derive(Default)]
struct Kept {
    cluster: Option<Cluster>,
    verdict: Option<Result<()>>,
}

/// Runs the demo. Fails unless the mesh is at the new version and no request was lost. Ctrl-C stops everything.
pub async fn run(args: DemoArgs) -> Result<()> {
    let mut kept = Kept::default();
    let interrupted = tokio::select! {
        outcome = play(&mut kept, args.keep) => outcome.map(|()| false),
        stopped = terminated() => stopped.map(|()| true),
    };
    if let Some(cluster) = kept.cluster {
        progress::line("stopping everything that was started");
        cluster.down().await.context("stopping the cluster")?;
    }
    match kept.verdict {
        Some(verdict) => verdict,
        None if interrupted? => {
            // A build that goes on in a thread is not waited for.
            eprintln!("interrupted");
            std::process::exit(130)
        }
        None => Ok(()),
    }
}

/// The demo itself. The cluster is the caller's to stop, also when this is dropped halfway.
async fn play(kept: &mut Kept, keep: bool) -> Result<()> {
    let mut stages = Stages::default();
    let tools = stages
        .run("install and build what is missing", async {
            tokio::task::spawn_blocking(|| Tools::ensure(Need::Istio, false, &ISTIO)).await?
        })
        .await?;
    let image = stages
        .run("build the operator and its image", async {
            let (rootfs, helm) = (
                tools.rootfs()?.to_owned(),
                tools.program("helm")?.to_owned(),
            );
            tokio::task::spawn_blocking(move || image::build(&rootfs, &helm, PROFILE)).await?
        })
        .await?;
    let up = Cluster::up(Options::mesh("demo"));
    let cluster = kept
        .cluster
        .insert(stages.run("start a cluster", up).await?);
    let outcome = upgrade(cluster, &image, &mut stages).await;
    if let Ok(summary) = &outcome {
        println!("{summary}");
    }
    let verdict = outcome.and_then(|summary| summary.verdict());
    if verdict.is_err() {
        explain(cluster).await;
    }
    kept.verdict = Some(verdict);
    if keep {
        if let Some(Err(error)) = &kept.verdict {
            println!("{error:#}");
        }
        println!("Everything is left running. Ctrl-C here stops it. Until then:");
        println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
        pending::<()>().await;
    }
    Ok(())
}

/// Prints what the operator said last, if there is one.
async fn explain(cluster: &Cluster) {
    let logs = [
        "logs",
        "deployment/meshlift",
        "--tail=20",
        "--namespace",
        OPERATOR_NAMESPACE,
    ];
    if let Ok(log) = cluster.kubectl(&logs).await {
        println!(
            "The operator's last words (`make demo KEEP=1` leaves everything to look at):\n{log}"
        );
    }
}

async fn upgrade(cluster: &Cluster, image: &OperatorImage, stages: &mut Stages) -> Result<Summary> {
    let client = cluster.client();
    let custom = IstioOptions {
        values: values::custom(),
        ..IstioOptions::default()
    };
    stages
        .run(
            &format!("install Istio {ISTIO_FROM} with Helm"),
            istio::install(cluster, ISTIO_FROM, custom),
        )
        .await?;
    stages
        .run("deploy the shop and its gateway", async {
            let (shop, gateway) = (Injection::default(), Ingress::default());
            shop::deploy(cluster, &shop).await?;
            // Its pods come up while those of the shop do.
            istio::install_ingress(cluster, ISTIO_FROM, gateway).await?;
            shop::wait_ready(cluster, Duration::from_secs(180)).await
        })
        .await?;
    let through = LoadOptions {
        gateways: vec![(istio::INGRESS.to_owned(), Ingress::URL.to_owned())],
        ..LoadOptions::default()
    };
    let load = stages
        .run("start the load", shop::load_start(cluster, through))
        .await?;
    let before = versions::by_namespace(&client).await?;
    stages
        .run(
            "install the operator with Helm",
            install_operator(cluster, image),
        )
        .await?;
    let followed = stages
        .run(&format!("upgrade the mesh to {ISTIO_TO}"), async {
            let name = apply(cluster).await?;
            follow::follow(client.clone(), &name, &load, Duration::from_secs(1200)).await
        })
        .await?;
    // Before the load ends: its sidecars are part of the mesh.
    let after = versions::by_namespace(&client).await?;
    let seen = stages.run("stop the load", load.stop()).await?;
    Ok(Summary {
        before,
        after,
        lost_values: values::missing(cluster).await?,
        status: followed.status,
        steps: followed.steps,
        stages: std::mem::take(&mut stages.0),
        seen,
    })
}

/// Installs the chart as a person does, with the image that was built and the charts of this machine.
pub async fn install_operator(cluster: &Cluster, image: &OperatorImage) -> Result<()> {
    cluster
        .load_image(&image.archive)
        .await
        .context("loading the operator's image")?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/meshlift");
    let install = [
        "install",
        "meshlift",
        chart,
        "--namespace",
        OPERATOR_NAMESPACE,
    ];
    let set = [
        format!("--set=image.repository={REPOSITORY}"),
        format!("--set-string=image.tag={}", image.tag),
        "--set=image.pullPolicy=Never".to_owned(),
        format!("--set=defaultChartsRepository={}", cluster.charts_url()),
        "--create-namespace".to_owned(),
    ];
    let arguments: Vec<&str> = install
        .into_iter()
        .chain(set.iter().map(String::as_str))
        .collect();
    cluster.helm(&arguments).await?;
    let limit = Duration::from_secs(120);
    shop::wait_ready_in(&cluster.client(), &[OPERATOR_NAMESPACE], limit).await
}

/// Applies the example and returns its name. The charts come from a server of this machine that the pod reaches over a
/// bridge, in plain HTTP.
async fn apply(cluster: &Cluster) -> Result<String> {
    let mut upgrade: MeshUpgrade =
        serde_yaml_ng::from_str(UPGRADE).context("reading deploy/examples/upgrade.yaml")?;
    if upgrade.name_any().is_empty() {
        bail!("deploy/examples/upgrade.yaml names no object");
    }
    let accepted = &mut upgrade.spec.accept_risks;
    accepted.push("CHARTS-PLAIN-HTTP".to_owned());
    cluster
        .apply_yaml(&serde_yaml_ng::to_string(&upgrade)?)
        .await
        .context("applying deploy/examples/upgrade.yaml")?;
    Ok(upgrade.name_any())
}
