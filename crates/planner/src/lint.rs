//! The last guard before acting: what no decision may ever ask for. A violation is a defect of
//! the planner; nothing is executed.

use meshlift_api::Phase;
use meshlift_istio::values;
use meshlift_istio::version::Version;
use meshlift_model::decision::{ChartTarget, Decision, Effect, Next};
use meshlift_model::detection::METRICS_UNREADABLE;
use meshlift_model::heading::Heading;
use meshlift_model::injection::{Injector, injector_of};
use meshlift_model::owners::Owners;
use meshlift_model::record::Record;
use meshlift_model::route::{Leg, LegKind};
use meshlift_model::stages::Stages;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::users;
use meshlift_model::view::{ControlPlane, Gateway, MeshView, Namespace, PlaneId};

/// A decision that must not be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A mutation of the mesh with no record of what was there before.
    #[error("{0} without a record of what was there before")]
    NoRecord(String),
    /// A mutation of the mesh with no backup of it: nobody could bring back what it changes.
    #[error("{0} without a backup of the mesh")]
    NoBackup(String),
    /// A backup of the mesh after its first mutation.
    #[error("a backup in phase {0}, when the mesh may have been changed")]
    LateBackup(Phase),
    /// A mutation of the mesh outside the phases that may.
    #[error("{0} in phase {1}")]
    WrongPhase(String, Phase),
    /// Two control planes changed at once.
    #[error("more than one Helm operation in one batch")]
    TwoReleases,
    /// A namespace or workload moved to a control plane that is not ready.
    #[error("{0} while istiod {1} is not ready")]
    TargetNotReady(String, String),
    /// Something of a wave moved before its turn.
    #[error("{0}, which is of wave {1}, whose turn has not come")]
    ClosedWave(String, String),
    /// The old control plane removed while something may use it.
    #[error("removal of istiod {revision} while {user}")]
    InUse {
        /// Its revision.
        revision: String,
        /// Who uses it.
        user: String,
    },
    /// Something that goes the other way than the upgrade does.
    #[error("{0} on the way {1}")]
    WrongWay(String, &'static str),
    /// An effect that belongs to two control planes, where there is one.
    #[error("{0} in place, where there is one control plane")]
    NotInPlace(String),
    /// A control plane that would be older than a sidecar: Istio supports proxies that are older, and never newer ones.
    #[error("istiod {version} while {proxy} is newer")]
    ProxyAhead {
        /// Version that istiod would have.
        version: Version,
        /// Who would be ahead of it.
        proxy: String,
    },
    /// Helm would delete a revision tag, and nobody would inject what follows it.
    #[error("revision tag {0} would go with Helm release {1}")]
    TagLost(String, String),
    /// A Helm operation in a mesh that somebody else renders: the two would undo each other.
    #[error("{0} in a mesh whose control plane somebody else renders")]
    Rendered(String),
    /// A Helm operation on a release that is not part of this upgrade.
    #[error("Helm operation on release {0}, which is not part of this upgrade")]
    ForeignRelease(String),
}

/// Checks a decision against what must never happen.
pub fn lint(upgrade: &Upgrade, view: &MeshView, decision: &Decision) -> Result<(), Violation> {
    let Next::Act(batch) = &decision.next else {
        return Ok(());
    };
    if batch.iter().filter(|effect| effect.runs_helm()).count() > 1 {
        return Err(Violation::TwoReleases);
    }
    batch
        .iter()
        .try_for_each(|effect| check(upgrade, view, effect))
}

fn check(upgrade: &Upgrade, view: &MeshView, effect: &Effect) -> Result<(), Violation> {
    let name = effect.describe();
    if let Effect::BackUp(_) = effect {
        return match upgrade.phase() {
            Phase::Detecting => Ok(()),
            other => Err(Violation::LateBackup(other)),
        };
    }
    if !effect.changes_mesh() {
        return Ok(());
    }
    if !upgrade.phase().is_locked() {
        return Err(Violation::WrongPhase(name, upgrade.phase()));
    }
    let Some(record) = view.record.present() else {
        return Err(Violation::NoRecord(name));
    };
    if record.backup.is_empty() {
        return Err(Violation::NoBackup(name));
    }
    let clears = matches!(effect, Effect::ClearPendingRelease { .. });
    if !record.by_helm() && (effect.runs_helm() || clears) {
        return Err(Violation::Rendered(name));
    }
    in_turn(upgrade, view, record, effect)?;
    let heading = Heading::of(upgrade, record);
    match effect {
        // It keeps what the one that is left rendered: nothing moves.
        Effect::LabelGateway { revision, .. } if *revision != heading.to => Ok(()),
        Effect::MoveNamespace { .. }
        | Effect::PointTag { .. }
        | Effect::LabelGateway { .. }
        | Effect::InstallRevision(_)
        | Effect::PointDefaultRevision(_)
        | Effect::RetireRevision { .. }
            if heading.is_in_place() =>
        {
            Err(Violation::NotInPlace(name))
        }
        Effect::MoveNamespace { revision, .. }
        | Effect::PointTag { revision, .. }
        | Effect::LabelGateway { revision, .. } => target_ready(view, record.plane(revision), name),
        Effect::RestartWorkload { .. } | Effect::EvictPod { .. } => {
            target_ready(view, record.plane(heading.to), name)
        }
        Effect::PointDefaultRevision(target) => {
            ours(record, &target.release)?;
            target_ready(view, record.plane(heading.to), name)
        }
        Effect::UpgradeBase(_) | Effect::InstallRevision(_) | Effect::RestoreMinimum(_)
            if heading.is_back() =>
        {
            Err(Violation::WrongWay(name, "back"))
        }
        Effect::UpgradeBase(target) | Effect::InstallRevision(target) => {
            ours(record, &target.release)
        }
        Effect::UpgradeIstiod(target) => {
            ours(record, &target.release)?;
            in_place(view, record, heading, target)
        }
        Effect::RestoreMinimum(target) => {
            ours(record, &target.release)?;
            target_ready(view, record.plane(heading.to), name)
        }
        Effect::CopyBudget { revision, .. } if revision != heading.to => {
            Err(Violation::WrongWay(name, heading.word()))
        }
        Effect::CopyBudget { .. } => Ok(()),
        Effect::ClearPendingRelease { release, .. } => ours(record, release),
        Effect::KeepTag { .. } => Ok(()),
        Effect::ReleaseTags(target) => {
            ours(record, &target.release)?;
            kept(view, &target.release, &target.namespace)
        }
        Effect::RetireRevision {
            release, revision, ..
        } => {
            ours(record, release)?;
            // The one that is left goes, and never the one that is moved to.
            if revision == heading.to {
                return Err(Violation::WrongWay(name, heading.word()));
            }
            if release != &left_release(record, heading) {
                return Err(Violation::ForeignRelease(release.clone()));
            }
            target_ready(view, record.plane(heading.to), name)?;
            unused(upgrade, view, record.plane(revision))?;
            no_tags(view, release)
        }
        Effect::RegisterMesh { .. }
        | Effect::WritePlan { .. }
        | Effect::BackUp(_)
        | Effect::HoldDeletion
        | Effect::LetGo => Ok(()),
    }
}

/// In place istiod goes to the target, or back while no sidecar is ahead of it.
fn in_place(
    view: &MeshView,
    record: &Record,
    heading: Heading<'_>,
    target: &ChartTarget,
) -> Result<(), Violation> {
    let name = Effect::UpgradeIstiod(target.clone()).describe();
    if !heading.is_in_place() {
        return Err(Violation::WrongWay(name, heading.word()));
    }
    if target.version == record.target_version {
        return Ok(());
    }
    // More replicas come before everything else.
    if !heading.is_back() && record.with_replicas().as_ref() == Some(target) {
        return Ok(());
    }
    if !heading.is_back() || target.version != record.source.version {
        return Err(Violation::WrongWay(name, heading.word()));
    }
    let ahead = |proxy: String| {
        Err(Violation::ProxyAhead {
            version: target.version.clone(),
            proxy,
        })
    };
    if let Some(pod) = view.sidecars().find(|pod| heading.leaves(pod)) {
        return ahead(format!("pod {}/{}", pod.namespace, pod.name));
    }
    let plane = view.plane(record.source_plane());
    let live = plane.and_then(|plane| plane.live.present());
    match live.and_then(|live| live.ahead_of(&target.version)) {
        Some(_) => ahead("a connected proxy".to_owned()),
        None => Ok(()),
    }
}

/// Nothing of a wave moves before it is open. A Gateway may be bound to the revision that it has at any time.
fn in_turn(
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
    effect: &Effect,
) -> Result<(), Violation> {
    let stages = Stages::of(upgrade, record);
    let to = Heading::of(upgrade, record).to;
    let stage = match effect {
        Effect::MoveNamespace { name, .. } => Some(stages.of_namespace(name)),
        Effect::RestartWorkload { key, .. } => Some(stages.of_key(view, key)),
        Effect::LabelGateway { revision, .. } if revision == to => stages.gateways(),
        _ => None,
    };
    match stage.filter(|stage| !stages.is_open(*stage)) {
        None => Ok(()),
        Some(stage) => {
            let wave = stages.all().get(stage).map_or("", |stage| stage.name);
            Err(Violation::ClosedWave(effect.describe(), wave.to_owned()))
        }
    }
}

/// The Helm release of the control plane that is left.
fn left_release(record: &Record, heading: Heading<'_>) -> String {
    if heading.is_back() {
        record.target_release()
    } else {
        record.source.name.clone()
    }
}

/// Helm works only on the releases of the route.
fn ours(record: &Record, release: &str) -> Result<(), Violation> {
    let on_route = |leg: &Leg| match &leg.kind {
        LegKind::Release(leg) => leg.release == release,
        LegKind::Workloads | LegKind::Soak | LegKind::Keep => false,
    };
    if record.legs().iter().any(on_route) {
        Ok(())
    } else {
        Err(Violation::ForeignRelease(release.to_owned()))
    }
}

/// What Helm takes out of a release it deletes, where it was not told to leave it.
fn kept(view: &MeshView, release: &str, namespace: &str) -> Result<(), Violation> {
    if view.tags.unreadable().is_some() {
        return Err(Violation::TagLost("any".to_owned(), release.to_owned()));
    }
    let of_release = format!("{namespace}/{release}");
    let mut tags = view.tags().iter();
    let lost = tags.find(|tag| tag.helm_release.as_ref() == Some(&of_release) && !tag.kept);
    match lost {
        None => Ok(()),
        Some(tag) => Err(Violation::TagLost(tag.name.clone(), release.to_owned())),
    }
}

/// A release takes along the tags that are part of it.
fn no_tags(view: &MeshView, release: &str) -> Result<(), Violation> {
    let releases = view.releases.present().map_or(&[][..], Vec::as_slice);
    let mut found = releases
        .iter()
        .filter(|r| r.name == release && values::has_tags(&r.values));
    let Some(found) = found.next() else {
        return Ok(());
    };
    let of_release = format!("{}/{}", found.namespace, found.name);
    let mut tags = view.tags().iter();
    match tags.find(|tag| tag.helm_release.as_ref() == Some(&of_release)) {
        None => Ok(()),
        Some(tag) => Err(Violation::TagLost(tag.name.clone(), release.to_owned())),
    }
}

fn target_ready(view: &MeshView, id: PlaneId<'_>, what: String) -> Result<(), Violation> {
    if view.plane(id).is_some_and(ControlPlane::is_ready) {
        Ok(())
    } else {
        Err(Violation::TargetNotReady(what, id.revision.to_owned()))
    }
}

fn unused(upgrade: &Upgrade, view: &MeshView, id: PlaneId<'_>) -> Result<(), Violation> {
    let revision = id.revision;
    let in_use = |user: String| {
        Err(Violation::InUse {
            revision: revision.to_owned(),
            user,
        })
    };
    // What cannot be read counts as used.
    if let Some((what, why)) = users::unread(view) {
        return in_use(format!("{what} cannot be read ({why})"));
    }
    if let Some(object) = view.undecoded.first() {
        return in_use(format!("{} cannot be read", object.reference));
    }
    let workloads = view.workloads.present().map_or(&[][..], Vec::as_slice);
    let planes = view.control_planes.present().map_or(&[][..], Vec::as_slice);
    let mut pods = workloads
        .iter()
        .flat_map(|w| &w.pods)
        .chain(&view.loose_pods);
    if let Some(pod) = pods.find(|pod| pod.revision.as_ref().is_none_or(|r| r == revision)) {
        return in_use(format!(
            "pod {}/{} runs its sidecar",
            pod.namespace, pod.name
        ));
    }
    let none = std::collections::BTreeMap::new();
    let bound = |ns: &&Namespace| {
        let injector = injector_of(&ns.labels, &none, planes, view.tags());
        !ns.terminating && injector == Injector::Namespace(revision.to_owned())
    };
    let mut namespaces = view.namespaces.present().into_iter().flatten();
    if let Some(namespace) = namespaces.find(bound) {
        return in_use(format!("namespace {} asks for it", namespace.name));
    }
    if let Some(tag) = view.tags().iter().find(|tag| tag.revision == revision) {
        return in_use(format!("revision tag {} points at it", tag.name));
    }
    let owners = Owners::now(view);
    let owned = |g: &&Gateway| owners.owner(g.label.as_deref(), &g.namespace) == Some(revision);
    if let Some(gateway) = view.gateways.present().into_iter().flatten().find(owned) {
        let Gateway {
            namespace, name, ..
        } = gateway;
        return in_use(format!("Gateway {namespace}/{name} is rendered by it"));
    }
    let asleep = users::asking_templates(view, revision);
    let labelled = users::labelled_configuration(view, revision);
    let naming = users::naming_values(view, revision);
    let mut all = asleep.into_iter().chain(labelled).chain(naming);
    if let Some(user) = all.next() {
        return in_use(format!("{user} asks for it"));
    }
    match (view.plane(id), view.validator.present()) {
        (Some(old), Some(validator)) if validator.calls(old) => {
            in_use("istiod-default-validator calls it".to_owned())
        }
        (Some(old), _) if old.live.present().is_some_and(|live| live.connected > 0) => {
            in_use("proxies are connected to it".to_owned())
        }
        (Some(_), _) if upgrade.accepts(METRICS_UNREADABLE) => Ok(()),
        (Some(old), _) if old.ready > 0 && old.live.present().is_none() => {
            in_use("nobody knows who is connected to it".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
