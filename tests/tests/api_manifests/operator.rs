//! The operator itself with the account of the chart: nothing it asks of the API server is refused.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Config};
use meshlift_api::{CheckResult, MeshUpgrade, Phase};
use meshlift_detect::check::sentence;
use meshlift_operator::Options;
use meshlift_testbed::versions::ISTIO_FROM;
use tokio::sync::oneshot;

use crate::environment::{Environment, ISTIO, NAMESPACE, eventually, upgrade, with_own_cluster};
use crate::helm::{Request, requests};

/// Tells the operator in the audit log from the test, which uses the same account.
const AGENT: &str = "operator-under-test";

async fn install_istio(env: &Environment) -> Result<()> {
    let charts = env.cluster.charts_url_host()?;
    for (release, chart) in [("istio-base", "base"), ("istiod", "istiod")] {
        let from = ["--repo", &charts, "--version", ISTIO_FROM, "-n", ISTIO];
        let install = [["install", release, chart].as_slice(), &from].concat();
        env.cluster.helm(&install).await?;
    }
    Ok(())
}

/// With the fence of the chart nothing is said; without a part of it a warning names the part and the chart value.
async fn fence_is_looked_at(env: &Environment, api: &Api<MeshUpgrade>) -> Result<()> {
    let said = || async {
        let status = api.get("to-1-31").await?.status.unwrap_or_default();
        let checks = status.checks.into_iter();
        let unfenced = checks.filter(|check| {
            check.code == "OPERATOR-UNFENCED" && check.result != CheckResult::Passed
        });
        anyhow::Ok(unfenced.map(|check| sentence(&check)).collect::<Vec<_>>())
    };
    ensure!(said().await?.is_empty(), "{:?}", said().await?);
    let binding = "meshlift-operator-fence-pods";
    let kind = "validatingadmissionpolicybinding";
    env.cluster.kubectl(&["delete", kind, binding]).await?;
    let again = ["annotate", "mup", "to-1-31", "meshlift.io/redetect=1"];
    env.cluster.kubectl(&again).await?;
    eventually("the operator has seen that its fence is open", || async {
        let said = said().await?;
        Ok(said.iter().any(|said| {
            said.contains("ValidatingAdmissionPolicyBinding meshlift-operator-fence-pods")
                && said.contains("policies.install=true")
        }))
    })
    .await
}

#[test]
fn api_the_operator_is_refused_nothing() -> Result<()> {
    with_own_cluster(async |env| {
        install_istio(&env).await?;
        let kubeconfig = Kubeconfig::read_from(&env.operator_kubeconfig)?;
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.headers.push(("user-agent".parse()?, AGENT.parse()?));
        let options = Options {
            namespace: NAMESPACE.to_owned(),
            identity: Some("test".to_owned()),
            default_charts_repository: env.cluster.charts_url_host()?,
            keep_backups: 10,
            versions_interval: Duration::from_secs(6 * 3600),
            http_address: None,
            leader_election: true,
            stop_within: Duration::from_secs(55),
            helm: env.cluster.tools().program("helm")?.to_owned(),
            kubeconfig: Some(env.operator_kubeconfig.clone()),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let wait = async move { drop(stopped.await) };
        let running = tokio::spawn(meshlift_operator::run(config, options, wait));

        env.create(&env.admin, &upgrade("to-1-31"), false).await?;
        let api = Api::<MeshUpgrade>::all(env.admin.clone());
        // No node, so istiod is not ready: detection ends there, having looked at everything.
        eventually("the operator has looked at the mesh", || async {
            let status = api.get("to-1-31").await?.status.unwrap_or_default();
            ensure!(!running.is_finished(), "the operator ended");
            let detecting = status.phase == Some(Phase::Detecting);
            Ok(detecting && status.message.contains("istiod has 0 of 1 replicas ready"))
        })
        .await?;
        fence_is_looked_at(&env, &api).await?;
        drop(stop);
        running.await??;

        let asked: Vec<Request> = requests(&env)?
            .into_iter()
            .filter(|r| r.program == AGENT)
            .collect();
        ensure!(
            asked.len() > 20,
            "the audit log shows too little: {}",
            asked.len()
        );
        let refused: Vec<String> = asked
            .iter()
            .filter(|r| r.code == 403)
            .map(Request::shown)
            .collect();
        ensure!(refused.is_empty(), "{refused:?}");
        Ok(())
    })
}
