//! `status`: all upgrades, or one in full.

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use kube::{Api, ResourceExt};
use meshlift_api::MeshUpgrade;
use meshlift_cluster::watch::Guarded;

use super::{Context, print, upgrades};
use crate::args::StatusArgs;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure;
use crate::output::{encode, list};
use crate::render;

/// Prints them; the exit code is that of looking, and says nothing of the upgrade.
pub(super) async fn status(context: &Context<'_>, args: &StatusArgs) -> Result<Exit> {
    let connection = context.connect().await?;
    let Some(name) = &args.name else {
        let Some(mut all) = upgrades(&connection).await? else {
            return Err(anyhow!(failure::not_installed("listing the upgrades")));
        };
        all.sort_by_key(|upgrade| (upgrade.creation_timestamp(), upgrade.name_any()));
        let text = match args.form.output {
            Some(form) => encode(form, &list(&all)?)?,
            None if all.is_empty() => {
                eprintln!(
                    "There is no upgrade. Start one: {} upgrade --to VERSION",
                    context.program()
                );
                String::new()
            }
            None => render::upgrade::upgrades(context.terminal, &all, Timestamp::now()),
        };
        print(&text)?;
        return Ok(Exit::Fine);
    };
    let found = found(context, &connection, name).await?;
    print(&match args.form.output {
        Some(form) => encode(form, &found)?,
        None => render::upgrade::upgrade(context.terminal, &found, Timestamp::now()),
    })?;
    Ok(Exit::Fine)
}

/// One that must be there.
pub(super) async fn found(
    context: &Context<'_>,
    connection: &Connection,
    name: &str,
) -> Result<MeshUpgrade> {
    let doing = format!("reading MeshUpgrade {name}");
    let api: Api<Guarded<MeshUpgrade>> = Api::all(connection.requests.clone());
    let found = api.get(name).await;
    let found = found.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 && !failure::is_not_installed(&status) => {
            anyhow!(
                "there is no MeshUpgrade {name}: `{} status` lists those there are",
                context.program()
            )
        }
        error => failure::request(&doing, &connection.server, error),
    })?;
    match found {
        Guarded::Decoded(found) => Ok(found),
        Guarded::Undecoded(object) => Err(anyhow!(failure::undecoded(&object))),
    }
}
