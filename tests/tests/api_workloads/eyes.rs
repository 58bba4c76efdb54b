//! Looks and acts as the operator does, with its account.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase};
use meshlift_cluster::helm::Helm;
use meshlift_cluster::{Executor, Observer, Settings, Watches};
use meshlift_planner::view::{
    ControlPlane, Installer, MeshView, Requests, Seen, Workload, WorkloadKind,
};
use meshlift_planner::{
    Decision, Effect, ErrorClass, Executed, Next, Record, Report, TemplateRevision,
};
use meshlift_tests::bed::{Bed, ISTIO, OPERATOR_NAMESPACE};
use meshlift_tests::wait::{SOON, until};
use serde_json::json;

use crate::objects::NAMESPACE;

pub(crate) struct Eyes {
    observer: Observer,
    executor: Executor,
    watches: Watches,
    upgrade: MeshUpgrade,
}

impl Eyes {
    pub(crate) async fn open(bed: &Bed) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(&bed.operator_kubeconfig)?;
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        // As the operator's: who is told to wait tells it, and tries again later.
        config.default_retry = false;
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
        let mut upgrade = MeshUpgrade::new("workloads", spec);
        upgrade.status = Some(MeshUpgradeStatus {
            phase: Some(Phase::Upgrading),
            ..MeshUpgradeStatus::default()
        });
        Ok(Self {
            executor: Executor::new(client, settings, watches.clone(), charts),
            observer,
            watches,
            upgrade,
        })
    }

    pub(crate) async fn settled(&self) -> Result<()> {
        until("everything is listed", SOON, || async {
            let open = self.watches.unsettled();
            let open: Vec<_> = open
                .into_iter()
                .filter(|table| !table.what.contains("gateway.networking"))
                .collect();
            Ok(open.is_empty().then_some(()).ok_or(format!("{open:?}")))
        })
        .await
    }

    pub(crate) async fn look(&self) -> Result<MeshView> {
        let upgrade = self.observer.upgrade(&self.upgrade);
        // On the heap: the stack of a test is small, and these are large in a debug build.
        Ok(Box::pin(self.observer.look(Timestamp::now(), &upgrade)).await)
    }

    /// The workload, once it is as it should be.
    pub(crate) async fn workload(
        &self,
        kind: WorkloadKind,
        name: &str,
        fits: impl Fn(&Workload) -> bool,
    ) -> Result<Workload> {
        until(&format!("{kind} {name}"), SOON, || async {
            let view = self.look().await?;
            let why = view
                .workloads
                .unreadable()
                .unwrap_or("not there")
                .to_owned();
            let mut all = view.workloads.present().into_iter().flatten();
            let found = all.find(|w| {
                (w.key.namespace.as_str(), w.key.kind, w.key.name.as_str())
                    == (NAMESPACE, kind, name)
            });
            Ok(match found {
                Some(workload) if fits(workload) => Ok(workload.clone()),
                Some(workload) => Err(format!("{workload:?}")),
                None => Err(why),
            })
        })
        .await
    }

    pub(crate) fn restart(&self, workload: &Workload) -> Effect {
        self.restarting(workload, None)
    }

    pub(crate) fn restart_asking(
        &self,
        workload: &Workload,
        label: Option<&str>,
        before: Option<&str>,
    ) -> Effect {
        let asked = TemplateRevision {
            label: label.map(str::to_owned),
            before: before.map(str::to_owned),
        };
        self.restarting(workload, Some(asked))
    }

    fn restarting(&self, workload: &Workload, asked: Option<TemplateRevision>) -> Effect {
        Effect::RestartWorkload {
            key: workload.key.clone(),
            uid: workload.uid.clone(),
            resource_version: String::new(),
            mark: "1-31-0".into(),
            template_revision: asked,
            at: Timestamp::now(),
        }
    }

    pub(crate) fn evict(&self, workload: &Workload) -> Effect {
        let pod = &workload.pods[0];
        Effect::EvictPod {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            workload: workload.key.clone(),
            workload_uid: workload.uid.clone(),
            at: Some(Timestamp::now()),
        }
    }

    /// As a new pod that had its time is evicted: only while it is not ready, and not remembered.
    pub(crate) fn evict_if_not_ready(&self, workload: &Workload) -> Effect {
        let mut effect = self.evict(workload);
        if let Effect::EvictPod { at, .. } = &mut effect {
            *at = None;
        }
        effect
    }

    /// Executes it, again where someone wrote in between, as the operator does.
    pub(crate) async fn execute(&self, batch: Vec<Effect>) -> Result<()> {
        until("the effects are executed", SOON, || async {
            match Box::pin(self.try_to(batch.clone())).await? {
                Executed::Done => Ok(Ok(())),
                Executed::Failed {
                    class: ErrorClass::Conflict,
                    message,
                } => Ok(Err(message)),
                other => anyhow::bail!("{other:?}"),
            }
        })
        .await
    }

    /// Executes it as in the middle of an upgrade: the lint sees a record, a backup and a ready target.
    async fn try_to(&self, mut batch: Vec<Effect>) -> Result<Executed> {
        let view = MeshView {
            record: Seen::Present(record()?),
            control_planes: Seen::Present(vec![target()]),
            ..self.look().await?
        };
        for effect in &mut batch {
            self.at_its_newest(&view, effect)?;
        }
        let upgrade = self.observer.upgrade(&self.upgrade);
        let decision = Decision {
            next: Next::Act(batch),
            report: Report::default(),
        };
        let told = |_: &Effect, _: &Result<(), meshlift_cluster::Error>| ();
        let execute = self
            .executor
            .execute(&self.upgrade, &upgrade, &view, &decision, &told);
        Ok(execute.await)
    }

    /// Status writes of controllers go on: what counts here is not that nothing changed.
    fn at_its_newest(&self, view: &MeshView, effect: &mut Effect) -> Result<()> {
        let Effect::RestartWorkload {
            key,
            resource_version,
            ..
        } = effect
        else {
            return Ok(());
        };
        let mut all = view.workloads.present().into_iter().flatten();
        let found = all.find(|w| w.key == *key).context("the workload")?;
        ensure!(!found.resource_version.is_empty(), "{found:?}");
        resource_version.clone_from(&found.resource_version);
        Ok(())
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
