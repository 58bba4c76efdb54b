//! Looks and acts as the operator does, in this process: with its account and inside its fence.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase};
use meshlift_cluster::helm::Helm;
use meshlift_cluster::{Executor, Observer, Settings, Watches};
use meshlift_model::view::{ControlPlane, MeshView, Seen};
use meshlift_model::{Decision, Effect, Executed, Next, Record, Report};
use serde_json::json;

use crate::bed::{Bed, ISTIO, OPERATOR_NAMESPACE};

/// An observer and an executor for an upgrade that is under way and stored nowhere.
pub struct Hands {
    /// With the operator's account.
    pub client: Client,
    /// What the observer watches.
    pub watches: Watches,
    observer: Observer,
    executor: Executor,
    upgrade: MeshUpgrade,
}

impl Hands {
    /// For an upgrade of this name. Its watches end with the runtime of the test.
    pub async fn of(bed: &Bed, name: &str) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(&bed.operator_kubeconfig)?;
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        // As the operator's: who is told to wait tells it, and tries again later.
        config.default_retry = false;
        let client = Client::try_from(config)?;
        // A test does not wait for minutes until a CRD is noticed.
        let (watches, run) = Watches::start_rechecking(&client, Duration::from_secs(1));
        tokio::spawn(run);
        let settings = Settings {
            namespace: OPERATOR_NAMESPACE.into(),
            default_charts_repository: bed.cluster.charts_url_host()?,
            keep_backups: 0,
            helm: Helm::new(bed.cluster.tools().program("helm")?, None),
        };
        let observer = Observer::new(client.clone(), settings.clone(), watches.clone())?;
        let charts = observer.charts().clone();
        let spec = serde_json::from_value(json!({ "targetVersion": "1.31.0" }))?;
        let mut upgrade = MeshUpgrade::new(name, spec);
        upgrade.status = Some(MeshUpgradeStatus {
            phase: Some(Phase::Upgrading),
            ..MeshUpgradeStatus::default()
        });
        Ok(Self {
            executor: Executor::new(client.clone(), settings, watches.clone(), charts),
            client,
            watches,
            observer,
            upgrade,
        })
    }

    /// The mesh as it is seen now.
    pub async fn look(&self) -> MeshView {
        let upgrade = self.observer.upgrade(&self.upgrade);
        // On the heap: the stack of a test is small, and these are large in a debug build.
        Box::pin(self.observer.look(Timestamp::now(), &upgrade)).await
    }

    /// Executes effects as in the middle of an upgrade: the lint sees a record, a backup and a ready target.
    ///
    /// # Errors
    /// If the record that the lint is shown cannot be read; what an effect meets is in the answer.
    pub async fn execute(&self, view: MeshView, batch: Vec<Effect>) -> Result<Executed> {
        let view = MeshView {
            record: Seen::Present(record()?),
            control_planes: Seen::Present(vec![target()]),
            ..view
        };
        let upgrade = self.observer.upgrade(&self.upgrade);
        let decision = Decision {
            next: Next::Act(batch),
            report: Report::default(),
        };
        let told = |_: &Effect, _: &Result<(), meshlift_cluster::Error>| ();
        let execute = self
            .executor
            .execute(&self.upgrade, &upgrade, &view, &decision, &told);
        Ok(Box::pin(execute).await)
    }
}

fn record() -> Result<Record> {
    let release =
        |name: &str| json!({ "name": name, "namespace": ISTIO, "version": "1.30.2", "values": {} });
    Ok(serde_json::from_value(json!({
        "madeAt": "2026-11-02T02:00:00Z", "repository": "", "source": release("istiod"),
        "sourceRevision": "default", "base": release("istio-base"), "targetVersion": "1.31.0",
        "targetRevision": "1-31-0", "targetValues": {}, "baseValues": {}, "namespaces": [], "backup": "b",
    }))?)
}

fn target() -> ControlPlane {
    ControlPlane {
        namespace: ISTIO.into(),
        name: "istiod-1-31-0".into(),
        revision: "1-31-0".into(),
        desired: 1,
        ready: 1,
        ..ControlPlane::default()
    }
}
