//! Waves: a slip of the pen in one lets namespaces move where nobody watches them.

use jiff::Timestamp;
use meshlift_api::{Approval, Severity, Wave};
use meshlift_model::data_plane::assess;
use meshlift_model::detection::WAVE_UNPROVED;
use meshlift_model::record::RecordedWave;
use meshlift_model::stages::{Candidates, chosen};
use meshlift_model::view::WorkloadKey;

use super::{Check, Finding, Look, Subject};

pub(super) static EMPTY: Check = Check {
    code: "WAVE-EMPTY",
    reason: "WaveEmpty",
    severity: Severity::Blocking,
    acceptable: true,
    title: "every wave has a namespace",
    explanation: "Namespaces of no wave move together at the end. A wave that fits none, because of a name or a label that is not there or because the waves before took all of them, leaves what it was meant for to that end: nobody tries it first, and nobody is asked.",
    fix: "Correct the wave in spec.dataPlane.waves, or accept the code where the wave is meant to have nothing in this cluster.",
    source: "",
    look: Look::Mesh(empty),
};

pub(super) static UNPROVED: Check = Check {
    code: WAVE_UNPROVED,
    reason: "WaveUnproved",
    severity: Severity::Warning,
    acceptable: true,
    title: "every wave has a workload that moves",
    explanation: "A wave shows how its workloads bear the new control plane, before others follow. One of which nothing can be moved shows nothing, and is passed over. One that turns out so while it moves, because its writes are refused or its restarts fail, waits for a person: nothing has been tried yet, and the waves behind it would be the first.",
    fix: "Put a workload into the wave that can move, or accept the code: WAVE-UNPROVED in spec.acceptRisks, or while the upgrade runs as annotation meshlift.io/accept of the MeshUpgrade.",
    source: "",
    look: Look::Mesh(unproved),
};

pub(super) static UNKNOWN_NAMESPACE: Check = Check {
    code: "WAVE-NAMESPACE",
    reason: "WaveNamespace",
    severity: Severity::Warning,
    acceptable: true,
    title: "every namespace that a wave names moves with it",
    explanation: "A wave may name a namespace that is not there, that has no sidecars, that is left alone, or that an earlier wave takes. Such a name does nothing.",
    fix: "Correct or remove the name in spec.dataPlane.waves.",
    source: "",
    look: Look::Mesh(unknown_namespace),
};

pub(super) static APPROVES_NOTHING: Check = Check {
    code: "APPROVES-NOTHING",
    reason: "ApprovesNothing",
    severity: Severity::Warning,
    acceptable: true,
    title: "every name in spec.approvals is that of a wave that waits for it",
    explanation: "Only waves with approval: Required wait for a person. A name that is no such wave lets nothing begin, and the wave that was meant goes on waiting.",
    fix: "Correct or remove the name in spec.approvals.",
    source: "",
    look: Look::Mesh(approves_nothing),
};

fn waves<'a>(subject: &Subject<'a>) -> &'a [Wave] {
    &subject.upgrade.spec.data_plane.waves
}

fn empty(subject: &Subject<'_>) -> Vec<Finding> {
    if let Some(why) = unseen(subject) {
        return why;
    }
    let taken = chosen(
        subject.upgrade,
        &Candidates::of(subject.upgrade, subject.view),
    );
    let of = waves(subject).iter().zip(taken);
    // A part of what is left may be nothing, and loses nobody.
    let by_share = |wave: &Wave| {
        let of = &wave.namespaces;
        of.percent.is_some() && of.names.is_empty() && of.labels().is_none()
    };
    of.filter(|(wave, taken)| taken.namespaces.is_empty() && !by_share(wave))
        .map(|(wave, _)| {
            let finding = Finding::wrong(
                format!("wave {} has no namespace of the mesh", wave.name),
                "correct its names or labels: those of the mesh have sidecars, and the first wave that fits takes them",
            );
            finding.about([wave.name.clone()])
        })
        .collect()
}

fn unproved(subject: &Subject<'_>) -> Vec<Finding> {
    if let Some(why) = unseen(subject) {
        return why;
    }
    let (upgrade, view, to) = (subject.upgrade, subject.view, subject.revision());
    // Only restarts that are under way are judged by the time, and they are not asked for here.
    let Some(judged) = assess(Timestamp::UNIX_EPOCH, &to, upgrade, view) else {
        return Vec::new();
    };
    let taken = chosen(upgrade, &Candidates::of(upgrade, view));
    let blocked_only = |wave: &RecordedWave| {
        let here = |key: &WorkloadKey| wave.namespaces.contains(&key.namespace);
        let mut its = judged
            .placements
            .iter()
            .filter(|(workload, _)| here(&workload.key))
            .peekable();
        its.peek().is_some() && its.all(|(_, placement)| placement.is_blocked())
    };
    taken
        .iter()
        .filter(|wave| blocked_only(wave))
        .map(|wave| {
            let finding = Finding::wrong(
                format!(
                    "wave {} shows nothing: none of its workloads can be moved",
                    wave.name
                ),
                "put a workload into it that can be moved",
            );
            finding.about([wave.name.clone()])
        })
        .collect()
}

fn unknown_namespace(subject: &Subject<'_>) -> Vec<Finding> {
    if let Some(why) = unseen(subject) {
        return why;
    }
    let candidates = Candidates::of(subject.upgrade, subject.view);
    let taken = chosen(subject.upgrade, &candidates);
    let mut findings = Vec::new();
    for wave in waves(subject) {
        for name in &wave.namespaces.names {
            let of = taken.iter().find(|other| other.namespaces.contains(name));
            let why = match of {
                Some(other) if other.name == wave.name => continue,
                Some(other) => format!("which wave {} takes", other.name),
                None if candidates.has(name) => continue,
                None => "which is no namespace of the mesh that moves".to_owned(),
            };
            let finding = Finding::wrong(
                format!("wave {} names namespace {name}, {why}", wave.name),
                "correct it or take it out",
            );
            findings.push(finding.about([format!("{}/{name}", wave.name)]));
        }
    }
    findings
}

fn approves_nothing(subject: &Subject<'_>) -> Vec<Finding> {
    let approvals = subject.upgrade.spec.approvals.iter();
    approvals
        .filter_map(|name| {
            let wave = waves(subject).iter().find(|wave| wave.name == *name);
            let why = match wave.map(|wave| wave.approval) {
                Some(Approval::Required) => return None,
                Some(Approval::Automatic) => "a wave that begins by itself",
                None => "which is the name of no wave",
            };
            let finding = Finding::wrong(
                format!("spec.approvals names {name}, {why}"),
                "correct it or take it out",
            );
            Some(finding.about([name.clone()]))
        })
        .collect()
}

/// Without the namespaces nothing is said of them; with no waves there is nothing to say.
fn unseen(subject: &Subject<'_>) -> Option<Vec<Finding>> {
    if waves(subject).is_empty() {
        return Some(Vec::new());
    }
    let view = subject.view;
    let parts = [
        ("the list of namespaces", view.namespaces.unreadable()),
        ("the list of workloads", view.workloads.unreadable()),
    ];
    let why = parts
        .into_iter()
        .find_map(|(what, why)| Some((what, why?)))?;
    Some(vec![Finding::unknown(why.0, why.1)])
}
