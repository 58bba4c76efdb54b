//! `check`: what stands in the way of an upgrade.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use kube::Resource;
use meshlift_api::{
    CheckStatus, ClusterCheck, ControlPlaneRef, Hop, MeshStatus, MeshUpgrade, MeshUpgradeSpec, Mode,
};
use meshlift_detect::check;
use meshlift_model::{Counts, Detection};
use serde::Serialize;
use serde_json::Value;

use super::{Context, print};
use crate::args::{CheckArgs, Way};
use crate::exit::Exit;
use crate::failure::Usage;
use crate::look::{Look, spec};
use crate::output::encode;
use crate::render;

/// Detects with the person's own rights and says what was found.
pub(super) async fn check(context: &Context<'_>, args: &CheckArgs) -> Result<Exit> {
    let connection = context.connect().await?;
    known(context.program(), &args.accept)?;
    let look = Look::at(context.global, &connection, context.terminal).await?;
    context.warn(&look);
    let spec = wanted(&look, &args.way, &args.accept, Mode::Apply).await?;
    let mesh = spec.mesh.clone();
    let found = look.detect(spec).await?.detection;
    print(&match args.form.output {
        Some(form) => encode(form, &Report::of(&mesh, &found))?,
        None => render::checks::detection(context.terminal, context.program(), &found, args.all),
    })?;
    Ok(outcome(&found))
}

/// What the checks mean for a script.
pub(super) fn outcome(found: &Detection) -> Exit {
    if found.at_target {
        Exit::NothingToDo
    } else if found.is_only_unread() {
        Exit::Unread
    } else if found.is_blocked() {
        Exit::Blocked
    } else {
        Exit::Fine
    }
}

/// What a program reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report<'a> {
    mesh: &'a str,
    from: &'a Option<ControlPlaneRef>,
    target: &'a Option<ControlPlaneRef>,
    at_target: bool,
    blocked: bool,
    summary: String,
    counts: Counts,
    hops: &'a [Hop],
    clusters: &'a [ClusterCheck],
    checks: &'a [CheckStatus],
}

impl<'a> Report<'a> {
    pub(super) fn of(mesh: &'a str, found: &'a Detection) -> Self {
        Self {
            mesh,
            from: &found.from,
            target: &found.target,
            at_target: found.at_target,
            blocked: found.is_blocked(),
            summary: found.summary(),
            counts: found.counts(),
            hops: &found.hops,
            clusters: &found.clusters,
            checks: &found.checks,
        }
    }
}

/// A code that no check has would be accepted in vain.
pub(super) fn known(program: &str, accepted: &[String]) -> Result<()> {
    for code in accepted {
        match super::explain::acceptable(code) {
            Some(true) => {}
            Some(false) => {
                let why = check::find(code).map_or("", |check| check.fix);
                let refused = format!("check {code} cannot be accepted, it must be fixed: {why}");
                return Err(Usage(refused).into());
            }
            None => return Err(Usage(super::explain::unknown(program, code)).into()),
        }
    }
    Ok(())
}

/// The upgrade to look at: of a file, or to a target; without one, the best there is.
pub(super) async fn wanted(
    look: &Look,
    way: &Way,
    accept: &[String],
    mode: Mode,
) -> Result<MeshUpgradeSpec> {
    if let Some(file) = &way.file {
        let mut spec = from_file(file)?;
        spec.accept_risks.extend(accept.iter().cloned());
        return Ok(MeshUpgradeSpec { mode, ..spec });
    }
    let to = match &way.to {
        Some(to) => to.clone(),
        None => best(&way.mesh, &look.status(&way.mesh).await?)?,
    };
    Ok(MeshUpgradeSpec {
        accept_risks: accept.to_vec(),
        ..spec_of_flags(way, mode, &to)
    })
}

/// What `meshlift upgrade` would apply with the same flags.
fn spec_of_flags(way: &Way, mode: Mode, to: &str) -> MeshUpgradeSpec {
    MeshUpgradeSpec {
        path: way.route.path.map(Into::into).unwrap_or_default(),
        strategy: way.route.strategy.map(Into::into).unwrap_or_default(),
        in_place: way.route.in_place(),
        revision: way.route.revision.clone(),
        ..spec(&way.mesh, mode, to)
    }
}

/// What a MeshUpgrade in a file asks for.
fn from_file(file: &Path) -> Result<MeshUpgradeSpec> {
    let name = file.display();
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.with_context(|| format!("{name} cannot be read"))?;
    let what = || format!("{name} holds no MeshUpgrade, or not only one");
    let object: Value = serde_yaml_ng::from_str(&text).with_context(what)?;
    let kind = MeshUpgrade::kind(&());
    if object["kind"] != *kind {
        return Err(Usage(format!("{}: its kind is not {kind}", what())).into());
    }
    let upgrade: MeshUpgrade = serde_json::from_value(object).with_context(what)?;
    Ok(upgrade.spec)
}

/// The newest version that a mesh can go to; where it can go nowhere, the newest there is, so that what
/// stands in the way is told.
fn best(mesh: &str, status: &MeshStatus) -> Result<String> {
    let upgradable = status.upgradable.as_deref().filter(|to| *to != "no");
    match upgradable.or(status.latest.as_deref()) {
        Some(to) => Ok(to.to_owned()),
        None => bail!(
            "no version is known that mesh {mesh} could go to{}: name one with --to",
            status
                .charts
                .as_ref()
                .filter(|charts| !charts.error.is_empty())
                .map_or(String::new(), |charts| format!(" ({})", charts.error))
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use meshlift_api::{InPlace, Strategy};

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn what_is_checked_and_planned_is_the_upgrade_that_the_flags_describe() {
        let line = "--mesh east --strategy InPlace --ensure-replicas 2";
        for name in ["check", "plan", "manual"] {
            let words = ["meshlift", name].into_iter().chain(line.split(' '));
            let way = match Cli::try_parse_from(words).map(|cli| cli.command) {
                Ok(Command::Check(args)) => args.way,
                Ok(Command::Plan(args)) => args.way,
                Ok(Command::Manual(args)) => args.way,
                other => panic!("{other:?}"),
            };
            let expected = MeshUpgradeSpec {
                strategy: Strategy::InPlace,
                in_place: Some(InPlace {
                    ensure_replicas: Some(2),
                }),
                ..spec("east", Mode::Apply, "1.31")
            };
            assert_eq!(spec_of_flags(&way, Mode::Apply, "1.31"), expected, "{name}");
        }
    }

    #[test]
    fn without_a_target_the_best_there_is_is_looked_at() {
        let mut status = MeshStatus::default();
        let none = best("default", &status).expect_err("nothing is known");
        assert!(none.to_string().ends_with("name one with --to"), "{none}");
        status.latest = Some("1.31.0".into());
        status.upgradable = Some("no".into());
        assert_eq!(best("default", &status).expect("one"), "1.31.0");
        status.upgradable = Some("1.30.4".into());
        assert_eq!(best("default", &status).expect("one"), "1.30.4");
    }

    #[test]
    fn only_what_may_be_accepted_is_taken() {
        let refused = |code: &str| {
            known("meshlift", &[code.to_owned()])
                .expect_err("no")
                .to_string()
        };
        assert!(refused("K8S-TOO-LOW").contains("did you mean"));
        let firm = check::CHECKS.iter().find(|check| !check.acceptable);
        let firm = firm.expect("some must be mended").code;
        assert!(refused(firm).contains("cannot be accepted"));
        let soft = check::CHECKS.iter().find(|check| check.acceptable);
        let soft = soft.expect("some may be accepted").code;
        assert!(known("meshlift", &[soft.to_owned()]).is_ok());
    }
}
