//! What a run keeps: a backup before it changes anything, and its log.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use meshlift_api::labels::CONTENT;
use meshlift_api::{Outcome, Phase};
use meshlift_cluster::backup::{CHUNK, load};
use meshlift_cluster::journal::{self, Log};
use meshlift_model::Upgrade;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::{Bed, OPERATOR_NAMESPACE, OPERATOR_USER};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{wait_phase, wait_status};
use serde_json::json;

use crate::fixture::{install_istio, make_ready, with_own_bed};

const NAME: &str = "to-1-31";
const LONG: Duration = Duration::from_secs(120);

#[test]
fn api_a_run_keeps_a_backup_and_a_log() -> Result<()> {
    with_own_bed(async |bed| {
        install_istio(&bed, ISTIO_FROM).await?;
        make_ready(&bed, "default").await?;
        configure(&bed).await?;
        keep_old_backups(&bed).await?;
        let audit = bed.audit()?;
        let operator = Operator::start(&bed).await?;
        let spec = json!({
            "targetVersion": "1.31",
            "rollback": "Never",
            "dataPlane": { "restart": { "timeout": "5s" } },
        });
        bed.create_upgrade(NAME, spec).await?;
        let status = wait_phase(&bed, NAME, Phase::Failed, LONG).await?;
        ensure!(status.outcome == Some(Outcome::Stopped), "{status:?}");
        let backup = status.backup.context("status names no backup")?;
        is_whole(&bed, &backup).await?;
        ten_are_kept(&bed, &backup).await?;
        let writes = audit.writes(OPERATOR_USER)?;
        let first = format!("{backup}-0");
        let at = writes.iter().position(|write| write.name == first);
        let at = at.context("nobody wrote the backup")?;
        let mesh = audit.mesh_writes(OPERATOR_USER)?;
        let change = writes.iter().position(|write| mesh.contains(write));
        ensure!(change.is_some_and(|change| at < change), "{writes:#?}");
        let batches = writes
            .iter()
            .filter(|write| write.name.starts_with("meshlift-log-"));
        let batches = batches.count();

        let log = log(&bed).await?;
        tells_the_run(&log)?;
        ensure!(
            batches < 20,
            "{batches} writes of a log of {} lines",
            log.lines().len()
        );

        // It goes on where it was, also for another process, and is silent after the end.
        ensure!(operator.stop().await?.success());
        let _operator = Operator::start(&bed).await?;
        bed.retry(NAME, "1").await?;
        let again = wait_status(&bed, NAME, "it ran again", LONG, |status| {
            status.phase == Some(Phase::Failed) && status.observed_retry.as_deref() == Some("1")
        });
        let second = again.await?.backup.context("no backup of the second run")?;
        ensure!(second != backup, "two runs, one backup");
        ensure!(
            load(&bed.client, OPERATOR_NAMESPACE, &backup)
                .await?
                .is_some()
        );
        let longer = self::log(&bed).await?;
        ensure!(longer.lines().starts_with(log.lines()), "{}", longer.text());
        ensure!(
            longer.lines().len() > log.lines().len() + 5,
            "{}",
            longer.text()
        );
        Ok(())
    })
}

/// Some configuration, and 2.6 MiB of it that does not compress well.
async fn configure(bed: &Bed) -> Result<()> {
    let small = "
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio-injection: enabled } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: cart, namespace: shop }
spec: { hosts: [cart], http: [{ route: [{ destination: { host: cart } }] }] }
";
    bed.cluster.apply_yaml(small).await?;
    let kind = kube::core::GroupVersionKind::gvk("networking.istio.io", "v1alpha3", "EnvoyFilter");
    let kind = kube::api::ApiResource::from_gvk(&kind);
    let filters: Api<kube::api::DynamicObject> =
        Api::namespaced_with(bed.client.clone(), "shop", &kind);
    for number in 0..3 {
        let filter = json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
            "metadata": { "name": format!("large-{number}"), "namespace": "shop" },
            "spec": { "configPatches": [{
                "applyTo": "HTTP_FILTER",
                "patch": { "operation": "ADD", "value": { "noise": noise(number, 900 << 10) } },
            }] },
        });
        let filter = serde_json::from_value(filter)?;
        filters.create(&Default::default(), &filter).await?;
    }
    Ok(())
}

/// Text that does not compress well, always the same.
fn noise(seed: u64, length: usize) -> String {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'#' + u8::try_from(state % 50).unwrap_or_default())
    };
    (0..length).map(|_| next()).collect()
}

async fn is_whole(bed: &Bed, name: &str) -> Result<()> {
    let found = load(&bed.client, OPERATOR_NAMESPACE, name).await?;
    let (index, _, contents) = found.context("status names a backup that is not there")?;
    ensure!(index.chunks.len() >= 3, "{index:#?}");
    ensure!(
        index.chunks.iter().all(|chunk| chunk.bytes <= CHUNK as u64),
        "{index:#?}"
    );
    for (kind, count) in [
        ("networking.istio.io/v1 VirtualService", 1),
        ("networking.istio.io/v1alpha3 EnvoyFilter", 3),
        ("v1 Namespace", 1),
        ("Helm release", 2),
    ] {
        ensure!(
            index.counts.get(kind) == Some(&count),
            "{kind}: {:#?}",
            index.counts
        );
    }
    for kind in [
        "admissionregistration.k8s.io/v1 MutatingWebhookConfiguration",
        "admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration",
        "apiextensions.k8s.io/v1 CustomResourceDefinition",
    ] {
        ensure!(
            index.counts.contains_key(kind),
            "{kind}: {:#?}",
            index.counts
        );
    }
    ensure!(contents.counts == index.counts);
    let large = contents
        .objects
        .iter()
        .filter(|object| object["kind"] == "EnvoyFilter");
    for (number, filter) in large.enumerate() {
        let value = &filter["spec"]["configPatches"][0]["patch"]["value"]["noise"];
        ensure!(
            *value == noise(number as u64, 900 << 10),
            "large-{number} is not as it was"
        );
    }
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), OPERATOR_NAMESPACE);
    let whole = ListParams::default().labels(&format!("{CONTENT}=backup"));
    let whole = secrets.list_metadata(&whole).await?;
    let names = whole.items.iter().map(ResourceExt::name_any);
    let new: Vec<String> = names.filter(|name| !name.contains("-old-")).collect();
    ensure!(new == [format!("{name}-0")], "{new:?}");
    Ok(())
}

async fn log(bed: &Bed) -> Result<Log> {
    let name = journal::find(&bed.client, OPERATOR_NAMESPACE, NAME).await?;
    let name = name.context("there is no log")?;
    let object = bed.upgrades().get(NAME).await?;
    let spec = object.spec.clone();
    let wanted = Upgrade {
        name: NAME.into(),
        uid: object.uid().unwrap_or_default(),
        generation: 1,
        created_at: jiff::Timestamp::UNIX_EPOCH,
        deleting: false,
        held: false,
        retry: None,
        redetect: None,
        accepts: None,
        spec,
        status: Default::default(),
    };
    ensure!(name == wanted.log_name(), "{name}");
    let read = journal::read(&bed.client, OPERATOR_NAMESPACE, &name).await?;
    Ok(read.context("the log went away")?.0)
}

fn tells_the_run(log: &Log) -> Result<()> {
    let lines = log.lines();
    let did: Vec<&String> = lines.iter().flat_map(|line| &line.did).collect();
    let mut rest = did.iter();
    for word in [
        "adding the finalizer",
        "backing up the mesh",
        "recording",
        "upgrading Helm release istio-base",
        "installing Helm release istiod-1-31-0",
    ] {
        ensure!(
            rest.any(|did| did.contains(word)),
            "no {word} in its place: {did:#?}"
        );
    }
    let waits = lines.iter().filter_map(|line| line.waits.as_deref());
    ensure!(
        waits.into_iter().any(|on| on == "ControlPlane"),
        "{}",
        log.text()
    );
    let last = lines.last().context("an empty log")?;
    ensure!(last.phase == Phase::Failed, "{last:?}");
    ensure!(last.what.contains("did not come up"), "{last:?}");
    let numbers: Vec<u64> = lines.iter().map(|line| line.n).collect();
    let wanted: Vec<u64> = (1..=lines.len() as u64).collect();
    ensure!(numbers == wanted, "{numbers:?}");
    Ok(())
}

fn old(n: usize) -> String {
    format!("meshlift-backup-old-{n:02}")
}

/// Twelve backups of years ago, each in two Secrets.
async fn keep_old_backups(bed: &Bed) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), OPERATOR_NAMESPACE);
    for n in 0..12 {
        for (part, content) in [(0, "backup"), (1, "backup-chunk")] {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {
                    "name": format!("{}-{part}", old(n)),
                    "labels": { CONTENT: content },
                    "annotations": {
                        "meshlift.io/mesh": "default",
                        "meshlift.io/taken-at": format!("2020-01-{:02}T00:00:00Z", n + 1),
                    },
                },
            });
            let secret: Secret = serde_json::from_value(secret)?;
            secrets.create(&PostParams::default(), &secret).await?;
        }
    }
    Ok(())
}

/// The new one, and the newest nine of before, with all their parts.
async fn ten_are_kept(bed: &Bed, new: &str) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), OPERATOR_NAMESPACE);
    let listed = secrets
        .list_metadata(&ListParams::default().labels(CONTENT))
        .await?;
    let names: BTreeSet<String> = listed.items.iter().map(ResourceExt::name_any).collect();
    ensure!(names.contains(&format!("{new}-0")), "{names:?}");
    for n in 0..12 {
        for part in 0..2 {
            let kept = names.contains(&format!("{}-{part}", old(n)));
            ensure!(kept == (n >= 3), "{n} {part}: {names:?}");
        }
    }
    Ok(())
}
