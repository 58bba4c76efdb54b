//! Executes decisions: one function per effect, each idempotent, none of which waits or chooses.

mod budgets;
mod evict;
mod gateways;
mod objects;
mod patches;
mod tags;
mod trial;

pub(crate) use self::trial::dry_run;

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use kube::{Client, ResourceExt};
use meshlift_api::MeshUpgrade;
use meshlift_model::view::MeshView;
use meshlift_model::{Batch, ChartTarget, Decision, Effect, Executed, Next, Tried, Upgrade};
use meshlift_planner::lint;

use crate::charts::ChartsClient;
use crate::tenure::{Act, Tenure};
use crate::watch::Watches;
use crate::{Error, Result, Settings};

/// Key of the record in its Secret.
pub(crate) const RECORD_KEY: &str = "record.json";
/// Key of the plan in its Secret.
pub const PLAN_KEY: &str = "plan";
/// Limit of one effect on the API server; Helm has its own.
const LIMIT: Duration = Duration::from_secs(30);
/// Limit of a backup: it reads all of Istio's configuration.
const BACKUP_LIMIT: Duration = Duration::from_secs(300);
/// Effects of one batch under way at once.
const AT_ONCE: usize = 16;

/// Executes decisions.
pub struct Executor {
    client: Client,
    settings: Settings,
    watches: Watches,
    charts: ChartsClient,
    tenure: Tenure,
}

/// What is told of each effect, for logs and metrics.
pub type Told<'a> = &'a (dyn Fn(&Effect, &Result<()>) + Sync);

impl Executor {
    /// An executor that shows its writes to these watches at once, and installs from these charts.
    pub fn new(client: Client, settings: Settings, watches: Watches, charts: ChartsClient) -> Self {
        Self {
            client,
            settings,
            watches,
            charts,
            tenure: Tenure::unlimited(),
        }
    }

    /// The same for a process that acts only in this time.
    pub fn within(self, tenure: Tenure) -> Self {
        Self { tenure, ..self }
    }

    /// Executes a decision, after the lint.
    pub async fn execute(
        &self,
        object: &MeshUpgrade,
        upgrade: &Upgrade,
        view: &MeshView,
        decision: &Decision,
        told: Told<'_>,
    ) -> Executed {
        if let Err(violation) = lint(upgrade, view, decision) {
            let error = Error::Lint(violation);
            return Executed::Failed {
                class: error.class(),
                message: error.to_string(),
            };
        }
        match &decision.next {
            Next::Record(record) => {
                let write =
                    objects::write_record(&self.client, &self.settings, object, upgrade, record);
                let write = within(LIMIT, "writing the record", write);
                match self.while_leading(Act::Request, write).await {
                    Ok(()) => Executed::Done,
                    Err(error) => Executed::Failed {
                        class: error.class(),
                        message: error.to_string(),
                    },
                }
            }
            Next::Act(batch) => {
                let tried = self.act(object, upgrade, batch, told).await;
                self.watches.refusals.settle(upgrade, tried)
            }
            Next::Wait(_) | Next::Enter(_) => Executed::Nothing,
        }
    }

    async fn act<'b>(
        &self,
        object: &MeshUpgrade,
        upgrade: &Upgrade,
        batch: &'b Batch,
        told: Told<'_>,
    ) -> Vec<Tried<'b>> {
        let effects: Vec<_> = batch
            .iter()
            .map(|effect| {
                let result = self.told(object, upgrade, effect, told);
                result
                    .map(move |result| (effect, result.err().as_ref().map(Error::failure)))
                    .boxed()
            })
            .collect();
        stream::iter(effects)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    }

    async fn told(
        &self,
        object: &MeshUpgrade,
        upgrade: &Upgrade,
        effect: &Effect,
        told: Told<'_>,
    ) -> Result<()> {
        // A batch takes its time, and a pause comes before the next mutation; the next look decides anew.
        let newest = self.watches.upgrades.get(None, &object.name_any());
        if paused(newest.present(), effect) {
            return Ok(());
        }
        let act = if effect.runs_helm() {
            Act::Helm
        } else {
            Act::Request
        };
        let one = self.one(object, upgrade, effect);
        let result = self.while_leading(act, one).await;
        told(effect, &result);
        result
    }

    /// Begins an effect only while this process may act, and leaves off when it may not any longer.
    async fn while_leading(
        &self,
        act: Act,
        effect: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        self.tenure.allow(act)?;
        match act {
            Act::Request => tokio::select! {
                result = effect => result,
                () = self.tenure.over() => Err(Error::Deposed),
            },
            // It has to see Helm end.
            Act::Helm => effect.await,
        }
    }

    async fn install(&self, upgrade: &Upgrade, target: &ChartTarget) -> Result<()> {
        let mesh = self.watches.meshes.get(None, &upgrade.spec.mesh);
        let spec = mesh.present().map(|mesh| &mesh.spec);
        let chart = self.charts.archive(target, spec).await?;
        self.settings.helm.apply(target, &chart, &upgrade.uid).await
    }

    async fn one(&self, object: &MeshUpgrade, upgrade: &Upgrade, effect: &Effect) -> Result<()> {
        let what = effect.describe();
        let (client, watches) = (&self.client, &self.watches);
        match effect {
            Effect::UpgradeBase(target)
            | Effect::InstallRevision(target)
            | Effect::UpgradeIstiod(target)
            | Effect::RestoreMinimum(target)
            | Effect::PointDefaultRevision(target)
            | Effect::ReleaseTags(target) => self.install(upgrade, target).await,
            Effect::RetireRevision {
                release, namespace, ..
            } => self.settings.helm.uninstall(release, namespace).await,
            Effect::RegisterMesh { name, spec } => {
                let repository = &self.settings.default_charts_repository;
                let make = objects::register_mesh(client, watches, name, spec, repository);
                within(LIMIT, &what, make).await
            }
            Effect::WritePlan { text } => {
                let write = objects::write_plan(client, &self.settings, object, upgrade, text);
                within(LIMIT, &what, write).await
            }
            Effect::BackUp(scope) => {
                let take = objects::back_up(client, &self.settings, upgrade, scope);
                within(BACKUP_LIMIT, &what, take).await?;
                let retain = objects::retain(client, &self.settings, watches, upgrade);
                within(LIMIT, &what, async {
                    retain.await;
                    Ok(())
                })
                .await
            }
            Effect::HoldDeletion => {
                within(
                    LIMIT,
                    &what,
                    patches::set_finalizer(client, watches, object, true),
                )
                .await
            }
            Effect::LetGo => {
                within(
                    LIMIT,
                    &what,
                    patches::set_finalizer(client, watches, object, false),
                )
                .await
            }
            Effect::ClearPendingRelease {
                namespace, storage, ..
            } => {
                within(
                    LIMIT,
                    &what,
                    objects::delete_storage(client, namespace, storage),
                )
                .await
            }
            Effect::MoveNamespace {
                name,
                uid,
                resource_version,
                revision,
                labels,
                mark,
            } => {
                let seen = (uid.as_str(), resource_version.as_str());
                let mark = mark.then_some(revision.as_str());
                let patch = patches::move_namespace(client, watches, name, seen, labels, mark);
                within(LIMIT, &what, patch).await
            }
            Effect::PointTag { .. } => {
                within(LIMIT, &what, tags::point(client, watches, effect)).await
            }
            Effect::KeepTag { .. } => {
                within(LIMIT, &what, tags::keep(client, watches, effect)).await
            }
            Effect::CopyBudget { .. } => within(LIMIT, &what, budgets::copy(client, effect)).await,
            Effect::LabelGateway { .. } => {
                within(LIMIT, &what, gateways::label(client, watches, effect)).await
            }
            Effect::RestartWorkload {
                key,
                uid,
                resource_version,
                mark,
                template_revision,
                at,
            } => {
                let seen = (uid.as_str(), resource_version.as_str());
                let asked = template_revision.as_ref();
                let patch = patches::restart(client, watches, key, seen, (mark, asked), *at);
                within(LIMIT, &what, patch).await
            }
            Effect::EvictPod {
                namespace,
                name,
                uid,
                workload,
                workload_uid,
                at,
            } => {
                let pod = evict::Evicted {
                    namespace,
                    name,
                    uid,
                    workload: (workload, workload_uid),
                    at: *at,
                };
                within(LIMIT, &what, evict::evict(client, watches, upgrade, &pod)).await
            }
        }
    }
}

/// Whether an upgrade has been paused since an effect of it was decided.
fn paused(newest: Option<&Arc<MeshUpgrade>>, effect: &Effect) -> bool {
    effect.begins() && newest.is_some_and(|object| object.spec.paused)
}

async fn within(
    limit: Duration,
    what: &str,
    effect: impl Future<Output = Result<()>>,
) -> Result<()> {
    match tokio::time::timeout(limit, effect).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout {
            what: what.to_owned(),
            after: limit,
        }),
    }
}

#[cfg(test)]
mod tests {
    use meshlift_api::MeshUpgradeSpec;

    use super::*;

    fn upgrade(paused: bool) -> Arc<MeshUpgrade> {
        let spec = serde_json::json!({ "targetVersion": "1.31.0", "paused": paused });
        let spec: MeshUpgradeSpec = serde_json::from_value(spec).expect("a spec");
        Arc::new(MeshUpgrade::new("to-1-31", spec))
    }

    #[test]
    fn a_pause_holds_what_is_left_of_a_batch_and_never_the_letting_go() {
        let retire = Effect::RetireRevision {
            release: "istiod".into(),
            namespace: "istio-system".into(),
            revision: "default".into(),
        };
        assert!(paused(Some(&upgrade(true)), &retire));
        assert!(paused(Some(&upgrade(true)), &Effect::HoldDeletion));
        assert!(!paused(Some(&upgrade(true)), &Effect::LetGo));
        assert!(!paused(Some(&upgrade(false)), &retire));
        assert!(!paused(None, &retire));
    }
}
