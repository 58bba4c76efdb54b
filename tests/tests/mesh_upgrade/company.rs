//! A day in a company: a mesh under load is upgraded, and nobody else stops working for that. The upgrade ends at its
//! target, loses no request, names what it could not move, and begins no rollback.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase, Predicate, Step, WaveState, conditions};
use meshlift_testbed::istio::{Injection, IstioOptions};
use meshlift_testbed::progress;
use meshlift_testbed::shop::{
    self, LoadHandle, LoadOptions, NAMESPACES, NEIGHBOURS, VISITORS, wait_ready_in,
};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::freeze::FREEZE;
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{
    Followed, blocked, condition, ensure_condition, ensure_says, shown, wait_phase, wait_status,
};
use meshlift_tests::wait::until;
use serde_json::{Value, json};

use crate::colleagues::{
    App, ensure_dashboards_are, kill_one_istiod, label_namespace, release_dashboards, scale,
};
use crate::fixture::{UPGRADE, ensure_nothing_lost, hurried, kubectl_json, with_mesh_of};
use crate::street::{FIRST, SECOND, ensure_at};

const NAME: &str = "on-a-work-day";
const NEW: &str = "istiod-1-31-0";
/// Port of the metrics of istiod.
const METRICS: u16 = 15014;
/// How long a restart may make no progress, and so how long anything exceptional is waited for.
const PATIENCE: &str = "40s";

/// Namespace whose label somebody puts back.
const WIKI: &str = "wiki";
const STAGING: App = App("shop-staging", "storefront");
const BLOG: App = App("blog", "blog");
const STOREFRONT: App = App("shop", "storefront");
const CATALOG: App = App("shop", "catalog");

#[test]
fn mesh_an_upgrade_gets_through_a_day_in_a_company() -> Result<()> {
    let options = IstioOptions {
        values: json!({ "autoscaleEnabled": true, "autoscaleMin": 2, "autoscaleMax": 4 }),
        ..IstioOptions::default()
    };
    with_mesh_of("mesh_company", options, async |bed| {
        let load = open(&bed).await?;
        let operator = Operator::start(&bed).await?;
        bed.create_upgrade(NAME, spec()).await?;
        let followed = Followed::follow(&bed, NAME);
        let day = async {
            while_the_control_plane_is_installed(&bed).await?;
            while_the_first_wave_moves(&bed).await?;
            let operator = while_the_second_wave_moves(&bed, operator).await?;
            while_its_health_is_watched(&bed).await?;
            let status = wait_phase(&bed, NAME, Phase::Done, UPGRADE).await;
            let status = status.with_context(|| operator.log_tail())?;
            progress::line(&status.message);
            ensure_ended_well(&bed, &status).await
        };
        day.await.with_context(|| followed.transcript())?;
        followed.ensure_no_rollback()?;
        ensure_nothing_lost(load).await
    })
}

/// Two waves, the rest after them.
fn spec() -> Value {
    let mut spec = hurried();
    let first = [&NEIGHBOURS[..], &[WIKI]].concat();
    spec["dataPlane"] = json!({
        "waves": [
            { "name": FIRST, "namespaces": { "names": first }, "soak": "3s" },
            { "name": SECOND, "namespaces": { "names": NAMESPACES }, "soak": "3s" },
        ],
        "restart": { "timeout": PATIENCE, "maxConcurrentPerNamespace": 2 },
    });
    spec
}

/// The company as it is before: the shop and its neighbours under load, an autoscaled istiod, others around.
async fn open(bed: &Bed) -> Result<LoadHandle> {
    shop::deploy(&bed.cluster, &Injection::default()).await?;
    shop::deploy_neighbours(&bed.cluster, &Injection::default()).await?;
    bed.cluster.apply_yaml(include_str!("company.yaml")).await?;
    release_dashboards(bed, "1.0.0").await?;
    let all = [&NAMESPACES[..], &NEIGHBOURS, &["frozen", WIKI]].concat();
    wait_ready_in(&bed.client, &all, Duration::from_secs(180)).await?;
    wait_for_istiods(bed, "istiod", 2).await?;
    bed.cluster.apply_yaml(FREEZE).await?;
    let mut load = LoadOptions::default();
    load.targets.extend(shop::NEIGHBOUR_URLS.map(str::to_owned));
    shop::load_start(&bed.cluster, load).await
}

async fn wait_for_istiods(bed: &Bed, name: &str, wanted: i32) -> Result<()> {
    let istiods: Api<Deployment> = Api::namespaced(bed.client.clone(), ISTIO);
    let what = format!("{name} has {wanted} replicas ready");
    until(&what, Duration::from_secs(90), || async {
        let status = istiods.get(name).await?.status.unwrap_or_default();
        let ready = status.ready_replicas.unwrap_or_default();
        Ok((ready >= wanted).then_some(()).ok_or(format!("{ready}")))
    })
    .await
}

async fn while_the_control_plane_is_installed(bed: &Bed) -> Result<()> {
    reach(bed, "Helm works on the mesh", |status| {
        status.step >= Some(Step::UpgradingBase)
    })
    .await?;
    release_dashboards(bed, "1.1.0").await
}

async fn while_the_first_wave_moves(bed: &Bed) -> Result<()> {
    wave(bed, FIRST, WaveState::Moving).await?;
    // Both have not moved yet.
    CATALOG.deploy(bed, "2").await?;
    let evicted = STOREFRONT.evict_one(bed).await?;
    progress::line(&format!("evicted before it moved: {evicted}"));
    // No metrics server is here that would make the autoscaler want more.
    scale(bed, ISTIO, NEW, 3).await
}

/// Returns the operator that runs then.
async fn while_the_second_wave_moves(bed: &Bed, operator: Operator) -> Result<Operator> {
    wave(bed, SECOND, WaveState::Moving).await?;
    // All of these have moved.
    label_namespace(bed, WIKI, &["istio-injection=enabled", "istio.io/rev-"]).await?;
    STAGING.scale(bed, 4).await?;
    BLOG.deploy(bed, "2").await?;
    let killed = kill_one_istiod(bed, "1-31-0").await?;
    let evicted = [STAGING.evict_one(bed).await?, BLOG.evict_one(bed).await?];
    progress::line(&format!("killed {killed}, evicted once moved: {evicted:?}"));
    operator.kill()?;
    let operator = Operator::start(bed).await?;
    the_label_is_requested(bed)
        .await
        .with_context(|| operator.log_tail())?;
    Ok(operator)
}

/// What somebody undoes is not done again over their head: once all others have moved it is requested, with the exact
/// change.
async fn the_label_is_requested(bed: &Bed) -> Result<()> {
    let status = reach(bed, "the label is requested", |status| {
        reason(status, "WaitingForGit")
    })
    .await?;
    ensure_says(&status, &[WIKI, "istio.io/rev", "1-31-0", "put back"])?;
    // Before the label is as requested: next comes the health of the wave, which is then never seen with them.
    bed.cluster.close_port(METRICS).await?;
    label_namespace(bed, WIKI, &["istio.io/rev=1-31-0", "istio-injection-"]).await
}

/// Longer than it waits for metrics without asking somebody. It goes on by itself once they are back.
async fn while_its_health_is_watched(bed: &Bed) -> Result<()> {
    wait_ready_in(&bed.client, &NEIGHBOURS, UPGRADE).await?;
    STAGING.scale(bed, 2).await?;
    wait_ready_in(&bed.client, &NEIGHBOURS, UPGRADE).await?;
    let status = reach(bed, "the metrics are missed", |status| {
        reason(status, "Unreadable") && status.message.contains("METRICS-UNREADABLE")
    })
    .await?;
    progress::line(&status.message);
    bed.cluster.open_ports().await
}

async fn ensure_ended_well(bed: &Bed, status: &MeshUpgradeStatus) -> Result<()> {
    ensure!(
        status.outcome == Some(Outcome::Upgraded),
        "{}",
        shown(status)
    );
    ensure_warned(status)?;
    ensure_exceptions_are_named(status)?;
    let moved = [&NAMESPACES[..], &NEIGHBOURS, &[VISITORS, WIKI]].concat();
    ensure_at(bed, ISTIO_TO, &moved).await?;
    ensure_at(bed, ISTIO_FROM, &["frozen"]).await?;
    for namespace in &moved {
        ensure_restarted_once(bed, namespace).await?;
    }
    for app in [CATALOG, BLOG] {
        let release = app.release(bed).await?;
        ensure!(release == "2", "{app:?} is at release {release}");
    }
    ensure_the_night_was_quiet(bed).await?;
    ensure_dashboards_are(bed, "1.1.0").await?;
    wait_for_istiods(bed, "istiod", 2).await?;
    wait_for_istiods(bed, NEW, 2).await
}

/// Fails unless everything that has not moved is named with the reason and the command, and nothing else is.
fn ensure_exceptions_are_named(status: &MeshUpgradeStatus) -> Result<()> {
    let upgraded = ("True", "AllButBlockedMoved");
    ensure_condition(status, conditions::DATA_PLANE_UPGRADED, upgraded)?;
    for (name, why, words) in [
        ("frozen/archive", Predicate::Refused, "change-freeze"),
        (
            "crashing/crasher",
            Predicate::RolloutIncomplete,
            "rollout status deployment/crasher",
        ),
        // Its template asks for the default revision by itself.
        (
            "CronJob night/report",
            Predicate::PodLabel,
            "patch cronjob report",
        ),
    ] {
        let (predicate, message) = blocked(status, name)?;
        ensure!(
            predicate == why && message.contains(words),
            "{name} is blocked by {predicate}: {message}"
        );
    }
    // A run of the CronJob that is under way is named beside it.
    let exceptions = ["frozen/archive", "crashing/crasher", "night/report"];
    for named in &status.blocked {
        let mut expected = exceptions.iter();
        ensure!(
            expected.any(|name| named.reference.contains(name)),
            "{named:?}"
        );
    }
    ensure_says(status, &[ISTIO_FROM, "stays", "meshlift.io/retry"])
}

/// Fails unless the detection has said what would not move.
fn ensure_warned(status: &MeshUpgradeStatus) -> Result<()> {
    for (code, object) in [
        ("WRITE-REFUSED", "frozen/archive"),
        ("POD-NOT-READY", "crasher"),
        ("TEMPLATE-ASLEEP", "night/report"),
    ] {
        let mut checks = status.checks.iter();
        let named = checks.any(|check| check.code == code && check.message.contains(object));
        ensure!(named, "{code} does not name {object}: {:?}", status.checks);
    }
    Ok(())
}

/// Every Job of the night has done its work, whoever injected it.
async fn ensure_the_night_was_quiet(bed: &Bed) -> Result<()> {
    let jobs = kubectl_json(bed, &["get", "jobs", "-n", "night"]).await?;
    let jobs = jobs["items"].as_array().context("a list")?;
    let succeeded = jobs.iter().filter(|job| job["status"]["succeeded"] == 1);
    let failed = jobs.iter().any(|job| !job["status"]["failed"].is_null());
    ensure!(!failed && succeeded.count() >= 2, "{jobs:?}");
    Ok(())
}

/// The first restart leaves the bare revision as its mark; each further one counts.
async fn ensure_restarted_once(bed: &Bed, namespace: &str) -> Result<()> {
    let kinds = "deployments,statefulsets,daemonsets";
    let list = kubectl_json(bed, &["get", kinds, "-n", namespace]).await?;
    for item in list["items"].as_array().into_iter().flatten() {
        let annotations = &item["spec"]["template"]["metadata"]["annotations"];
        let mark = &annotations[meshlift_api::labels::RESTARTED_FOR];
        let name = &item["metadata"]["name"];
        ensure!(mark == "1-31-0", "{namespace}/{name} has the mark {mark}");
    }
    Ok(())
}

fn reason(status: &MeshUpgradeStatus, wanted: &str) -> bool {
    let reconciling = condition(status, conditions::RECONCILING);
    reconciling.is_ok_and(|(_, reason, _)| reason == wanted)
}

/// Waits until the upgrade is so, and fails if it ends before.
async fn reach(
    bed: &Bed,
    what: &str,
    wanted: impl Fn(&MeshUpgradeStatus) -> bool,
) -> Result<MeshUpgradeStatus> {
    let ended = |status: &MeshUpgradeStatus| status.phase.is_some_and(Phase::is_terminal);
    let status = wait_status(bed, NAME, what, UPGRADE, |status| {
        wanted(status) || ended(status)
    })
    .await?;
    if ended(&status) {
        bail!("{what}: it ended before: {}", shown(&status));
    }
    Ok(status)
}

/// Waits until a wave is there, or further.
async fn wave(bed: &Bed, name: &str, state: WaveState) -> Result<MeshUpgradeStatus> {
    let what = format!("wave {name} is {state}");
    let reached = reach(bed, &what, |status| {
        let mut waves = status.waves.iter();
        waves.any(|wave| wave.name == name && wave.state >= state)
    })
    .await?;
    progress::line(&format!("{what}: {}", reached.message));
    Ok(reached)
}
