//! `plan`: all that an upgrade would do.

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use meshlift_api::Mode;
use meshlift_guide::plan::{DiffStyle, Plan, planned};
use serde::Serialize;

use super::check::{Report, known, outcome, wanted};
use super::{Context, print};
use crate::args::{Diff, PlanArgs};
use crate::exit::Exit;
use crate::look::Look;
use crate::output::encode;
use crate::render;

/// What a program reads.
#[derive(Serialize)]
struct Planned<'a> {
    detection: Report<'a>,
    plan: Option<&'a Plan>,
}

/// Detects and plans, as an upgrade with `mode: Preflight` does.
pub(super) async fn plan(context: &Context<'_>, args: &PlanArgs) -> Result<Exit> {
    let connection = context.connect().await?;
    known(context.program(), &args.accept)?;
    let look = Look::at(context.global, &connection, context.terminal).await?;
    context.warn(&look);
    let mode = match args.diff {
        Diff::Full | Diff::Summary => Mode::Preflight,
        Diff::None => Mode::Apply,
    };
    let spec = wanted(&look, &args.way, &args.accept, mode).await?;
    let mesh = spec.mesh.clone();
    let found = look.detect(spec).await?;
    let plan = planned(Timestamp::now(), &found.upgrade, &found.view)
        .transpose()
        .map_err(|why| anyhow!("there is no plan: {why}"))?;
    let detection = &found.detection;
    print(&match args.form.output {
        Some(form) => {
            let detection = Report::of(&mesh, detection);
            let plan = plan.as_ref();
            encode(form, &Planned { detection, plan })?
        }
        None => {
            let checks =
                render::checks::detection(context.terminal, context.program(), detection, false);
            match plan {
                Some(plan) => format!("{checks}\n{}", plan.render(style(args.diff))),
                None => checks,
            }
        }
    })?;
    Ok(outcome(detection))
}

fn style(diff: Diff) -> DiffStyle {
    match diff {
        Diff::Full => DiffStyle::Full,
        Diff::Summary => DiffStyle::Summary,
        Diff::None => DiffStyle::None,
    }
}
