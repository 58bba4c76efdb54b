//! What people reported of upgrades that went wrong, all of it on one mesh: what is in the way is told before the first
//! change, with what to do; once that is done the upgrade ends at its target, and nobody is forgotten.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshlift_api::{
    CheckResult, CheckStatus, MeshUpgradeStatus, Outcome, Phase, Predicate, Severity, conditions,
};
use meshlift_testbed::istio::{self, IstioOptions};
use meshlift_testbed::progress;
use meshlift_testbed::shop::{self, wait_ready_in};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::freeze::FREEZE;
use meshlift_tests::operator::Operator;
use meshlift_tests::releases::history;
use meshlift_tests::upgrades::{
    Followed, blocked, condition, ensure_says, shown, wait_phase, wait_status,
};
use meshlift_tests::wait::until;
use serde_json::{Value, json};

use crate::colleagues::{App, label_namespace};
use crate::fixture::{UPGRADE, hurried, kubectl_json, sidecars, with_quiet_mesh_of};
use crate::street::ensure_at;

const NAME: &str = "to-1-31";
/// Namespaces with a change freeze. Their names sort first, and they are more than are restarted at once.
const FROZEN: [&str; 6] = ["aaa-0", "aaa-1", "aaa-2", "aaa-3", "aaa-4", "aaa-5"];
const FLUX: &str = "helm.toolkit.fluxcd.io";

#[test]
fn mesh_what_people_reported_is_told_before_the_first_change() -> Result<()> {
    let options = IstioOptions {
        values: json!({ "pilot": { "image": "testbed.local/istio/pilot:1.30.2" } }),
        ..IstioOptions::default()
    };
    with_quiet_mesh_of("mesh_reports", options, async |bed| {
        apply(&bed).await?;
        ensure_strangers_are_kept_out(&bed).await?;
        let operator = Operator::start(&bed).await?;
        bed.create_upgrade(NAME, spec()).await?;
        let followed = Followed::follow(&bed, NAME);
        let told = async {
            what_is_in_the_way_is_told(&bed).await?;
            mend(&bed).await?;
            let status = wait_phase(&bed, NAME, Phase::Done, UPGRADE).await?;
            progress::line(&status.message);
            ensure_ended_well(&bed, &status).await?;
            ensure_strangers_are_kept_out(&bed).await?;
            ensure_sleepers_wake_with_a_sidecar(&bed).await
        };
        told.await
            .with_context(|| operator.log_tail())
            .with_context(|| followed.transcript())?;
        followed.ensure_no_rollback()
    })
}

fn spec() -> Value {
    let mut spec = hurried();
    spec["acceptRisks"] = json!(["GATEWAY-OUTAGE"]);
    spec["dataPlane"] = json!({
        "restart": { "timeout": "60s" },
        // What check POD-NOT-READY advises.
        "exclude": { "matchLabels": { "meshlift.io/exclude": "true" } },
    });
    spec
}

async fn apply(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    istio::install_gateway_api(cluster).await?;
    shop::load_image(cluster).await?;
    for objects in [
        include_str!("reports/labelled-configuration.yaml"),
        include_str!("reports/gateway-beside-workloads.yaml"),
        include_str!("reports/others.yaml"),
        include_str!("reports/flux-crd.yaml"),
    ] {
        cluster.apply_yaml(objects).await?;
    }
    for namespace in FROZEN {
        cluster.apply_yaml(&frozen(namespace)).await?;
    }
    let crd = format!("crd/helmreleases.{FLUX}");
    let served = ["wait", "--for=condition=Established", "--timeout=30s", &crd];
    cluster.kubectl(&served).await?;
    cluster
        .apply_yaml(include_str!("reports/flux-releases.yaml"))
        .await?;
    flux_marks(bed).await?;
    // As platform charts leave it, and as hardened clusters have it where only istiod runs.
    let labels = [
        "istio-injection=disabled",
        "pod-security.kubernetes.io/enforce=baseline",
    ];
    label_namespace(bed, ISTIO, &labels).await?;
    let ready = [&FROZEN[..], &["vault", "street", "portal", "ledger"]].concat();
    wait_ready_in(&bed.client, &ready, Duration::from_secs(180)).await?;
    cluster.apply_yaml(FREEZE).await
}

fn frozen(namespace: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Namespace
metadata: {{ name: {namespace}, labels: {{ istio-injection: enabled, freeze: "true" }} }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: idle, namespace: {namespace} }}
spec:
  selector: {{ matchLabels: {{ app: idle }} }}
  template:
    metadata: {{ labels: {{ app: idle }} }}
    spec:
      containers: [{{ name: app, image: "testbed.local/base:1", imagePullPolicy: Never, command: [sleep, infinity] }}]
"#
    )
}

/// What Flux's helm-controller leaves on all objects of a release.
async fn flux_marks(bed: &Bed) -> Result<()> {
    let in_release = format!("{FLUX}/namespace={ISTIO}");
    for (object, release) in [
        ("deployment/istiod", "istiod"),
        ("service/istiod", "istiod"),
        ("configmap/istio", "istiod"),
        ("crd/virtualservices.networking.istio.io", "istio-base"),
    ] {
        let name = format!("{FLUX}/name={release}");
        let label = [
            "label",
            "-n",
            ISTIO,
            "--overwrite",
            object,
            &name,
            &in_release,
        ];
        bed.cluster.kubectl(&label).await?;
    }
    Ok(())
}

async fn what_is_in_the_way_is_told(bed: &Bed) -> Result<()> {
    let status = wait_status(bed, NAME, "the detection has ended", UPGRADE, |status| {
        condition(status, conditions::DETECTED).is_ok_and(|(is, ..)| is == "False")
    })
    .await?;
    progress::line(&status.message);
    for (code, words) in [
        ("CONFIG-REVISION", "own-namespace-only"),
        ("IMAGE-PINNED", "pilot.image"),
        ("RELEASE-OWNED", "flux suspend helmrelease istiod"),
    ] {
        ensure_told(&status, Severity::Blocking, code, words)?;
    }
    for (code, words) in [
        ("WRITE-REFUSED", "change-freeze"),
        ("INJECTION-REFUSED", "ledger"),
        ("TEMPLATE-ASLEEP", "night/sweep"),
        ("NOT-MOVED", "playground/broken"),
    ] {
        ensure_told(&status, Severity::Warning, code, words)?;
    }
    for (release, revisions) in [("istio-base", 1), ("istiod", 1)] {
        let found = history(bed, release).await?;
        ensure!(found.len() == revisions, "{release} was touched: {found:?}");
    }
    Ok(())
}

fn ensure_told(
    status: &MeshUpgradeStatus,
    severity: Severity,
    code: &str,
    words: &str,
) -> Result<()> {
    let told = |check: &CheckStatus| {
        check.code == code
            && check.severity == severity
            && check.result == CheckResult::Failed
            && format!("{} {} {:?}", check.message, check.fix, check.objects).contains(words)
    };
    ensure!(
        status.checks.iter().any(told),
        "{code} does not tell {words:?}: {:#?}",
        status.checks
    );
    Ok(())
}

/// Does what the checks say.
async fn mend(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    for object in [
        "authorizationpolicy/own-namespace-only",
        "virtualservice/safe",
    ] {
        let label = ["label", "-n", "vault", object, "istio.io/rev-"];
        cluster.kubectl(&label).await?;
    }
    for release in ["istio-base", "istiod"] {
        let release = format!("helmreleases.{FLUX}/{release}");
        let suspend = r#"{"spec":{"suspend":true}}"#;
        let patch = [
            "patch",
            "-n",
            ISTIO,
            &release,
            "--type=merge",
            "-p",
            suspend,
        ];
        cluster.kubectl(&patch).await?;
    }
    let without = ["--set=pilot.image=null"];
    meshlift_tests::istio::upgrade(bed, "istiod", ISTIO_FROM, &without).await
}

async fn ensure_ended_well(bed: &Bed, status: &MeshUpgradeStatus) -> Result<()> {
    ensure!(
        status.outcome == Some(Outcome::Upgraded),
        "{}",
        shown(status)
    );
    ensure_at(bed, ISTIO_TO, &["vault", "street", "portal", "ledger"]).await?;
    ensure_at(bed, ISTIO_FROM, &FROZEN).await?;
    let mut expected = vec![
        ("playground/broken".to_owned(), Predicate::Excluded, ""),
        (
            "CronJob night/sweep".to_owned(),
            Predicate::PodLabel,
            "patch cronjob sweep",
        ),
    ];
    let idle = FROZEN.map(|namespace| format!("{namespace}/idle"));
    expected.extend(idle.map(|name| (name, Predicate::Refused, "the namespace is frozen")));
    for (name, why, words) in &expected {
        let (predicate, message) = blocked(status, name)?;
        ensure!(
            predicate == *why && message.contains(words),
            "{name} is blocked by {predicate}: {message}"
        );
    }
    ensure!(
        status.blocked.len() == expected.len(),
        "others are named too: {:?}",
        status.blocked
    );
    ensure_says(status, &[ISTIO_FROM, "stays"])
}

/// The policy says 403, whichever control plane tells the sidecars so.
async fn ensure_strangers_are_kept_out(bed: &Bed) -> Result<()> {
    let call = [
        "exec",
        "-n",
        "street",
        "deploy/passer-by",
        "-c",
        "app",
        "--",
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "http://safe.vault/",
    ];
    until(
        "strangers are kept out",
        Duration::from_secs(60),
        || async {
            let code = bed.cluster.kubectl(&call).await;
            Ok(match code {
                Ok(code) if code.trim() == "403" => Ok(()),
                Ok(code) => Err(code),
                Err(error) => Err(format!("{error:#}")),
            })
        },
    )
    .await
}

/// A workload without a pod and one that runs at night, each woken now.
async fn ensure_sleepers_wake_with_a_sidecar(bed: &Bed) -> Result<()> {
    App("night", "report").scale(bed, 1).await?;
    let job = [
        "create",
        "job",
        "-n",
        "night",
        "now",
        "--from=cronjob/sweep",
    ];
    bed.cluster.kubectl(&job).await?;
    until("both sleepers are awake", UPGRADE, || async {
        let list = kubectl_json(bed, &["get", "pods", "-n", "night"]).await?;
        let pods = list["items"].as_array().context("a list")?;
        if pods.len() < 2 {
            return Ok(Err(format!("{} pods", pods.len())));
        }
        let injected = sidecars(bed).await?;
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let is = |(pod, _): &(String, String)| *pod == format!("night/{name}");
            ensure!(injected.iter().any(is), "{name} has no sidecar");
        }
        Ok(Ok(()))
    })
    .await
}
