//! Generates what is derived from the code (CRDs, RBAC, the page of the checks, the plain manifests and the ConfigMap for
//! Argo CD) and checks the house rules.

mod argocd;
mod checks;
mod crds;
mod deploy;
mod helm;
mod output;
mod rbac;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write crds/, the generated templates of charts/meshlift, docs/checks.md, deploy/argocd/argocd-cm.yaml
    /// and deploy/meshlift.yaml.
    Gen {
        /// Write nothing; name the files that are not current and exit with 1.
        #[arg(long)]
        check: bool,
        /// The Helm 4 program that renders deploy/meshlift.yaml. Looked for on PATH, and among
        /// the programs that the testbed built.
        #[arg(long, env = "HELM")]
        helm: Option<PathBuf>,
    },
    /// Check the house rules; print each violation and exit with 1 if there is one.
    Tidy {
        /// Also print the violations in the paths that are exempt from a rule.
        #[arg(long)]
        all: bool,
    },
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Gen { check, helm } => {
            let helm = helm.or_else(helm::find).context(helm::MISSING)?;
            generate(&repository()?, &helm, check)
        }
        Command::Tidy { all } => tidy::run(&repository()?, all),
    }
}

fn generate(root: &Path, helm: &Path, check: bool) -> Result<ExitCode> {
    let mut output = output::Output::new(root, check);
    crds::generate(&mut output)?;
    rbac::generate(&mut output)?;
    checks::generate(&mut output)?;
    argocd::generate(&mut output)?;
    // The plain manifests are the rendered chart, so what came before must be on disk.
    if output.stale().is_empty() {
        deploy::generate(&mut output, helm)?;
    }
    output.report()
}

fn repository() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here
        .ancestors()
        .nth(2)
        .context("crates/xtask is not two folders deep")?;
    Ok(root.to_path_buf())
}
