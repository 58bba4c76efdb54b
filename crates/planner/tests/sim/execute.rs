//! Effects on the simulated cluster, with what the API server checks (UID, resource version) and
//! with what must never be done: a wrong write panics.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshlift_api::Strategy;
use meshlift_istio::values::lookup;
use meshlift_model::view::{
    HelmRunner, Installer, Pod, ReleaseState, Seen, StorageRef, Validator, WorkloadKey,
    WorkloadKind,
};
use meshlift_model::{
    Chart, ChartTarget, Effect, ErrorClass, HELM_TIMEOUT, InjectionLabels, TemplateRevision,
};

use crate::budgets::minimum;
use crate::helm::{Revision, Stored};
use crate::istiod::Istiod;
use crate::world::{Injection, World, seconds};

/// An effect that failed: class and sentence.
pub type Failure = (ErrorClass, String);

const ISTIOD_STARTUP: i64 = 8;

impl World {
    /// Executes an effect.
    pub fn execute(&mut self, effect: &Effect) -> Result<(), Failure> {
        if effect.changes_mesh() {
            self.must_be_backed_up(effect);
        }
        let name = effect.describe();
        if let Some(policy) = self.policies.iter().find(|p| name.contains(p.what)) {
            return Err((policy.class, format!("{name}: {}", policy.why)));
        }
        if effect.changes_releases() {
            self.helm.changed_by_us += 1;
        }
        match effect {
            Effect::RegisterMesh { name, .. } => {
                if self.mesh.is_none() {
                    self.mesh = Some(meshlift_api::MeshSpec::default());
                    self.wrote(format!("Mesh {name}"));
                }
                Ok(())
            }
            Effect::WritePlan { text } => {
                if self.plan.as_ref() != Some(text) {
                    self.plan = Some(text.clone());
                    self.wrote("the plan");
                }
                Ok(())
            }
            Effect::BackUp(scope) => {
                self.backups.insert(scope.name.clone());
                self.wrote("backup");
                Ok(())
            }
            Effect::HoldDeletion => self.set_held(true),
            Effect::LetGo => self.set_held(false),
            Effect::ClearPendingRelease {
                release, storage, ..
            } => self.clear_pending(release, storage),
            Effect::UpgradeBase(target) => self.helm_upgrade(target),
            Effect::PointDefaultRevision(target) => {
                self.must_be_ready(default_of(target), "the default revision");
                self.helm_upgrade(target)
            }
            Effect::InstallRevision(target) => self.install(target),
            Effect::UpgradeIstiod(target) => self.upgrade_istiod(target),
            Effect::RestoreMinimum(target) => self.restore_minimum(target),
            Effect::CopyBudget { .. } => self.copy_budget(effect),
            Effect::MoveNamespace {
                name,
                uid,
                resource_version,
                revision,
                labels,
                mark,
            } => {
                let seen = (uid.as_str(), resource_version.as_str());
                self.move_namespace(name, seen, revision, labels, *mark)
            }
            Effect::PointTag {
                tag,
                resource_version,
                revision,
                mark,
                ..
            } => self.point_tag(tag, resource_version, revision, *mark),
            Effect::LabelGateway { .. } => self.label_gateway(effect),
            Effect::KeepTag {
                tag,
                resource_version,
                ..
            } => self.keep_tag(tag, resource_version),
            Effect::ReleaseTags(target) => self.release_tags(target),
            Effect::RestartWorkload {
                key,
                uid,
                resource_version,
                mark,
                template_revision,
                at,
            } => {
                let seen = (uid.as_str(), resource_version.as_str());
                self.restart(key, seen, mark, template_revision.as_ref(), *at)
            }
            Effect::EvictPod {
                uid, workload, at, ..
            } => self.evict(workload, uid, *at),
            Effect::RetireRevision {
                release, revision, ..
            } => self.retire(release, revision),
        }
    }

    fn set_held(&mut self, held: bool) -> Result<(), Failure> {
        if let Some(object) = &mut self.object {
            object.held = held;
            self.wrote("MeshUpgrade");
        }
        if self
            .object
            .as_ref()
            .is_some_and(|object| object.deleting && !object.held)
        {
            self.object = None;
        }
        Ok(())
    }

    fn clear_pending(&mut self, release: &str, storage: &StorageRef) -> Result<(), Failure> {
        let found = self.helm.find(release).and_then(|r| r.storage());
        if found.as_ref() != Some(storage) {
            return Err(conflict(format!(
                "release {release} changed since it was seen"
            )));
        }
        let stored = self.helm.find(release).expect("found above");
        let pending = stored.revisions.pop().expect("found above");
        assert!(
            match pending.state {
                ReleaseState::Pending {
                    by: HelmRunner::Foreign,
                    ..
                } => false,
                // Its Helm may still be at work.
                ReleaseState::Pending {
                    by: HelmRunner::Elsewhere,
                    since,
                } => {
                    self.now >= since + HELM_TIMEOUT
                }
                ReleaseState::Pending { .. } => true,
                _ => false,
            },
            "cleared release {release}, which was {:?}",
            pending.state
        );
        self.helm.releases.retain(|r| !r.revisions.is_empty());
        self.wrote(format!("release {release}"));
        Ok(())
    }

    /// Runs a Helm operation that does nothing else.
    pub fn begin_or_die(&mut self, target: &ChartTarget) -> Result<(), Failure> {
        if self.begin(target)? {
            Ok(())
        } else {
            Err(died(target))
        }
    }

    /// Starts a Helm operation: `Ok(true)` when it may run to its end.
    fn begin(&mut self, target: &ChartTarget) -> Result<bool, Failure> {
        if let Err(why) = &self.repository {
            return Err((
                ErrorClass::Transient,
                format!(
                    "helm could not fetch chart {} {}: {why}",
                    target.chart.name(),
                    target.version
                ),
            ));
        }
        let archive = match target.chart {
            Chart::Base => &self.archives.base,
            Chart::Istiod => &self.archives.istiod,
        };
        if let Some(why) = target.refuses(archive) {
            return Err((ErrorClass::Blocked, why));
        }
        let back = self.object.as_ref().is_some_and(|object| {
            object.spec.strategy == Strategy::InPlace && object.status.rollback.is_some()
        });
        let now = self.now;
        let serial = self.next_serial();
        let dies = std::mem::take(&mut self.helm.dies);
        let stored = match self.helm.find(&target.release) {
            Some(stored) => stored,
            None => {
                self.helm.releases.push(Stored {
                    name: target.release.clone(),
                    namespace: target.namespace.clone(),
                    chart: target.chart.name().into(),
                    revisions: Vec::new(),
                });
                self.helm.releases.last_mut().expect("just pushed")
            }
        };
        let newest = stored.revisions.last();
        if newest.is_some_and(|r| matches!(r.state, ReleaseState::Pending { .. })) {
            let why = "another operation (install/upgrade/rollback) is in progress";
            return Err((ErrorClass::Transient, format!("helm: {why}")));
        }
        let down = newest.is_some_and(|r| r.version > target.version);
        assert!(!down || back, "downgrade of release {}", target.release);
        let state = if dies {
            ReleaseState::Pending {
                since: now,
                by: HelmRunner::Here,
            }
        } else {
            ReleaseState::Deployed
        };
        stored.revisions.push(Revision {
            version: target.version.clone(),
            values: target.values.clone(),
            state,
            serial,
        });
        self.wrote(format!("release {}", target.release));
        Ok(!dies)
    }

    fn helm_upgrade(&mut self, target: &ChartTarget) -> Result<(), Failure> {
        if !self.begin(target)? {
            return Err(died(target));
        }
        let service = match default_of(target) {
            "" => {
                // Helm removes what its release had, and not what another one has.
                self.validator
                    .take_if(|validator| validator.namespace == target.namespace);
                return Ok(());
            }
            "default" => "istiod".to_owned(),
            revision => format!("istiod-{revision}"),
        };
        let serves = |service: &str| self.istiods.iter().any(|i| i.plane.name == service);
        let was_served = self.validator.as_ref().is_some_and(|v| serves(&v.service));
        assert!(
            !was_served || serves(&service),
            "the default validator taken to {service}, which nobody serves"
        );
        let owner = self.validator.as_ref().map(|v| v.namespace.as_str());
        assert!(
            owner.is_none_or(|owner| owner == target.namespace),
            "the default validator is taken from another mesh"
        );
        let same = |v: &&Validator| v.service == service;
        let has_ca_bundle = self
            .validator
            .as_ref()
            .filter(same)
            .is_some_and(|v| v.has_ca_bundle);
        self.validator = Some(Validator {
            namespace: target.namespace.clone(),
            service,
            has_ca_bundle,
        });
        Ok(())
    }

    fn install(&mut self, target: &ChartTarget) -> Result<(), Failure> {
        let lives = self.begin(target)?;
        let revision = target.values["revision"].as_str().expect("a revision");
        let revision = revision.to_owned();
        let mut planes = self.istiods.iter().map(|istiod| &istiod.plane);
        assert!(
            planes.all(|p| p.revision != revision || p.namespace == target.namespace),
            "revision {revision} is of another mesh"
        );
        if !self.istiods.iter().any(|i| i.plane.revision == revision) {
            let replicas = minimum(target);
            let mut istiod = Istiod::helm(&revision, &target.release, &target.version, replicas);
            istiod.plane.namespace.clone_from(&target.namespace);
            istiod.plane.trouble.clone_from(&self.istiod_trouble);
            let healthy = self.istiod_trouble.is_none();
            istiod.ready_at = healthy.then(|| self.now + seconds(ISTIOD_STARTUP));
            self.istiods.push(istiod);
        }
        self.render_budget(target);
        if lives { Ok(()) } else { Err(died(target)) }
    }

    /// istiod where it is: its replicas are replaced, and those of before serve until the new ones do.
    fn upgrade_istiod(&mut self, target: &ChartTarget) -> Result<(), Failure> {
        let lives = self.begin(target)?;
        let pinned = lookup(&target.values, &["global", "proxy", "image"]);
        let pinned = pinned.and_then(|image| image.as_str());
        let members = self.apps.iter().flat_map(|app| &app.pods);
        let ahead = |pod: &Pod| pod.version().is_some_and(|of| of > target.version);
        let newer = members.map(|member| &member.pod).find(|pod| ahead(pod));
        assert!(
            newer.is_none(),
            "istiod {} is older than the sidecar of {newer:?}",
            target.version
        );
        let (now, trouble) = (self.now, self.istiod_trouble.clone());
        let by_release = |i: &&mut Istiod| {
            i.plane.installer
                == Installer::Helm {
                    release: target.release.clone(),
                }
        };
        let istiod = self.istiods.iter_mut().find(by_release);
        let istiod = istiod.expect("the istiod of the release");
        // What failed at the target works at the version of before.
        let forward = istiod.plane.version.as_ref() < Some(&target.version);
        let trouble = trouble.filter(|_| forward);
        let ready_at = trouble.is_none().then(|| now + seconds(ISTIOD_STARTUP));
        istiod.roll(&target.version, pinned, ready_at);
        istiod.plane.trouble = trouble;
        istiod.plane.desired = minimum(target);
        if lives { Ok(()) } else { Err(died(target)) }
    }

    fn move_namespace(
        &mut self,
        name: &str,
        (uid, resource_version): (&str, &str),
        revision: &str,
        labels: &InjectionLabels,
        mark: bool,
    ) -> Result<(), Failure> {
        let found = self.namespaces.iter().find(|ns| ns.name == name);
        let Some(found) = found.filter(|ns| ns.uid == uid) else {
            return Err(conflict(format!("namespace {name} is gone")));
        };
        if found.resource_version != resource_version {
            return Err(conflict(format!("namespace {name} changed")));
        }
        assert!(
            !mark || found.moved_to.as_deref() != Some(revision),
            "namespace {name} taken from whoever put it back"
        );
        self.must_be_ready(revision, name);
        let namespace = self.namespace(name);
        for (key, value) in [
            ("istio-injection", &labels.injection),
            ("istio.io/rev", &labels.revision),
        ] {
            namespace.labels.remove(key);
            let value = value.clone().map(|value| (key.to_owned(), value));
            namespace.labels.extend(value);
        }
        namespace.moved_to = mark.then(|| revision.into());
        self.wrote(format!("namespace {name}"));
        Ok(())
    }

    fn restart(
        &mut self,
        key: &WorkloadKey,
        (uid, resource_version): (&str, &str),
        mark: &str,
        template_revision: Option<&TemplateRevision>,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let Some(app) = self
            .apps
            .iter()
            .find(|app| app.key == *key && app.uid == uid)
        else {
            return Err(conflict(format!("{key} is gone")));
        };
        if app.resource_version.to_string() != resource_version {
            return Err(conflict(format!("{key} changed")));
        }
        if self.too_many_requests > 0 {
            self.too_many_requests -= 1;
            let why = format!("restarting {key}: too many requests, please try again later");
            return Err((ErrorClass::Transient, why));
        }
        if self.denied.as_ref() == Some(&key.name) {
            let why = format!("restarting {key}: admission webhook \"policy\" denied the request");
            return Err((ErrorClass::Blocked, why));
        }
        let changes = app.mark.as_deref() != Some(mark);
        if changes {
            let target = mark.split('.').next().unwrap_or_default();
            // One that does not get ready is tried once more.
            let moved = |m: &crate::world::Member| {
                self.sidecar(&m.pod).as_deref() == Some(target) && m.pod.ready
            };
            let wakes = app.pods.is_empty() && app.replicas == 0 && template_revision.is_some();
            assert!(
                wakes || !app.pods.iter().all(moved),
                "needless restart of {key} for {mark}: every pod runs {target}"
            );
            let kind = key.kind;
            assert!(
                !self.full.contains(&key.namespace) || kind != WorkloadKind::Deployment,
                "restart of {key}: there is no room for a new pod"
            );
            assert!(!app.host_network, "restart takes {key} out of the mesh");
            let mut template = app.template_labels.clone();
            if let Some(asked) = template_revision {
                ask(&mut template, asked);
            }
            match self.injecting(&key.namespace, &template) {
                Injection::By(revision) => {
                    let at = self.lands(revision);
                    assert_eq!(at, target, "restart of {key} lands elsewhere");
                }
                Injection::None => panic!("restart takes {key} out of the mesh"),
                // No pod is made now.
                Injection::Refused(_) if app.replicas == 0 => {}
                Injection::Refused(why) => panic!("restart of {key} cannot start pods: {why}"),
            }
        }
        let serial = self.next_serial();
        let app = self.apps.iter_mut().find(|app| app.key == *key);
        let app = app.expect("found above");
        app.resource_version = serial;
        app.restarted_at = Some(at);
        if changes {
            app.mark = Some(mark.into());
            if let Some(asked) = template_revision {
                ask(&mut app.template_labels, asked);
                app.template_revision_before.clone_from(&asked.before);
            }
            app.change_template();
        }
        self.wrote(key.to_string());
        Ok(())
    }

    fn retire(&mut self, release: &str, revision: &str) -> Result<(), Failure> {
        let members = self.apps.iter().flat_map(|app| &app.pods);
        let mut pods = members.map(|member| &member.pod).chain(&self.loose);
        let stranded = pods.find(|pod| pod.revision.as_deref() == Some(revision));
        if let Some(pod) = stranded {
            panic!(
                "uninstall of {release} strands {}/{}",
                pod.namespace, pod.name
            );
        }
        self.nobody_asks_for(release, revision);
        let gone = self.istiods.iter().find(|i| i.plane.revision == revision);
        if let (Some(gone), Some(validator)) = (gone, &self.validator) {
            assert_ne!(
                validator.service, gone.plane.name,
                "validator calls what goes"
            );
        }
        let newest = self.helm.find(release).and_then(|r| r.revisions.last());
        // Helm takes away what was cut off in the middle of its installation.
        let foreign = newest.is_some_and(|r| match r.state {
            ReleaseState::Pending {
                by: HelmRunner::Foreign,
                ..
            } => true,
            ReleaseState::Pending {
                by: HelmRunner::Elsewhere,
                since,
            } => self.now < since + HELM_TIMEOUT,
            _ => false,
        });
        assert!(
            !foreign,
            "uninstall of {release} in the middle of another operation"
        );
        if let Some(stored) = self.helm.releases.iter().find(|r| r.name == release) {
            self.nothing_goes_along(stored, revision);
        }
        self.lose_budgets(release, revision);
        self.istiods.retain(|i| i.plane.revision != revision);
        self.helm.releases.retain(|r| r.name != release);
        self.wrote(format!("release {release}"));
        Ok(())
    }

    /// What sleeps wakes one day, and configuration is read all the time.
    fn nobody_asks_for(&self, release: &str, revision: &str) {
        let now = |namespace: &str, labels: &BTreeMap<String, String>| {
            matches!(
                self.injecting(namespace, labels), Injection::By(by) if by == revision
            )
        };
        let templates = self.dependents.templates.present().into_iter().flatten();
        let templates = templates.map(|t| (&t.namespace, &t.name, &t.labels));
        let apps = self.apps.iter().filter(|app| !app.host_network);
        let apps = apps.map(|app| (&app.key.namespace, &app.key.name, &app.template_labels));
        for (namespace, name, labels) in templates.chain(apps) {
            assert!(
                !now(namespace, labels),
                "uninstall of {release}, for which {namespace}/{name} asks"
            );
        }
        let configuration = self.dependents.configuration.present();
        let mut configuration = configuration.into_iter().flatten();
        let read = configuration.find(|object| object.revision == revision);
        assert_eq!(read, None, "uninstall of {release}, which alone reads it");
    }

    /// Nothing of the mesh changes in a run that has no backup.
    fn must_be_backed_up(&self, effect: &Effect) {
        // That of the run, or of the one that it takes back.
        let backup = self.object.as_ref().map(|object| {
            let record = self.records.get(&object.record_name());
            let back = record.filter(|_| object.status.rollback.is_some());
            back.map_or_else(|| object.backup_name(), |record| record.backup.clone())
        });
        assert!(
            backup.is_some_and(|name| self.backups.contains(&name)),
            "{} without a backup of this run",
            effect.describe()
        );
    }

    pub fn must_be_ready(&self, revision: &str, what: &str) {
        // That it fell ill since it was looked at nobody can know; whether it was well then, the lint sees.
        let proved = |i: &Istiod| matches!(&i.plane.injector, Seen::Present(w) if w.has_ca_bundle);
        let ready = |i: &Istiod| i.plane.revision == revision && (i.plane.is_ready() || proved(i));
        assert!(
            self.istiods.iter().any(ready),
            "{what} moved to {revision}, which is not ready"
        );
    }
}

/// Writes the label of a template.
pub fn ask(labels: &mut BTreeMap<String, String>, asked: &TemplateRevision) {
    labels.remove("istio.io/rev");
    let label = asked.label.clone();
    labels.extend(label.map(|label| ("istio.io/rev".to_owned(), label)));
}

/// The default revision as the values of the base chart name it.
fn default_of(target: &ChartTarget) -> &str {
    let default = target.values.get("defaultRevision");
    default
        .and_then(|value| value.as_str())
        .unwrap_or("default")
}

pub fn conflict(message: String) -> Failure {
    (ErrorClass::Conflict, message)
}

fn died(target: &ChartTarget) -> Failure {
    (
        ErrorClass::Transient,
        format!(
            "helm on release {}/{} was cut off",
            target.namespace, target.release
        ),
    )
}
