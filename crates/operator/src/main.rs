//! `meshlift-operator`: upgrades Istio meshes as MeshUpgrade objects ask for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use meshlift_api::GoDuration;
use meshlift_operator::{Options, run, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// Upgrades Istio service meshes as MeshUpgrade objects ask for it.
#[derive(Parser)]
#[command(name = "meshlift-operator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Run(RunArgs),
}

#[derive(clap::Args)]
struct RunArgs {
    /// Namespace of the operator: records and the lease are kept there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "meshlift-system")]
    namespace: String,
    /// Identity in the leader election.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Chart repository for a Mesh that is made by discovery.
    #[arg(long, env = "MESHLIFT_CHARTS_REPOSITORY", default_value = meshlift_api::DEFAULT_CHARTS_REPOSITORY)]
    default_charts_repository: String,
    /// How old the known versions of a chart repository may be (15m, 6h): so often it is asked.
    #[arg(long, env = "MESHLIFT_VERSIONS_INTERVAL", default_value = "6h", value_parser = interval)]
    versions_interval: Duration,
    /// How many backups and records of a mesh are kept; 0 keeps all. Those of upgrades that have not ended are kept anyway.
    #[arg(long, env = "MESHLIFT_KEEP_BACKUPS", default_value_t = 10)]
    keep_backups: usize,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "0.0.0.0:8080")]
    http_address: SocketAddr,
    /// Form of the log.
    #[arg(long, value_enum, default_value = "json")]
    log_format: telemetry::LogFormat,
    /// Only act while holding the lease; needed with more than one replica.
    #[arg(long)]
    leader_election: bool,
    /// How long a stop may take: a few seconds less than the pod's terminationGracePeriodSeconds.
    #[arg(long, env = "MESHLIFT_STOP_WITHIN", default_value = "55s", value_parser = interval)]
    stop_within: Duration,
    /// The Helm 4 program.
    #[arg(long, env = "MESHLIFT_HELM", default_value = "helm")]
    helm: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    telemetry::init(args.log_format);
    match start(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the operator stops");
            ExitCode::FAILURE
        }
    }
}

async fn start(args: RunArgs) -> anyhow::Result<()> {
    let options = Options {
        namespace: args.namespace,
        identity: args.identity,
        default_charts_repository: args.default_charts_repository,
        keep_backups: args.keep_backups,
        versions_interval: args.versions_interval,
        http_address: Some(args.http_address),
        leader_election: args.leader_election,
        helm: args.helm,
        stop_within: args.stop_within,
        kubeconfig: std::env::var_os("KUBECONFIG").map(PathBuf::from),
    };
    let config = kube::Config::infer().await?;
    run(config, options, stop_signal()).await
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval: GoDuration = text
        .parse()
        .map_err(|_| "write it as 15m or 6h".to_owned())?;
    let interval = Duration::from(interval);
    if interval >= Duration::from_secs(1) {
        Ok(interval)
    } else {
        Err("it is shorter than 1s".to_owned())
    }
}

async fn stop_signal() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: finishes the present step and stops"),
        _ = tokio::signal::ctrl_c() => tracing::info!("SIGINT: finishes the present step and stops"),
    }
}
