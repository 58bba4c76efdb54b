//! How the cluster is reached, and what is said when it is not.

use anyhow::{Result, ensure};
use meshlift_testbed::versions::ISTIO_FROM;
use tokio::process::Command;

use crate::fixture::{meshlift, meshlift_with, program, with_bed};

#[test]
fn what_keeps_it_from_the_cluster_is_told_in_a_sentence() -> Result<()> {
    with_bed(|bed| async move {
        let context = meshlift(bed, &["list", "--context", "north"]).await?;
        context.expect(1, &["error: the kubeconfig has no context north: choose"])?;
        let missing = meshlift(bed, &["list", "--kubeconfig", "/no/such/file"]).await?;
        missing.expect(
            1,
            &["error: kubeconfig /no/such/file cannot be read: No such file"],
        )?;
        let none = meshlift_with(bed, &["list"], &[]).await?;
        none.expect(1, &["error: there is no kubeconfig: name one"])?;
        let closed = bed.cluster.scratch().join("closed.kubeconfig");
        let text = "
apiVersion: v1
kind: Config
current-context: closed
contexts: [{ name: closed, context: { cluster: closed } }]
clusters: [{ name: closed, cluster: { server: 'http://127.0.0.1:1' } }]
";
        std::fs::write(&closed, text)?;
        let closed = meshlift_with(bed, &["list"], &[("KUBECONFIG", closed.into())]).await?;
        let words = [
            "API server at http://127.0.0.1:1 does not answer",
            "refused",
        ];
        closed.expect(1, &words)?;
        Ok(())
    })
}

#[test]
fn who_has_no_rights_is_told_which() -> Result<()> {
    with_bed(|bed| async move {
        let nobody = bed.cluster.kubeconfig_for("ann", &[])?;
        let nobody = [("KUBECONFIG", nobody.into_os_string())];
        let words = [
            "listing the meshes: you have not the right",
            "ann",
            "meshes",
        ];
        meshlift_with(bed, &["list"], &nobody)
            .await?
            .expect(1, &words)?;
        let words = [
            "looking for control planes: you have not the right",
            "deployments",
        ];
        meshlift_with(bed, &["check"], &nobody)
            .await?
            .expect(1, &words)?;
        let words = ["MeshUpgrade x: you have not the right"];
        meshlift_with(bed, &["watch", "x"], &nobody)
            .await?
            .expect(1, &words)?;
        meshlift(bed, &["status", "--as", "ann"])
            .await?
            .expect(1, &["User \"ann\" cannot list"])?;
        Ok(())
    })
}

#[test]
fn several_kubeconfigs_are_one() -> Result<()> {
    with_bed(|bed| async move {
        let missing = bed.cluster.scratch().join("missing.kubeconfig");
        let all = std::env::join_paths([missing.as_path(), bed.cluster.kubeconfig()])?;
        let listed = meshlift_with(bed, &["list"], &[("KUBECONFIG", all)]).await?;
        listed.expect(0, &[ISTIO_FROM])?;
        Ok(())
    })
}

/// A login program of the kubeconfig is run, as kubectl runs it.
#[test]
fn a_login_program_is_run() -> Result<()> {
    with_bed(|bed| async move {
        let account = ["create", "token", "meshlift", "-n", "meshlift-system"];
        let token = bed.cluster.kubectl(&account).await?;
        let credential = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
            "status": { "token": token.trim() },
        });
        let mut text: serde_json::Value =
            serde_yaml_ng::from_str(&std::fs::read_to_string(bed.cluster.kubeconfig())?)?;
        let exec = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": "echo", "args": [credential.to_string()],
        });
        text["users"][0]["user"] = serde_json::json!({ "exec": exec });
        let path = bed.cluster.scratch().join("exec.kubeconfig");
        std::fs::write(&path, serde_yaml_ng::to_string(&text)?)?;
        let ran = meshlift_with(bed, &["list"], &[("KUBECONFIG", path.clone().into())]).await?;
        ran.expect(0, &[ISTIO_FROM])?;
        text["users"][0]["user"]["exec"]["command"] = "no-such-login".into();
        std::fs::write(&path, serde_yaml_ng::to_string(&text)?)?;
        let ran = meshlift_with(bed, &["list"], &[("KUBECONFIG", path.into())]).await?;
        ran.expect(1, &["the login program of the kubeconfig, no-such-login"])?;
        Ok(())
    })
}

#[test]
fn kubectl_finds_it_as_a_plugin() -> Result<()> {
    with_bed(|bed| async move {
        let folder = bed.cluster.scratch().join("plugins");
        std::fs::create_dir_all(&folder)?;
        let plugin = folder.join("kubectl-meshlift");
        if !plugin.exists() {
            std::os::unix::fs::symlink(program().await?, &plugin)?;
        }
        let output = Command::new(bed.cluster.tools().program("kubectl")?)
            .args(["meshlift", "list", "--help"])
            .env("PATH", std::env::join_paths([&folder])?)
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{output:?}");
        ensure!(text.contains("Usage: kubectl meshlift list"), "{text}");
        Ok(())
    })
}
