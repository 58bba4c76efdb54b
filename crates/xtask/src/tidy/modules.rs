//! Module files are `foo.rs` beside `foo/`, so that an editor with ten open files does not show `mod.rs` ten times.

use super::Finding;
use super::source::Sources;

/// Files under `src` of a crate. Helpers of integration tests stay `tests/common/mod.rs`: Cargo takes
/// `tests/common.rs` for a test of its own.
pub(super) fn check(sources: &Sources) -> Vec<Finding> {
    let paths = sources.rust.iter().map(|file| &file.path);
    paths.filter_map(|path| misnamed(path)).collect()
}

fn misnamed(path: &str) -> Option<Finding> {
    let module = path.strip_suffix("/mod.rs")?;
    path.contains("/src/")
        .then(|| Finding::new(path, 1, format!("rename to {module}.rs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mod_rs_in_src_is_renamed() {
        let found = check(&Sources::of(&[("crates/a/src/x/mod.rs", "")]));
        assert_eq!(found[0].advice, "rename to crates/a/src/x.rs");
    }

    #[test]
    fn helpers_of_integration_tests_are_fine() {
        let files = [
            ("crates/a/tests/common/mod.rs", ""),
            ("tests/tests/api/main.rs", ""),
            ("crates/a/src/x.rs", ""),
        ];
        assert_eq!(check(&Sources::of(&files)), []);
    }
}
