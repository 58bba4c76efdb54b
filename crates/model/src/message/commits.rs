//! What somebody has to commit where a mesh is rendered by others (installer `None`), each as one change.

use meshlift_istio::version::Version;

use super::first_few;
use crate::record::Record;

/// One step between two control planes that others render.
#[derive(Clone, Debug)]
pub struct Commits<'a> {
    /// Namespace of both.
    pub namespace: &'a str,
    /// Version of the old control plane.
    pub from: &'a Version,
    /// Its revision.
    pub from_revision: &'a str,
    /// Version of the new control plane.
    pub to: &'a Version,
    /// Its revision.
    pub to_revision: &'a str,
    /// Revision tags of the mesh. Those that the chart of the old control plane renders are removed with it, and nobody
    /// would inject the namespaces that follow them.
    pub tags: Vec<&'a str>,
}

impl<'a> Commits<'a> {
    /// Those of the step that this record describes.
    pub fn of(record: &'a Record) -> Self {
        Self {
            tags: record.tags.iter().map(|tag| tag.name.as_str()).collect(),
            namespace: &record.source.namespace,
            from: &record.source.version,
            from_revision: &record.source_revision,
            to: &record.target_version,
            to_revision: &record.target_revision,
        }
    }

    /// All of them, in their order.
    pub fn all(&self, points_default: bool) -> Vec<String> {
        let default = points_default.then(|| self.default_revision());
        [self.base(), self.istiod()]
            .into_iter()
            .chain(default)
            .chain([self.removal()])
            .collect()
    }

    /// The CRDs of the target.
    pub fn base(&self) -> String {
        format!(
            "render chart base {} with the values that it has now, so that the CRDs are of that version",
            self.to
        )
    }

    /// The new control plane, beside the old one.
    pub fn istiod(&self) -> String {
        let Self {
            namespace,
            from_revision,
            to,
            to_revision,
            ..
        } = self;
        format!(
            "render chart istiod {to} into namespace {namespace} a second time, with the values that it has now and revision={to_revision}; keep what is rendered for the old one (revision {from_revision})"
        )
    }

    /// The default revision, with its validating webhook.
    pub fn default_revision(&self) -> String {
        format!(
            "render chart base {} with defaultRevision={}",
            self.to, self.to_revision
        )
    }

    /// The end of the old control plane.
    pub fn removal(&self) -> String {
        let Self {
            from,
            from_revision,
            to_revision,
            ..
        } = self;
        let tags = match self.tags[..] {
            [] => String::new(),
            _ => format!(
                ", but keep its revision tags ({}): render them with revision {to_revision} first",
                first_few(&self.tags)
            ),
        };
        format!(
            "remove what chart istiod renders for the old control plane (version {from}, revision {from_revision}){tags}"
        )
    }
}

/// A change that is waited for, and why.
pub fn waits_for_commit(why: &str, change: &str) -> String {
    format!("waiting for a commit, because {why}: {change}")
}

/// After a rollback the new control plane is not used any more, and only who renders it can remove it.
pub fn new_plane_is_rendered(record: &Record) -> String {
    format!(
        "; the new control plane is not used any more: remove what chart istiod renders for revision {}",
        record.target_revision
    )
}
