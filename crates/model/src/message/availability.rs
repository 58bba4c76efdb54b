//! How the new control plane is kept as available as the old one.

use meshlift_api::Strategy;

use crate::record::Record;
use crate::replicas::MINIMUM;
use crate::view::ControlPlane;

/// Of a new control plane that its autoscaler has not yet brought to the size of the old one.
pub fn too_few_replicas(plane: &ControlPlane, wanted: u32) -> String {
    format!(
        "{} has {} of the {wanted} replicas that the old control plane runs; its autoscaler, with {MINIMUM} {wanted}, adds the others",
        plane.name, plane.desired
    )
}

/// Of an istiod that gets more replicas before it is upgraded in place.
pub fn waits_for_replicas(plane: &ControlPlane, wanted: u32) -> String {
    format!(
        "waiting until {} has {wanted} ready replicas ({} now); its autoscaler, with {MINIMUM} {wanted}, adds them",
        plane.name, plane.ready
    )
}

pub fn copies_budget(namespace: &str, of: &str, plane: &str) -> String {
    format!(
        "copying PodDisruptionBudget {namespace}/{of}, which is only for the old control plane, for {plane}"
    )
}

pub fn restores_minimum(record: &Record, raised: u32) -> String {
    let release = record.target_release();
    let meanwhile = match record.strategy {
        Strategy::Canary => "while both control planes ran",
        Strategy::InPlace => "for the upgrade",
    };
    format!(
        "restoring {MINIMUM} of Helm release {}/{release}, which was {raised} {meanwhile}: from here on its autoscaler decides",
        record.source.namespace
    )
}
