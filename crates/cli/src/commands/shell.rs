//! What concerns the program and the shell: completions and the version.

use anyhow::Result;
use clap::CommandFactory;

use super::{Context, print};
use crate::args::{Cli, CompletionsArgs, VersionArgs};
use crate::exit::Exit;
use crate::output::encode;

/// Prints a completion script.
pub(super) fn completions(context: &Context<'_>, args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    // kubectl completes its plugins in a way of its own: the script is for the program's name.
    let name = match context.called {
        super::Called::Itself => "meshlift",
        super::Called::Plugin => "kubectl-meshlift",
    };
    clap_complete::generate(args.shell, &mut Cli::command(), name, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}

/// Prints the version.
pub(super) fn version(args: &VersionArgs) -> Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    match args.form.output {
        Some(form) => print(&encode(form, &serde_json::json!({ "version": version }))?)?,
        None => print(&format!("meshlift {version}\n"))?,
    }
    Ok(Exit::Fine)
}
