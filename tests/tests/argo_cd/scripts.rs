//! The scripts and the tables beside them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use meshlift_api::ReleaseCatalog;

use crate::runner::{CONFIG_MAP, CUSTOMIZATIONS, deployed, show, test};

#[test]
fn the_files_pass_their_tests() -> Result<()> {
    test(&deployed(CUSTOMIZATIONS), &deployed(CUSTOMIZATIONS))
}

#[test]
fn the_config_map_passes_the_same_tests() -> Result<()> {
    test(&deployed(CONFIG_MAP), &deployed(CUSTOMIZATIONS))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A table that passes whatever the scripts do would be worth nothing.
#[test]
fn a_script_that_does_something_else_is_found() -> Result<()> {
    for (script, from, to, found) in [
        (
            "MeshUpgrade/health.lua",
            r#"health.status = "Suspended""#,
            r#"health.status = "Healthy""#,
            "suspended_approval.yaml: expected {Status:Suspended",
        ),
        (
            "MeshUpgrade/health.lua",
            "observed < generation",
            "false",
            "progressing_newGeneration.yaml",
        ),
        (
            "Mesh/health.lua",
            r#""Degraded""#,
            r#""Broken""#,
            "degraded_notReady.yaml",
        ),
        (
            "MeshUpgrade/actions/discovery.lua",
            "and not gone",
            "",
            "done.yaml: expected actions",
        ),
        (
            "MeshUpgrade/actions/approve/action.lua",
            "wave.name)",
            "'other')",
            "waiting_for_approval.yaml: action approve",
        ),
        (
            "MeshUpgrade/actions/redetect/action.lua",
            "!%Y",
            "!1%Y",
            "meshlift.io/redetect",
        ),
    ] {
        let folder = tempfile::tempdir()?;
        copy(&deployed(CUSTOMIZATIONS), folder.path())?;
        let path = folder.path().join("meshlift.io").join(script);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{script} has no {from}");
        fs::write(&path, text.replace(from, to))?;
        let error = test(folder.path(), folder.path()).err();
        let error = error.with_context(|| format!("{script} without {from} passes"))?;
        ensure!(format!("{error}").contains(found), "{script}: {error}");
    }
    Ok(())
}

/// It has no status that could say anything. A script would show every one as healthy, also one that is not used.
#[test]
fn a_release_catalog_has_no_health() -> Result<()> {
    let catalog = ReleaseCatalog::new("default", Default::default());
    let shown = show(&[serde_json::to_value(catalog)?])?;
    ensure!(shown[0].health.is_none(), "{shown:?}");
    ensure!(
        shown[0].actions.is_empty() && shown[0].disabled.is_empty(),
        "{shown:?}"
    );
    Ok(())
}
