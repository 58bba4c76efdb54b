//! `approve`, `pause`, `resume` and `rollback`.

use clap::Args;

use super::choice::Output;

/// `approve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  meshlift approve to-1-31 prod        Let wave prod of upgrade to-1-31 begin
  meshlift approve to-1-31 eu us       Let two waves begin, each in its turn")]
pub struct ApproveArgs {
    /// The MeshUpgrade
    pub name: String,
    /// The wave; several let each begin in its turn
    #[arg(required = true, value_name = "WAVE")]
    pub waves: Vec<String>,
    /// How it is written and told.
    #[command(flatten)]
    pub how: How,
}

/// `pause` and `resume`.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// The MeshUpgrade
    pub name: String,
    /// How it is written and told.
    #[command(flatten)]
    pub how: How,
}

/// `rollback`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  meshlift rollback to-1-31            Ask first, then move everything back
  meshlift rollback to-1-31 --yes && meshlift watch to-1-31")]
pub struct RollbackArgs {
    /// The MeshUpgrade
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How it is written and told.
    #[command(flatten)]
    pub how: How,
}

/// How a change of a MeshUpgrade is written and told.
#[derive(Args, Debug)]
pub struct How {
    /// Print the MeshUpgrade, as the API server would take it, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Form of the output: the object
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
