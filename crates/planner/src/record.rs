//! Facts pinned before the first mutation: what must be known later, when the cluster no longer
//! shows it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::version::Version;

/// The record of one upgrade, kept in a Secret because Helm values may hold secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it was made.
    pub made_at: Timestamp,
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
    /// Values for the new istiod release.
    pub target_values: Map<String, Value>,
    /// Values for the `base` release at the target version.
    pub base_values: Map<String, Value>,
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
    /// Keeps what an earlier run of the same course found before it changed anything.
    pub(crate) fn continuing(mut self, earlier: Option<&Record>) -> Self {
        let same = |e: &&Record| {
            e.source_revision == self.source_revision && e.target_revision == self.target_revision
        };
        let Some(earlier) = earlier.filter(same) else {
            return self;
        };
        self.base = earlier.base.clone();
        self.namespaces
            .retain(|ns| !earlier.namespaces.iter().any(|e| e.name == ns.name));
        self.namespaces.extend(earlier.namespaces.iter().cloned());
        self.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        self.tags.clone_from(&earlier.tags);
        self.gateways.retain(|g| {
            !earlier
                .gateways
                .iter()
                .any(|e| (&e.namespace, &e.name) == (&g.namespace, &g.name))
        });
        self.gateways.extend(earlier.gateways.iter().cloned());
        self.gateways
            .sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self
    }

    /// Name of the Helm release of the new control plane.
    pub fn target_release(&self) -> String {
        format!("istiod-{}", self.target_revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{labels, record, version};

    fn with(namespace: &str, label: &str, base: &str) -> Record {
        let mut record = record();
        record.base.version = version(base);
        record.namespaces.push(RecordedNamespace {
            name: namespace.into(),
            labels: labels(&[("istio.io/rev", label)]),
        });
        record
    }

    #[test]
    fn a_second_run_keeps_what_the_first_found() {
        let first = with("shop", "default", "1.30.2");
        let mut second = with("shop", "1-31-0", "1.31.0");
        second
            .namespaces
            .extend(with("blog", "1-31-0", "1.31.0").namespaces);
        let kept = second.continuing(Some(&first));
        assert_eq!(kept.base.version, version("1.30.2"));
        let names: Vec<&str> = kept.namespaces.iter().map(|ns| ns.name.as_str()).collect();
        assert_eq!(names, ["blog", "shop"]);
        assert_eq!(kept.namespaces[1].labels, first.namespaces[0].labels);
    }

    #[test]
    fn another_course_keeps_nothing() {
        let first = Record {
            target_revision: "1-30-5".into(),
            ..with("shop", "default", "1.30.2")
        };
        let second = with("shop", "1-31-0", "1.31.0");
        assert_eq!(second.clone().continuing(Some(&first)), second);
        assert_eq!(second.clone().continuing(None), second);
    }
}
