//! The ReleaseCatalog object counts while the operator runs, and its risks are looked for in the
//! cluster.

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{Patch, PatchParams};
use meshlift_api::{CheckResult, CheckStatus, MeshUpgradeStatus, ReleaseCatalog};
use meshlift_tests::bed::Bed;
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{shown, wait_status};
use serde_json::{Value, json};

use crate::fixture::{SOON, make_ready, with_bed};

fn risk(code: &str, rule: Value) -> Value {
    json!({
        "code": code, "title": "t", "message": "Something changes.", "fix": "Mend it.",
        "url": "https://istio.io/", "match": rule,
    })
}

fn resources(group: &str, version: &str, resource: &str, kind: &str) -> Value {
    json!({ "group": group, "version": version, "resource": resource, "kind": kind })
}

async fn write_catalog(bed: &Bed, risks: Value) -> Result<()> {
    let object = json!({
        "apiVersion": "meshlift.io/v1alpha1", "kind": "ReleaseCatalog",
        "metadata": { "name": "default" },
        "spec": { "releases": [{ "minor": "1.31", "risks": risks }] },
    });
    Api::<ReleaseCatalog>::all(bed.client.clone())
        .patch(
            "default",
            &PatchParams::apply("test"),
            &Patch::Apply(object),
        )
        .await?;
    Ok(())
}

fn check<'a>(status: &'a MeshUpgradeStatus, code: &str) -> Option<&'a CheckStatus> {
    status.checks.iter().find(|check| check.code == code)
}

const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: billing, namespace: default }
spec: { type: ExternalName, externalName: billing.example.com }
---
apiVersion: v1
kind: Service
metadata: { name: plain, namespace: default }
spec: { ports: [{ port: 80 }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: billing, namespace: default }
spec:
  host: billing.example.com
  trafficPolicy: { tls: { mode: SIMPLE } }
"#;

#[test]
fn api_risks_of_the_catalog_are_looked_for_in_the_cluster() -> Result<()> {
    with_bed(async |bed| {
        make_ready(bed, "default").await?;
        bed.cluster.apply_yaml(OBJECTS).await?;
        let rules = resources(
            "networking.istio.io",
            "v1",
            "destinationrules",
            "DestinationRule",
        );
        let mut any_version = resources(
            "networking.istio.io",
            "",
            "destinationrules",
            "DestinationRule",
        );
        any_version
            .as_object_mut()
            .map(|kind| kind.remove("version"));
        let services = resources("", "v1", "services", "Service");
        let absent = resources("nowhere.example.com", "v1", "things", "Thing");
        let leases = resources("coordination.k8s.io", "v1", "leases", "Lease");
        let external = "object.spec.type == 'ExternalName'";
        let fails = "object.spec.nothing == 1";
        write_catalog(
            bed,
            json!([
                risk(
                    "T-EXTERNAL",
                    json!({ "resources": services, "expression": external })
                ),
                risk("T-RULES", json!({ "resources": rules })),
                risk("T-ANY-VERSION", json!({ "resources": any_version })),
                risk("T-ABSENT", json!({ "resources": absent })),
                risk("T-FORBIDDEN", json!({ "resources": leases })),
                risk(
                    "T-FAILS",
                    json!({ "resources": rules, "expression": fails })
                ),
                risk("T-VALUES", json!({ "values": "has(values.nothing)" })),
            ]),
        )
        .await?;
        let _operator = Operator::start(bed).await?;
        let spec = json!({ "targetVersion": "1.31.0", "mode": "Preflight" });
        bed.create_upgrade("risks", spec).await?;
        let told = wait_status(bed, "risks", "the risks are told", SOON, |status| {
            check(status, "T-EXTERNAL").is_some()
        })
        .await?;
        for (code, object) in [
            ("T-EXTERNAL", "Service default/billing"),
            ("T-RULES", "DestinationRule default/billing"),
            ("T-ANY-VERSION", "DestinationRule default/billing"),
        ] {
            let found = check(&told, code).with_context(|| shown(&told))?;
            ensure!(found.result == CheckResult::Failed, "{found:?}");
            ensure!(found.objects == [object], "{found:?}");
            ensure!(found.objects_total == 1, "{found:?}");
        }
        for (code, words) in [
            ("T-FORBIDDEN", "may not list leases.coordination.k8s.io"),
            (
                "T-FAILS",
                "DestinationRule default/billing: \"object.spec.nothing == 1\" fails",
            ),
        ] {
            let found = check(&told, code).with_context(|| shown(&told))?;
            ensure!(found.result == CheckResult::Unknown, "{found:?}");
            ensure!(found.message.contains(words), "{found:?}");
        }
        for code in ["T-ABSENT", "T-VALUES"] {
            let quiet = check(&told, code).is_none_or(|c| c.result == CheckResult::Passed);
            ensure!(quiet, "{:?}", check(&told, code));
        }
        // The catalog goes while the operator runs.
        Api::<ReleaseCatalog>::all(bed.client.clone())
            .delete("default", &Default::default())
            .await?;
        bed.delete_upgrade("risks").await?;
        let spec = json!({ "targetVersion": "1.31.0", "mode": "Preflight" });
        bed.create_upgrade("risks", spec).await?;
        let told = wait_status(
            bed,
            "risks",
            "only what is built in is told",
            SOON,
            |status| !status.checks.is_empty(),
        )
        .await?;
        ensure!(check(&told, "T-EXTERNAL").is_none(), "{}", shown(&told));
        bed.delete_upgrade("risks").await?;
        let delete = [
            "delete",
            "service/billing",
            "service/plain",
            "destinationrule/billing",
        ];
        bed.cluster.kubectl(&delete).await?;
        Ok(())
    })
}
