//! `manual`: the steps of an upgrade by hand.

use anyhow::{Result, anyhow};
use meshlift_api::Mode;
use meshlift_guide::Way;

use super::check::wanted;
use super::{Context, print};
use crate::args::{ManualArgs, ManualWay};
use crate::exit::Exit;
use crate::look::Look;

/// Prints the steps for the mesh as it is found.
pub(super) async fn manual(context: &Context<'_>, args: &ManualArgs) -> Result<Exit> {
    let connection = context.connect().await?;
    let look = Look::at(context.global, &connection, context.terminal).await?;
    context.warn(&look);
    let spec = wanted(&look, &args.way, &[], Mode::Apply).await?;
    let (mesh, to, chosen) = (spec.mesh.clone(), spec.target_version.clone(), spec.path);
    let found = look.detect(spec).await?;
    if found.detection.at_target {
        print(&format!("Mesh {mesh} is at {to} already: nothing to do.\n"))?;
        return Ok(Exit::NothingToDo);
    }
    let view = found.view;
    let way = match args.by {
        ManualWay::Canary => Way::Canary,
        ManualWay::InPlace => Way::InPlace,
        ManualWay::Helm => Way::Helm,
    };
    let text = meshlift_guide::manual(way, &mesh, &view, &to, chosen)
        .map_err(|why| anyhow!("there are no steps for mesh {mesh} to {to}: {why}"))?;
    print(&text)?;
    Ok(Exit::Fine)
}
