//! What a ReleaseCatalog may say.

use anyhow::{Result, ensure};
use kube::Api;
use meshlift_api::{CatalogMode, ReleaseCatalog};
use meshlift_istio::knowledge::Knowledge;
use serde_json::{Value, json};

use crate::environment::{refused_with, with_cluster};

fn catalog(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "meshlift.io/v1alpha1", "kind": "ReleaseCatalog",
        "metadata": { "name": name }, "spec": spec,
    })
}

/// A catalog of one release with one more field.
fn with(field: &str, value: Value) -> Value {
    let kubernetes = json!({ "low": "1.34", "high": "1.38" });
    let mut release = json!({ "minor": "1.32", "kubernetes": kubernetes });
    release[field] = value;
    json!({ "releases": [release] })
}

/// A catalog of one risk with one field otherwise.
fn risk(field: &str, value: Value) -> Value {
    let mut risk = json!({
        "code": "R132-X", "title": "t", "message": "m", "fix": "f", "url": "https://istio.io/",
    });
    risk[field] = value;
    with("risks", json!([risk]))
}

fn rule(rule: Value) -> Value {
    risk("match", rule)
}

#[test]
fn api_the_embedded_catalog_is_one_that_the_crd_accepts() -> Result<()> {
    with_cluster(async |env| {
        let spec = serde_json::to_value(Knowledge::embedded_catalog())?;
        let object = catalog("default", spec);
        env.create(&env.admin, &object, false).await?;
        let api = Api::<ReleaseCatalog>::all(env.admin.clone());
        let stored = api.get("default").await?;
        ensure!(
            stored.spec == *Knowledge::embedded_catalog(),
            "something was lost: {:?}",
            stored.spec
        );
        api.delete("default", &Default::default()).await?;
        let small = catalog("default", json!({ "releases": [] }));
        env.create(&env.admin, &small, false).await?;
        ensure!(api.get("default").await?.spec.mode == CatalogMode::Extend);
        api.delete("default", &Default::default()).await?;
        Ok(())
    })
}

#[test]
fn api_rubbish_in_a_catalog_is_refused_by_its_field() -> Result<()> {
    let services = json!({ "version": "v1", "resource": "services", "kind": "Service" });
    let of = |field: &str, value: Value| {
        let mut resources = services.clone();
        resources[field] = value;
        rule(json!({ "resources": resources }))
    };
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({ "mode": "Merge" }), &["spec.mode", "Extend"]),
        (
            json!({ "mode": "Replace", "releases": [{ "minor": "1.32" }] }),
            &["spec", "every release needs its range: add kubernetes"],
        ),
        (
            json!({ "releases": [{ "minor": "1.32" }, { "minor": "1.32" }] }),
            &["spec.releases[1]", "Duplicate"],
        ),
        (
            json!({ "releases": [{ "kubernetes": { "low": "1.34", "high": "1.38" } }] }),
            &["spec.releases[0].minor"],
        ),
        (
            with("minor", json!("v1.32")),
            &[
                "spec.releases[0].minor",
                "is no minor of Istio: write \"1.31\"",
            ],
        ),
        (
            with("minor", json!(1.32)),
            &["spec.releases[0].minor", "string"],
        ),
        (
            with("released", json!("August 2026")),
            &[
                "spec.releases[0].released",
                "is no day: write year, month and day",
            ],
        ),
        (
            with("endOfLife", json!("2026-13-01")),
            &["spec.releases[0].endOfLife", "is no day"],
        ),
        (
            with("kubernetes", json!({ "low": "1.34" })),
            &["spec.releases[0].kubernetes.high", "Required"],
        ),
        (
            with("kubernetes", json!({ "low": "1.34", "high": "newest" })),
            &[
                "spec.releases[0].kubernetes.high",
                "is no minor of Kubernetes",
            ],
        ),
        (
            with("kubernetes", json!({ "low": "1.34", "high": "1.9" })),
            &[
                "spec.releases[0].kubernetes",
                "low is above high: exchange them",
            ],
        ),
        (
            with("minimumKubernetes", json!("1.32.1")),
            &[
                "spec.releases[0].minimumKubernetes",
                "is no minor of Kubernetes",
            ],
        ),
        (
            with("minimumFrom", json!(["1.31"])),
            &["spec.releases[0].minimumFrom[0]", "write all three numbers"],
        ),
        (
            with("compatibilityVersions", json!(["1.31.0"])),
            &[
                "spec.releases[0].compatibilityVersions[0]",
                "is no minor of Istio",
            ],
        ),
        (
            with(
                "gatewayApi",
                json!([{ "crd": "TLSRoute", "minimum": "1.5.0" }]),
            ),
            &["spec.releases[0].gatewayApi[0].crd", "is no name of a CRD"],
        ),
        (
            with("gatewayApi", json!([{ "crd": "a.b.io", "minimum": "1.5" }])),
            &["spec.releases[0].gatewayApi[0].minimum", "is no version"],
        ),
        (
            risk("code", json!("too low")),
            &["risks[0].code", "write capital letters, digits and hyphens"],
        ),
        (risk("title", json!("")), &["risks[0].title"]),
        (
            risk("url", json!("istio.io")),
            &["risks[0].url", "is no address"],
        ),
        (rule(json!({})), &["risks[0].match", "has no condition"]),
        (
            rule(json!({ "values": "true", "expression": "true" })),
            &["risks[0].match", "expression needs resources"],
        ),
        (
            rule(json!({ "flag": "env.X" })),
            &["risks[0].match.flag", "is no environment variable"],
        ),
        (
            rule(json!({ "values": "x".repeat(1025) })),
            &["risks[0].match.values", "1024"],
        ),
        (
            of("version", json!("apps/v1")),
            &["match.resources.version", "is no API version"],
        ),
        (
            of("resource", json!("Services")),
            &["match.resources.resource", "write the plural in lower case"],
        ),
        (
            of("resource", json!("secrets")),
            &["match.resources", "Secrets are never read"],
        ),
        (of("kind", json!("")), &["match.resources.kind"]),
    ];
    with_cluster(async |env| {
        for (spec, words) in &cases {
            let object = catalog("default", spec.clone());
            let result = env.create(&env.admin, &object, true).await;
            refused_with(words, &spec.to_string(), result)?;
        }
        let other = catalog("ours", json!({}));
        let words = ["there is one catalog and its name is default"];
        refused_with(
            &words,
            "another name",
            env.create(&env.admin, &other, true).await,
        )
    })
}
