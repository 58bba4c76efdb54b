//! Kubeconfigs that would run, read or trust something: the upgrade is held, and nothing happens.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use meshlift_tests::blocked::{ensure_untouched, is_blocked};
use meshlift_tests::operator::Operator;
use meshlift_tests::wait::SOON;
use serde_json::{Value, json};

use crate::fixture::{Two, clear, named, run};

#[test]
fn api_clusters_kubeconfig_that_runs_a_program_is_refused_and_runs_nothing() -> Result<()> {
    run(async {
        let two = Two::with_istio("1.33.2").await?;
        let (script, trace) = (
            two.bed.cluster.scratch().join("run"),
            two.bed.cluster.scratch().join("ran"),
        );
        std::fs::write(&script, format!("#!/bin/sh\ntouch {}\n", trace.display()))?;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": script, "interactiveMode": "Never",
        });
        two.mesh(named("east")).await?;
        let _operator = Operator::start(&two.bed).await?;
        let good = two.kubeconfig().await?;
        let token = good["users"][0]["user"]["token"]
            .as_str()
            .unwrap_or_default();
        let cases = [
            ("user/exec", exec, "users[].user.exec"),
            (
                "user/tokenFile",
                json!("/etc/hostname"),
                "users[].user.tokenFile",
            ),
            (
                "cluster/insecure-skip-tls-verify",
                json!(true),
                "insecure-skip-tls-verify",
            ),
            (
                "cluster/proxy-url",
                json!("http://127.0.0.1:1"),
                "proxy-url",
            ),
        ];
        for (path, value, field) in cases {
            let kubeconfig = with(&good, path, value);
            two.secret("east", json!({ "kubeconfig": kubeconfig.to_string() }))
                .await?;
            let audit = two.bed.audit()?;
            let spec = json!({ "mesh": "shop", "targetVersion": "1.31" });
            two.bed.create_upgrade("refused", spec).await?;
            let words = [
                "cluster east",
                "Secret meshlift-system/east",
                field,
                "refused",
            ];
            let status =
                is_blocked(&two.bed, "refused", "ClusterUnreachable", &words, SOON).await?;
            let told = serde_json::to_string(&status)?;
            ensure!(
                !token.is_empty() && !told.contains(token),
                "a secret in a status: {told}"
            );
            ensure_untouched(&audit)?;
            clear(&two.bed).await?;
        }
        ensure!(!trace.exists(), "the program in the kubeconfig was run");
        // The program could have been run: kubectl does.
        let file = two.bed.cluster.scratch().join("exec.kubeconfig");
        let exec = json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": script, "interactiveMode": "Never" });
        let mut theirs = with(&good, "user/exec", exec);
        theirs["users"][0]["user"]["token"] = json!(null);
        std::fs::write(&file, theirs.to_string())?;
        let kubectl = two.bed.cluster.tools().program("kubectl")?;
        let kubeconfig = format!("--kubeconfig={}", file.display());
        let ran = tokio::process::Command::new(kubectl)
            .args([&kubeconfig, "version"])
            .output()
            .await?;
        ensure!(trace.exists(), "this test proves nothing: {ran:?}");
        two.down().await
    })
}

/// A kubeconfig with one more field in its cluster or user.
fn with(kubeconfig: &Value, path: &str, value: Value) -> Value {
    let mut changed = kubeconfig.clone();
    let (kind, field) = path.split_once('/').unwrap_or_default();
    changed[format!("{kind}s")][0][kind][field] = value;
    changed
}
