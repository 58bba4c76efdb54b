//! Crates depend on each other in one direction, so that what decides cannot reach what acts.

use toml_edit::{Document, Item, Table};

use super::Finding;
use super::source::{Sources, TextFile};

/// Every crate of the workspace and the crates of ours that it may depend on, lowest first. Dev-dependencies are
/// free. A crate that is not in the table has no place yet: give it one before it is used.
///
/// Only the tests depend on the operator: a library or a command that did would bring its whole runtime along.
const DIRECTION: &[(&str, &[&str])] = &[
    ("meshlift-api", &[]),
    ("meshlift-istio", &["meshlift-api"]),
    ("meshlift-model", &["meshlift-api", "meshlift-istio"]),
    (
        "meshlift-detect",
        &["meshlift-api", "meshlift-istio", "meshlift-model"],
    ),
    (
        "meshlift-planner",
        &[
            "meshlift-api",
            "meshlift-istio",
            "meshlift-model",
            "meshlift-detect",
        ],
    ),
    ("meshlift-guide", PURE_BELOW_GUIDE),
    ("meshlift-cluster", PURE),
    ("meshlift-operator", ABOVE_CLUSTER),
    ("meshlift-cli", ABOVE_CLUSTER),
    ("meshlift-testbed", &["meshlift-api"]),
    (
        "meshlift-tests",
        &[
            "meshlift-api",
            "meshlift-istio",
            "meshlift-model",
            "meshlift-detect",
            "meshlift-planner",
            "meshlift-guide",
            "meshlift-cluster",
            "meshlift-operator",
            "meshlift-cli",
            "meshlift-testbed",
        ],
    ),
    ("xtask", PURE),
];

const PURE_BELOW_GUIDE: &[&str] = &[
    "meshlift-api",
    "meshlift-istio",
    "meshlift-model",
    "meshlift-detect",
    "meshlift-planner",
];

/// The crates that decide and print, and touch no cluster.
const PURE: &[&str] = &[
    "meshlift-api",
    "meshlift-istio",
    "meshlift-model",
    "meshlift-detect",
    "meshlift-planner",
    "meshlift-guide",
];

const ABOVE_CLUSTER: &[&str] = &[
    "meshlift-api",
    "meshlift-istio",
    "meshlift-model",
    "meshlift-detect",
    "meshlift-planner",
    "meshlift-guide",
    "meshlift-cluster",
];

/// Crates of ours by their names.
const OURS: &[&str] = &["meshlift-", "xtask"];

pub(super) fn check(sources: &Sources) -> Vec<Finding> {
    sources.manifests.iter().flat_map(of_manifest).collect()
}

fn of_manifest(manifest: &TextFile) -> Vec<Finding> {
    let TextFile { path, text } = manifest;
    let document = match Document::parse(text.as_str()) {
        Ok(document) => document,
        Err(error) => return vec![Finding::new(path, 1, format!("is not valid TOML: {error}"))],
    };
    let root = document.as_table();
    let Some(name) = root
        .get("package")
        .and_then(|package| package["name"].as_str())
    else {
        return Vec::new();
    };
    let Some((_, allowed)) = DIRECTION.iter().find(|(known, _)| *known == name) else {
        let advice = format!("{name} has no place yet: add it to DIRECTION in tidy/crates.rs");
        return vec![Finding::new(path, 1, advice)];
    };
    dependencies(root)
        .into_iter()
        .filter(|used| is_ours(&used.name) && !allowed.contains(&&*used.name))
        .map(|used| {
            let advice = format!(
                "{name} must not depend on {}: move what it needs to a crate below both",
                used.name
            );
            Finding::new(path, line_at(text, used.offset), advice)
        })
        .collect()
}

fn is_ours(name: &str) -> bool {
    OURS.iter().any(|ours| name.starts_with(ours))
}

/// A dependency and where its name stands in the manifest.
struct Dependency {
    name: String,
    offset: usize,
}

/// What ships: dependencies and build-dependencies, also those of one platform.
fn dependencies(root: &Table) -> Vec<Dependency> {
    let mut tables = vec![root];
    if let Some(targets) = root.get("target").and_then(Item::as_table) {
        tables.extend(targets.iter().filter_map(|(_, target)| target.as_table()));
    }
    tables
        .into_iter()
        .flat_map(|table| ["dependencies", "build-dependencies"].map(|kind| table.get(kind)))
        .flatten()
        .filter_map(Item::as_table)
        .flat_map(of_table)
        .collect()
}

fn of_table(table: &Table) -> Vec<Dependency> {
    table
        .iter()
        .map(|(key, item)| {
            let renamed = item.get("package").and_then(Item::as_str);
            let span = table.key(key).and_then(|key| key.span());
            Dependency {
                name: renamed.unwrap_or(key).to_owned(),
                offset: span.map_or(0, |span| span.start),
            }
        })
        .collect()
}

fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, dependencies: &str) -> Vec<Finding> {
        let text = format!("[package]\nname = \"{name}\"\n{dependencies}");
        check(&Sources::of(&[("crates/a/Cargo.toml", &text)]))
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let found = found(
            "meshlift-planner",
            "[dependencies]\nserde = \"1\"\nmeshlift-cluster.workspace = true\n",
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 5);
        assert!(
            found[0]
                .advice
                .contains("must not depend on meshlift-cluster")
        );
    }

    #[test]
    fn a_dependency_of_one_platform_or_under_another_name_is_found() {
        let platform = "[target.'cfg(unix)'.dependencies]\nmeshlift-operator.workspace = true\n";
        assert_eq!(found("meshlift-cli", platform).len(), 1);
        let renamed =
            "[build-dependencies]\nx = { package = \"meshlift-operator\", path = \"x\" }\n";
        assert_eq!(found("meshlift-cli", renamed).len(), 1);
    }

    #[test]
    fn what_is_below_and_what_tests_need_is_fine() {
        let fine = "[dependencies]\nmeshlift-api.workspace = true\n[dev-dependencies]\nmeshlift-operator = \"1\"\n";
        assert_eq!(found("meshlift-planner", fine), []);
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        assert!(found("meshlift-new", "")[0].advice.contains("no place"));
    }

    #[test]
    fn the_table_itself_has_one_direction() {
        for (index, (name, allowed)) in DIRECTION.iter().enumerate() {
            for below in *allowed {
                // Every crate but the tests names only crates that stand above it in the table.
                let place = DIRECTION.iter().position(|(known, _)| known == below);
                assert!(
                    place.is_some_and(|place| place < index),
                    "{name} on {below}"
                );
            }
            let uses_operator = allowed.contains(&"meshlift-operator");
            assert_eq!(uses_operator, *name == "meshlift-tests", "{name}");
        }
    }
}
