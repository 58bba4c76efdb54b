//! Values of which there are only a few.

use clap::{Args, ValueEnum};
use meshlift_api::{Strategy, UpgradePath};

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

/// Which versions an upgrade across several minors stops at.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum PathChoice {
    /// Every minor in turn.
    EachMinor,
    /// Up to two minors per step, where nothing forbids it.
    FewestRestarts,
}

impl From<PathChoice> for UpgradePath {
    fn from(choice: PathChoice) -> Self {
        match choice {
            PathChoice::EachMinor => Self::EachMinor,
            PathChoice::FewestRestarts => Self::FewestRestarts,
        }
    }
}

/// How the control plane is replaced.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum StrategyChoice {
    /// A second control plane beside the old one.
    Canary,
    /// The same control plane, where it is.
    InPlace,
}

impl From<StrategyChoice> for Strategy {
    fn from(choice: StrategyChoice) -> Self {
        match choice {
            StrategyChoice::Canary => Self::Canary,
            StrategyChoice::InPlace => Self::InPlace,
        }
    }
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
