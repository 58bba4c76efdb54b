//! Where Helm is.

use std::env;
use std::path::PathBuf;

pub(crate) const MISSING: &str = "helm is not found, and deploy/meshlift.yaml is rendered with it: \
    put Helm 4 on PATH, name it by --helm or HELM, or run `make test` once, which builds one";

/// The helm on PATH, or the newest that the testbed built.
pub(crate) fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let on_path = env::split_paths(&path).map(|folder| folder.join("helm"));
    on_path
        .into_iter()
        .find(|program| program.is_file())
        .or_else(built)
}

fn built() -> Option<PathBuf> {
    let cache = match env::var_os("MESHLIFT_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME")?).join(".cache/meshlift"),
    };
    let folders = cache.read_dir().ok()?.flatten();
    let ours = folders.filter(|entry| entry.file_name().to_string_lossy().starts_with("helm-"));
    let programs = ours
        .map(|entry| entry.path().join("helm"))
        .filter(|program| program.is_file());
    programs.max_by_key(|program| program.metadata().and_then(|data| data.modified()).ok())
}
