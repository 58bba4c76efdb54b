//! Which of the costlier looks a decision will ask for, so that nothing is read that nobody needs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meshlift_api::{MeshSpec, Mode, Phase, Step};
use meshlift_model::data_plane::{DataPlaneView, Placement, assess_toward, waits_for_pods};
use meshlift_model::heading::{By, Heading};
use meshlift_model::proof::{self, DryRuns};
use meshlift_model::record::Record;
use meshlift_model::stages::Stages;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, MeshView, Workload};

use crate::phase::{is_proving, retirement_due};

/// Looks beyond the watched objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The versions in the chart repository.
    pub catalog: bool,
    /// The surroundings of the mesh.
    pub environment: bool,
    /// Our own permissions.
    pub permissions: bool,
    /// The archives of the charts that the first step installs.
    pub archives: bool,
    /// Whether the backup of this run is there.
    pub backup: bool,
    /// Helm releases.
    pub releases: ReleasesWanted,
    /// Who depends on a control plane without running: each look is a list for every kind.
    pub dependents: ReleasesWanted,
    /// Disruption budgets beside the control planes.
    pub budgets: bool,
    /// The CRDs of Istio, as known for a while: where others render them, their version is waited for.
    pub crds: bool,
    /// Metrics of the control planes.
    pub live_counters: bool,
    /// Revisions of the control planes whose metrics tell how fast workloads may restart: as known for ten seconds.
    pub pace: BTreeSet<String>,
    /// What Helm would make of the charts, compared with what it made of them.
    pub diffs: bool,
    /// Dry-run pods.
    pub probes: Option<DryRuns>,
}

/// How Helm releases are looked at: each look is a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReleasesWanted {
    /// Not at all.
    #[default]
    No,
    /// As known, if not for too long: only somebody else could have changed them.
    Known,
    /// As they are now.
    Fresh,
}

/// What to look at, from what is watched anyway (`view` without the costlier parts).
pub fn wanted(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Wanted {
    match upgrade.phase() {
        Phase::Detecting => Wanted {
            catalog: true,
            environment: true,
            permissions: true,
            // Whether they can be read at all is known before anything moves.
            live_counters: true,
            // What is not held has no backup and no record yet: those come last.
            archives: upgrade.held && installs(view),
            backup: upgrade.held,
            releases: ReleasesWanted::Fresh,
            dependents: ReleasesWanted::Known,
            diffs: upgrade.spec.mode == Mode::Preflight,
            probes: rehearsal(now, upgrade, view),
            ..Wanted::default()
        },
        Phase::Upgrading => {
            let judged = judged(now, upgrade, view);
            Wanted {
                releases: match upgrade.status.step {
                    _ if !by_helm(view) => ReleasesWanted::No,
                    Some(Step::RestartingWorkloads | Step::VerifyingWave) => ReleasesWanted::Known,
                    _ => ReleasesWanted::Fresh,
                },
                // Right before the new control plane may go.
                dependents: if judged.as_ref().is_some_and(Judged::is_back_and_quiet) {
                    ReleasesWanted::Fresh
                } else {
                    ReleasesWanted::No
                },
                budgets: is_proving(upgrade) && has_budget(view),
                crds: is_proving(upgrade) && !by_helm(view),
                live_counters: judged.as_ref().is_some_and(|of| {
                    of.is_verified(view)
                        || (is_proving(upgrade) && of.destination(view).is_some())
                        // Proxies that istiod does not support keep it from going back.
                        || (of.heading.is_in_place() && of.heading.is_back())
                }),
                pace: judged
                    .as_ref()
                    .map(|of| of.paced_by(view))
                    .unwrap_or_default(),
                probes: judged.and_then(|of| of.probes(now, upgrade, view)),
                ..Wanted::default()
            }
        }
        Phase::HealthChecking => in_health_check(now, upgrade, view),
        Phase::Pending | Phase::Done | Phase::Failed => Wanted::default(),
    }
}

/// Whether this operator installs charts for the mesh.
fn installs(view: &MeshView) -> bool {
    let mesh = view.mesh.present();
    mesh.is_none_or(MeshSpec::by_helm)
}

/// Whether Helm has something to put back before an upgrade in place ends.
fn puts_back(view: &MeshView) -> bool {
    let record = view.record.present();
    record.is_some_and(|record| record.with_replicas().is_some())
}

fn in_health_check(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Wanted {
    let retires = retirement_due(now, upgrade);
    let fresh = |wanted: bool| {
        if wanted {
            ReleasesWanted::Fresh
        } else {
            ReleasesWanted::No
        }
    };
    Wanted {
        live_counters: true,
        budgets: retires && has_budget(view),
        // Who asks to move back may come too late.
        releases: fresh(
            by_helm(view) && (retires || upgrade.spec.request_rollback || puts_back(view)),
        ),
        dependents: fresh(retires),
        probes: judged(now, upgrade, view).and_then(|of| of.probes(now, upgrade, view)),
        ..Wanted::default()
    }
}

/// Whether Helm installs the control plane; so it does until a record says something else.
fn by_helm(view: &MeshView) -> bool {
    view.record.present().is_none_or(Record::by_helm)
}

/// Whether the old control plane has a budget that is copied for the new one.
fn has_budget(view: &MeshView) -> bool {
    let record = view.record.present();
    record.is_some_and(|record| record.budget.is_some())
}

/// The data plane as the decision will judge it.
struct Judged<'a> {
    heading: Heading<'a>,
    stages: Stages<'a>,
    data_plane: DataPlaneView<'a>,
}

fn judged<'a>(now: Timestamp, upgrade: &'a Upgrade, view: &'a MeshView) -> Option<Judged<'a>> {
    let record = view.record.present()?;
    let heading = Heading::of(upgrade, record);
    let stages = Stages::of(upgrade, record);
    let data_plane = assess_toward(now, heading, Some(&stages), upgrade, view)?;
    Some(Judged {
        heading,
        stages,
        data_plane,
    })
}

impl Judged<'_> {
    /// Whether a decision looks at the health of what has moved: a wave, or everything on the way back, and
    /// nothing of it restarts or is about to.
    fn is_verified(&self, view: &MeshView) -> bool {
        let current = self.stages.current();
        let wave = current.is_some_and(|at| self.stages.is_open(at));
        let open = |workload: &Workload| self.stages.is_open(self.stages.of_workload(workload));
        let moves = |(workload, placement): &(&Workload, Placement)| match placement {
            Placement::Restarting | Placement::Stale(_) => true,
            // Its label comes first.
            Placement::Later => open(workload),
            _ => false,
        };
        let quiet = wave && !self.data_plane.placements.iter().any(moves);
        // On the way back what cannot restart is named, and the health of the others is looked at.
        self.destination(view).is_some() && (quiet || self.heading.is_back())
    }

    /// Whether nothing is left to move back.
    fn is_back_and_quiet(&self) -> bool {
        let moves = |placement: &Placement| {
            matches!(placement, Placement::Restarting | Placement::Stale(_))
        };
        let mut placements = self.data_plane.placements.iter();
        self.heading.is_back() && !placements.any(|(_, placement)| moves(placement))
    }

    /// The control planes of the upgrade, while workloads are about to restart.
    fn paced_by(&self, view: &MeshView) -> BTreeSet<String> {
        let stale = |placement: &Placement| matches!(placement, Placement::Stale(_));
        let mut placements = self.data_plane.placements.iter();
        if self.destination(view).is_none() || !placements.any(|(_, placement)| stale(placement)) {
            return BTreeSet::new();
        }
        let record = view.record.present().into_iter();
        let both = record.flat_map(|of| [&of.target_revision, &of.source_revision]);
        both.cloned().collect()
    }

    /// The control plane that is moved to, once it is ready.
    fn destination<'v>(&self, view: &'v MeshView) -> Option<&'v ControlPlane> {
        let record = view.record.present()?;
        let to = view.plane(record.plane(self.heading.to))?;
        to.is_ready().then_some(to)
    }

    /// What moves next, and before anything does the smallest pod, which asks for the new revision itself.
    fn probes(&self, now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Option<DryRuns> {
        let to = self.destination(view)?;
        let timeout = meshlift_model::time::signed(upgrade.spec.data_plane.restart.timeout);
        let unmade = |workload: &Workload| waits_for_pods(workload, self.heading, now, timeout);
        let mut pods = proof::samples(&self.data_plane, false, unmade);
        if pods.is_empty()
            && let Some(sample) = proof::fallback(view, &to.namespace, &to.revision)
        {
            pods.insert(to.namespace.clone(), sample);
        }
        let revision = Some(to.revision.clone());
        let version = match self.heading.by {
            By::Revision => None,
            By::Version { to, .. } => Some(to.clone()),
        };
        Some(DryRuns {
            revision,
            version,
            pods,
        })
    }
}

/// Dry-run pods as they would be made now, before anything is changed: what refuses them refuses them later too.
fn rehearsal(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Option<DryRuns> {
    view.mesh.present()?;
    // Every sidecar is one that is left behind.
    let heading = Heading::forward("");
    let judged = assess_toward(now, heading, None, upgrade, view)?;
    Some(DryRuns {
        revision: None,
        version: None,
        pods: proof::samples(&judged, true, |_| false),
    })
}
