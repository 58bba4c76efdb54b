//! Dry-run pods: which pod shows whether injection works, and what its fate means. A pod shows no more than what it is
//! made of, so it is made of a workload that is about to restart, in its own namespace. And "refused by a policy" is
//! not "not injected": the first is one namespace's affair, the second may be that of the new control plane.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV};
use meshlift_api::{BlockedWorkload, Predicate, Step};
use meshlift_istio::version::Version;

use crate::data_plane::{DataPlaneView, Placement, Turn, waits_for_pods};
use crate::decision::TemplateRevision;
use crate::heading::Heading;
use crate::message;
use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::{MeshView, Probe, Refuser, UpdateStrategy, Workload, WorkloadKey, WorkloadKind};

/// Dry-run pods to try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryRuns {
    /// The revision that shall inject them; none where any may.
    pub revision: Option<String>,
    /// In place the version of the sidecar that it shall inject: the revision is the same before and after.
    pub version: Option<Version>,
    /// One for each namespace.
    pub pods: BTreeMap<String, Sample>,
}

/// What a dry-run pod is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sample {
    /// The template of a workload.
    Workload {
        /// The workload.
        key: WorkloadKey,
        /// Its UID.
        uid: String,
        /// What is written into its template with the restart.
        template: Option<TemplateRevision>,
    },
    /// The least that a pod can be; it asks for a revision by its own label.
    Minimal {
        /// The revision.
        revision: String,
        /// An image that the cluster is known to run: policies may allow certain registries only.
        image: String,
    },
}

/// The revision and version that a sidecar shall have.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// Revision that must inject.
    pub revision: &'a str,
    /// Version of the sidecar that it must inject.
    pub version: &'a Version,
}

impl<'a> Expected<'a> {
    /// What pods must get on the way that is headed.
    pub fn of(heading: Heading<'a>, record: &'a Record) -> Self {
        let version = if heading.is_back() {
            &record.source.version
        } else {
            &record.target_version
        };
        Self {
            revision: heading.to,
            version,
        }
    }
}

/// The workload whose pods show for a namespace whether new ones are injected: one that moves next. A template with a
/// proxy image of its own shows nothing of the version, so another one goes first.
fn sample<'a>(judged: &DataPlaneView<'a>, namespace: &str) -> Option<(&'a Workload, Turn)> {
    let mut found = None;
    for (workload, placement) in judged.in_order(moves_next) {
        // A Gateway's pods are made by istiod, and by no restart; of what has no pod none is made now.
        let makes_none = workload.managed_gateway || workload.pods.is_empty();
        if workload.key.namespace != namespace || makes_none {
            continue;
        }
        let turn = match placement {
            Placement::Stale(turn) => turn.clone(),
            Placement::Held(held) => match &held.again {
                Some(turn) => turn.clone(),
                None => continue,
            },
            _ => continue,
        };
        if !workload.own_proxy_image {
            return Some((workload, turn));
        }
        found.get_or_insert((workload, turn));
    }
    found
}

fn moves_next(placement: &Placement) -> bool {
    matches!(placement, Placement::Stale(_) | Placement::Held(_))
}

/// A dry-run pod for each namespace with something that moves next, and for each with a restart whose pods are not made.
pub fn samples(
    judged: &DataPlaneView<'_>,
    as_they_are: bool,
    unmade: impl Fn(&Workload) -> bool,
) -> BTreeMap<String, Sample> {
    let namespaces = judged.stale_namespaces().into_iter();
    let made = |namespace: &str| {
        let (workload, turn) = sample(judged, namespace)?;
        let template = match turn {
            Turn::Restart { template, .. } if !as_they_are => template,
            Turn::Restart { .. } | Turn::Evict(_) => None,
        };
        let sample = Sample::Workload {
            key: workload.key.clone(),
            uid: workload.uid.clone(),
            template,
        };
        Some((namespace.to_owned(), sample))
    };
    let mut pods: BTreeMap<String, Sample> = namespaces.filter_map(made).collect();
    for (workload, _) in judged.in_order(is_restarted) {
        if unmade(workload) && !workload.managed_gateway {
            let sample = Sample::Workload {
                key: workload.key.clone(),
                uid: workload.uid.clone(),
                template: None,
            };
            pods.entry(workload.key.namespace.clone()).or_insert(sample);
        }
    }
    pods
}

fn is_restarted(placement: &Placement) -> bool {
    matches!(placement, Placement::Restarting | Placement::Failed(_))
}

/// The smallest pod, in the namespace of the control plane: there is no workload yet that could be asked. Only where the
/// label of a pod decides; in a namespace with a label of its own it would show what that label leads to.
pub fn fallback(view: &MeshView, home: &str, revision: &str) -> Option<Sample> {
    if !pod_label_decides(view, home) {
        return None;
    }
    let workloads = view.workloads.present().into_iter().flatten();
    let mut images = workloads
        .flat_map(|workload| &workload.pods)
        .filter_map(|pod| pod.proxy_image.as_deref().map(str::to_owned));
    let mut here = view.planes().iter().filter(|p| p.namespace == home);
    let image = images
        .next()
        .or_else(|| here.next().map(|p| p.image.clone()));
    Some(Sample::Minimal {
        revision: revision.to_owned(),
        image: image.unwrap_or_default(),
    })
}

fn pod_label_decides(view: &MeshView, namespace: &str) -> bool {
    let mut all = view.namespaces.present().into_iter().flatten();
    let found = all.find(|ns| ns.name == namespace);
    found.is_none_or(|ns| {
        let labelled = |key: &str| ns.labels.contains_key(key);
        !labelled(ISTIO_INJECTION) && !labelled(ISTIO_REV)
    })
}

/// What is wrong with the injection of a pod, if anything.
pub fn not_injected(
    probe: Option<&Probe>,
    namespace: &str,
    expected: Expected<'_>,
    own_image: bool,
) -> Option<String> {
    let Some(probe) = probe else {
        return Some(message::no_dry_run(namespace));
    };
    match probe {
        Probe::Injected { revision, image } if revision == expected.revision => {
            let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
            // A tag of the user's own making says nothing about the version.
            let found = Version::from_image_tag(tag).filter(|_| !own_image);
            let other = found.filter(|found| found != expected.version)?;
            Some(message::other_proxy(
                namespace,
                image,
                &other,
                expected.version,
            ))
        }
        Probe::Injected { revision, .. } => Some(message::other_injector(
            namespace,
            revision,
            expected.revision,
        )),
        Probe::NotInjected => Some(message::not_injected(namespace)),
        Probe::Refused(refusal) => Some(message::pod_refused(namespace, refusal)),
        Probe::Failed(why) => Some(message::dry_run_failed(namespace, why)),
    }
}

/// Why a workload may not restart yet.
pub fn bar(
    view: &MeshView,
    judged: &DataPlaneView<'_>,
    workload: &Workload,
    turn: &Turn,
    expected: Expected<'_>,
) -> Option<String> {
    // Where no pod runs, none is made now.
    if workload.pods.is_empty() {
        return None;
    }
    let namespace = workload.key.namespace.as_str();
    let probe = view.probes.get(namespace);
    if let Some(Probe::Refused(refusal)) = probe {
        match &refusal.by {
            // It refuses to be asked, and not the pod.
            Refuser::NoDryRun(_) => return None,
            // The pod that is asked about comes on top of those that run; one that replaces another does not.
            Refuser::Quota if deletes_first(workload, turn) => return None,
            _ => {}
        }
    }
    let own_image = sample(judged, namespace).is_some_and(|(of, _)| of.own_proxy_image);
    not_injected(probe, namespace, expected, own_image)
}

/// Whether a pod goes before the one that replaces it comes.
fn deletes_first(workload: &Workload, turn: &Turn) -> bool {
    let kind = workload.key.kind;
    matches!(turn, Turn::Evict(_))
        || kind.rolls_by_ordinal()
        || kind == WorkloadKind::DaemonSet
        || workload.strategy == UpdateStrategy::Recreate
}

/// Whether any pod was injected as it shall be: then a namespace in which none is has a fault of its own.
pub fn is_shown(view: &MeshView, expected: Expected<'_>) -> bool {
    let mut probes = view.probes.iter();
    probes.any(|(namespace, probe)| not_injected(Some(probe), namespace, expected, true).is_none())
}

/// The data plane with every workload named as not moved that had its time: no pod made of its namespace's templates
/// can be had. One such namespace holds nobody else, and moves nothing back. Where none is injected anywhere and
/// nothing has moved, it is not the namespaces' fault, and nothing is named.
pub fn naming_unproved<'a>(
    mut judged: DataPlaneView<'a>,
    now: Timestamp,
    heading: Heading<'_>,
    upgrade: &Upgrade,
    view: &MeshView,
) -> DataPlaneView<'a> {
    let Some(record) = view.record.present().filter(|_| !heading.is_back()) else {
        return judged;
    };
    let expected = Expected::of(heading, record);
    if view.probes.is_empty() || !(judged.shows_target() || is_shown(view, expected)) {
        return judged;
    }
    let late = had_its_time(now, upgrade);
    let timeout = crate::time::signed(upgrade.spec.data_plane.restart.timeout);
    // Its restart was refused for as long as that may last, and is not tried once more where no pod can be had.
    let refused_long = |workload: &Workload, turn: &Turn| {
        let object = match turn {
            Turn::Restart { .. } => &workload.uid,
            Turn::Evict(pod) => &pod.uid,
        };
        let refusal = view.refusals.get(object);
        refusal.is_some_and(|refusal| refusal.had_its_time(now, timeout))
    };
    let barred = |(workload, placement): &(&'a Workload, Placement)| {
        let turn = match placement {
            Placement::Failed(_) if waits_for_pods(workload, heading, now, timeout) => {
                return keeps_pods_away(view, workload);
            }
            Placement::Stale(turn) => turn,
            Placement::Held(held) if held.predicate == Predicate::Refused => held.again.as_ref()?,
            _ => return None,
        };
        let named = late || was_named(upgrade, workload) || refused_long(workload, turn);
        named.then(|| bar(view, &judged, workload, turn, expected))?
    };
    let bars: Vec<_> = judged.placements.iter().map(barred).collect();
    let mut named = Vec::new();
    for ((workload, placement), why) in judged.placements.iter_mut().zip(bars) {
        let Some(why) = why else { continue };
        *placement = Placement::Blocked(Predicate::PodRefused);
        named.push(BlockedWorkload {
            reference: workload.key.to_string(),
            predicate: Predicate::PodRefused,
            message: message::no_new_pods(&workload.key, &why),
        });
    }
    // One that is named already gets the newer reason.
    let again = |other: &BlockedWorkload| named.iter().any(|new| new.reference == other.reference);
    judged.blocked.retain(|other| !again(other));
    // First of all: what is in status is waited for no more, and status has room for some only.
    judged.blocked.splice(0..0, named);
    judged
}

/// Who refuses the pods of a workload, where it is not the new control plane: a quota that filled up after its restart is
/// no reason to take anything back.
fn keeps_pods_away(view: &MeshView, workload: &Workload) -> Option<String> {
    let namespace = workload.key.namespace.as_str();
    match view.probes.get(namespace)? {
        Probe::Refused(refusal) if !matches!(refusal.by, Refuser::NoDryRun(_)) => {
            Some(message::pod_refused(namespace, refusal))
        }
        _ => None,
    }
}

fn had_its_time(now: Timestamp, upgrade: &Upgrade) -> bool {
    let step = Step::ProvingControlPlane;
    let began = upgrade.status.step_started_at.as_ref();
    let began = began.filter(|_| upgrade.status.step == Some(step));
    let patience = crate::time::signed(upgrade.spec.data_plane.restart.timeout);
    began.is_some_and(|began| now.duration_since(began.0) >= patience)
}

fn was_named(upgrade: &Upgrade, workload: &Workload) -> bool {
    let of_namespace = format!(" {}/", workload.key.namespace);
    let mut blocked = upgrade.status.blocked.iter();
    blocked.any(|b| b.predicate == Predicate::PodRefused && b.reference.contains(&of_namespace))
}
