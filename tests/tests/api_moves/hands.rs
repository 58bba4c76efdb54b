//! Looks and acts as the operator does, with its account and inside its fence.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase};
use meshlift_cluster::helm::Helm;
use meshlift_cluster::{Executor, Observer, Settings, Watches};
use meshlift_planner::view::{ControlPlane, Installer, MeshView, Requests, Seen};
use meshlift_planner::{Decision, Effect, Executed, Next, Record, Report};
use meshlift_tests::bed::{Bed, ISTIO, OPERATOR_NAMESPACE};
use serde_json::{Value, json};

pub(crate) struct Hands {
    client: Client,
    admin: Client,
    observer: Observer,
    executor: Executor,
    upgrade: MeshUpgrade,
}

impl Hands {
    pub(crate) async fn of(bed: &Bed) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(&bed.operator_kubeconfig)?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let client = Client::try_from(config)?;
        // A test does not wait for minutes until a CRD is noticed.
        let (watches, run) = Watches::start_rechecking(&client, Duration::from_secs(1));
        // It ends with the runtime of the test.
        tokio::spawn(run);
        let settings = Settings {
            namespace: OPERATOR_NAMESPACE.into(),
            default_charts_repository: bed.cluster.charts_url_host()?,
            helm: Helm::new(bed.cluster.tools().program("helm")?, None),
        };
        let observer = Observer::new(client.clone(), settings.clone(), watches.clone())?;
        let charts = observer.charts().clone();
        let spec = serde_json::from_value(json!({ "targetVersion": "1.31.0" }))?;
        let mut upgrade = MeshUpgrade::new("moves", spec);
        upgrade.status = Some(MeshUpgradeStatus {
            phase: Some(Phase::Upgrading),
            ..MeshUpgradeStatus::default()
        });
        Ok(Self {
            executor: Executor::new(client.clone(), settings, watches, charts),
            admin: bed.client.clone(),
            client,
            observer,
            upgrade,
        })
    }

    pub(crate) async fn look(&self) -> MeshView {
        let upgrade = self.observer.upgrade(&self.upgrade);
        self.observer.look(Timestamp::now(), &upgrade).await
    }

    /// Executes it as in the middle of an upgrade: the lint sees a record, a backup and a ready target.
    pub(crate) async fn execute(&self, effect: Effect) -> Result<Executed> {
        let view = MeshView {
            record: Seen::Present(record()?),
            control_planes: Seen::Present(vec![target()]),
            ..self.look().await
        };
        let upgrade = self.observer.upgrade(&self.upgrade);
        let decision = Decision {
            next: Next::Act(vec![effect]),
            report: Report::default(),
        };
        let told = |_: &Effect, _: &Result<(), meshlift_cluster::Error>| ();
        let execute = self
            .executor
            .execute(&self.upgrade, &upgrade, &view, &decision, &told);
        Ok(execute.await)
    }

    /// The object as it is stored.
    pub(crate) async fn stored(&self, object: &Object) -> Result<Value> {
        let found = object.api(&self.admin).get(object.name).await?;
        Ok(serde_json::to_value(found)?)
    }

    /// A merge patch that the fence refuses to the operator.
    pub(crate) async fn refused(&self, object: &Object, patch: Value) -> Result<()> {
        let merge = Patch::Merge(&patch);
        let api = object.api(&self.client);
        let answer = api
            .patch(object.name, &PatchParams::default(), &merge)
            .await;
        let error = answer
            .err()
            .with_context(|| format!("{patch} went through"))?;
        let words = error.to_string();
        ensure!(
            words.contains("meshlift-operator-fence"),
            "{patch}: {words}"
        );
        Ok(())
    }
}

/// Where an object is.
pub(crate) struct Object {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespace: Option<&'static str>,
    pub(crate) name: &'static str,
}

impl Object {
    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(self.group, "v1", self.kind);
        let resource = ApiResource::from_gvk(&kind);
        match self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
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
        version: None,
        image: String::new(),
        installer: Installer::Unknown,
        desired: 1,
        ready: 1,
        trouble: None,
        injector: Seen::Absent,
        live: Seen::Absent,
        requests: Requests::default(),
        external: false,
    }
}
