//! The cluster that the tests share, one at a time, and the parts of kubelet and istiod.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use meshlift_api::{Phase, conditions};
use meshlift_testbed::Options;
use meshlift_testbed::charts::Mode;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::audit::Audit;
use meshlift_tests::bed::{Bed, ISTIO, OPERATOR_USER};
use meshlift_tests::upgrades::{ensure_condition, ensure_says, wait_status};
use meshlift_tests::wait::until;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

/// One runtime for all tests: a client belongs to the runtime that made it.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("a runtime needs only threads"));
static BED: OnceCell<Bed> = OnceCell::const_new();
/// Two operators on one cluster would meddle with each other; and two cores serve one test best.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How soon the operator must have seen something.
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// Runs one test on the shared cluster, on which Istio is installed and not ready.
pub(crate) fn with_bed<F: Future<Output = Result<()>>>(
    test: impl FnOnce(&'static Bed) -> F,
) -> Result<()> {
    RUNTIME.block_on(async {
        let _alone = ALONE.lock().await;
        let start = async {
            let bed = Bed::up(Options::api("operator")).await?;
            install_istio(&bed, ISTIO_FROM).await?;
            anyhow::Ok(bed)
        };
        let bed = BED.get_or_try_init(|| start).await?;
        clear(bed).await?;
        test(bed).await
    })
}

/// Removes what a test that failed left: the next one is not to fail with it.
async fn clear(bed: &Bed) -> Result<()> {
    bed.cluster.charts().set_mode(Mode::Ok);
    for upgrade in bed.upgrades().list(&Default::default()).await? {
        let name = upgrade.name_any();
        let free = json!({ "metadata": { "finalizers": null } });
        bed.patch_upgrade(&name, free).await?;
        bed.delete_upgrade(&name).await?;
    }
    for mesh in bed.meshes().list(&Default::default()).await? {
        bed.meshes()
            .delete(&mesh.name_any(), &Default::default())
            .await?;
    }
    Ok(())
}

/// Runs one test on a cluster of its own, without Istio.
pub(crate) fn with_own_bed<F: Future<Output = Result<()>>>(
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    RUNTIME.block_on(async {
        let _alone = ALONE.lock().await;
        test(Bed::up(Options::api("operator-own")).await?).await
    })
}

/// Installs Istio as people do, and waits for nothing.
pub(crate) async fn install_istio(bed: &Bed, version: &str) -> Result<()> {
    let charts = bed.cluster.charts_url_host()?;
    for (release, chart) in [("istio-base", "base"), ("istiod", "istiod")] {
        let install = ["install", release, chart, "-n", ISTIO];
        let from = ["--repo", &charts, "--version", version];
        bed.cluster.helm(&[&install[..], &from].concat()).await?;
    }
    Ok(())
}

/// Does what a kubelet and istiod do once istiod of `revision` runs.
pub(crate) async fn make_ready(bed: &Bed, revision: &str) -> Result<()> {
    let pods = Api::<Pod>::namespaced(bed.client.clone(), ISTIO);
    let selector = format!("app=istiod,istio.io/rev={revision}");
    let ours = ListParams::default().labels(&selector);
    let what = format!("istiod {revision} has a pod");
    let found = until(&what, SOON, || async {
        let found = pods.list(&ours).await?.items;
        Ok(if found.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(found)
        })
    })
    .await?;
    for pod in found {
        let now = jiff::Timestamp::now().to_string();
        let ready =
            |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now });
        let status =
            json!({ "phase": "Running", "conditions": [ready("Ready"), ready("ContainersReady")] });
        let patch = Patch::Merge(json!({ "status": status }));
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await?;
    }
    write_ca_bundles(bed).await
}

async fn write_ca_bundles(bed: &Bed) -> Result<()> {
    let bundle = ca_bundle(bed)?;
    let injectors = Api::<MutatingWebhookConfiguration>::all(bed.client.clone());
    for mut injector in injectors.list(&Default::default()).await? {
        for webhook in injector.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle = Some(bundle.clone());
        }
        let name = injector.name_any();
        injectors
            .replace(&name, &PostParams::default(), &injector)
            .await?;
    }
    let validators = Api::<ValidatingWebhookConfiguration>::all(bed.client.clone());
    for mut validator in validators.list(&Default::default()).await? {
        for webhook in validator.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle = Some(bundle.clone());
        }
        let name = validator.name_any();
        validators
            .replace(&name, &PostParams::default(), &validator)
            .await?;
    }
    Ok(())
}

/// Any CA will do: nobody answers these webhooks.
fn ca_bundle(bed: &Bed) -> Result<ByteString> {
    let kubeconfig = kube::config::Kubeconfig::read_from(bed.cluster.kubeconfig())?;
    let cluster = kubeconfig
        .clusters
        .into_iter()
        .find_map(|named| named.cluster);
    let data = cluster.and_then(|cluster| cluster.certificate_authority_data);
    let text = data.context("a kubeconfig without the cluster's CA")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text)?;
    Ok(ByteString(decoded))
}

/// Fails if the operator wrote anything to the mesh.
pub(crate) fn ensure_untouched(audit: &Audit) -> Result<()> {
    let writes = audit.mesh_writes(OPERATOR_USER)?;
    ensure!(writes.is_empty(), "the mesh was written to: {writes:?}");
    Ok(())
}

/// An upgrade with this spec ends in Detecting, for this reason and with these words, and the mesh is
/// not written to; then it can be deleted.
pub(crate) async fn ends_blocked(
    bed: &Bed,
    spec: Value,
    reason: &str,
    words: &[&str],
) -> Result<()> {
    let what = format!("{spec} is blocked by {reason}");
    ends_blocked_inner(bed, spec, reason, words)
        .await
        .context(what)
}

async fn ends_blocked_inner(bed: &Bed, spec: Value, reason: &str, words: &[&str]) -> Result<()> {
    let audit = bed.audit()?;
    let name = "blocked";
    bed.create_upgrade(name, spec).await?;
    let status = wait_status(bed, name, "it is blocked", SOON, |status| {
        let detected = status
            .conditions
            .iter()
            .find(|c| c.type_ == conditions::DETECTED);
        detected.is_some_and(|c| c.reason == reason)
    })
    .await?;
    ensure!(status.phase == Some(Phase::Detecting), "{status:?}");
    ensure_condition(&status, conditions::DETECTED, ("False", reason))?;
    ensure_condition(&status, conditions::READY, ("False", "Detecting"))?;
    ensure_condition(&status, conditions::STALLED, ("False", "NotStalled"))?;
    let waits = if reason == "Unreadable" {
        "Unreadable"
    } else {
        "Blocked"
    };
    ensure_condition(&status, conditions::RECONCILING, ("True", waits))?;
    ensure_says(&status, words)?;
    ensure_untouched(&audit)?;
    bed.delete_upgrade(name).await
}
