//! deploy/argocd/argocd-cm.yaml: the scripts beside it as a patch for the ConfigMap of an Argo CD that does not have them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_yaml_ng::{Mapping, Value};

use crate::output::{HEADER, Output};

const SCRIPTS: &str = "deploy/argocd/resource_customizations";

/// The value of `resource.customizations.actions.GROUP_KIND`, which is YAML in a string.
#[derive(Serialize)]
struct Actions {
    #[serde(rename = "discovery.lua")]
    discovery: String,
    definitions: Vec<Definition>,
}

#[derive(Serialize)]
struct Definition {
    name: String,
    #[serde(rename = "action.lua")]
    script: String,
}

pub(crate) fn generate(output: &mut Output) -> Result<()> {
    let data = data(&output.root().join(SCRIPTS))?;
    let patch = mapping([
        ("apiVersion", "v1".into()),
        ("kind", "ConfigMap".into()),
        // Without a namespace it fits wherever Argo CD is installed.
        ("metadata", mapping([("name", "argocd-cm".into())])),
        ("data", data.into()),
    ]);
    let text = serde_yaml_ng::to_string(&patch)?;
    output.file("deploy/argocd/argocd-cm.yaml", &format!("{HEADER}{text}"))
}

fn data(scripts: &Path) -> Result<Mapping> {
    let mut data = Mapping::new();
    for group in folders(scripts)? {
        for kind in folders(&group)? {
            let of = format!("{}_{}", name(&group), name(&kind));
            let health = kind.join("health.lua");
            if health.exists() {
                let key = format!("resource.customizations.health.{of}");
                data.insert(key.into(), read(&health)?.into());
            }
            let actions = kind.join("actions");
            if actions.exists() {
                let key = format!("resource.customizations.actions.{of}");
                data.insert(key.into(), of_actions(&actions)?.into());
            }
        }
    }
    ensure!(!data.is_empty(), "no scripts in {}", scripts.display());
    Ok(data)
}

fn of_actions(folder: &Path) -> Result<String> {
    let mut definitions = Vec::new();
    for action in folders(folder)? {
        let script = action.join("action.lua");
        // The folder with the data of the tests has none.
        if script.exists() {
            let (name, script) = (name(&action), read(&script)?);
            definitions.push(Definition { name, script });
        }
    }
    let discovery = read(&folder.join("discovery.lua"))?;
    let actions = Actions {
        discovery,
        definitions,
    };
    Ok(serde_yaml_ng::to_string(&actions)?)
}

/// The folders in a folder, in an order that is the same on every machine.
fn folders(of: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(of).with_context(|| format!("cannot read {}", of.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.into_iter();
    Value::Mapping(entries.map(|(key, value)| (key.into(), value)).collect())
}
