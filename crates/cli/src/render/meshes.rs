//! The mesh list.

use kube::ResourceExt;
use meshlift_api::{Mesh, MeshStatus};

use super::table::{Cell, Column, table};
use crate::terminal::{Terminal, Tone};

/// The meshes as a table; with more columns if `wide`.
pub(crate) fn meshes(terminal: &Terminal, meshes: &[Mesh], wide: bool) -> String {
    let mut columns = vec![
        Column::Fixed("NAME"),
        Column::Fixed("TYPE"),
        Column::Fixed("VERSION"),
        Column::Fixed("LATEST"),
        Column::Fixed("UPGRADABLE"),
        Column::Number("PROXIES"),
        Column::Number("OUTDATED"),
        Column::Fixed("SUPPORTED-UNTIL"),
        Column::Fixed("KUBERNETES"),
    ];
    if wide {
        columns.extend([
            Column::Fixed("NAMESPACE"),
            Column::Fixed("INSTALLER"),
            Column::Fixed("REVISIONS"),
            Column::Fixed("TAGS"),
            Column::Fixed("CHARTS"),
        ]);
    }
    let rows = meshes.iter().map(|mesh| row(mesh, wide));
    table(terminal, &columns, rows)
}

fn row(mesh: &Mesh, wide: bool) -> Vec<Cell> {
    let none = MeshStatus::default();
    let status = mesh.status.as_ref().unwrap_or(&none);
    let proxies = status.data_plane.as_ref();
    let mut row = vec![
        mesh.name_any().into(),
        format!("{:?}", mesh.spec.mesh_type).into(),
        Cell::maybe(status.version.as_deref()),
        Cell::maybe(status.latest.as_deref()),
        upgradable(status),
        Cell::maybe(proxies.map(|proxies| proxies.total.to_string())),
        outdated(status),
        supported(status),
        kubernetes(status),
    ];
    if wide {
        let revisions = status.revisions.iter();
        let tags = status.revisions.iter().flat_map(|revision| &revision.tags);
        row.extend([
            mesh.spec.control_plane_namespace.as_str().into(),
            Cell::maybe(status.installer.as_deref()),
            list(revisions.map(|revision| format!("{} ({})", revision.name, revision.ready))),
            list(tags.cloned()),
            mesh.spec.charts.repository.as_str().into(),
        ]);
    }
    row
}

fn upgradable(status: &MeshStatus) -> Cell {
    match status.upgradable.as_deref() {
        Some("no") | None => Cell::maybe(status.upgradable.as_deref()),
        Some(version) => Cell::toned(Tone::Good, version),
    }
}

fn outdated(status: &MeshStatus) -> Cell {
    let outdated = status.data_plane.as_ref().map(|proxies| proxies.outdated);
    match outdated {
        Some(0) | None => Cell::maybe(outdated.map(|n| n.to_string())),
        Some(n) => Cell::toned(Tone::Warn, n.to_string()),
    }
}

fn supported(status: &MeshStatus) -> Cell {
    use meshlift_api::conditions::SUPPORTED;
    let ended = status
        .conditions
        .iter()
        .any(|condition| condition.type_ == SUPPORTED && condition.status == "False");
    match (status.supported_until.as_deref(), ended) {
        (Some(day), true) => Cell::toned(Tone::Bad, day),
        (day, _) => Cell::maybe(day),
    }
}

/// The Kubernetes of each cluster, oldest first, each version once.
fn kubernetes(status: &MeshStatus) -> Cell {
    let mut versions: Vec<&str> = status
        .clusters
        .iter()
        .map(|cluster| cluster.kubernetes_version.as_deref().unwrap_or("?"))
        .collect();
    versions.sort_by_key(|version| numbers(version));
    versions.dedup();
    list(versions.into_iter().map(str::to_owned))
}

/// `v1.9` comes before `v1.33`.
fn numbers(version: &str) -> Vec<u32> {
    version
        .trim_start_matches('v')
        .split(['.', '-', '+'])
        .map_while(|part| part.parse().ok())
        .collect()
}

fn list(all: impl Iterator<Item = String>) -> Cell {
    let all: Vec<String> = all.collect();
    Cell::maybe((!all.is_empty()).then(|| all.join(",")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Vec<Mesh> {
        let condition = json!({
            "type": "Supported", "status": "False", "reason": "Ended", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let cluster = |name: &str, version: &str| json!({ "name": name, "role": "Primary", "kubernetesVersion": version, "reachable": true });
        let revision = |name: &str, tags: &[&str]| json!({ "name": name, "ready": "2/2", "tags": tags, "namespaces": 3, "proxies": 60 });
        let full = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "Mesh",
            "metadata": { "name": "default" }, "spec": {},
            "status": {
                "version": "1.30.2", "latest": "1.31.0", "upgradable": "1.31.0", "installer": "Helm",
                "supportedUntil": "~2027-02-28", "conditions": [condition],
                "clusters": [cluster("local", "v1.33.1"), cluster("east", "v1.9.0"), cluster("west", "v1.33.1")],
                "revisions": [revision("default", &[]), revision("1-30-2", &["prod", "stage"])],
                "dataPlane": { "total": 60, "current": 41, "outdated": 19, "unknown": 0 },
            },
        });
        let new = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "Mesh",
            "metadata": { "name": "not-seen-yet" }, "spec": { "type": "External" },
        });
        [full, new]
            .map(|mesh| serde_json::from_value(mesh).expect("a Mesh"))
            .into()
    }

    #[test]
    fn the_list_has_what_a_person_asks_for_first() {
        insta::assert_snapshot!(meshes(&Terminal::plain(), &sample(), false));
    }

    #[test]
    fn the_wide_list_has_the_rest() {
        insta::assert_snapshot!(meshes(&Terminal::plain(), &sample(), true));
    }

    #[test]
    fn older_kubernetes_comes_first() {
        assert!(numbers("v1.9.0") < numbers("v1.33.1"));
        assert!(numbers("?") < numbers("v1.9"));
    }
}
