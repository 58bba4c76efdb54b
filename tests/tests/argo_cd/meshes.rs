//! Meshes as the mesh list describes them.

use anyhow::{Result, ensure};
use meshlift_api::{Mesh, MeshSpec, MeshStatus};
use meshlift_detect::mesh_list::{KnownMesh, mesh_status};
use meshlift_model::example::{before, now, planes};
use meshlift_model::view::{MeshView, Seen};
use serde_json::Value;

use crate::runner::show;

fn object(view: &MeshView) -> Result<Value> {
    let known = KnownMesh {
        name: "default".into(),
        generation: 1,
        refresh: None,
        discovered: true,
        spec: MeshSpec::default(),
        status: MeshStatus::default(),
    };
    with(Some(mesh_status(now(), &known, view)), 1)
}

fn with(status: Option<MeshStatus>, generation: i64) -> Result<Value> {
    let mut mesh = Mesh::new("default", MeshSpec::default());
    mesh.metadata.generation = Some(generation);
    mesh.status = status;
    Ok(serde_json::to_value(mesh)?)
}

#[test]
fn a_mesh_is_as_healthy_as_its_control_planes() -> Result<()> {
    let mut down = before();
    planes(&mut down)[0].ready = 0;
    let mut gone = before();
    planes(&mut gone).clear();
    let mut unreadable = before();
    unreadable.control_planes = Seen::Unreadable("timed out".into());
    let older: MeshStatus = serde_json::from_value(object(&before())?["status"].clone())?;
    let expected = [
        ("Healthy", object(&before())?),
        ("Degraded", object(&down)?),
        ("Degraded", object(&gone)?),
        ("Progressing", object(&unreadable)?),
        ("Progressing", with(None, 1)?),
        ("Progressing", with(Some(older), 2)?),
    ];
    let objects: Vec<Value> = expected.iter().map(|(_, object)| object.clone()).collect();
    for ((status, object), shown) in expected.iter().zip(show(&objects)?) {
        ensure!(
            shown.status() == *status,
            "not {status}: {shown:?} of {object}"
        );
    }
    Ok(())
}
