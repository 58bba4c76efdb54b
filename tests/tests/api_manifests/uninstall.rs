//! The operator stays while an upgrade runs: `helm uninstall` leaves everything in place, and so does `kubectl delete`.

use anyhow::{Result, ensure};

use crate::environment::{Environment, NAMESPACE, eventually, refused_by, with_own_cluster};

const GUARD: &str = "meshlift-uninstall-guard";

/// What an upgrade cannot do without, as `kubectl delete` names it.
const NEEDED: [&[&str]; 5] = [
    &["deployment", "meshlift", "-n", NAMESPACE],
    &["serviceaccount", "meshlift", "-n", NAMESPACE],
    &["clusterrole", "meshlift"],
    &["clusterrolebinding", "meshlift"],
    &["namespace", NAMESPACE],
];

async fn delete(env: &Environment, what: &[&str]) -> Result<()> {
    let dry = ["delete", "--dry-run=server"];
    env.cluster.kubectl(&[&dry, what].concat()).await.map(drop)
}

#[test]
fn api_the_operator_stays_while_an_upgrade_runs() -> Result<()> {
    with_own_cluster(async |env| {
        let uninstall = ["uninstall", "meshlift", "-n", NAMESPACE];
        env.upgrade_in_phase("ended", "Done").await?;
        env.upgrade_in_phase("busy", "Detecting").await?;
        for what in NEEDED {
            delete(&env, what).await?;
        }
        for phase in ["Upgrading", "HealthChecking"] {
            env.set_phase("busy", phase).await?;
            eventually("the policy holds", || async {
                Ok(delete(&env, NEEDED[0]).await.is_err())
            })
            .await?;
            for what in NEEDED {
                let said = refused_by(GUARD, &what.join(" "), delete(&env, what).await)?;
                for word in [
                    "MeshUpgrade busy",
                    phase,
                    "kubectl get mup busy -w",
                    "requestRollback",
                ] {
                    ensure!(said.contains(word), "{word:?} is missing in: {said}");
                }
            }
            refused_by(GUARD, "helm uninstall", env.cluster.helm(&uninstall).await)?;
        }
        // Helm asked before it deleted anything.
        for what in NEEDED {
            env.cluster.kubectl(&[&["get"], what].concat()).await?;
        }
        let policy = [
            "get",
            "validatingadmissionpolicy",
            "meshlift-running-upgrades",
        ];
        env.cluster.kubectl(&policy).await?;
        // Another Deployment of that name is none of ours.
        let other = [
            "create",
            "deployment",
            "meshlift",
            "-n",
            "default",
            "--image=x",
        ];
        env.cluster.kubectl(&other).await?;
        delete(&env, &["deployment", "meshlift", "-n", "default"]).await?;

        env.set_phase("busy", "Failed").await?;
        eventually("nothing runs", || async {
            Ok(delete(&env, NEEDED[0]).await.is_ok())
        })
        .await?;
        env.cluster.helm(&uninstall).await?;
        let left = env
            .cluster
            .kubectl(&["get", "mup", "busy", "ended", "-o", "name"])
            .await?;
        ensure!(left.lines().count() == 2, "the upgrades went along: {left}");
        Ok(())
    })
}
