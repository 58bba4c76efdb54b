//! What the survey may find: no mesh, no way to tell what runs, or a mesh that is not to be touched.

use meshlift_api::{MeshSpec, MeshType, Severity, Strategy};
use meshlift_model::view::{ControlPlane, Installer};

use super::{Check, Look, Obstacle};

const fn survey(
    code: &'static str,
    reason: &'static str,
    title: &'static str,
    explanation: &'static str,
    fix: &'static str,
) -> Check {
    Check {
        code,
        reason,
        severity: Severity::Blocking,
        acceptable: false,
        title,
        explanation,
        fix,
        source: "",
        look: Look::Survey,
    }
}

pub static LOOK_FAILED: Check = survey(
    "LOOK-FAILED",
    "Unreadable",
    "everything that a decision needs can be read",
    "What cannot be read is not guessed: the detection waits and looks again by itself.",
    "Mend what the message names: a chart repository that does not answer, a right that is missing, an API server that is down.",
);
pub static MESH_NOT_FOUND: Check = survey(
    "MESH-NOT-FOUND",
    "MeshNotFound",
    "the Mesh that the upgrade names exists",
    "An upgrade names a Mesh; the Mesh says where its control plane is and where its charts come from.",
    "Name an existing one in spec.mesh (kubectl get meshes), or create it.",
);
pub static NO_CONTROL_PLANE: Check = survey(
    "NO-CONTROL-PLANE",
    "NoControlPlane",
    "an istiod runs in the namespace of the Mesh",
    "Without a running control plane there is nothing to upgrade.",
    "Install Istio, or name in spec.mesh a Mesh whose spec.controlPlaneNamespace is the namespace of istiod.",
);
pub static MANY_MESHES: Check = survey(
    "MANY-MESHES",
    "ManyMeshes",
    "it is clear which of several meshes is meant",
    "With istiod in several namespaces an upgrade without spec.mesh could mean any of them.",
    "Name the Mesh in spec.mesh (kubectl get meshes).",
);
pub static MANY_CONTROL_PLANES: Check = survey(
    "MANY-CONTROL-PLANES",
    "ManyControlPlanes",
    "one control plane is to be left",
    "With several old revisions in one namespace it is not clear which one an upgrade should replace.",
    "Finish the upgrade to one of them, or remove the revisions that nothing uses.",
);
pub static VERSION_UNKNOWN: Check = survey(
    "VERSION-UNKNOWN",
    "VersionUnknown",
    "the version of the running istiod can be told",
    "The way to the target and most other checks depend on the version that runs.",
    "Set label app.kubernetes.io/version on the Deployment of istiod.",
);
pub static SIDECARS_BEHIND: Check = Check {
    acceptable: true,
    ..survey(
        "SIDECARS-BEHIND",
        "SidecarsBehind",
        "a mesh whose control plane is of the target has sidecars of the target",
        "After an upgrade in place the pods keep the sidecars that they have until they restart. Where most are of another version, and the control plane is not of the target's own revision, the upgrade renews them: through a second control plane of the same version, in waves. Where only some are, it does not restart all the others for them: it names those, and waits.",
        "Restart the workloads that the message names. Accept it to end with them as they are.",
    )
};
pub static BASE_BEHIND: Check = Check {
    acceptable: true,
    ..survey(
        "BASE-BEHIND",
        "BaseBehind",
        "a mesh whose control plane is of the target has its CRDs",
        "The CRDs are a Helm release of their own, which an upgrade in place easily forgets: fields that are new in the target are then dropped from every object that is written.",
        "helm upgrade the base release to the version that istiod runs.",
    )
};
pub static MESH_EXTERNAL: Check = Check {
    look: Look::Mesh(|subject| {
        let mesh = subject.course.mesh;
        let external = mesh_external(mesh);
        external
            .map(|obstacle| obstacle.finding)
            .into_iter()
            .collect()
    }),
    ..survey(
        "MESH-EXTERNAL",
        "MeshExternal",
        "the Mesh is one that this operator may upgrade",
        "A Mesh of type External is installed and owned by someone else: two owners would undo each other's work. It is checked, and never touched.",
        "Follow the steps that `meshlift manual` prints for it, or set spec.type to Dedicated if Helm installed it here and this operator may upgrade it.",
    )
};
pub static MESH_HOSTED: Check = Check {
    look: Look::Mesh(|subject| {
        let hosted = subject.course.mesh.mesh_type == MeshType::Hosted;
        let finding = || {
            super::Finding::wrong(
                "the Mesh is of type Hosted: its workloads run in other clusters, which this operator does not change",
                "use mode: Preflight to check it, and follow `meshlift manual` to upgrade it",
            )
        };
        hosted.then(finding).into_iter().collect()
    }),
    ..survey(
        "MESH-HOSTED",
        "MeshHosted",
        "the workloads of the mesh run in this cluster",
        "The sidecars of a hosted mesh run in other clusters. This operator looks at those clusters and does not change them, so it cannot bring such an upgrade to its end.",
        "Check it with mode: Preflight and follow the steps that `meshlift manual` prints.",
    )
};
pub static NOT_HELM: Check = Check {
    look: Look::Mesh(|subject| release_finding(&subject.course.source_release, &NOT_HELM)),
    ..survey(
        "NOT-HELM",
        "NotInstalledByHelm",
        "istiod was installed by Helm",
        "This operator upgrades Helm releases. Another installer (istioctl, the Sail operator) would put back what it knows.",
        "Set spec.installer of the Mesh to None if the charts are rendered from Git: the upgrade then reports what to commit. Otherwise upgrade it with the tool that installed it (`meshlift manual` prints the steps), or move it to Helm first.",
    )
};
pub static RENDERED: Check = Check {
    look: Look::Mesh(rendered_in_place),
    ..survey(
        "RENDERED-IN-PLACE",
        "RenderedInPlace",
        "an istiod that others render is not upgraded in place",
        "In place the way back needs an istiod that injects the sidecars of before until no newer one runs. That is a value of the Helm release for some minutes, and nothing that a person could commit in time.",
        "Set spec.strategy to Canary, or spec.installer of the Mesh to Helm if Helm installed it.",
    )
};
pub static RELEASE_NOT_FOUND: Check = Check {
    look: Look::Mesh(|subject| release_finding(&subject.course.source_release, &RELEASE_NOT_FOUND)),
    ..survey(
        "RELEASE-NOT-FOUND",
        "ReleaseNotFound",
        "the Helm release that istiod names exists",
        "The values of the running release are carried over to the new one; without the release they are lost.",
        "Reinstall it with helm upgrade --install --take-ownership at the running version.",
    )
};
pub static BASE_NOT_FOUND: Check = Check {
    look: Look::Mesh(|subject| release_finding(&subject.course.base_release, &BASE_NOT_FOUND)),
    ..survey(
        "BASE-NOT-FOUND",
        "BaseReleaseNotFound",
        "the CRDs belong to a Helm release of chart base",
        "The CRDs have to be upgraded before any new istiod, and they are upgraded through that release.",
        "Install it with helm upgrade --install istio-base --take-ownership at the running version.",
    )
};

fn release_finding<T>(release: &Result<T, Obstacle>, check: &'static Check) -> Vec<super::Finding> {
    let obstacle = release.as_ref().err();
    let ours = obstacle.filter(|obstacle| obstacle.check.code == check.code);
    ours.map(|obstacle| obstacle.finding.clone())
        .into_iter()
        .collect()
}

fn mesh_external(mesh: &MeshSpec) -> Option<Obstacle> {
    (mesh.mesh_type == MeshType::External).then(|| {
        Obstacle::new(
            &MESH_EXTERNAL,
            "the Mesh is of type External: it is owned by someone else and never touched",
            "upgrade it where it is installed from (`meshlift manual` prints the steps), or, if this operator may upgrade it, set spec.type to Dedicated (and spec.installer to None if its manifests come from Git)",
        )
    })
}

/// A mesh that others render has no release of ours, which matters only in place.
fn rendered_in_place(subject: &super::Subject<'_>) -> Vec<super::Finding> {
    match subject.course.upgrade.spec.strategy {
        Strategy::Canary => Vec::new(),
        Strategy::InPlace => release_finding(&subject.course.source_release, &RENDERED),
    }
}

/// The Helm release that a control plane belongs to, or why it cannot be upgraded.
pub fn helm_release(plane: &ControlPlane) -> Result<&str, Obstacle> {
    let who = match &plane.installer {
        Installer::Helm { release } => return Ok(release),
        Installer::Istioctl => "istioctl",
        Installer::Sail => "the Sail operator",
        Installer::Unknown => "something other than Helm",
    };
    Err(Obstacle::new(
        &NOT_HELM,
        format!(
            "istiod {}/{} was installed by {who}: this operator upgrades Helm installations only, and two installers would undo each other",
            plane.namespace, plane.name
        ),
        "if its manifests come from Git (Argo CD, Flux), set spec.installer of the Mesh to None, and the upgrade reports what to commit; otherwise upgrade it with the tool that installed it (`meshlift manual` prints the steps)",
    ))
}

/// Why there is no Helm release of ours, and why that is in the way of an upgrade in place.
pub fn rendered(plane: &ControlPlane) -> Obstacle {
    Obstacle::new(
        &RENDERED,
        format!(
            "istiod {}/{} is rendered by others (spec.installer of the Mesh is None), and the strategy is InPlace",
            plane.namespace, plane.name
        ),
        "set spec.strategy to Canary",
    )
}
