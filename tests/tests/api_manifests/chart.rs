//! The chart and the plain manifests: lint, schema, rendering, and that they are current.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::environment::{
    Environment, IMAGE, NAMESPACE, chart, refused_with, repository, with_cluster,
};

async fn render(env: &Environment, sets: &[&str]) -> Result<Vec<Value>> {
    let chart = chart();
    let mut arguments = vec!["template", "meshlift", &chart, "-n", NAMESPACE];
    arguments.extend(["--set", IMAGE]);
    for set in sets {
        arguments.extend(["--set", set]);
    }
    let text = env.cluster.helm(&arguments).await?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize);
    let objects: Result<Vec<Value>, _> = documents.collect();
    Ok(objects?
        .into_iter()
        .filter(|object| !object.is_null())
        .collect())
}

fn one<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    objects
        .iter()
        .find(|o| o["kind"] == kind)
        .with_context(|| format!("no {kind} is rendered"))
}

#[test]
fn api_the_generated_files_are_current() -> Result<()> {
    with_cluster(async |env| {
        let check = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--bin", "xtask", "--", "gen", "--check"])
            .current_dir(repository())
            .env("HELM", env.cluster.tools().program("helm")?)
            .output()?;
        let said = String::from_utf8_lossy(&check.stderr);
        ensure!(check.status.success(), "{said}");
        Ok(())
    })
}

#[test]
fn api_the_chart_passes_lint() -> Result<()> {
    with_cluster(async |env| {
        env.cluster
            .helm(&["lint", "--strict", &chart(), "--set", IMAGE])
            .await?;
        Ok(())
    })
}

#[test]
fn api_bad_values_are_refused_by_name() -> Result<()> {
    let cases: [(&str, &[&str]); 12] = [
        ("replica=3", &["replica"]),
        ("replicas=-1", &["replicas", "minimum"]),
        (
            "image.pullPolicy=Sometimes",
            &["pullPolicy", "IfNotPresent"],
        ),
        ("image.digest=sha256:12", &["digest"]),
        (
            "image.repository=",
            &["image.repository is not set", "--set image.repository="],
        ),
        ("helmReleases={Istio}", &["helmReleases"]),
        ("extraEnv[0].value=x", &["extraEnv", "name"]),
        (
            "controlPlaneNamespaces=istio-system",
            &["controlPlaneNamespaces", "array"],
        ),
        (
            "controlPlaneNamespaces={Istio_System}",
            &["controlPlaneNamespaces"],
        ),
        (
            "defaultChartsRepository=charts",
            &["defaultChartsRepository"],
        ),
        ("versionsInterval=often", &["versionsInterval"]),
        (
            "serviceAccount.create=false",
            &["serviceAccount.name is needed"],
        ),
    ];
    with_cluster(async |env| {
        for (set, words) in cases {
            refused_with(words, set, render(env, &[set]).await)?;
        }
        let none = render(env, &["controlPlaneNamespaces=null"]).await;
        refused_with(&["controlPlaneNamespaces"], "no namespace", none)
    })
}

#[test]
fn api_values_reach_the_manifests() -> Result<()> {
    with_cluster(async |env| {
        let digest = format!("sha256:{}", "a".repeat(64));
        let objects = render(
            env,
            &[
                "image.repository=registry/operator",
                &format!("image.digest={digest}"),
                "replicas=2",
                "defaultChartsRepository=http://charts:8080",
                "versionsInterval=15m",
                "controlPlaneNamespaces={istio-system,mesh-b}",
                "podDisruptionBudget.enabled=true",
                "serviceMonitor.enabled=true",
                "imagePullSecrets[0].name=pull",
                "podLabels.team=mesh",
                "extraEnv[0].name=HTTPS_PROXY",
                "extraEnv[0].value=http://proxy:3128",
            ],
        )
        .await?;
        let deployment = one(&objects, "Deployment")?;
        assert_eq!(deployment["spec"]["replicas"], 2);
        let template = &deployment["spec"]["template"];
        assert_eq!(template["metadata"]["labels"]["team"], "mesh");
        assert_eq!(
            template["spec"]["imagePullSecrets"],
            json!([{ "name": "pull" }])
        );
        let container = &template["spec"]["containers"][0];
        assert_eq!(container["image"], format!("registry/operator@{digest}"));
        let proxy = json!({ "name": "HTTPS_PROXY", "value": "http://proxy:3128" });
        let env_of = container["env"].as_array().context("no environment")?;
        ensure!(env_of.contains(&proxy), "{env_of:?}");
        let arguments = container["args"].as_array().context("no arguments")?;
        ensure!(arguments.contains(&json!("--default-charts-repository=http://charts:8080")));
        ensure!(arguments.contains(&json!("--versions-interval=15m")));
        one(&objects, "PodDisruptionBudget")?;
        one(&objects, "ServiceMonitor")?;
        let roles = objects.iter().filter(|o| o["kind"] == "Role");
        let namespaces: Vec<&Value> = roles.map(|o| &o["metadata"]["namespace"]).collect();
        assert_eq!(namespaces.len(), 3);
        for namespace in ["istio-system", "mesh-b", NAMESPACE] {
            ensure!(
                namespaces.iter().any(|n| *n == namespace),
                "no Role in {namespace}"
            );
        }
        Ok(())
    })
}

#[test]
fn api_parts_can_be_left_out() -> Result<()> {
    with_cluster(async |env| {
        let off = [
            "crds.install=false",
            "policies.install=false",
            "rbac.create=false",
        ];
        let objects = render(env, &off).await?;
        let kinds: Vec<&str> = objects.iter().filter_map(|o| o["kind"].as_str()).collect();
        assert_eq!(kinds, ["ServiceAccount", "Service", "Deployment"]);
        Ok(())
    })
}

#[test]
fn api_crds_outlive_the_release() -> Result<()> {
    with_cluster(async |env| {
        let objects = render(env, &[]).await?;
        let crds = objects
            .iter()
            .filter(|o| o["kind"] == "CustomResourceDefinition");
        let kept: Vec<&Value> = crds
            .map(|o| &o["metadata"]["annotations"]["helm.sh/resource-policy"])
            .collect();
        assert_eq!(kept, ["keep"; 3], "one of each kind");
        Ok(())
    })
}

#[test]
fn api_the_pod_passes_the_restricted_profile() -> Result<()> {
    with_cluster(async |env| {
        let objects = render(env, &[]).await?;
        let template = &one(&objects, "Deployment")?["spec"]["template"];
        assert_eq!(
            template["metadata"]["labels"]["sidecar.istio.io/inject"],
            "false"
        );
        let restricted = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": "restricted",
                "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
        });
        env.create(&env.admin, &restricted, false).await?;
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "operator", "namespace": "restricted" },
            "spec": template["spec"],
        });
        pod["spec"]["serviceAccountName"] = json!("default");
        crate::environment::eventually("the default service account is there", || async {
            let found = env
                .cluster
                .kubectl(&["get", "sa", "default", "-n", "restricted"])
                .await;
            Ok(found.is_ok())
        })
        .await?;
        env.create(&env.admin, &pod, true).await?;
        let container = &mut pod["spec"]["containers"][0];
        ensure!(container["securityContext"]["readOnlyRootFilesystem"] == true);
        // The profile is really enforced here.
        container["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let result = env.create(&env.admin, &pod, true).await;
        refused_with(&["restricted"], "privilege escalation", result)
    })
}

#[test]
fn api_the_plain_manifests_are_accepted() -> Result<()> {
    with_cluster(async |env| {
        let file = repository()
            .join("deploy/meshlift.yaml")
            .display()
            .to_string();
        let server = [
            "apply",
            "--dry-run=server",
            "--server-side",
            "--force-conflicts",
            "-f",
            &file,
        ];
        env.cluster.kubectl(&server).await?;
        Ok(())
    })
}
