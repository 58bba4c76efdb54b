//! What the CRDs accept, default and refuse.

use anyhow::{Result, ensure};
use kube::api::{Api, Patch, PatchParams};
use meshlift_api::{GoDuration, Mesh, MeshUpgrade, Strategy};
use serde_json::{Value, json};

use crate::environment::{RUNNING_UPGRADES, refused_with, upgrade, with_cluster};

#[test]
fn api_six_lines_are_a_whole_upgrade() -> Result<()> {
    with_cluster(async |env| {
        let six_lines = "apiVersion: meshlift.io/v1alpha1\nkind: MeshUpgrade\nmetadata:\n  name: six-lines\nspec:\n  targetVersion: \"1.31\"\n";
        env.cluster.apply_yaml(six_lines).await?;
        let spec = Api::<MeshUpgrade>::all(env.admin.clone())
            .get("six-lines")
            .await?
            .spec;
        let seconds = |duration: GoDuration| std::time::Duration::from(duration).as_secs();
        assert_eq!(spec.mesh, "default");
        assert_eq!(spec.strategy, Strategy::Canary);
        assert_eq!(spec.data_plane.restart.max_concurrent, 5);
        assert_eq!(spec.data_plane.restart.max_concurrent_per_namespace, 1);
        assert_eq!(seconds(spec.data_plane.restart.timeout), 600);
        assert_eq!(seconds(spec.health_check.soak), 300);
        assert_eq!(seconds(spec.retire.after), 3600);
        assert!(!spec.paused);
        Ok(())
    })
}

#[test]
fn api_defaults_are_stored_not_only_read() -> Result<()> {
    with_cluster(async |env| {
        env.create(&env.admin, &upgrade("defaults"), false).await?;
        let stored = env
            .cluster
            .kubectl(&["get", "mup", "defaults", "-o", "json"])
            .await?;
        let stored: Value = serde_json::from_str(&stored)?;
        assert_eq!(stored["spec"]["mesh"], "default");
        assert_eq!(stored["spec"]["dataPlane"]["restart"]["maxConcurrent"], 5);
        Ok(())
    })
}

#[test]
fn api_the_same_object_again_changes_nothing() -> Result<()> {
    with_cluster(async |env| {
        let api = Api::<MeshUpgrade>::all(env.admin.clone());
        let apply = Patch::Apply(upgrade("applied-twice"));
        let params = PatchParams::apply("gitops");
        let first = api.patch("applied-twice", &params, &apply).await?.metadata;
        let second = api.patch("applied-twice", &params, &apply).await?.metadata;
        assert_eq!(first.generation, second.generation);
        assert_eq!(first.resource_version, second.resource_version);
        Ok(())
    })
}

#[test]
fn api_bad_fields_are_refused_by_name() -> Result<()> {
    let cases: &[(&str, Value, &[&str])] = &[
        ("no version", json!({}), &["spec.targetVersion", "Required"]),
        (
            "empty",
            json!({ "targetVersion": "" }),
            &["spec.targetVersion"],
        ),
        (
            "a word",
            json!({ "targetVersion": "latest" }),
            &[
                "spec.targetVersion",
                "is no Istio version: write an exact one (1.31.0)",
            ],
        ),
        (
            "a v",
            json!({ "targetVersion": "v1.31.0" }),
            &["spec.targetVersion"],
        ),
        (
            "a number",
            json!({ "targetVersion": 1.31 }),
            &["spec.targetVersion", "string"],
        ),
        (
            "four parts",
            json!({ "targetVersion": "1.31.0.1" }),
            &["spec.targetVersion"],
        ),
        (
            "a space",
            json!({ "targetVersion": "1.31 " }),
            &["spec.targetVersion"],
        ),
        (
            "too long",
            json!({ "targetVersion": format!("1.31.0-{}", "x".repeat(99)) }),
            &["64"],
        ),
        (
            "unknown strategy",
            with("strategy", json!("Rolling")),
            &["spec.strategy", "Canary", "InPlace"],
        ),
        ("empty mesh", with("mesh", json!("")), &["spec.mesh"]),
        (
            "a revision in capitals",
            with("revision", json!("Prod")),
            &["spec.revision", "is not a valid revision: use lower case"],
        ),
        (
            "a revision with a dot",
            with("revision", json!("1.31")),
            &["spec.revision", "is not a valid revision"],
        ),
        (
            "the default revision",
            with("revision", json!("default")),
            &["spec.revision", "cannot be 'default'"],
        ),
        (
            "a long revision",
            with("revision", json!("x".repeat(47))),
            &["spec.revision", "46"],
        ),
        (
            "no revision",
            with("revision", json!("")),
            &["spec.revision"],
        ),
        (
            "paused word",
            with("paused", json!("yes")),
            &["spec.paused", "boolean"],
        ),
        (
            "soak without unit",
            with("healthCheck", json!({ "soak": "5" })),
            &["healthCheck.soak"],
        ),
        (
            "soak in days",
            with("healthCheck", json!({ "soak": "1d" })),
            &["healthCheck.soak", "is no duration: write", "1h30m"],
        ),
        (
            "longer than a year",
            with("healthCheck", json!({ "soak": "8760h1s" })),
            &["healthCheck.soak", "is too long: write at most 8760h"],
        ),
        (
            "longer than any clock",
            with("retire", json!({ "after": "5124095576030431h" })),
            &["retire.after", "is too long: write at most 8760h"],
        ),
        (
            "in seconds",
            with(
                "dataPlane",
                json!({ "restart": { "timeout": "99999999999999999999s" } }),
            ),
            &["restart.timeout", "is too long: write at most 8760h"],
        ),
        (
            "window of no length",
            with("windows", json!([{ "start": "04:00", "end": "04:00" }])),
            &["spec.windows[0]", "it is never open"],
        ),
        (
            "window without minutes",
            with("windows", json!([{ "start": "22", "end": "04:00" }])),
            &["windows[0].start", "is no time of the day: write"],
        ),
        (
            "soak negative",
            with("healthCheck", json!({ "soak": "-5m" })),
            &["healthCheck.soak"],
        ),
        (
            "retire empty",
            with("retire", json!({ "after": "" })),
            &["retire.after"],
        ),
        (
            "none at once",
            restart("maxConcurrent", json!(0)),
            &["restart.maxConcurrent", "1"],
        ),
        (
            "too many",
            restart("maxConcurrent", json!(1001)),
            &["restart.maxConcurrent", "1000"],
        ),
        (
            "none per namespace",
            restart("maxConcurrentPerNamespace", json!(0)),
            &["PerNamespace"],
        ),
        (
            "timeout number",
            restart("timeout", json!(600)),
            &["restart.timeout", "string"],
        ),
    ];
    with_cluster(async |env| {
        for (number, (what, spec, words)) in cases.iter().enumerate() {
            let mut object = upgrade(&format!("refused-{number}"));
            object["spec"] = spec.clone();
            refused_with(words, what, env.create(&env.admin, &object, true).await)?;
        }
        Ok(())
    })
}

fn with(field: &str, value: Value) -> Value {
    json!({ "targetVersion": "1.31", field: value })
}

fn restart(field: &str, value: Value) -> Value {
    with("dataPlane", json!({ "restart": { field: value } }))
}

#[test]
fn api_good_versions_and_durations_are_accepted() -> Result<()> {
    with_cluster(async |env| {
        for version in ["1.31", "1.31.0", "1.30.2-mspider", "1.17.8-fix-20231226"] {
            let mut object = upgrade("accepted");
            object["spec"] = json!({
                "targetVersion": version,
                "revision": "prod-1",
                "healthCheck": { "soak": "1h30m" },
                "retire": { "after": "8760h" },
                "dataPlane": {
                    "waves": [{ "name": "canary", "soak": "0s" }],
                    "restart": { "timeout": "1h1.5m90.25s100ms" },
                    "exclude": { "matchLabels": { "meshlift.io/exclude": "true" } },
                },
            });
            env.create(&env.admin, &object, true).await?;
        }
        Ok(())
    })
}

#[test]
fn api_while_it_runs_only_what_steers_it_may_change() -> Result<()> {
    with_cluster(async |env| {
        let _alone = RUNNING_UPGRADES.lock().await;
        let object = upgrade("locked");
        env.upgrade_in_phase("locked", "Detecting").await?;
        let target = json!({ "spec": { "targetVersion": "1.31.0" } });
        env.merge(&env.admin, &object, target).await?;
        for phase in ["Upgrading", "HealthChecking"] {
            env.set_phase("locked", phase).await?;
            for spec in [
                json!({ "targetVersion": "1.32" }),
                json!({ "mesh": "other" }),
                json!({ "dataPlane": { "restart": { "maxConcurrent": 50 } } }),
                json!({ "dataPlane": { "exclude": { "matchLabels": { "a": "b" } } } }),
                json!({ "healthCheck": { "soak": "1s" } }),
                json!({ "retire": { "after": "1s" } }),
                json!({ "rollback": "Manual" }),
                json!({ "revision": "other" }),
                json!({ "gateways": { "order": "None" } }),
                json!({ "windows": [{ "start": "22:00", "end": "04:00" }] }),
                json!({ "paused": true, "targetVersion": "1.30" }),
                json!({ "requestRollback": true, "rollback": "Manual" }),
            ] {
                let what = format!("{phase}: {spec}");
                let result = env
                    .merge(&env.admin, &object, json!({ "spec": spec }))
                    .await;
                let said = "only spec.paused, spec.approvals and spec.requestRollback may change";
                refused_with(&[said], &what, result)?;
            }
            for spec in [
                json!({ "paused": true }),
                json!({ "paused": false }),
                json!({ "approvals": ["rest"] }),
                json!({ "requestRollback": true }),
                json!({ "requestRollback": false }),
            ] {
                env.merge(&env.admin, &object, json!({ "spec": spec }))
                    .await?;
            }
            let note = json!({ "metadata": { "annotations": { "team": "mesh" } } });
            env.merge(&env.admin, &object, note).await?;
        }
        env.set_phase("locked", "Failed").await?;
        let target = json!({ "spec": { "targetVersion": "1.31.1" } });
        env.merge(&env.admin, &object, target).await
    })
}

#[test]
fn api_the_status_is_written_only_as_status() -> Result<()> {
    with_cluster(async |env| {
        let object = upgrade("no-status");
        env.create(&env.admin, &object, false).await?;
        env.merge(
            &env.admin,
            &object,
            json!({ "status": { "phase": "Done" } }),
        )
        .await?;
        let read = Api::<MeshUpgrade>::all(env.admin.clone())
            .get("no-status")
            .await?;
        ensure!(
            read.status.and_then(|s| s.phase).is_none(),
            "a plain write set the phase"
        );
        let bad = Patch::Merge(json!({ "status": { "phase": "Flying" } }));
        let api = Api::<MeshUpgrade>::all(env.admin.clone());
        let result = api
            .patch_status("no-status", &PatchParams::default(), &bad)
            .await;
        refused_with(
            &["status.phase", "Pending"],
            "unknown phase",
            result.map_err(Into::into),
        )
    })
}

#[test]
fn api_a_mesh_has_defaults_and_refuses_rubbish() -> Result<()> {
    let mesh = |spec: Value| {
        json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "Mesh",
            "metadata": { "name": "defaults" }, "spec": spec,
        })
    };
    with_cluster(async |env| {
        env.create(&env.admin, &mesh(json!({})), false).await?;
        let spec = Api::<Mesh>::all(env.admin.clone())
            .get("defaults")
            .await?
            .spec;
        assert_eq!(spec, meshlift_api::MeshSpec::default());
        let cases = [
            ("type", json!({ "type": "Rented" }), "spec.type"),
            (
                "ftp",
                json!({ "charts": { "repository": "ftp://charts" } }),
                "charts.repository",
            ),
            (
                "space",
                json!({ "charts": { "repository": "http://a b" } }),
                "charts.repository",
            ),
            (
                "namespace",
                json!({ "controlPlaneNamespace": "" }),
                "spec.controlPlaneNamespace",
            ),
            (
                "values",
                json!({ "values": { "istiod": [] } }),
                "spec.values.istiod",
            ),
        ];
        for (what, spec, field) in cases {
            refused_with(
                &[field],
                what,
                env.create(&env.admin, &mesh(spec), true).await,
            )?;
        }
        // Helm values keep every key.
        let values = json!({ "values": { "istiod": { "meshConfig": { "accessLogFile": "/x" } } } });
        env.merge(&env.admin, &mesh(json!({})), json!({ "spec": values }))
            .await?;
        let spec = Api::<Mesh>::all(env.admin.clone())
            .get("defaults")
            .await?
            .spec;
        assert_eq!(spec.values.istiod["meshConfig"]["accessLogFile"], "/x");
        // Changed in the middle of an upgrade it would name another mesh.
        let elsewhere = json!({ "spec": { "controlPlaneNamespace": "istio-b" } });
        let changed = env.merge(&env.admin, &mesh(json!({})), elsewhere).await;
        refused_with(
            &["controlPlaneNamespace", "cannot be changed"],
            "moved",
            changed,
        )?;
        Ok(())
    })
}
