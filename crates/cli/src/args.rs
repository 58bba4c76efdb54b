//! The command line as clap reads it.

mod choice;
mod keeping;
mod parse;
#[cfg(test)]
mod printed;
mod steering;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use meshlift_api::{DEFAULT_CHARTS_REPOSITORY, DEFAULT_MESH, GoDuration, InPlace};

pub use self::choice::{
    Diff, Form, ListOutput, ManualWay, Output, PathChoice, StrategyChoice, StreamOutput,
};
pub use self::keeping::{
    BackupArgs, BackupCommand, BackupListArgs, CreateArgs, ExportArgs, LogArgs, RestoreArgs,
    ShowArgs, ValuesArgs,
};
use self::parse::{duration, positive, request_timeout, target};
pub use self::steering::{ApproveArgs, How, PauseArgs, RollbackArgs};
use crate::exit::EXIT_CODES;
use crate::failure::Usage;

/// Upgrades Istio meshes: what there is, what stands in the way, what would be done, and doing it.
///
/// `list`, `check`, `plan` and `manual` look at the cluster with your own rights and change nothing; they
/// also work where the operator is not installed. `upgrade`, `status`, `watch` and `log` speak with the operator.
/// `backup` and `restore` keep and bring back what a mesh is made of.
#[derive(Parser, Debug)]
#[command(name = "meshlift", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, as whom, and how it is printed.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Cluster")]
pub struct Global {
    /// Kubeconfig file; else those of KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// User to impersonate
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group to impersonate; may be repeated
    #[arg(
        long = "as-group",
        global = true,
        value_name = "GROUP",
        requires = "as_user"
    )]
    pub as_groups: Vec<String>,
    /// How long one request may take; 0 for as long as it takes
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = request_timeout)]
    pub request_timeout: GoDuration,
    /// Namespace of the operator
    #[arg(
        long,
        global = true,
        value_name = "NAMESPACE",
        default_value = "meshlift-system",
        env = "MESHLIFT_NAMESPACE",
        hide_short_help = true
    )]
    pub operator_namespace: String,
    /// Chart repository to read instead of the one that the Mesh names; without a Mesh object, Istio's own is read
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MESHLIFT_CHARTS_REPOSITORY",
        hide_short_help = true
    )]
    pub charts_repository: Option<String>,
    /// The Helm 4 program, for the diff of a plan
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "helm",
        env = "MESHLIFT_HELM",
        hide_short_help = true
    )]
    pub helm: PathBuf,
    /// No colour, also on a terminal (NO_COLOR does the same)
    #[arg(long, global = true, help_heading = "Output")]
    pub no_color: bool,
}

impl Global {
    /// Where charts come from for a mesh that says nothing of it.
    pub fn charts(&self) -> String {
        let given = self.charts_repository.clone();
        given.unwrap_or_else(|| DEFAULT_CHARTS_REPOSITORY.to_owned())
    }
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the meshes: what runs, and what each could be upgraded to
    List(ListArgs),
    /// Check whether a mesh can be upgraded; exit code 3 if something stands in the way
    Check(CheckArgs),
    /// Show all that an upgrade would do, with the Helm diff; changes nothing
    Plan(PlanArgs),
    /// Upgrade a mesh: apply a MeshUpgrade and follow it
    Upgrade(UpgradeArgs),
    /// Show upgrades: all of them, or one in full
    Status(StatusArgs),
    /// Follow an upgrade until it ends
    Watch(WatchArgs),
    /// Let waves of an upgrade begin that wait for a person
    Approve(ApproveArgs),
    /// Hold an upgrade before its next change
    Pause(PauseArgs),
    /// Let an upgrade go on that is paused
    Resume(PauseArgs),
    /// Move everything that an upgrade has moved back to the old control plane
    Rollback(RollbackArgs),
    /// Show the log of an upgrade: what it did, and what it waited for
    Log(LogArgs),
    /// Take, list and show backups of a mesh
    Backup(BackupArgs),
    /// Compare a mesh with a backup, and bring back what differs
    Restore(RestoreArgs),
    /// Explain a check or a risk
    Explain(ExplainArgs),
    /// Print the steps to upgrade a mesh by hand
    Manual(ManualArgs),
    /// Show what is known of Istio releases
    Catalog(CatalogArgs),
    /// Print a completion script
    Completions(CompletionsArgs),
    /// Print the version
    Version(VersionArgs),
}

impl Command {
    /// Refuses flags that do not belong together, where clap has no rule for it. Runs before anything is read from the
    /// cluster, as clap's own rules do.
    pub fn validate(&self) -> Result<(), Usage> {
        match self {
            Self::Check(args) => args.way.route.validate(),
            Self::Plan(args) => args.way.route.validate(),
            Self::Manual(args) => args.way.route.validate(),
            Self::Upgrade(args) => args.route.validate(),
            _ => Ok(()),
        }
    }
}

/// By which steps, and how the control plane is replaced: what a MeshUpgrade takes on its way.
#[derive(Args, Debug, Clone, Default)]
pub struct Route {
    /// Which versions to stop at when the target is several minors away [default: EachMinor]
    #[arg(long, value_enum, ignore_case = true)]
    pub path: Option<PathChoice>,
    /// How the control plane is replaced [default: Canary]
    #[arg(long, value_enum, ignore_case = true)]
    pub strategy: Option<StrategyChoice>,
    /// Name of the new revision [default: from the version]
    #[arg(long, value_name = "NAME")]
    pub revision: Option<String>,
    /// With --strategy InPlace: fewest replicas of istiod during the upgrade, as the minimum of its autoscaler
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10))]
    pub ensure_replicas: Option<u32>,
}

impl Route {
    /// The API server has the same rule for a MeshUpgrade, but `check` and `plan` send it none: they would report on an
    /// upgrade that cannot be applied.
    fn validate(&self) -> Result<(), Usage> {
        if self.ensure_replicas.is_some() && self.strategy != Some(StrategyChoice::InPlace) {
            return Err(Usage(
                "--ensure-replicas belongs to strategy InPlace: set --strategy InPlace, or remove --ensure-replicas"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// `spec.inPlace`. None without its flags: the API server refuses even an empty one with strategy Canary.
    pub fn in_place(&self) -> Option<InPlace> {
        let ensure_replicas = Some(self.ensure_replicas?);
        Some(InPlace { ensure_replicas })
    }
}

/// Which mesh, and whereto.
#[derive(Args, Debug, Clone)]
pub struct Way {
    /// The mesh: the name of a Mesh object, or one that `list` shows
    #[arg(long, value_name = "NAME", default_value = DEFAULT_MESH)]
    pub mesh: String,
    /// Istio version to reach: exact (1.31.0), or a minor for its newest patch (1.31)
    #[arg(long, value_name = "VERSION", value_parser = target)]
    pub to: Option<String>,
    /// By which steps, and how the control plane is replaced.
    #[command(flatten)]
    pub route: Route,
    /// Instead, a MeshUpgrade in a file, as it would be applied (waves, windows, ...); - for standard input
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE",
        conflicts_with_all = ["mesh", "to", "path", "strategy", "revision", "ensure_replicas"]
    )]
    pub file: Option<PathBuf>,
}

/// `list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Form of the output
    #[arg(
        short,
        long,
        value_enum,
        help_heading = "Output",
        value_name = "wide|name|json|yaml",
        hide_possible_values = true
    )]
    pub output: Option<ListOutput>,
}

/// `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Which mesh, and whereto; without --to, the newest version it can go to.
    #[command(flatten)]
    pub way: Way,
    /// Code of a check whose finding you accept; may be repeated
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub accept: Vec<String>,
    /// Also show the checks that passed
    #[arg(long)]
    pub all: bool,
    /// As a table, or for programs.
    #[command(flatten)]
    pub form: Form,
}

/// `plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Which mesh, and whereto; without --to, the newest version it can go to.
    #[command(flatten)]
    pub way: Way,
    /// Code of a check whose finding you accept; may be repeated
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub accept: Vec<String>,
    /// How much of the Helm diff
    #[arg(long, value_enum, default_value = "full")]
    pub diff: Diff,
    /// As a table, or for programs.
    #[command(flatten)]
    pub form: Form,
}

/// `upgrade`.
#[derive(Args, Debug)]
pub struct UpgradeArgs {
    /// Istio version to reach: exact (1.31.0), or a minor for its newest patch (1.31)
    #[arg(long, value_name = "VERSION", value_parser = target)]
    pub to: String,
    /// The mesh
    #[arg(long, value_name = "NAME", default_value = DEFAULT_MESH)]
    pub mesh: String,
    /// Name of the MeshUpgrade [default: to-VERSION]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// By which steps, and how the control plane is replaced.
    #[command(flatten)]
    pub route: Route,
    /// Only let the operator detect and plan; the mesh is not touched
    #[arg(long)]
    pub preflight: bool,
    /// Code of a check whose finding you accept; may be repeated
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub accept: Vec<String>,
    /// How long everything must stay healthy after the move
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub soak: Option<String>,
    /// How long the old control plane stays after that
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub retire_after: Option<String>,
    /// Workloads restarting at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_concurrent: Option<u32>,
    /// Print the MeshUpgrade, as the API server would take it, and apply nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the check to the operator
    #[arg(long)]
    pub skip_check: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Follow it until it ends; the default
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Apply it and return
    #[arg(long)]
    pub no_wait: bool,
    /// How long to follow it
    #[arg(long, value_name = "DURATION", value_parser = positive, conflicts_with = "no_wait")]
    pub timeout: Option<GoDuration>,
    /// Form of the output: the object where it is not followed, else one line of JSON for each change
    #[arg(
        short,
        long,
        value_enum,
        help_heading = "Output",
        value_name = "json|yaml",
        hide_possible_values = true
    )]
    pub output: Option<Output>,
}

/// `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The MeshUpgrade; without it, all of them
    pub name: Option<String>,
    /// As a table, or for programs.
    #[command(flatten)]
    pub form: Form,
}

/// `watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// The MeshUpgrade
    pub name: String,
    /// How long to follow it
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub timeout: Option<GoDuration>,
    /// Form of the output: one line of JSON for each change
    #[arg(
        short,
        long,
        value_enum,
        help_heading = "Output",
        value_name = "json",
        hide_possible_values = true
    )]
    pub output: Option<StreamOutput>,
}

/// `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Code of a check or a risk, as `check` prints it; without it, all of them
    pub code: Option<String>,
    /// As a table, or for programs.
    #[command(flatten)]
    pub form: Form,
}

/// `manual`.
#[derive(Args, Debug)]
pub struct ManualArgs {
    /// Which mesh, and whereto; without --to, the newest version it can go to.
    #[command(flatten)]
    pub way: Way,
    /// How the control plane is replaced
    #[arg(long = "way", value_enum, default_value = "canary")]
    pub by: ManualWay,
}

/// `catalog`.
#[derive(Args, Debug)]
pub struct CatalogArgs {
    /// Only this minor, in full
    #[arg(long, value_name = "MINOR")]
    pub minor: Option<String>,
    /// As a table, or for programs.
    #[command(flatten)]
    pub form: Form,
}

/// `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `version`.
#[derive(Args, Debug)]
pub struct VersionArgs {
    /// As a table, or for programs.
    #[command(flatten)]
    pub form: Form,
}
