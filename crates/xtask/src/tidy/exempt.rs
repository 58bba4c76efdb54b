//! Paths that are exempt from a rule for now.

use super::Finding;

/// Rule and the paths that are exempt from it. A path that ends in `/` is a folder and exempts everything in it.
///
/// Remove an entry as soon as its last violation is fixed; `tidy` reports one that is no longer needed. Do not
/// add entries for new code. A file that moves takes its entry along. Where most files of a crate have a violation, the
/// crate is one entry; list its files once they are few. `cargo xtask tidy --all` prints what the entries hide.
const EXEMPT: &[(&str, &[&str])] = &[
    (
        "module-circle",
        &[
            "crates/api/src/mesh.rs",
            "crates/cluster/src/backup/restore.rs",
            "crates/cluster/src/error.rs",
            "crates/detect/src/current.rs",
            "crates/istio/src/knowledge/read.rs",
            "crates/model/src/data_plane.rs",
            "crates/model/src/decision.rs",
            "crates/model/src/message.rs",
            "crates/operator/src/controller.rs",
            "crates/testbed/src/istio/gateway_api.rs",
        ],
    ),
    (
        "length",
        &[
            "crates/api/src/status.rs",
            "crates/cli/src/render/upgrade.rs",
            "crates/cluster/src/execute.rs",
            "crates/cluster/src/kubeconfig/tests.rs",
            "crates/cluster/src/observe.rs",
            "crates/cluster/src/observe/environment/nodes.rs",
            "crates/cluster/src/watch/facts/owner.rs",
            "crates/cluster/src/watch/facts/workloads.rs",
            "crates/detect/src/check/tests/cluster.rs",
            "crates/detect/src/check/tests/dependents.rs",
            "crates/detect/src/check/tests/labels_and_webhooks.rs",
            "crates/detect/src/check/tests/pods.rs",
            "crates/detect/src/check/tests/releases.rs",
            "crates/detect/src/check/tests/waves.rs",
            "crates/detect/src/check/tests/way.rs",
            "crates/guide/src/manual/crds.rs",
            "crates/guide/src/manual/found.rs",
            "crates/istio/src/knowledge/tests.rs",
            "crates/model/src/decision/effects.rs",
            "crates/model/src/message.rs",
            "crates/model/src/message/workloads.rs",
            "crates/model/src/view.rs",
            "crates/model/src/windows/tests.rs",
            "crates/operator/src/metrics.rs",
            "crates/operator/src/run.rs",
            "crates/planner/src/lint.rs",
            "crates/planner/src/phase/data_plane/restarts.rs",
            "crates/planner/src/phase/detecting.rs",
            "crates/planner/src/phase/retirement.rs",
            "crates/planner/src/phase/tests/before_the_soak.rs",
            "crates/planner/src/phase/tests/going_back.rs",
            "crates/planner/tests/properties/any.rs",
            "crates/planner/tests/sim/execute.rs",
            "crates/planner/tests/sim/observe.rs",
            "crates/planner/tests/sim/scenes/mod.rs",
            "crates/testbed/tests/shop.rs",
            "tests/tests/api_cli/keeping.rs",
            "tests/tests/api_clusters/asked.rs",
            "tests/tests/api_clusters/refused.rs",
            "tests/tests/api_environment/main.rs",
            "tests/tests/api_manifests/attack.rs",
            "tests/tests/api_manifests/crds.rs",
            "tests/tests/api_manifests/fence.rs",
            "tests/tests/api_manifests/fence_releases.rs",
            "tests/tests/api_manifests/helm.rs",
            "tests/tests/api_manifests/release_catalog.rs",
            "tests/tests/api_manifests/rights.rs",
            "tests/tests/api_manifests/uninstall.rs",
            "tests/tests/api_manifests/waves.rs",
            "tests/tests/api_meshes/found.rs",
            "tests/tests/api_operator/keeping.rs",
            "tests/tests/api_operator/release_catalog.rs",
            "tests/tests/api_operator/settled.rs",
            "tests/tests/chart_sources/http.rs",
            "tests/tests/mesh_upgrade/bad_luck.rs",
        ],
    ),
    (
        "bound-closure",
        &[
            "crates/api/src/duration.rs",
            "crates/cli/src/args/parse.rs",
            "crates/cli/src/commands/backup.rs",
            "crates/cli/src/commands/explain.rs",
            "crates/cli/src/commands/steer.rs",
            "crates/cli/src/look.rs",
            "crates/cli/src/render/backups.rs",
            "crates/cli/src/render/time.rs",
            "crates/cli/src/render/upgrade.rs",
            "crates/cli/src/terminal.rs",
            "crates/cluster/src/backup/plain.rs",
            "crates/cluster/src/backup/restore.rs",
            "crates/cluster/src/backup/restore/filter.rs",
            "crates/cluster/src/backup/restore/objects.rs",
            "crates/cluster/src/backup/restore/webhooks.rs",
            "crates/cluster/src/backup/retention.rs",
            "crates/cluster/src/backup/secrets.rs",
            "crates/cluster/src/backup/take.rs",
            "crates/cluster/src/charts/archive.rs",
            "crates/cluster/src/charts/credentials.rs",
            "crates/cluster/src/charts/oci.rs",
            "crates/cluster/src/charts/source.rs",
            "crates/cluster/src/charts/versions.rs",
            "crates/cluster/src/execute/evict.rs",
            "crates/cluster/src/execute/objects.rs",
            "crates/cluster/src/journal.rs",
            "crates/cluster/src/kubeconfig.rs",
            "crates/cluster/src/observe/clusters.rs",
            "crates/cluster/src/observe/control_planes.rs",
            "crates/cluster/src/observe/dependents/configuration.rs",
            "crates/cluster/src/observe/dependents/templates.rs",
            "crates/cluster/src/observe/drift.rs",
            "crates/cluster/src/observe/environment.rs",
            "crates/cluster/src/observe/environment/crds.rs",
            "crates/cluster/src/observe/environment/injectors.rs",
            "crates/cluster/src/observe/environment/nodes.rs",
            "crates/cluster/src/observe/environment/selections.rs",
            "crates/cluster/src/observe/kubernetes.rs",
            "crates/cluster/src/observe/meshes.rs",
            "crates/cluster/src/observe/permissions.rs",
            "crates/cluster/src/observe/probes.rs",
            "crates/cluster/src/slim.rs",
            "crates/cluster/src/watch/facts/workloads.rs",
            "crates/cluster/src/watch/facts/workloads/spec.rs",
            "crates/cluster/src/watch/settle.rs",
            "crates/detect/",
            "crates/guide/",
            "crates/istio/",
            "crates/model/",
            "crates/operator/src/controller.rs",
            "crates/operator/src/events.rs",
            "crates/operator/src/http.rs",
            "crates/operator/src/journal.rs",
            "crates/operator/src/meshes.rs",
            "crates/operator/src/metrics/meshes.rs",
            "crates/planner/",
            "crates/testbed/src/bench/detection.rs",
            "crates/testbed/src/bench/figures.rs",
            "crates/testbed/src/bench/floor.rs",
            "crates/testbed/src/bench/mesh.rs",
            "crates/testbed/src/bench/report.rs",
            "crates/testbed/src/bench/standing.rs",
            "crates/testbed/src/cluster.rs",
            "crates/testbed/src/cluster/api_server.rs",
            "crates/testbed/src/cluster/control_plane.rs",
            "crates/testbed/src/cluster/node.rs",
            "crates/testbed/src/images.rs",
            "crates/testbed/src/istio/gateway_api.rs",
            "crates/testbed/src/istio/tags.rs",
            "crates/testbed/src/load.rs",
            "crates/testbed/src/process.rs",
            "crates/testbed/src/registry.rs",
            "crates/testbed/src/registry/tokens.rs",
            "crates/testbed/src/simulated.rs",
            "crates/testbed/src/tools.rs",
            "crates/testbed/src/tools/go.rs",
        ],
    ),
    (
        "words",
        &[
            "README.md",
            "crates/api/src/data_plane.rs",
            "crates/api/src/detection.rs",
            "crates/api/src/mesh.rs",
            "crates/api/src/mesh_status.rs",
            "crates/api/src/mesh_upgrade.rs",
            "crates/api/src/release_catalog.rs",
            "crates/api/src/status.rs",
            "crates/cli/src/args.rs",
            "crates/cli/src/args/keeping.rs",
            "crates/cli/src/args/steering.rs",
            "crates/cli/src/commands/backup.rs",
            "crates/cli/src/commands/explain.rs",
            "crates/cli/src/commands/restore.rs",
            "crates/cli/src/commands/steer.rs",
            "crates/cli/src/commands/upgrade.rs",
            "crates/cli/src/connect.rs",
            "crates/cli/src/exit.rs",
            "crates/cli/src/failure.rs",
            "crates/cli/src/follow.rs",
            "crates/cli/src/look.rs",
            "crates/cli/src/render/checks.rs",
            "crates/detect/",
            "crates/model/",
            "docs/benchmarks.md",
            "docs/data-plane.md",
        ],
    ),
];

/// This file, for the report of an entry that is no longer needed.
const HERE: &str = "crates/xtask/src/tidy/exempt.rs";

/// The exempt paths of `rule`.
pub(super) fn paths(rule: &str) -> &'static [&'static str] {
    EXEMPT
        .iter()
        .find(|(name, _)| *name == rule)
        .map_or(&[], |(_, paths)| paths)
}

/// Drops the findings in `exempt` paths, and adds one for each path that has none.
pub(super) fn apply(rule: &str, exempt: &[&str], findings: Vec<Finding>) -> Vec<Finding> {
    let stale: Vec<Finding> = exempt
        .iter()
        .filter(|path| !findings.iter().any(|finding| covers(path, &finding.path)))
        .map(|path| stale(rule, path))
        .collect();
    let mut left = findings;
    left.retain(|finding| !exempt.iter().any(|path| covers(path, &finding.path)));
    left.extend(stale);
    left
}

fn covers(exempt: &str, path: &str) -> bool {
    if exempt.ends_with('/') {
        path.starts_with(exempt)
    } else {
        path == exempt
    }
}

fn stale(rule: &str, path: &str) -> Finding {
    Finding::new(
        HERE,
        line_of(include_str!("exempt.rs"), rule, path),
        format!("\"{path}\" has no violation of {rule} any more: remove the entry"),
    )
}

/// The line of the entry for `path` in the list of `rule`.
fn line_of(text: &str, rule: &str, path: &str) -> usize {
    let rule = format!("\"{rule}\"");
    let path = format!("\"{path}\"");
    let mut lines = text.lines().enumerate();
    let list = lines.by_ref().find(|(_, line)| line.contains(&rule));
    let entry = lines.find(|(_, line)| line.contains(&path));
    entry.or(list).map_or(1, |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_of(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| &*finding.path).collect()
    }

    #[test]
    fn an_exempt_file_or_folder_is_left_out() {
        let found = vec![
            Finding::new("crates/a/src/x.rs", 1, "fix"),
            Finding::new("crates/b/src/y.rs", 2, "fix"),
            Finding::new("crates/b/src/z.rs", 3, "fix"),
        ];
        let left = apply("length", &["crates/a/", "crates/b/src/y.rs"], found);
        assert_eq!(paths_of(&left), ["crates/b/src/z.rs"]);
    }

    #[test]
    fn an_exemption_without_a_violation_is_a_violation() {
        let left = apply("length", &["crates/a/"], Vec::new());
        assert_eq!(paths_of(&left), [HERE]);
        assert!(left[0].advice.contains("crates/a/"), "{}", left[0].advice);
    }

    #[test]
    fn an_entry_is_found_in_the_list_of_its_rule() {
        let text = "(\"one\", &[\n\"a/\",\n]),\n(\"two\", &[\n\"a/\",\n";
        assert_eq!(line_of(text, "two", "a/"), 5);
    }

    #[test]
    fn every_list_belongs_to_a_rule() {
        for (rule, _) in EXEMPT {
            let known = super::super::RULES.iter().any(|known| known.name == *rule);
            assert!(known, "{rule} is not a rule");
        }
    }
}
