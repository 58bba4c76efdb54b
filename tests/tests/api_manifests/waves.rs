//! Waves, approvals, windows and the request to move back: what the API server takes of them.

use anyhow::{Result, ensure};
use kube::api::{Api, DeleteParams};
use meshlift_api::MeshUpgrade;
use serde_json::{Value, json};

use crate::environment::{Environment, RUNNING_UPGRADES, refused_with, upgrade, with_cluster};

fn upgrades(env: &Environment) -> Api<MeshUpgrade> {
    Api::all(env.admin.clone())
}

async fn delete(env: &Environment, name: &str) -> Result<()> {
    upgrades(env).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

fn waves(waves: Value) -> Value {
    json!({ "targetVersion": "1.31", "dataPlane": { "waves": waves } })
}

fn selector(namespaces: Value) -> Value {
    waves(json!([{ "name": "canary", "namespaces": namespaces }]))
}

fn window(window: Value) -> Value {
    json!({ "targetVersion": "1.31", "windows": [window] })
}

fn many(n: usize) -> Value {
    let wave = |n| json!({ "name": format!("w{n}") });
    (0..n).map(wave).collect()
}

#[test]
fn api_slips_of_the_pen_in_waves_are_refused_by_name() -> Result<()> {
    let taken = "is taken: 'gateways' is the wave of the gateways";
    let no_name = "is no name: write small letters";
    let no_time = "is no time of the day: write hours and minutes";
    let cases: &[(Value, &[&str])] = &[
        (
            waves(json!([{ "name": "gateways" }])),
            &["waves[0].name", taken],
        ),
        (
            waves(json!([{ "name": "rest" }])),
            &["waves[0].name", taken],
        ),
        (waves(json!([{ "name": "" }])), &["waves[0].name"]),
        (
            waves(json!([{ "name": "Prod" }])),
            &["waves[0].name", no_name],
        ),
        (
            waves(json!([{ "name": "-prod" }])),
            &["waves[0].name", no_name],
        ),
        (
            waves(json!([{ "name": "p".repeat(64) }])),
            &["waves[0].name", "63"],
        ),
        (
            waves(json!([{ "namespaces": {} }])),
            &["waves[0].name", "Required"],
        ),
        (
            waves(json!([{ "name": "a" }, { "name": "a" }])),
            &["waves[1]", "Duplicate"],
        ),
        (waves(many(51)), &["dataPlane.waves", "50"]),
        (
            waves(json!([{ "name": "a", "soak": "5" }])),
            &["waves[0].soak", "is no duration"],
        ),
        (
            waves(json!([{ "name": "a", "approval": "Yes" }])),
            &["waves[0].approval", "Required"],
        ),
        (
            selector(json!({ "percent": 0 })),
            &["namespaces.percent", "1"],
        ),
        (
            selector(json!({ "percent": 101 })),
            &["namespaces.percent", "100"],
        ),
        (
            selector(json!({ "names": "shop" })),
            &["namespaces.names", "array"],
        ),
        (
            selector(json!({ "names": vec!["a"; 501] })),
            &["namespaces.names", "500"],
        ),
        (
            window(json!({ "start": "24:00", "end": "04:00" })),
            &["windows[0].start", no_time],
        ),
        (
            window(json!({ "start": "22:00", "end": "4:00" })),
            &["windows[0].end", no_time],
        ),
        (
            window(json!({ "start": "22:00" })),
            &["windows[0].end", "Required"],
        ),
        (
            window(json!({ "days": ["Monday"], "start": "22:00", "end": "04:00" })),
            &["windows[0].days", "Mon"],
        ),
        (
            json!({ "targetVersion": "1.31", "approvals": ["a", "a"] }),
            &["spec.approvals", "Duplicate"],
        ),
        (
            json!({ "targetVersion": "1.31", "rollback": "Never", "requestRollback": true }),
            &["spec.requestRollback cannot be true with spec.rollback: Never"],
        ),
        (
            json!({ "targetVersion": "1.31", "strategy": "InPlace", "revision": "blue" }),
            &["spec.revision", "strategy Canary"],
        ),
        (
            json!({ "targetVersion": "1.31", "strategy": "InPlace", "path": "FewestRestarts" }),
            &["one minor at a time"],
        ),
        (
            json!({ "targetVersion": "1.31", "gateways": { "order": "Middle" } }),
            &["gateways.order", "Last"],
        ),
        (
            json!({ "targetVersion": "1.31", "dataPlane": { "move": "Tag" } }),
            &["dataPlane.move", "Auto"],
        ),
    ];
    with_cluster(async |env| {
        for (spec, words) in cases {
            let mut object = upgrade("slip");
            object["spec"] = spec.clone();
            let what = spec.to_string();
            let short: String = what.chars().take(120).collect();
            refused_with(words, &short, env.create(&env.admin, &object, true).await)?;
        }
        Ok(())
    })
}

#[test]
fn api_waves_have_defaults_and_are_kept_in_their_order() -> Result<()> {
    with_cluster(async |env| {
        let mut object = upgrade("in-order");
        object["spec"] = waves(json!([
            { "name": "zulu", "namespaces": { "names": ["b", "a"] }, "soak": "10m" },
            { "name": "alpha", "approval": "Required", "namespaces": { "percent": 100 } },
        ]));
        env.create(&env.admin, &object, false).await?;
        let read = upgrades(env).get("in-order").await?.spec;
        let names: Vec<&str> = read
            .data_plane
            .waves
            .iter()
            .map(|w| w.name.as_str())
            .collect();
        ensure!(names == ["zulu", "alpha"], "{names:?}");
        ensure!(read.data_plane.waves[0].namespaces.names == ["b", "a"]);
        delete(env, "in-order").await
    })
}

/// The rule that locks the spec compares it with the one before: also the longest must cost less than it may.
#[test]
fn api_the_longest_waves_are_locked_and_still_let_approvals_through() -> Result<()> {
    with_cluster(async |env| {
        let _alone = RUNNING_UPGRADES.lock().await;
        let wave = |n: usize| {
            let names: Vec<String> = (0..500).map(|m| format!("namespace-{n}-{m}")).collect();
            json!({ "name": format!("w{n}"), "namespaces": { "names": names } })
        };
        let all: Vec<Value> = (0..50).map(wave).collect();
        let mut object = upgrade("longest");
        object["spec"] = waves(json!(all));
        env.create(&env.admin, &object, false).await?;
        env.set_phase("longest", "Upgrading").await?;
        let approve = json!({ "spec": { "approvals": ["w7"] } });
        env.merge(&env.admin, &object, approve).await?;
        let mut changed = all.clone();
        changed[49]["soak"] = json!("1s");
        let change = json!({ "spec": { "dataPlane": { "waves": changed } } });
        let result = env.merge(&env.admin, &object, change).await;
        let said = "only spec.paused, spec.approvals and spec.requestRollback may change";
        refused_with(&[said], "a soak of a running upgrade", result)?;
        env.set_phase("longest", "Failed").await?;
        delete(env, "longest").await
    })
}
