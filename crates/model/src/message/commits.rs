//! What somebody has to commit where a mesh is rendered by others (installer `None`), each as one change.

use crate::record::Record;

/// Everything that is to be committed for this step, in its order.
pub fn commits(record: &Record, points_default: bool) -> Vec<String> {
    let default = points_default.then(|| commit_default(record));
    [commit_base(record), commit_istiod(record)]
        .into_iter()
        .chain(default)
        .chain([commit_removal(record)])
        .collect()
}

/// The CRDs of the target.
pub fn commit_base(record: &Record) -> String {
    format!(
        "render chart base {} with the values that it has now, so that the CRDs are of that version",
        record.target_version
    )
}

/// The new control plane, beside the old one.
pub fn commit_istiod(record: &Record) -> String {
    format!(
        "render chart istiod {} into namespace {} a second time, with the values that it has now and revision={}; keep what is rendered for the old one (revision {})",
        record.target_version,
        record.source.namespace,
        record.target_revision,
        record.source_revision
    )
}

/// The default revision, with its validating webhook.
pub fn commit_default(record: &Record) -> String {
    format!(
        "render chart base {} with defaultRevision={}",
        record.target_version, record.target_revision
    )
}

/// The end of the old control plane.
pub fn commit_removal(record: &Record) -> String {
    format!(
        "remove what chart istiod renders for the old control plane (version {}, revision {})",
        record.source.version, record.source_revision
    )
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
