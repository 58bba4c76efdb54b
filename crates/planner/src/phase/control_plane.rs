//! The new control plane beside the old one: CRDs first, then istiod, then the proof that it injects.

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{Step, Strategy};
use meshlift_istio::values;
use meshlift_model::decision::{
    ChartTarget, Decision, Effect, Findings, HELM_TIMEOUT, Next, Report, Verdict, Waiting,
    WaitingOn,
};
use meshlift_model::proof::{self, Expected};
use meshlift_model::record::Record;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{
    ControlPlane, HelmRunner, MeshView, Probe, Release, ReleaseState, Seen,
};
use meshlift_model::{message, replicas};

use super::failing::failed;
use super::handing_over::copy_budget;
use super::upgrading::{is_proving, same_step, step_began, timeout};
use super::versions::of_another_version;
use super::{BACKSTOP, POLL, blind, later, rendered, wait};

/// Brings up the new control plane; `None` when it is there and proved.
pub(super) fn control_plane(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Option<Decision> {
    if !record.by_helm() {
        return rendered::control_plane(now, upgrade, view, record)
            .or_else(|| prove(now, upgrade, view, record));
    }
    let releases = match &view.releases {
        Seen::Present(releases) => releases.as_slice(),
        Seen::Absent => &[],
        Seen::Unreadable(why) => {
            return Some(blind(now, same_step(upgrade), "the Helm releases", why));
        }
    };
    let to = &record.target_version;
    let base = record.target_base(record.base_values.clone());
    let base_is_behind = |release: &Release| release.version.as_ref().is_none_or(|v| v < to);
    if let Some(decision) = replicas_first(now, upgrade, view, record, releases) {
        return Some(decision);
    }
    helm_step(
        now,
        releases,
        base,
        Step::UpgradingBase,
        base_is_behind,
        Effect::UpgradeBase,
    )
    .or_else(|| {
        let istiod = record.target_istiod();
        // Of the same version it is left as it is, unless it does not come up: then what was mended
        // since it was installed (an image, a value) has to reach it.
        let down = target_is_down(view, record);
        let wanted = istiod.values.clone();
        let differs = |release: &Release| {
            release.version.as_ref() != Some(to)
                || values::leads_back(&release.values)
                || (down && release.values != wanted)
        };
        let step = Step::InstallingControlPlane;
        helm_step(
            now,
            releases,
            istiod,
            step,
            differs,
            match record.strategy {
                Strategy::Canary => Effect::InstallRevision,
                Strategy::InPlace => Effect::UpgradeIstiod,
            },
        )
    })
    .or_else(|| copy_budget(now, view, record, same_step(upgrade)))
    .or_else(|| prove(now, upgrade, view, record))
}

/// In place somebody has to serve while a replica is replaced: that comes first. `None` where nothing is raised, and once
/// istiod is on its way to the target.
fn replicas_first(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
    releases: &[Release],
) -> Option<Decision> {
    let (target, raised) = (record.with_replicas()?, record.raised_minimum?);
    let source = &record.source;
    let release = Release::find(releases, &source.name, &source.namespace)?;
    if release.version.as_ref() != Some(&source.version) {
        return None;
    }
    let step = Step::EnsuringReplicas;
    let lower = |release: &Release| !replicas::has_minimum(&release.values, raised);
    if let Some(decision) = helm_step(now, releases, target, step, lower, Effect::UpgradeIstiod) {
        return Some(decision);
    }
    let plane = view.plane(record.source_plane())?;
    if plane.desired >= raised && plane.ready >= raised {
        return None;
    }
    let message = message::waits_for_replicas(plane, raised);
    let report = Report {
        step: Some(step),
        message: message.clone(),
        ..Report::default()
    };
    let deadline = later(step_began(upgrade, step, now), timeout(upgrade));
    if now >= deadline {
        return Some(failed(now, upgrade, view, record, &message, report));
    }
    let until = later(now, POLL).min(deadline);
    let on = WaitingOn::ControlPlane;
    Some(Decision::new(Next::Wait(Waiting { on, until }), report))
}

/// Whether the new control plane is seen not to be ready.
fn target_is_down(view: &MeshView, record: &Record) -> bool {
    let target = view.plane(record.target_plane());
    view.control_planes.present().is_some() && !target.is_some_and(ControlPlane::is_ready)
}

/// What a process left behind that was killed ends by itself within this.
const ORPHANED: SignedDuration = SignedDuration::from_secs(20);
/// What Helm may take beyond its own timeout, and clocks may differ.
const SLACK: SignedDuration = SignedDuration::from_secs(30);

/// What is said while a Helm operation on a release has to be waited for; `None` if there is none, or one of ours that was
/// surely cut off.
pub(super) fn other_helm(now: Timestamp, release: &Release) -> Option<String> {
    let ReleaseState::Pending { since, by } = release.state else {
        return None;
    };
    let ends = match by {
        HelmRunner::Foreign => return Some(message::foreign_helm(release, since)),
        HelmRunner::Here => return None,
        HelmRunner::Before => later(since, ORPHANED),
        HelmRunner::Elsewhere => later(later(since, HELM_TIMEOUT), SLACK),
    };
    (now < ends).then(|| message::own_helm(release, since, ends))
}

/// Brings a release to its target, or waits for whoever works on it; `None` when it is there.
pub(super) fn helm_step(
    now: Timestamp,
    releases: &[Release],
    target: ChartTarget,
    step: Step,
    outdated: impl Fn(&Release) -> bool,
    effect: impl FnOnce(ChartTarget) -> Effect,
) -> Option<Decision> {
    let found = Release::find(releases, &target.release, &target.namespace);
    let message = format!(
        "Helm brings release {}/{} to chart {} {}",
        target.namespace,
        target.release,
        target.chart.name(),
        target.version
    );
    let report = Report {
        step: Some(step),
        message,
        ..Report::default()
    };
    match found {
        Some(release) => match &release.state {
            ReleaseState::Pending { .. } => {
                if let Some(message) = other_helm(now, release) {
                    return Some(Decision::new(
                        wait(now, WaitingOn::ForeignHelm, POLL),
                        Report { message, ..report },
                    ));
                }
                let clear = Effect::ClearPendingRelease {
                    release: release.name.clone(),
                    namespace: release.namespace.clone(),
                    storage: release.storage.clone(),
                };
                let message = format!(
                    "clearing the Helm operation on {}/{} that was cut off",
                    release.namespace, release.name
                );
                Some(Decision::new(
                    Next::Act(vec![clear]),
                    Report { message, ..report },
                ))
            }
            ReleaseState::Deployed if !outdated(release) => None,
            _ => Some(Decision::new(Next::Act(vec![effect(target)]), report)),
        },
        None => Some(Decision::new(Next::Act(vec![effect(target)]), report)),
    }
}

/// Waits until the new control plane is available, has its CA bundle and injects.
fn prove(now: Timestamp, upgrade: &Upgrade, view: &MeshView, record: &Record) -> Option<Decision> {
    if let Some(why) = view.control_planes.unreadable() {
        return Some(blind(now, same_step(upgrade), "the control planes", why));
    }
    let plane = view.plane(record.target_plane());
    let missing = unproved(plane, view, record).or_else(|| too_small(plane?, upgrade, record))?;
    let report = Report {
        step: Some(Step::ProvingControlPlane),
        message: format!("waiting for the new control plane: {}", missing.what),
        findings: Findings {
            control_plane_ready: Verdict::no(missing.reason, missing.what.clone()),
            ..Findings::default()
        },
        ..Report::default()
    };
    let deadline = later(
        step_began(upgrade, Step::ProvingControlPlane, now),
        timeout(upgrade),
    );
    if now >= deadline {
        let what = format!(
            "the new control plane {} did not come up within {}: {}",
            record.target_name(),
            message::span(timeout(upgrade)),
            missing.what
        );
        return Some(failed(now, upgrade, view, record, &what, report));
    }
    let until = later(now, missing.recheck).min(deadline);
    Some(Decision::new(
        Next::Wait(Waiting {
            on: missing.on,
            until,
        }),
        report,
    ))
}

struct Missing {
    reason: &'static str,
    what: String,
    on: WaitingOn,
    recheck: SignedDuration,
}

impl Missing {
    fn plane(reason: &'static str, what: String) -> Option<Self> {
        Some(Self {
            reason,
            what,
            on: WaitingOn::ControlPlane,
            recheck: BACKSTOP,
        })
    }
}

/// The new control plane is as large as the old one before anything moves to it. Once something has, its size is its
/// owner's.
fn too_small(plane: &ControlPlane, upgrade: &Upgrade, record: &Record) -> Option<Missing> {
    let wanted = record.raised_minimum?;
    if plane.desired >= wanted || !is_proving(upgrade) {
        return None;
    }
    Missing::plane("TooFewReplicas", message::too_few_replicas(plane, wanted))
}

fn unproved(plane: Option<&ControlPlane>, view: &MeshView, record: &Record) -> Option<Missing> {
    let Some(plane) = plane else {
        let what = format!(
            "istiod of revision {} is not there yet",
            record.target_revision
        );
        return Missing::plane("NotFound", what);
    };
    // In place a replica of before would inject the sidecars of before.
    let replaced = record.strategy == Strategy::Canary || !plane.rolling;
    if !plane.is_ready() || !replaced {
        return Missing::plane("NotReady", message::not_replaced(plane));
    }
    if let Some(what) = of_another_version(plane, &record.target_version) {
        return Missing::plane("OtherVersion", what);
    }
    match &plane.injector {
        Seen::Present(webhook) if webhook.has_ca_bundle => {}
        Seen::Present(webhook) => {
            let what = format!(
                "{} has written no CA bundle into its webhook {}",
                plane.name, webhook.name
            );
            return Missing::plane("NoCaBundle", what);
        }
        Seen::Absent => {
            return Missing::plane(
                "NoWebhook",
                format!("{} has no injection webhook", plane.name),
            );
        }
        Seen::Unreadable(why) => {
            return Missing::plane("Unreadable", format!("its webhook cannot be read: {why}"));
        }
    }
    let what = not_injecting(&plane.namespace, view, record)?;
    Some(Missing {
        reason: "NotInjecting",
        what,
        on: WaitingOn::Injection,
        recheck: POLL,
    })
}

/// What the smallest pod shows before anything moves, if it shows that nothing is injected. Where it cannot be had, for a
/// label on its namespace or because somebody refuses it, nothing is said against the control plane: it is ready, the API
/// server calls it, and each namespace is proved before its first restart.
fn not_injecting(home: &str, view: &MeshView, record: &Record) -> Option<String> {
    let probe = view.probes.get(home);
    let refused = matches!(probe, Some(Probe::Refused(_)));
    // With something to restart a pod of that was tried instead, in each namespace.
    let others = view.probes.keys().any(|namespace| namespace != home);
    if refused || others || proof::fallback(view, home, "").is_none() {
        return None;
    }
    let expected = Expected {
        revision: &record.target_revision,
        version: &record.target_version,
    };
    proof::not_injected(probe, home, expected, false)
}
