//! Facts pinned before the first mutation: what must be known later, when the cluster no longer
//! shows it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use meshlift_api::{MeshInstaller, Strategy};
use meshlift_istio::values;
use meshlift_istio::version::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::decision::{Chart, ChartTarget};
use crate::replicas;
use crate::route::{self, Leg};
use crate::view::{BudgetRule, MeshView, PlaneId, Release, WorkloadKey};

/// The record of one upgrade, kept in a Secret because Helm values may hold secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it was made.
    pub made_at: Timestamp,
    /// How the control plane is replaced. Records of releases that knew one strategy only have none.
    #[serde(default)]
    pub strategy: Strategy,
    /// What installs the control plane. Records of releases that knew Helm only have none.
    #[serde(default)]
    pub installer: MeshInstaller,
    /// Chart repository that the target comes from.
    pub repository: String,
    /// The control plane we come from.
    pub source: RecordedRelease,
    /// Its revision.
    pub source_revision: String,
    /// The release of the `base` chart.
    pub base: RecordedRelease,
    /// Version to reach.
    pub target_version: Version,
    /// Revision to reach.
    pub target_revision: String,
    /// Versions to go on to when this step is done, the end of the way last.
    #[serde(default)]
    pub later: Vec<Version>,
    /// The archives of the charts at the target version, as the detection found them. Only those are installed: the same
    /// version may be another archive by the time that it is needed.
    #[serde(default)]
    pub charts: Option<ChartDigests>,
    /// Values for the new istiod release, as they are when the upgrade has ended.
    pub target_values: Map<String, Value>,
    /// Fewest replicas that the autoscaler of the new control plane keeps while both run: as many as the old one had. None
    /// where `target_values` ask for as many by themselves.
    #[serde(default)]
    pub raised_minimum: Option<u32>,
    /// A disruption budget that somebody made for the old control plane alone.
    #[serde(default)]
    pub budget: Option<RecordedBudget>,
    /// Values for the `base` release at the target version.
    pub base_values: Map<String, Value>,
    /// The route: every leg in its order. Records of releases that pinned none have none; see [`Record::legs`].
    #[serde(default)]
    pub route: Vec<Leg>,
    /// Injection labels of every namespace of the mesh.
    pub namespaces: Vec<RecordedNamespace>,
    /// The waves, with the namespaces of each, in their order; none where everything moves at once.
    #[serde(default)]
    pub waves: Vec<RecordedWave>,
    /// Revision tags, and where each pointed.
    #[serde(default)]
    pub tags: Vec<RecordedTag>,
    /// Gateways that istiod renders, and which revision each asked for.
    #[serde(default)]
    pub gateways: Vec<RecordedGateway>,
    /// Name of the backup that was taken before the first mutation.
    #[serde(default)]
    pub backup: String,
    /// Checks that were not passed when the upgrade began, risks of the step included: codes with
    /// what they came to, e.g. `PDB-BLOCKS: Failed`.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Image of the sidecars that the control plane injected before the first mutation. In place it is what leads back:
    /// the upgraded istiod injects it until nothing runs a newer sidecar than istiod will be.
    #[serde(default)]
    pub source_proxy_image: Option<String>,
    /// Workloads that were in trouble before the first mutation: whatever becomes of them is no fault of the upgrade.
    #[serde(default)]
    pub unsteady: Vec<WorkloadKey>,
}

/// Both charts of one version by their archives: SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartDigests {
    /// Archive of chart `base`.
    pub base: String,
    /// Archive of chart `istiod`.
    pub istiod: String,
    /// Archive of chart `istiod` at the version that is left: what leads back in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A Helm release as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedRelease {
    /// Release name.
    pub name: String,
    /// Release namespace.
    pub namespace: String,
    /// Version.
    pub version: Version,
    /// Values the user gave.
    pub values: Map<String, Value>,
}

/// A disruption budget as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedBudget {
    /// Name.
    pub name: String,
    /// What it demands.
    pub rule: BudgetRule,
}

/// A wave as it was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedWave {
    /// Its name.
    pub name: String,
    /// Its namespaces; those of the wave `rest` are all others.
    pub namespaces: Vec<String>,
}

/// A revision tag as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedTag {
    /// Name.
    pub name: String,
    /// Revision it pointed at.
    pub revision: String,
}

/// A Gateway as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedGateway {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its label `istio.io/rev`, if it had one.
    pub label: Option<String>,
}

/// A namespace as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedNamespace {
    /// Name.
    pub name: String,
    /// `istio-injection` and `istio.io/rev`, as far as they were set.
    pub labels: BTreeMap<String, String>,
}

impl Record {
    /// Keeps what an earlier run of the same course found of everything that is still moved. What was
    /// moved back, or by somebody else, is as it is now.
    pub fn continuing(mut self, view: &MeshView) -> Self {
        let same = |e: &&Record| {
            e.source_revision == self.source_revision
                && e.target_revision == self.target_revision
                && e.target_version == self.target_version
                && e.strategy == self.strategy
                && e.installer == self.installer
        };
        let earlier = view.record.present().filter(same);
        self.keep_source(earlier);
        self.keep_base(earlier);
        self.keep_namespaces(earlier, view);
        self.keep_tags(earlier, view);
        self.keep_gateways(earlier, view);
        self.keep_unsteady(earlier);
        self.keep_minimum(earlier, view);
        self.route = route::route(&self);
        self
    }

    /// What was in trouble before the first run still may be.
    /// In place only the first run saw what there was before.
    fn keep_source(&mut self, earlier: Option<&Record>) {
        let Some(earlier) = earlier.filter(|_| self.strategy == Strategy::InPlace) else {
            return;
        };
        if self.source.version == self.target_version {
            self.source.clone_from(&earlier.source);
            self.source_proxy_image
                .clone_from(&earlier.source_proxy_image);
        }
    }

    fn keep_unsteady(&mut self, earlier: Option<&Record>) {
        let before = earlier.into_iter().flat_map(|e| e.unsteady.iter().cloned());
        self.unsteady.extend(before);
        self.unsteady.sort();
        self.unsteady.dedup();
    }

    /// What an earlier run raised is put back by this one.
    fn keep_minimum(&mut self, earlier: Option<&Record>, view: &MeshView) {
        let Some(raised) = earlier.and_then(|earlier| earlier.raised_minimum) else {
            return;
        };
        let releases = view.releases.present().map_or(&[][..], Vec::as_slice);
        let target = Release::find(releases, &self.target_release(), &self.source.namespace);
        if target.is_some_and(|release| replicas::has_minimum(&release.values, raised)) {
            self.raised_minimum = Some(raised);
        }
    }

    fn keep_base(&mut self, earlier: Option<&Record>) {
        let Some(earlier) = earlier else {
            return;
        };
        // CRDs do not go back, so only the first run saw where they came from.
        self.base.version = earlier.base.version.clone();
        let target = Some(self.target_revision.as_str());
        if values::default_revision(&self.base.values) == target {
            self.base.values.clone_from(&earlier.base.values);
        }
    }

    fn keep_namespaces(&mut self, earlier: Option<&Record>, view: &MeshView) {
        let target = Some(self.target_revision.as_str());
        let all = view.namespaces.present().into_iter().flatten();
        let moved: BTreeSet<&str> = all
            .filter(|ns| ns.moved_to.as_deref() == target)
            .map(|ns| ns.name.as_str())
            .collect();
        let is_moved = |ns: &RecordedNamespace| moved.contains(ns.name.as_str());
        self.namespaces.retain(|ns| !is_moved(ns));
        let before = earlier.into_iter().flat_map(|e| &e.namespaces);
        self.namespaces
            .extend(before.filter(|ns| is_moved(ns)).cloned());
        self.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn keep_tags(&mut self, earlier: Option<&Record>, view: &MeshView) {
        let target = Some(self.target_revision.as_str());
        for tag in &mut self.tags {
            let mut seen = view.tags().iter();
            if seen.any(|t| t.name == tag.name && t.moved_to.as_deref() == target) {
                let mut before = earlier.into_iter().flat_map(|e| &e.tags);
                let before = before.find(|t| t.name == tag.name).map(|t| &t.revision);
                tag.revision
                    .clone_from(before.unwrap_or(&self.source_revision));
            }
        }
    }

    fn keep_gateways(&mut self, earlier: Option<&Record>, view: &MeshView) {
        let target = Some(self.target_revision.as_str());
        let all = view.gateways.present().into_iter().flatten();
        let moved: BTreeSet<(&str, &str)> = all
            .filter(|gateway| gateway.moved_to.as_deref() == target)
            .map(|gateway| (gateway.namespace.as_str(), gateway.name.as_str()))
            .collect();
        let is_moved =
            |g: &RecordedGateway| moved.contains(&(g.namespace.as_str(), g.name.as_str()));
        self.gateways.retain(|gateway| !is_moved(gateway));
        let before = earlier.into_iter().flat_map(|e| &e.gateways);
        self.gateways
            .extend(before.filter(|gateway| is_moved(gateway)).cloned());
        self.gateways
            .sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    }

    /// The legs of the route, as they were pinned; made of the record where it was written by a release that pinned none.
    pub fn legs(&self) -> Vec<Leg> {
        if self.route.is_empty() {
            return route::route(self);
        }
        self.route.clone()
    }

    /// Whether Helm installs istiod and the CRDs, and so this operator. Otherwise somebody else renders them.
    pub fn by_helm(&self) -> bool {
        self.installer == MeshInstaller::Helm
    }

    /// The control plane to reach.
    pub fn target_plane(&self) -> PlaneId<'_> {
        self.plane(&self.target_revision)
    }

    /// The control plane we come from.
    pub fn source_plane(&self) -> PlaneId<'_> {
        self.plane(&self.source_revision)
    }

    /// The control plane of this mesh that has a revision.
    pub fn plane<'a>(&'a self, revision: &'a str) -> PlaneId<'a> {
        PlaneId {
            namespace: &self.source.namespace,
            revision,
        }
    }

    /// Values that the new istiod release has while both control planes run.
    pub fn values_beside_old(&self) -> Map<String, Value> {
        let values = self.target_values.clone();
        match self.raised_minimum {
            Some(raised) => replicas::with(values, replicas::MINIMUM, raised),
            None => values,
        }
    }

    /// Digest of the archive of a chart at the target version, if the detection saw it.
    pub fn digest(&self, chart: Chart) -> Option<String> {
        let charts = self.charts.as_ref()?;
        Some(match chart {
            Chart::Base => charts.base.clone(),
            Chart::Istiod => charts.istiod.clone(),
        })
    }

    /// Name of the Helm release of the new control plane.
    pub fn target_release(&self) -> String {
        match self.strategy {
            Strategy::Canary => release_of(&self.target_revision),
            Strategy::InPlace => self.source.name.clone(),
        }
    }

    /// The control plane that is reached, for sentences: `1-31-0`, in place `1.31.0`.
    pub fn target_name(&self) -> String {
        match self.strategy {
            Strategy::Canary => self.target_revision.clone(),
            Strategy::InPlace => self.target_version.to_string(),
        }
    }

    /// The `base` release at the target, with these values.
    pub fn target_base(&self, values: Map<String, Value>) -> ChartTarget {
        ChartTarget {
            release: self.base.name.clone(),
            namespace: self.base.namespace.clone(),
            chart: Chart::Base,
            repository: self.repository.clone(),
            version: self.target_version.clone(),
            digest: self.digest(Chart::Base),
            values,
        }
    }

    /// The istiod release at the target.
    pub fn target_istiod(&self) -> ChartTarget {
        ChartTarget {
            release: self.target_release(),
            namespace: self.source.namespace.clone(),
            chart: Chart::Istiod,
            repository: self.repository.clone(),
            version: self.target_version.clone(),
            digest: self.digest(Chart::Istiod),
            values: self.values_beside_old(),
        }
    }

    /// The istiod release at the target, injecting the sidecars of before: proxies may be older than their control plane
    /// and never newer, so in place workloads go back first. None where no sidecar ran before.
    pub fn leading_back(&self) -> Option<ChartTarget> {
        let image = self.source_proxy_image.as_deref()?;
        Some(ChartTarget {
            values: values::leading_back(&self.values_beside_old(), image),
            ..self.target_istiod()
        })
    }

    /// In place: the istiod release as it was found, with as many replicas as are wanted; none where nothing is raised.
    pub fn with_replicas(&self) -> Option<ChartTarget> {
        let raised = self
            .raised_minimum
            .filter(|_| self.strategy == Strategy::InPlace)?;
        let source = self.source_istiod();
        Some(ChartTarget {
            values: replicas::with(source.values.clone(), replicas::MINIMUM, raised),
            ..source
        })
    }

    /// The istiod release as it was found.
    pub fn source_istiod(&self) -> ChartTarget {
        ChartTarget {
            version: self.source.version.clone(),
            digest: self
                .charts
                .as_ref()
                .and_then(|charts| charts.source.clone()),
            values: self.source.values.clone(),
            ..self.target_istiod()
        }
    }
}

/// Name of the Helm release that an upgrade installs for a revision.
pub fn release_of(revision: &str) -> String {
    format!("istiod-{revision}")
}

#[cfg(test)]
mod tests;
