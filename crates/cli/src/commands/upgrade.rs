//! `upgrade`: a MeshUpgrade applied and followed.

use anyhow::{Result, anyhow, bail};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use meshlift_api::{MeshUpgrade, Mode, Strategy, UpgradePath};
use serde_json::{Map, Value, json};

use super::check::{known, wanted};
use super::{Context, print, upgrades};
use crate::args::{Output, UpgradeArgs, Way};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::follow::{Following, follow};
use crate::look::Look;
use crate::output::encode;
use crate::terminal::asked;
use crate::{failure, render};

/// Owns what this program writes.
pub(super) const FIELD_MANAGER: &str = "meshlift-cli";

/// Checks, asks, applies, follows.
pub(super) async fn upgrade(context: &Context<'_>, args: &UpgradeArgs) -> Result<Exit> {
    let name = args.name.clone().unwrap_or_else(|| name_for(&args.to));
    let connection = context.connect().await?;
    known(context.program(), &args.accept)?;
    if upgrades(&connection).await?.is_none() {
        bail!(failure::not_installed(&format!(
            "upgrading mesh {}",
            args.mesh
        )));
    }
    let object = object(&name, args);
    if args.dry_run {
        let tried = apply(&connection, &name, &object, true).await?;
        print(&encode(args.output.unwrap_or(Output::Yaml), &tried)?)?;
        return Ok(Exit::Fine);
    }
    if let Some(refused) = may_start(context, args, &connection, &name).await? {
        return Ok(refused);
    }
    let applied = apply(&connection, &name, &object, false).await?;
    if args.no_wait {
        match args.output {
            Some(form) => print(&encode(form, &applied)?)?,
            None => print(&format!("meshupgrade.meshlift.io/{name} applied\n"))?,
        }
        return Ok(Exit::Fine);
    }
    let how = Following {
        operator_namespace: &context.global.operator_namespace,
        limit: args.timeout.map(Into::into),
        json: args.output.is_some(),
    };
    follow(&connection, &name, how, context.terminal, context.program()).await
}

/// The check and the question; an exit code where it does not start.
async fn may_start(
    context: &Context<'_>,
    args: &UpgradeArgs,
    connection: &Connection,
    name: &str,
) -> Result<Option<Exit>> {
    if args.preflight {
        // It touches nothing, and tells what stands in the way by itself.
        return Ok(None);
    }
    if !args.yes && !context.terminal.can_ask {
        bail!("there is no terminal to ask on: add --yes to upgrade without being asked");
    }
    let mut blocked = false;
    if !args.skip_check {
        let look = Look::at(context.global, connection, context.terminal).await?;
        context.warn(&look);
        let way = Way {
            mesh: args.mesh.clone(),
            to: Some(args.to.clone()),
            route: args.route.clone(),
            file: None,
        };
        let spec = wanted(&look, &way, &args.accept, Mode::Apply).await?;
        let found = look.detect(spec).await?.detection;
        blocked = found.is_blocked();
        // Standard output is for what follows.
        eprint!(
            "{}",
            render::checks::detection(context.terminal, context.program(), &found, false)
        );
    }
    if args.yes {
        if blocked {
            eprintln!(
                "Nothing was applied. With --skip-check the operator waits until it is mended."
            );
        }
        return Ok(blocked.then_some(Exit::Blocked));
    }
    let question = if blocked {
        format!("Apply MeshUpgrade {name} all the same? It waits until this is mended. [y/N] ")
    } else {
        format!("Upgrade mesh {} to {} now? [y/N] ", args.mesh, args.to)
    };
    match (asked(&question)?, blocked) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(Exit::Blocked)),
        (false, false) => {
            eprintln!("Nothing was applied.");
            Ok(Some(Exit::Fine))
        }
    }
}

/// `to-1-31-0` for 1.31.0.
fn name_for(version: &str) -> String {
    format!("to-{}", version.to_lowercase().replace('.', "-"))
}

/// The object with what was asked for and nothing else: defaults stay the API server's, and fields that
/// others manage stay theirs.
fn object(name: &str, args: &UpgradeArgs) -> Value {
    let mut spec = Map::new();
    spec.insert("targetVersion".into(), args.to.as_str().into());
    spec.insert("mesh".into(), args.mesh.as_str().into());
    if args.preflight {
        spec.insert("mode".into(), "Preflight".into());
    } else {
        spec.insert("mode".into(), "Apply".into());
    }
    if let Some(chosen) = args.route.strategy {
        spec.insert("strategy".into(), json!(Strategy::from(chosen)));
    }
    if let Some(chosen) = args.route.path {
        spec.insert("path".into(), json!(UpgradePath::from(chosen)));
    }
    if let Some(name) = &args.route.revision {
        spec.insert("revision".into(), name.as_str().into());
    }
    if let Some(options) = args.route.in_place() {
        spec.insert("inPlace".into(), json!(options));
    }
    if !args.accept.is_empty() {
        spec.insert("acceptRisks".into(), json!(args.accept));
    }
    if let Some(soak) = &args.soak {
        spec.insert("healthCheck".into(), json!({ "soak": soak }));
    }
    if let Some(after) = &args.retire_after {
        spec.insert("retire".into(), json!({ "after": after }));
    }
    if let Some(n) = args.max_concurrent {
        let restart = json!({ "restart": { "maxConcurrent": n } });
        spec.insert("dataPlane".into(), restart);
    }
    json!({
        "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
        "metadata": { "name": name }, "spec": spec,
    })
}

async fn apply(
    connection: &Connection,
    name: &str,
    object: &Value,
    dry_run: bool,
) -> Result<DynamicObject> {
    // As it is: the types write durations in their own way, and would write every default.
    let kind = ApiResource::erase::<MeshUpgrade>(&());
    let api = Api::<DynamicObject>::all_with(connection.requests.clone(), &kind);
    let mut params = PatchParams::apply(FIELD_MANAGER);
    params.dry_run = dry_run;
    let applied = api.patch(name, &params, &Patch::Apply(object)).await;
    let mut applied = applied.map_err(|error| {
        let doing = format!("applying MeshUpgrade {name}");
        match &error {
            kube::Error::Api(status) if status.code == 422 => {
                anyhow!("{doing}: {}", status.message)
            }
            _ => failure::request(&doing, &connection.server, error),
        }
    })?;
    applied.metadata.managed_fields = None;
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn args(line: &str) -> UpgradeArgs {
        let line = line.split(' ');
        match Cli::try_parse_from(["meshlift", "upgrade"].into_iter().chain(line)) {
            Ok(Cli {
                command: Command::Upgrade(args),
                ..
            }) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_upgrade_is_named_after_its_target() {
        assert_eq!(name_for("1.31.0"), "to-1-31-0");
        assert_eq!(name_for("1.31"), "to-1-31");
        assert_eq!(name_for("1.30.2-MSpider"), "to-1-30-2-mspider");
    }

    #[test]
    fn only_what_was_asked_for_is_written() {
        let spec = object("to-1-31", &args("--to 1.31"))["spec"].clone();
        let least = json!({ "targetVersion": "1.31", "mesh": "default", "mode": "Apply" });
        assert_eq!(spec, least);
        let line = "--to 1.31.0 --mesh east --preflight --accept A,B --accept C --soak 1h30m \
            --retire-after 10m --max-concurrent 7 --path fewestrestarts --strategy inplace --revision canary \
            --ensure-replicas 3";
        let everything = json!({
            "targetVersion": "1.31.0", "mesh": "east", "mode": "Preflight",
            "acceptRisks": ["A", "B", "C"], "healthCheck": { "soak": "1h30m" },
            "path": "FewestRestarts", "strategy": "InPlace", "revision": "canary",
            "inPlace": { "ensureReplicas": 3 },
            "retire": { "after": "10m" }, "dataPlane": { "restart": { "maxConcurrent": 7 } },
        });
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(object("x", &args(&line))["spec"], everything);
    }
}
