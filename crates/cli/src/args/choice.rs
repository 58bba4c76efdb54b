//! Values of which there are only a few.

use clap::{Args, ValueEnum};

/// Forms for programs.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// In which form a result is printed.
#[derive(Args, Clone, Copy, Debug)]
pub struct Form {
    /// Form of the output
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

/// Forms of a stream.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamOutput {
    /// One line of JSON for each change.
    Json,
}

/// Forms of a list.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOutput {
    /// More columns.
    Wide,
    /// Names only.
    Name,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// How much of the Helm diff.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diff {
    /// Every changed line.
    Full,
    /// How many objects change.
    Summary,
    /// Nothing of it.
    None,
}

/// The ways to upgrade by hand.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManualWay {
    /// A second control plane beside the old one, with what installed the mesh.
    Canary,
    /// The control plane replaced where it is.
    InPlace,
    /// A second control plane, with Helm and kubectl and nothing else.
    Helm,
}
