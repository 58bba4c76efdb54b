//! From where to where: what every check is asked about.

use meshlift_api::{MeshSpec, Strategy};
use meshlift_istio::values::{self, CarryError};
use meshlift_istio::version::Version;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, Release};
use serde_json::{Map, Value};

use super::Obstacle;
use crate::revision::revision_of;

/// What the survey settled on: from where to where.
pub struct Course<'a> {
    /// Who asks for it.
    pub upgrade: &'a Upgrade,
    /// Every control plane of the cluster.
    pub planes: &'a [ControlPlane],
    /// Spec of the Mesh.
    pub mesh: &'a MeshSpec,
    /// The control plane that runs.
    pub source: &'a ControlPlane,
    /// Its version.
    pub from: &'a Version,
    /// The end of the way.
    pub to: Version,
    /// Every version on the way, the end last.
    pub hops: Vec<Version>,
    /// Its Helm release, or why there is none.
    pub source_release: Result<&'a Release, Obstacle>,
    /// The `base` release, or why there is none.
    pub base_release: Result<&'a Release, Obstacle>,
}

impl Course<'_> {
    /// Revision that a version gets in this mesh.
    pub fn revision(&self, version: &Version) -> String {
        match self.upgrade.spec.strategy {
            Strategy::Canary => {
                revision_of(self.upgrade, version, &self.source.namespace, self.planes)
            }
            Strategy::InPlace => self.source.revision.clone(),
        }
    }

    /// The user's values of the istiod release that runs, without what an unfinished way back left in them; none where
    /// there is no such release.
    pub fn running_values(&self) -> Option<Map<String, Value>> {
        let release = self.source_release.as_ref().ok()?;
        Some(values::not_leading_back(&release.values))
    }

    /// Values of istiod at this version, from those of the running release.
    ///
    /// # Errors
    /// If one of them cannot be carried over.
    pub fn target_values(&self, to: &Version) -> Result<Map<String, Value>, CarryError> {
        let running = &self.running_values().unwrap_or_default();
        let mesh = self.mesh;
        match self.upgrade.spec.strategy {
            Strategy::Canary => {
                let carried = values::istiod(running, mesh, self.from, to)?;
                Ok(values::of_revision(carried, &self.revision(to)))
            }
            Strategy::InPlace => values::istiod_in_place(running, mesh, self.from, to),
        }
    }
}
