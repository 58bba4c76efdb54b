//! `restore`: what a backup has and the cluster has no longer is brought back.

use anyhow::{Context as _, Result, anyhow, bail};
use kube::Api;
use meshlift_api::{Mesh, Phase};
use meshlift_cluster::backup::{Comparison, Contents, apply, compare};
use meshlift_cluster::{Error, Observer};
use meshlift_model::view::{Release, Seen};

use super::backup::find;
use super::{Context, print, upgrades};
use crate::args::RestoreArgs;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure;
use crate::output::encode;
use crate::render::backups::{Commands, comparison};
use crate::terminal::Tone;

/// Compares, tells, asks, and brings back.
pub(super) async fn restore(context: &Context<'_>, args: &RestoreArgs) -> Result<Exit> {
    let backup = find(context, &args.source).await?;
    let connection = context.connect().await?;
    if !args.dry_run && !args.force {
        none_runs(&connection, &backup.header.mesh).await?;
    }
    let releases = releases(&connection, &backup).await;
    let compared = compare(&connection.requests, &backup, &releases, &args.only).await;
    let compared = compared.map_err(|error| match error {
        Error::Kube { what, source } => failure::request(&what, &connection.server, *source),
        error => anyhow!(error),
    })?;
    if let Some(form) = args.output {
        print(&encode(form, &compared)?)?;
        return Ok(Exit::Fine);
    }
    let commands = Commands {
        program: context.program(),
        source: &args.source,
        repository: &repository(context, &connection, &backup).await,
    };
    print(&comparison(context.terminal, &backup, &compared, &commands))?;
    if args.dry_run || compared.changes.is_empty() {
        return Ok(Exit::Fine);
    }
    if !may_write(context, args, &compared)? {
        eprintln!("Nothing was brought back.");
        return Ok(Exit::Fine);
    }
    bring_back(context, &connection, &compared).await
}

/// An upgrade that runs would take what comes back for somebody's doing, and stop or undo it.
async fn none_runs(connection: &Connection, mesh: &str) -> Result<()> {
    let all = upgrades(connection).await?.unwrap_or_default();
    let runs = all.iter().find(|upgrade| {
        let phase = upgrade.status.as_ref().and_then(|status| status.phase);
        upgrade.spec.mesh == mesh && phase.is_some_and(Phase::is_locked)
    });
    match runs.and_then(|upgrade| upgrade.metadata.name.clone()) {
        None => Ok(()),
        Some(name) => bail!(
            "MeshUpgrade {name} is upgrading mesh {mesh}: wait until it has ended, or add --force"
        ),
    }
}

async fn releases(connection: &Connection, backup: &Contents) -> Seen<Vec<Release>> {
    let mut namespaces: Vec<&str> = backup
        .releases
        .iter()
        .map(|r| r.namespace.as_str())
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let mut all = Vec::new();
    for namespace in namespaces {
        match Observer::helm_releases(&connection.requests, namespace).await {
            Seen::Present(found) => all.extend(found),
            Seen::Absent => {}
            Seen::Unreadable(why) => return Seen::Unreadable(why),
        }
    }
    Seen::Present(all)
}

/// Where the charts of the mesh are, for the commands that a person runs.
async fn repository(context: &Context<'_>, connection: &Connection, backup: &Contents) -> String {
    let meshes = Api::<Mesh>::all(connection.requests.clone());
    // Without a Mesh, or the right to read it, it is where charts are if nobody says otherwise.
    let mesh = meshes.get_opt(&backup.header.mesh).await.ok().flatten();
    let repository = mesh.map(|mesh| mesh.spec.charts.repository);
    repository.unwrap_or_else(|| context.global.charts())
}

fn may_write(context: &Context<'_>, args: &RestoreArgs, compared: &Comparison) -> Result<bool> {
    if args.yes {
        return Ok(true);
    }
    if !context.terminal.can_ask {
        bail!(
            "there is no terminal to ask on: add --yes to bring this back, or --dry-run to only look"
        );
    }
    eprint!("Bring {} back now? [y/N] ", compared.changes.len());
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("the answer cannot be read")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

async fn bring_back(
    context: &Context<'_>,
    connection: &Connection,
    compared: &Comparison,
) -> Result<Exit> {
    let mut failed = 0;
    for change in &compared.changes {
        match apply(&connection.requests, change).await {
            Ok(()) => print(&format!("{} brought back\n", change.id))?,
            Err(error) => {
                failed += 1;
                let doing = format!("bringing back {}", change.id);
                let error = failure::request(&doing, &connection.server, error);
                eprintln!(
                    "{}",
                    context.terminal.paint(Tone::Bad, &format!("{error:#}"))
                );
            }
        }
    }
    match failed {
        0 => Ok(Exit::Fine),
        failed => bail!(
            "{failed} of {} could not be brought back; run it again when that is mended",
            compared.changes.len()
        ),
    }
}
