//! Who else has a hand in the mesh: other installers, other upgrades, other clusters.

use meshlift_api::{ClusterRole, MeshType, Severity};
use meshlift_model::message;

use super::subject::{about, count, judge};
use super::{Check, Finding, Look, Subject};

pub(super) static INSTALLERS: Check = Check {
    code: "OTHER-INSTALLER",
    reason: "OtherInstaller",
    severity: Severity::Blocking,
    acceptable: true,
    title: "no other operator installs Istio here",
    explanation: "An Istio or IstioRevision of the Sail operator, or an IstioOperator, makes another controller install and upgrade Istio by its own mind: it puts back what this operator changes, or removes the revision that it does not know.",
    fix: "Upgrade with that tool, or remove its objects once this mesh is installed by Helm. If it is for another mesh, or nothing acts on the objects any more, accept it.",
    source: "sail-operator docs; istio.io docs/setup/install/operator (up to 1.23)",
    look: Look::Mesh(installers),
};

pub(super) static RIVAL: Check = Check {
    code: "OTHER-UPGRADE",
    reason: "OtherUpgrade",
    severity: Severity::Info,
    acceptable: true,
    title: "no other MeshUpgrade of this mesh waits or runs",
    explanation: "Upgrades of one mesh go one after another: one that already moves things first, else the oldest.",
    fix: "Delete the one that is not wanted.",
    source: "",
    look: Look::Mesh(rivals),
};

pub(super) static REMOTES: Check = Check {
    code: "REMOTE-CLUSTERS",
    reason: "RemoteClusters",
    severity: Severity::Warning,
    acceptable: true,
    title: "no other cluster's workloads hang on this control plane",
    explanation: "Sidecars of remote clusters talk to this control plane. They stay with the old revision until the webhooks of their cluster name the new one and their workloads are restarted, which this operator does not do in other clusters; the old control plane stays as long as one of them is connected. Virtual machines are in the same place.",
    fix: "When the new control plane is ready, upgrade base and injector of each remote cluster to the new revision and restart its workloads.",
    source: "istio.io docs/setup/install/multicluster/primary-remote",
    look: Look::Mesh(remotes),
};

pub(super) static PRIMARIES: Check = Check {
    code: "PRIMARY-CLUSTERS",
    reason: "PrimaryClusters",
    severity: Severity::Info,
    acceptable: true,
    title: "the mesh has one control plane",
    explanation: "In a mesh of several primary clusters each control plane is upgraded by itself. Nothing is promised for control planes that are far apart, so keep them within one minor of each other.",
    fix: "Upgrade the primary clusters one after another, each to the same version, before the next minor.",
    source: "istio.io docs/setup/install/multicluster/multi-primary",
    look: Look::Mesh(primaries),
};

pub(super) static EXPOSED: Check = Check {
    code: "EXTERNAL-ISTIOD",
    reason: "ExternalIstiod",
    severity: Severity::Warning,
    acceptable: true,
    title: "the control plane is not offered to other clusters",
    explanation: "istiod runs with EXTERNAL_ISTIOD: other clusters reach it through a gateway that leads to the Service of its revision. The new revision has a Service of its own, which that gateway does not know.",
    fix: "Expose the Service of the new revision beside the old one before remote clusters are moved.",
    source: "istio samples/multicluster/expose-istiod-rev.yaml.tmpl",
    look: Look::Mesh(exposed),
};

pub(super) static UNDECODED: Check = Check {
    code: "OBJECT-UNREADABLE",
    reason: "ObjectUnreadable",
    severity: Severity::Warning,
    acceptable: true,
    title: "every object that is watched can be read",
    explanation: "An object that cannot be read (a custom resource whose schema takes anything, or one that a newer version wrote) is neither moved nor judged. What it uses is not known, so the old control plane stays until it can be read.",
    fix: "Correct the field that the finding names, or remove the object if nothing uses it.",
    source: "",
    look: Look::Mesh(undecoded),
};

fn undecoded(subject: &Subject<'_>) -> Vec<Finding> {
    let objects = &subject.view.undecoded;
    let references = objects.iter().map(|object| object.reference.clone());
    about(references, |all| {
        let shown: Vec<String> = objects
            .iter()
            .map(|object| format!("{} ({})", object.reference, message::capped(&object.why)))
            .collect();
        Finding::wrong(
            format!(
                "{} cannot be read, and is left alone: {}",
                count(all.len(), "object"),
                message::first_few(&shown)
            ),
            "correct the field, or remove the object if nothing uses it; until then the old control plane stays",
        )
    })
}

fn installers(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.environment.other_installers,
        "the objects of other installers of Istio",
        |objects| {
            about(objects.iter().cloned(), |all| {
                Finding::wrong(
                    format!(
                        "another installer of Istio has objects here: {}",
                        message::first_few(all)
                    ),
                    "upgrade with that tool; if they are of another mesh or nothing acts on them any more, remove them or accept OTHER-INSTALLER",
                )
            })
        },
    )
}

fn rivals(subject: &Subject<'_>) -> Vec<Finding> {
    let rivals = subject.view.rivals.iter();
    let waiting = rivals.filter(|rival| !rival.phase.is_terminal());
    about(
        waiting.map(|rival| format!("MeshUpgrade {}", rival.name)),
        |all| {
            Finding::wrong(
                format!(
                    "{} of the same mesh at work or waiting",
                    count(all.len(), "other MeshUpgrade")
                ),
                "nothing, if that is meant: they go one after another (kubectl get mup)",
            )
        },
    )
}

fn of_role(subject: &Subject<'_>, role: ClusterRole) -> Vec<String> {
    let clusters = subject.view.environment.clusters.present();
    let ours = clusters
        .into_iter()
        .flatten()
        .filter(|cluster| cluster.role == role);
    ours.map(|cluster| format!("cluster {}", cluster.name))
        .collect()
}

fn remotes(subject: &Subject<'_>) -> Vec<Finding> {
    let to = subject.revision();
    about(of_role(subject, ClusterRole::Remote), |all| {
        Finding::wrong(
            format!(
                "{} served by this control plane: the sidecars there stay with the old revision",
                count(all.len(), "remote cluster")
            ),
            format!(
                "when {to} is ready, move the injector of each to it and restart the workloads there"
            ),
        )
    })
}

fn primaries(subject: &Subject<'_>) -> Vec<Finding> {
    about(of_role(subject, ClusterRole::Primary), |all| {
        Finding::wrong(
            format!(
                "{} with a control plane of its own in this mesh",
                count(all.len(), "other cluster")
            ),
            "upgrade them one after another, within one minor of each other",
        )
    })
}

fn exposed(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    // A hosted mesh is one by its type, which is said elsewhere.
    if !plane.external || subject.course.mesh.mesh_type == MeshType::Hosted {
        return Vec::new();
    }
    let finding = Finding::wrong(
        format!(
            "{} serves other clusters through a gateway (EXTERNAL_ISTIOD), which does not know the new revision",
            plane.name
        ),
        format!(
            "expose Service istiod-{} beside it before remote clusters are moved",
            subject.revision()
        ),
    );
    vec![finding.about([format!("Deployment {}/{}", plane.namespace, plane.name)])]
}
