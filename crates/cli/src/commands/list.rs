//! `list`: the meshes.

use anyhow::Result;
use kube::ResourceExt;
use meshlift_api::Mesh;

use super::{Context, meshes, print};
use crate::args::{ListArgs, ListOutput, Output};
use crate::exit::Exit;
use crate::look::Look;
use crate::output::{encode, list as as_list};
use crate::render;

/// Prints what the operator says of its meshes; where it says nothing, what is found.
pub(super) async fn list(context: &Context<'_>, args: &ListArgs) -> Result<Exit> {
    let connection = context.connect().await?;
    let meshes = match meshes(&connection).await? {
        Some(told) if told.iter().any(|mesh| mesh.status.is_some()) => told,
        Some(_) | None => {
            let look = Look::at(context.global, &connection, context.terminal).await?;
            context.warn(&look);
            look.meshes().await
        }
    };
    print(&shown(context, args.output, &meshes)?)?;
    for mesh in &meshes {
        if let Some(why) = unread(mesh) {
            context.say_gap(&why);
        }
    }
    if meshes.is_empty() {
        eprintln!("no Istio was found");
    }
    Ok(Exit::Fine)
}

/// Why nothing, or nothing new, is known of newer versions.
fn unread(mesh: &Mesh) -> Option<String> {
    let charts = mesh.status.as_ref()?.charts.as_ref()?;
    (!charts.error.is_empty()).then(|| {
        format!(
            "newer versions for mesh {}: {}",
            mesh.name_any(),
            charts.error
        )
    })
}

fn shown(context: &Context<'_>, output: Option<ListOutput>, meshes: &[Mesh]) -> Result<String> {
    let terminal = context.terminal;
    Ok(match output {
        Some(ListOutput::Json) => encode(Output::Json, &as_list(meshes)?)?,
        Some(ListOutput::Yaml) => encode(Output::Yaml, &as_list(meshes)?)?,
        Some(ListOutput::Name) => meshes
            .iter()
            .map(|mesh| format!("mesh.meshlift.io/{}\n", mesh.name_any()))
            .collect(),
        Some(ListOutput::Wide) | None if meshes.is_empty() => String::new(),
        wide => render::meshes::meshes(terminal, meshes, wide.is_some()),
    })
}
