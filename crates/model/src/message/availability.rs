//! How the new control plane is kept as available as the old one.

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

pub fn copies_budget(namespace: &str, of: &str, plane: &str) -> String {
    format!(
        "copying PodDisruptionBudget {namespace}/{of}, which is only for the old control plane, for {plane}"
    )
}

pub fn restores_minimum(record: &Record, raised: u32) -> String {
    let release = record.target_release();
    format!(
        "restoring {MINIMUM} of Helm release {}/{release}, which was {raised} while both control planes ran: from here on its autoscaler decides",
        record.source.namespace
    )
}
