//! What is said of versions that are not the target's, or that nothing tells.

use meshlift_istio::version::Version;

use super::{chart, first_few};
use crate::record::{Record, RecordedRelease};
use crate::view::{ControlPlane, NodeAgent};

pub fn own_images(workloads: usize) -> Option<String> {
    (workloads > 0).then(|| {
        format!("workloads that name a proxy image of their own keep it ({workloads}, see status.blocked)")
    })
}

pub fn images_without_version(pods: usize) -> Option<String> {
    (pods > 0)
        .then(|| format!("the images of some sidecars do not say their version (pods: {pods})"))
}

/// The command that upgrades the CNI agent. The name of its release is not known here.
pub fn upgrade_cni(agent: &NodeAgent, repository: &str, to: &Version) -> String {
    format!(
        "helm -n {} upgrade <release, often istio-cni> {} --version {to} --reset-then-reuse-values",
        agent.namespace,
        chart(repository, "cni")
    )
}

/// Of a CNI agent that has not followed the control plane.
pub fn cni_is_behind(agent: &NodeAgent, version: &Version, record: &Record) -> String {
    let to = &record.target_version;
    format!(
        "the CNI agent {}/{} is of {version}; upgrade it before the next minor: {}",
        agent.namespace,
        agent.name,
        upgrade_cni(agent, &record.repository, to)
    )
}

pub fn istiod_without_version(plane: &ControlPlane) -> String {
    format!(
        "neither the image of {} ({}) nor its metrics say its version",
        plane.name, plane.image
    )
}

pub fn base_of_another_version(base: &RecordedRelease, version: &Version, to: &Version) -> String {
    format!(
        "Helm release {}/{}, which holds the CRDs, is of {version} and not of {to}",
        base.namespace, base.name
    )
}

/// What is wrong, and how the mesh is left.
pub fn sidecars_of_another_version(record: &Record, workloads: &[String]) -> (String, String) {
    let to = &record.target_version;
    let what = format!(
        "sidecars of revision {} are of another version than {to}: {}",
        record.target_revision,
        first_few(workloads)
    );
    let state = format!(
        "Everything has moved, and the mesh is not at {to}: check the images in the values of Helm release {}/{} (kubectl -n {} get configmap istio-sidecar-injector-{} -o yaml), then restart these workloads.",
        record.source.namespace,
        record.target_release(),
        record.source.namespace,
        record.target_revision
    );
    (what, state)
}
