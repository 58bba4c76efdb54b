//! The rights that Helm may grant istiod are those of Istio's own charts: rendered here, every known version.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use meshlift_testbed::versions::ISTIO;
use serde::Deserialize;
use serde_json::Value;

use crate::environment::{Environment, repository, with_cluster};

/// Group, resource, verbs.
type Rights = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Values that make the charts render other rights.
const VALUES: [&[&str]; 5] = [
    &[],
    &["profile=ambient"],
    &["global.externalIstiod=true"],
    &["pilot.taint.enabled=true", "taint.enabled=true"],
    &["revision=x"],
];

#[test]
fn api_istio_rights_are_those_of_the_charts() -> Result<()> {
    with_cluster(async |env| {
        let mut rendered = [("ClusterRole", Rights::new()), ("Role", Rights::new())];
        for (version, _) in ISTIO {
            for chart in ["base", "istiod"] {
                for values in VALUES {
                    for object in render(env, version, chart, values).await? {
                        for (kind, rights) in &mut rendered {
                            if object["kind"] == *kind {
                                collect(rights, &object)?;
                            }
                        }
                    }
                }
            }
        }
        let [(_, in_cluster), (_, in_namespace)] = rendered;
        let path = repository().join("charts/meshlift/files/istio-rights.yaml");
        let text = std::fs::read_to_string(&path)?;
        if std::env::var_os("MESHLIFT_WRITE_ISTIO_RIGHTS").is_some() {
            let head: Vec<&str> = text
                .lines()
                .take_while(|line| line.starts_with('#'))
                .collect();
            let file = written(&head.join("\n"), &in_cluster, &in_namespace)?;
            std::fs::write(&path, file)?;
            return Ok(());
        }
        let listed: BTreeMap<String, Rights> = serde_yaml_ng::from_str(&text)?;
        for (name, wanted) in [("clusterRoles", &in_cluster), ("roles", &in_namespace)] {
            let listed = listed.get(name).context("a list is missing")?;
            let missing = beyond(wanted, listed);
            ensure!(
                missing.is_empty(),
                "Istio's charts grant what {name} of files/istio-rights.yaml lacks, so Helm would be refused: {missing:?}"
            );
            let unused = beyond(listed, wanted);
            ensure!(
                unused.is_empty(),
                "{name} of files/istio-rights.yaml allows what no known chart grants: {unused:?}"
            );
        }
        Ok(())
    })
}

async fn render(
    env: &Environment,
    version: &str,
    chart: &str,
    values: &[&str],
) -> Result<Vec<Value>> {
    let charts = env.cluster.charts_url_host()?;
    let mut arguments = vec![
        "template",
        "istiod",
        chart,
        "--repo",
        &charts,
        "--version",
        version,
    ];
    arguments.extend(["-n", "istio-system"]);
    for set in values {
        arguments.extend(["--set", set]);
    }
    let text = env.cluster.helm(&arguments).await?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize);
    Ok(documents.collect::<Result<_, _>>()?)
}

fn collect(rights: &mut Rights, role: &Value) -> Result<()> {
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        let all = rule[key].as_array().into_iter().flatten();
        all.filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    for rule in role["rules"].as_array().into_iter().flatten() {
        ensure!(
            rule["nonResourceURLs"].is_null(),
            "a chart grants URLs: {rule}"
        );
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let of_group = rights.entry(group.clone()).or_default();
                of_group
                    .entry(resource)
                    .or_default()
                    .extend(texts(rule, "verbs"));
            }
        }
    }
    Ok(())
}

/// What `some` has and `others` do not, as `verb group/resource`.
fn beyond(some: &Rights, others: &Rights) -> Vec<String> {
    let mut found = Vec::new();
    for (group, resources) in some {
        for (resource, verbs) in resources {
            let known = others
                .get(group)
                .and_then(|of_group| of_group.get(resource));
            let missing = verbs
                .iter()
                .filter(|verb| !known.is_some_and(|known| known.contains(*verb)));
            found.extend(missing.map(|verb| format!("{verb} {group}/{resource}")));
        }
    }
    found
}

fn written(head: &str, in_cluster: &Rights, in_namespace: &Rights) -> Result<String> {
    let mut text = format!("{head}\n");
    for (name, rights) in [("clusterRoles", in_cluster), ("roles", in_namespace)] {
        text += &format!("{name}:\n");
        for (group, resources) in rights {
            text += &format!("  {group:?}:\n");
            for (resource, verbs) in resources {
                text += &format!(
                    "    {resource:?}: {}\n",
                    serde_json::to_string(verbs)?.replace(',', ", ")
                );
            }
        }
    }
    Ok(text)
}
