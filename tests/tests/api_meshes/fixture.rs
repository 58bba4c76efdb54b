//! A cluster for each test: what is found depends on everything that is there.

use std::future::Future;
use std::sync::LazyLock;

use anyhow::{Result, ensure};
use kube::ResourceExt;
use meshlift_api::{Mesh, MeshStatus};
use meshlift_testbed::Options;
use meshlift_tests::bed::{Bed, OPERATOR_USER};
use meshlift_tests::wait::{SOON, until};
use tokio::runtime::Runtime;

/// One runtime for all tests: a client belongs to the runtime that made it.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("a runtime needs only threads"));

/// Runs one test on a cluster of its own, without Istio.
pub(crate) fn with_bed<F: Future<Output = Result<()>>>(
    name: &str,
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    RUNTIME.block_on(async { test(Bed::up(Options::api(name)).await?).await })
}

/// Waits until a Mesh is there and its status is as `accept` wants it.
pub(crate) async fn wait_mesh(
    bed: &Bed,
    name: &str,
    what: &str,
    accept: impl Fn(&MeshStatus) -> bool,
) -> Result<Mesh> {
    let what = format!("Mesh {name}: {what}");
    until(&what, SOON, || async {
        let Some(mesh) = bed.meshes().get_opt(name).await? else {
            return Ok(Err("there is none".to_owned()));
        };
        let status = mesh.status.clone().unwrap_or_default();
        Ok(if accept(&status) {
            Ok(mesh)
        } else {
            Err(serde_yaml_ng::to_string(&status)?)
        })
    })
    .await
}

/// Status and reason of a condition.
pub(crate) fn condition(status: &MeshStatus, kind: &str) -> (String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    found.map_or_else(Default::default, |c| (c.status.clone(), c.reason.clone()))
}

/// Whether a condition holds, for this reason.
pub(crate) fn says(status: &MeshStatus, kind: &str, holds: &str, reason: &str) -> bool {
    condition(status, kind) == (holds.to_owned(), reason.to_owned())
}

/// The names of all Mesh objects.
pub(crate) async fn names(bed: &Bed) -> Result<Vec<String>> {
    let all = bed.meshes().list(&Default::default()).await?;
    let mut names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

/// Fails if the operator wrote anything but leases while `time` passed.
pub(crate) async fn is_silent(bed: &Bed, time: std::time::Duration) -> Result<()> {
    let audit = bed.audit()?;
    tokio::time::sleep(time).await;
    let writes = audit.writes(OPERATOR_USER)?;
    ensure!(
        writes.is_empty(),
        "written to while nothing changed: {writes:?}"
    );
    Ok(())
}
