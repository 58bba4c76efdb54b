//! deploy/meshlift.yaml: the chart with its defaults, for people who do not use Helm.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_yaml_ng::{Mapping, Value};

use crate::output::{HEADER, Output};

const NAMESPACE: &str = "meshlift-system";
/// Written by Helm for Helm; without it nothing would own what `kubectl apply` makes.
const HELM_ONLY: [&str; 3] = [
    "helm.sh/chart",
    "helm.sh/resource-policy",
    "app.kubernetes.io/managed-by",
];

pub(crate) fn generate(output: &mut Output, helm: &Path) -> Result<()> {
    let rendered = render(output.root(), helm)?;
    let mut text = String::from(HEADER);
    text.push_str(&document(&namespace())?);
    for object in serde_yaml_ng::Deserializer::from_str(&rendered) {
        let mut object = Value::deserialize(object).context("helm rendered no valid YAML")?;
        if object.is_null() {
            continue;
        }
        remove_helm_metadata(&mut object);
        text.push_str(&document(&object)?);
    }
    output.file("deploy/meshlift.yaml", &text)
}

fn render(root: &Path, helm: &Path) -> Result<String> {
    let run = Command::new(helm)
        .args(["template", "meshlift"])
        .arg(root.join("charts/meshlift"))
        // A hook of the uninstallation is no object of the installation.
        .args(["--namespace", NAMESPACE, "--no-hooks"])
        // Whoever applies the manifests puts the registry of their own there.
        .args(["--set", "image.repository=REGISTRY/meshlift-operator"])
        .output()
        .with_context(|| format!("cannot run `{}`", helm.display()))?;
    if !run.status.success() {
        bail!(
            "helm template failed: {}",
            String::from_utf8_lossy(&run.stderr).trim()
        );
    }
    String::from_utf8(run.stdout).context("helm rendered no UTF-8")
}

fn document(value: &Value) -> Result<String> {
    Ok(format!("---\n{}", serde_yaml_ng::to_string(value)?))
}

fn namespace() -> Value {
    let labels = [
        ("app.kubernetes.io/name", "meshlift"),
        // No sidecar and nothing that the restricted profile refuses.
        ("istio-injection", "disabled"),
        ("pod-security.kubernetes.io/enforce", "restricted"),
    ];
    let labels: Mapping = labels
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    let metadata = [
        ("name", Value::from(NAMESPACE)),
        ("labels", Value::from(labels)),
    ];
    let metadata: Mapping = metadata.into_iter().map(|(k, v)| (k.into(), v)).collect();
    let object = [
        ("apiVersion", Value::from("v1")),
        ("kind", Value::from("Namespace")),
        ("metadata", Value::from(metadata)),
    ];
    Value::from(
        object
            .into_iter()
            .map(|(k, v)| (k.into(), v))
            .collect::<Mapping>(),
    )
}

/// Takes Helm's own labels and annotations away, wherever metadata is (also of pod templates).
fn remove_helm_metadata(value: &mut Value) {
    match value {
        Value::Mapping(mapping) => {
            for key in ["labels", "annotations"] {
                let Some(Value::Mapping(entries)) = mapping.get_mut(key) else {
                    continue;
                };
                let before = entries.len();
                entries.retain(|name, _| !HELM_ONLY.iter().any(|helm| name == helm));
                if before > 0 && entries.is_empty() {
                    mapping.remove(key);
                }
            }
            mapping.values_mut().for_each(remove_helm_metadata);
        }
        Value::Sequence(items) => items.iter_mut().for_each(remove_helm_metadata),
        _ => {}
    }
}
