//! `testbed`: a real Kubernetes with a real Istio on this machine, from the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meshlift_testbed::{bench, demo, load, owner, shop};

#[derive(Parser)]
#[command(name = "testbed", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster in the background, wait until it is ready and print its KUBECONFIG.
    Up(owner::UpArgs),
    /// Own a cluster in the foreground; it ends with this process (Ctrl-C).
    Run(owner::UpArgs),
    /// Stop a cluster and remove everything it made.
    Down(owner::DownArgs),
    /// List the clusters on this machine.
    Status,
    /// Upgrade a real mesh under a real load, and show it.
    Demo(demo::DemoArgs),
    /// Measure the operator on a large mesh, beside the smallest client that does the same.
    Bench(bench::BenchArgs),
    /// Serve one application of the shop (runs in the cluster).
    Serve(shop::serve::ServeArgs),
    /// Call a URL over and over and count what is lost (runs in the cluster).
    Load(load::LoadArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,kube_client=off")),
        )
        .init();
    let outcome = match Cli::parse().command {
        Command::Up(args) => owner::up(args).await,
        Command::Run(args) => owner::run(args).await,
        Command::Down(args) => owner::down(args).await,
        Command::Status => owner::status(),
        Command::Demo(args) => demo::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Serve(args) => shop::serve::run(args).await,
        Command::Load(args) => load::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not `Debug`, which adds a stack where a sentence is enough.
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
