//! The step that an upgrade would take: what the risks of releases are asked about.

use meshlift_istio::version::Version;
use meshlift_model::Upgrade;
use meshlift_model::view::MeshView;
use serde_json::{Map, Value};

use crate::survey::{Surveyed, survey};

/// From where to where an upgrade leads, and the Helm values that its istiod has now.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What runs.
    pub from: Version,
    /// The end of the way.
    pub to: Version,
    /// What people gave the running istiod release; nothing where Helm did not install it.
    pub values: Map<String, Value>,
}

/// The step that an upgrade would take, as far as it can be told yet.
pub fn step(upgrade: &Upgrade, view: &MeshView) -> Option<Step> {
    let Ok(Surveyed::Way(course)) = survey(upgrade, view) else {
        return None;
    };
    let release = course.source_release.as_ref();
    Some(Step {
        values: release
            .map(|release| release.values.clone())
            .unwrap_or_default(),
        from: course.from.clone(),
        to: course.to,
    })
}
