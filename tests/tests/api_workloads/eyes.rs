//! Looks and acts as the operator does, with its account.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use meshlift_model::view::{MeshView, Workload, WorkloadKind};
use meshlift_model::{Effect, ErrorClass, Executed, TemplateRevision};
use meshlift_tests::bed::Bed;
use meshlift_tests::hands::Hands;
use meshlift_tests::wait::{SOON, until};

use crate::objects::NAMESPACE;

pub(crate) struct Eyes(Hands);

impl Eyes {
    pub(crate) async fn open(bed: &Bed) -> Result<Self> {
        Ok(Self(Hands::of(bed, "workloads").await?))
    }

    pub(crate) async fn settled(&self) -> Result<()> {
        until("everything is listed", SOON, || async {
            let open = self.0.watches.unsettled();
            let open: Vec<_> = open
                .into_iter()
                .filter(|table| !table.what.contains("gateway.networking"))
                .collect();
            Ok(open.is_empty().then_some(()).ok_or(format!("{open:?}")))
        })
        .await
    }

    pub(crate) async fn look(&self) -> MeshView {
        self.0.look().await
    }

    /// The workload, once it is as it should be.
    pub(crate) async fn workload(
        &self,
        kind: WorkloadKind,
        name: &str,
        fits: impl Fn(&Workload) -> bool,
    ) -> Result<Workload> {
        until(&format!("{kind} {name}"), SOON, || async {
            let view = self.look().await;
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

    async fn try_to(&self, mut batch: Vec<Effect>) -> Result<Executed> {
        let view = self.look().await;
        for effect in &mut batch {
            self.at_its_newest(&view, effect)?;
        }
        self.0.execute(view, batch).await
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
