//! One function for each command.

mod backup;
mod catalog;
mod check;
mod explain;
mod list;
mod log;
mod manual;
mod plan;
mod restore;
mod shell;
mod status;
mod steer;
mod upgrade;

use anyhow::Result;
use clap::CommandFactory;
use kube::{Api, Resource};
use meshlift_api::{Mesh, MeshUpgrade};
use meshlift_cluster::watch::Guarded;

use crate::args::{Cli, Command, Global};
use crate::connect::{Connection, connect};
use crate::exit::Exit;
use crate::failure;
use crate::follow::{Following, follow};
use crate::look::Look;
use crate::output::print;
use crate::terminal::{Terminal, Tone};

/// As what this program was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// By its own name.
    Itself,
    /// By kubectl, which finds its plugins by their names.
    Plugin,
}

impl Called {
    /// As what this process was called.
    pub fn now() -> Self {
        Self::by(std::env::args_os().next().unwrap_or_default())
    }

    fn by(path: std::ffi::OsString) -> Self {
        let name = std::path::Path::new(&path).file_name();
        if name.is_some_and(|name| name == "kubectl-meshlift") {
            Self::Plugin
        } else {
            Self::Itself
        }
    }

    /// What a person types to call it.
    pub fn program(self) -> &'static str {
        match self {
            Self::Itself => "meshlift",
            Self::Plugin => "kubectl meshlift",
        }
    }

    /// The command line, whose usage and examples are what a person types.
    pub fn command(self) -> clap::Command {
        let program = format!("{} ", self.program());
        let command = Cli::command().bin_name(self.program());
        command.mut_subcommands(|command| match command.get_after_help() {
            Some(help) => {
                let help = help.to_string().replace("meshlift ", &program);
                command.after_help(help)
            }
            None => command,
        })
    }
}

/// What every command is given.
struct Context<'a> {
    global: &'a Global,
    terminal: &'a Terminal,
    called: Called,
}

impl Context<'_> {
    async fn connect(&self) -> Result<Connection> {
        connect(self.global).await
    }

    /// Says what could not be seen: what is told next may lack it.
    fn warn(&self, look: &Look) {
        for gap in look.gaps() {
            self.say_gap(&gap);
        }
    }

    fn say_gap(&self, gap: &str) {
        let text = format!("warning: not seen: {gap}");
        eprintln!("{}", self.terminal.paint(Tone::Warn, &text));
    }

    fn program(&self) -> &'static str {
        self.called.program()
    }
}

/// Does what the command line says.
pub async fn run(cli: Cli, terminal: &Terminal, called: Called) -> Result<Exit> {
    cli.command.validate()?;
    let context = Context {
        global: &cli.global,
        terminal,
        called,
    };
    match cli.command {
        Command::List(args) => list::list(&context, &args).await,
        Command::Check(args) => check::check(&context, &args).await,
        Command::Plan(args) => plan::plan(&context, &args).await,
        Command::Upgrade(args) => upgrade::upgrade(&context, &args).await,
        Command::Status(args) => status::status(&context, &args).await,
        Command::Watch(args) => {
            let how = Following {
                operator_namespace: &context.global.operator_namespace,
                limit: args.timeout.map(Into::into),
                json: args.output.is_some(),
            };
            let connection = context.connect().await?;
            follow(&connection, &args.name, how, terminal, context.program()).await
        }
        Command::Approve(args) => steer::approve(&context, &args).await,
        Command::Pause(args) => steer::pause(&context, &args, true).await,
        Command::Resume(args) => steer::pause(&context, &args, false).await,
        Command::Rollback(args) => steer::rollback(&context, &args).await,
        Command::Log(args) => log::log(&context, &args).await,
        Command::Backup(args) => backup::backup(&context, &args).await,
        Command::Restore(args) => restore::restore(&context, &args).await,
        Command::Explain(args) => explain::explain(&context, &args),
        Command::Manual(args) => manual::manual(&context, &args).await,
        Command::Catalog(args) => catalog::catalog(&context, &args).await,
        Command::Completions(args) => shell::completions(&context, &args),
        Command::Version(args) => shell::version(&args),
    }
}

/// What a list of a kind brought: nothing where the kind is not installed.
async fn installed<K>(connection: &Connection, doing: &str) -> Result<Option<Vec<K>>>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let api = Api::<Guarded<K>>::all(connection.requests.clone());
    match api.list(&Default::default()).await {
        Ok(list) => Ok(Some(list.items.into_iter().filter_map(decoded).collect())),
        Err(kube::Error::Api(status)) if failure::is_not_installed(&status) => Ok(None),
        Err(error) => Err(failure::request(doing, &connection.server, error)),
    }
}

/// The object, or a warning that names it: one that cannot be read does not hide the others.
fn decoded<K>(object: Guarded<K>) -> Option<K> {
    match object {
        Guarded::Decoded(object) => Some(object),
        Guarded::Undecoded(object) => {
            eprintln!("warning: {}", failure::undecoded(&object));
            None
        }
    }
}

async fn meshes(connection: &Connection) -> Result<Option<Vec<Mesh>>> {
    installed(connection, "listing the meshes").await
}

async fn upgrades(connection: &Connection) -> Result<Option<Vec<MeshUpgrade>>> {
    installed(connection, "listing the upgrades").await
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::failure::Usage;

    #[tokio::test]
    async fn flags_that_do_not_belong_together_are_refused_before_the_kubeconfig_is_read() {
        let line = "meshlift plan --ensure-replicas 2 --kubeconfig missing";
        let cli = Cli::try_parse_from(line.split(' ')).expect("clap has no rule for it");
        let refused = run(cli, &Terminal::plain(), Called::Itself).await;
        assert!(refused.expect_err("it is wrong").is::<Usage>());
    }

    #[test]
    fn kubectl_calls_it_by_the_name_of_a_plugin() {
        let by = |path: &str| Called::by(path.into()).program();
        assert_eq!(by("/usr/local/bin/kubectl-meshlift"), "kubectl meshlift");
        assert_eq!(by("./meshlift"), "meshlift");
        assert_eq!(by(""), "meshlift");
    }

    #[test]
    fn examples_are_what_a_person_types() {
        let examples = |called: Called| {
            let mut command = called.command();
            let rollback = command.find_subcommand_mut("rollback").expect("a command");
            rollback.render_help().to_string()
        };
        assert!(examples(Called::Plugin).contains("--yes && kubectl meshlift watch to-1-31"));
        assert!(
            examples(Called::Itself).contains("\n  meshlift rollback to-1-31 --yes && meshlift")
        );
    }
}
