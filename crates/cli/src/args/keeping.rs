//! `backup`, `restore` and `log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use meshlift_api::DEFAULT_MESH;
use meshlift_cluster::backup::Filter;

use super::choice::{Form, Output, StreamOutput};

/// `backup`.
#[derive(Args, Debug)]
pub struct BackupArgs {
    /// What to do with backups.
    #[command(subcommand)]
    pub command: BackupCommand,
}

/// The commands of `backup`.
#[derive(Subcommand, Debug)]
pub enum BackupCommand {
    /// Take a backup of a mesh into a file, with your own rights
    Create(CreateArgs),
    /// List the backups that upgrades took
    List(BackupListArgs),
    /// Show what is in a backup: how many of what, in which versions
    Show(ShowArgs),
    /// Write a backup that an upgrade took into a file
    Export(ExportArgs),
    /// Print the Helm values of a release in a backup; they may hold secrets
    Values(ValuesArgs),
}

/// `backup create`.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// The mesh
    #[arg(long, value_name = "NAME", default_value = DEFAULT_MESH)]
    pub mesh: String,
    /// The file; it may hold secrets, and only you may read it
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `backup list`.
#[derive(Args, Debug)]
pub struct BackupListArgs {
    /// As a table, or for programs.
    #[command(flatten)]
    pub form: Form,
}

/// `backup show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A backup, the MeshUpgrade that took it, or a file
    #[arg(value_name = "NAME|FILE")]
    pub source: String,
    /// As a table, or for programs.
    #[command(flatten)]
    pub form: Form,
}

/// `backup export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// A backup, or the MeshUpgrade that took it
    pub name: String,
    /// The file; it may hold secrets, and only you may read it
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `backup values`.
#[derive(Args, Debug)]
pub struct ValuesArgs {
    /// A backup, the MeshUpgrade that took it, or a file
    #[arg(value_name = "NAME|FILE")]
    pub source: String,
    /// The Helm release
    pub release: String,
}

/// `restore`.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// A backup, the MeshUpgrade that took it, or a file
    #[arg(value_name = "NAME|FILE")]
    pub source: String,
    /// Only these: KIND, KIND/NAMESPACE or KIND/NAMESPACE/NAME; may be repeated
    #[arg(long, value_name = "KIND/NAMESPACE/NAME", value_delimiter = ',')]
    pub only: Vec<Filter>,
    /// Print what differs and bring nothing back
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Also while an upgrade of the mesh runs
    #[arg(long)]
    pub force: bool,
    /// Form of the output: what differs; nothing is brought back
    #[arg(
        short,
        long,
        value_enum,
        help_heading = "Output",
        value_name = "json|yaml",
        hide_possible_values = true,
        requires = "dry_run"
    )]
    pub output: Option<Output>,
}

/// `log`.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// The MeshUpgrade; it may be gone
    pub name: String,
    /// Go on until the upgrade ends
    #[arg(short, long)]
    pub follow: bool,
    /// Form of the output: one line of JSON each
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
