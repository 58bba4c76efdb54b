//! A plan as text, for a terminal and for the Secret that keeps it.

use std::fmt::Write as _;

use meshlift_model::diff::{Change, ObjectDiff};
use meshlift_model::message;
use meshlift_model::replicas::MINIMUM;

use super::estimate::between;
use super::{Plan, PlannedApproval, PlannedWave, ReleaseChange, ReleaseStep};

/// How much of the Helm diffs is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DiffStyle {
    /// Counts only.
    None,
    /// Counts and the objects by name.
    #[default]
    Summary,
    /// Every changed line.
    Full,
}

/// The API server takes Secrets up to 1 MiB, in base64 and with the rest of the object.
const LARGEST_STORED: usize = 700_000;

impl Plan {
    /// The plan as text.
    pub fn render(&self, style: DiffStyle) -> String {
        self.text(style, &|_| true)
    }

    /// The plan as text that fits into a Secret: with every changed line if that is possible, else
    /// without those of CRDs, which are many, else by the names of the objects.
    pub fn stored(&self) -> String {
        let without_crds = |o: &ObjectDiff| o.id.kind != "CustomResourceDefinition";
        [
            self.text(DiffStyle::Full, &|_| true),
            self.text(DiffStyle::Full, &without_crds),
        ]
        .into_iter()
        .find(|text| text.len() <= LARGEST_STORED)
        .unwrap_or_else(|| capped(self.text(DiffStyle::Summary, &|_| true)))
    }

    fn text(&self, style: DiffStyle, in_full: &dyn Fn(&ObjectDiff) -> bool) -> String {
        let sections = [
            self.head(),
            self.release_lines(),
            self.tag_lines(),
            self.namespace_lines(),
            self.wave_lines(),
            self.restart_lines(),
            self.blocked_lines(),
            self.time_lines(),
            self.diff_lines(style, in_full),
        ];
        let shown: Vec<String> = sections.into_iter().filter(|s| !s.is_empty()).collect();
        shown.join("\n")
    }

    fn head(&self) -> String {
        let mut text = format!(
            "Plan for mesh {}: Istio {} (revision {}) to {} (revision {})\n",
            self.mesh, self.from, self.from_revision, self.to, self.to_revision
        );
        text.push_str("Made from what was seen; the mesh was not touched.\n");
        line(&mut text, &format!("Route: {}", self.legs.join(", ")));
        if !self.later.is_empty() {
            let later: Vec<String> = self.later.iter().map(ToString::to_string).collect();
            line(
                &mut text,
                &format!(
                    "This is the first of {} steps. Then come {}; each is planned when it is next.",
                    self.later.len() + 1,
                    later.join(", ")
                ),
            );
        }
        text
    }

    fn release_lines(&self) -> String {
        if !self.commits.is_empty() {
            return self.commit_lines();
        }
        let mut text = "Helm releases, in this order\n".to_owned();
        for (n, step) in self.releases.iter().enumerate() {
            line(
                &mut text,
                &format!(
                    "  {}. {}/{}: {}",
                    n + 1,
                    step.namespace,
                    step.release,
                    does(step, &self.to_revision)
                ),
            );
            let changes = self.changes(step);
            if !changes.is_empty() {
                line(&mut text, &format!("     {changes}"));
            }
        }
        text.push_str(&self.availability_lines());
        if let Some(why) = &self.not_compared {
            line(
                &mut text,
                &format!("  Their objects were not compared: {why}"),
            );
        }
        text
    }

    fn commit_lines(&self) -> String {
        let mut text = "Commits, in this order: others render istiod and the CRDs (spec.installer of the Mesh is None), and the upgrade waits for each\n".to_owned();
        for (n, change) in self.commits.iter().enumerate() {
            line(&mut text, &format!("  {}. {change}", n + 1));
        }
        text
    }

    /// What keeps the new control plane as available as the old one is.
    fn availability_lines(&self) -> String {
        let mut text = String::new();
        if let Some(replicas) = self.starts_with {
            line(
                &mut text,
                &format!(
                    "  istiod-{} starts with {replicas} replicas, as the old one runs now: {MINIMUM} is {replicas} while both run",
                    self.to_revision
                ),
            );
        }
        if let Some(budget) = &self.copied_budget {
            line(
                &mut text,
                &format!(
                    "  PodDisruptionBudget {budget} is only for the old control plane: a copy of it is made for the new one"
                ),
            );
        }
        text
    }

    fn tag_lines(&self) -> String {
        if self.tags.is_empty() {
            return String::new();
        }
        format!(
            "Revision tags that are pointed at {}, once all their namespaces may move: {}\n",
            self.to_revision,
            self.tags.join(", ")
        )
    }

    fn wave_lines(&self) -> String {
        if self.waves.is_empty() {
            return String::new();
        }
        let mut text =
            "Waves, in this order; each begins when the one before has moved and is healthy\n"
                .to_owned();
        for (n, wave) in self.waves.iter().enumerate() {
            line(&mut text, &format!("  {}. {}", n + 1, told(wave)));
        }
        text
    }

    fn namespace_lines(&self) -> String {
        let mut text = format!(
            "Namespaces that change their label: {}\n",
            self.namespaces.len()
        );
        for namespace in &self.namespaces {
            let by = namespace.written_by.as_deref();
            let by = by
                .map(|by| format!(" (last written by {by})"))
                .unwrap_or_default();
            line(
                &mut text,
                &format!(
                    "  {}: {} becomes {}{by}",
                    namespace.name,
                    namespace.before.join(" "),
                    namespace.after
                ),
            );
        }
        text
    }

    fn restart_lines(&self) -> String {
        let mut text = format!(
            "Workloads that are restarted: {}, {}, {} at a time and {} in a namespace\n",
            self.restarts.len(),
            if self.waves.is_empty() {
                "in one wave"
            } else {
                "wave by wave"
            },
            self.limits.mesh,
            self.limits.namespace
        );
        for of_namespace in self
            .restarts
            .chunk_by(|a, b| a.workload.namespace == b.workload.namespace)
        {
            let Some(first) = of_namespace.first() else {
                continue;
            };
            line(
                &mut text,
                &format!("  {}: {}", first.workload.namespace, of_namespace.len()),
            );
            for restart in of_namespace {
                let waits = if restart.waits {
                    ", after the rollout that it is in"
                } else {
                    ""
                };
                line(
                    &mut text,
                    &format!(
                        "    {} {}, pods: {}{waits}",
                        restart.workload.kind, restart.workload.name, restart.pods
                    ),
                );
            }
        }
        let proxies = self.proxies;
        line(
            &mut text,
            &format!(
                "Sidecars: {}, of them {} of {} already, and {} whose revision cannot be told",
                proxies.total,
                proxies.current,
                self.to_name(),
                proxies.unknown
            ),
        );
        text
    }

    fn blocked_lines(&self) -> String {
        let mut text = format!("Not moved: {}\n", self.blocked.len());
        for blocked in &self.blocked {
            line(
                &mut text,
                &format!(
                    "  {} ({:?}): {}",
                    blocked.reference, blocked.predicate, blocked.message
                ),
            );
        }
        text
    }

    fn time_lines(&self) -> String {
        let mut text = String::new();
        if let Some(begins) = &self.begins {
            line(
                &mut text,
                &format!(
                    "Begins: not before its next maintenance window, {}. Nothing new begins outside of them, so it may take several.",
                    begins.told
                ),
            );
        }
        line(
            &mut text,
            &format!("Time: {}. This is an estimate.", self.estimate.range()),
        );
        for part in &self.estimate.parts {
            line(
                &mut text,
                &format!("  {}: {}", part.what, between(part.low, part.high)),
            );
        }
        text.push_str("  Restarts are counted with 20 to 60 seconds for each step of a rolling update: a Deployment takes up to 4, StatefulSets and DaemonSets one for each pod.\n");
        text
    }

    fn diff_lines(&self, style: DiffStyle, in_full: &dyn Fn(&ObjectDiff) -> bool) -> String {
        if style == DiffStyle::None {
            return String::new();
        }
        let mut text = String::new();
        for step in &self.releases {
            let Some(diff) = &step.diff else { continue };
            line(
                &mut text,
                &format!(
                    "Changes of {}/{}: {}",
                    step.namespace,
                    step.release,
                    does(step, &self.to_revision)
                ),
            );
            if let Some(revisions) = &diff.revisions {
                line(
                    &mut text,
                    &format!(
                        "  Compared object by object with the control plane that it will replace. For that the revisions ({} and {}) were taken out of names and labels on both sides.",
                        revisions.old, revisions.new
                    ),
                );
            }
            for object in &diff.objects {
                object_lines(&mut text, object, style == DiffStyle::Full, in_full(object));
            }
            text.push('\n');
        }
        text
    }
}

fn object_lines(text: &mut String, object: &ObjectDiff, full: bool, in_full: bool) {
    let mark = match object.change {
        Change::Added => '+',
        Change::Changed => '~',
        Change::Removed => '-',
    };
    let note = if object.only_version {
        " (only version labels)"
    } else {
        ""
    };
    line(text, &format!("  {mark} {}{note}", object.id));
    // What goes is named; a page of minus signs says no more.
    if !full || object.only_version || object.change == Change::Removed {
        return;
    }
    if in_full {
        text.push_str(&object.text)
    } else {
        line(
            text,
            &format!(
                "    {} changed lines, too many to be kept here: see `meshlift plan --diff=full`",
                changed_lines(&object.text)
            ),
        )
    }
}

fn changed_lines(diff: &str) -> usize {
    let changed = |line: &&str| line.starts_with(['+', '-']);
    // The two lines of the header are none.
    diff.lines().filter(changed).count().saturating_sub(2)
}

/// What Helm does with a release, in words.
fn does(step: &ReleaseStep, revision: &str) -> String {
    let chart = &step.chart;
    let shown = |version: &Option<meshlift_istio::version::Version>| {
        version
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    let (from, to) = (shown(&step.from), shown(&step.to));
    match step.change {
        ReleaseChange::Base => format!("upgrade of chart {chart} from {from} to {to}"),
        ReleaseChange::InPlace => {
            format!("upgrade in place of chart {chart} from {from} to {to}")
        }
        ReleaseChange::RaiseMinimum => {
            format!(
                "upgrade of chart {chart} {from}: a higher {MINIMUM}, for the time of the upgrade"
            )
        }
        ReleaseChange::Install => format!("install of chart {chart} {to}"),
        ReleaseChange::DefaultRevision => {
            format!("upgrade of chart {chart}: the default revision moves to {revision}")
        }
        ReleaseChange::RestoreMinimum => {
            format!("upgrade of chart {chart}: {MINIMUM} as the values of its owner have it")
        }
        ReleaseChange::Retire => format!("uninstall of chart {chart} {from}"),
    }
}

/// `canary: namespaces: 2 (blog, shop); workloads: 3; then healthy for 10m`.
fn told(wave: &PlannedWave) -> String {
    let names = message::first_few(&wave.namespaces);
    let namespaces = match wave.namespaces.len() {
        0 => "no namespace".to_owned(),
        n => format!("namespaces: {n} ({names})"),
    };
    let mut text = format!("{}: {namespaces}; workloads: {}", wave.name, wave.restarts);
    if wave.gateways > 0 {
        text.push_str(&format!("; gateways that istiod rolls: {}", wave.gateways));
    }
    match wave.approval {
        PlannedApproval::NotNeeded => {}
        PlannedApproval::Awaited => text.push_str("; waits until a person approves it"),
        PlannedApproval::Given => text.push_str("; approved"),
    }
    if !wave.soak.is_zero() {
        text.push_str(&format!("; then healthy for {}", message::span(wave.soak)));
    }
    text
}

fn capped(text: String) -> String {
    if text.len() <= LARGEST_STORED {
        return text;
    }
    let end = text.floor_char_boundary(LARGEST_STORED);
    format!(
        "{}\n(too long to be kept here: see `meshlift plan`)\n",
        &text[..end]
    )
}

fn line(text: &mut String, line: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
}
