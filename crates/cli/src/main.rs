//! `meshlift`, also run as `kubectl meshlift`: see `meshlift --help`.

use std::process::ExitCode;

use clap::FromArgMatches;
use meshlift_cli::args::Cli;
use meshlift_cli::{Called, Terminal, Usage, run};

#[tokio::main]
async fn main() -> ExitCode {
    let called = Called::now();
    let matches = called.command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let terminal = Terminal::detect(cli.global.no_color);
    match run(cli, &terminal, called).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<Usage>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
