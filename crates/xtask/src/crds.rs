//! crds/*.yaml and the chart's template of the same CRDs.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use meshlift_api::{Mesh, MeshUpgrade, ReleaseCatalog};
use serde_json::Value;

use crate::output::{HEADER, Output};

/// Helm leaves an object with this annotation in place when the release goes: deleting a CRD
/// deletes every object of its kind.
const KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

pub(crate) fn generate(output: &mut Output) -> Result<()> {
    let mut template = format!("{HEADER}{{{{- if .Values.crds.install }}}}\n");
    for crd in [Mesh::crd(), MeshUpgrade::crd(), ReleaseCatalog::crd()] {
        let crd = described(with_known_formats(crd)?);
        let plain = serde_yaml_ng::to_string(&crd)?;
        let name = format!("crds/{}.{}.yaml", crd.spec.group, crd.spec.names.plural);
        output.file(&name, &format!("{HEADER}{plain}"))?;
        let kept = serde_yaml_ng::to_string(&with_keep(crd))?;
        ensure!(
            !kept.contains("{{"),
            "{name} holds `{{{{`, which Helm would take for a template"
        );
        template.push_str("---\n");
        template.push_str(&kept);
    }
    template.push_str("{{- end }}\n");
    output.file("charts/meshlift/templates/crds.yaml", &template)
}

fn with_keep(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let annotations = crd.metadata.annotations.get_or_insert_default();
    annotations.insert(KEEP.0.to_owned(), KEEP.1.to_owned());
    crd
}

/// Takes away integer formats that Kubernetes does not know: the API server warns of each one.
/// What they mean stays as the `minimum` beside them.
fn with_known_formats(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition> {
    let mut value = serde_json::to_value(crd)?;
    remove_unsigned_formats(&mut value);
    serde_json::from_value(value).context("a CRD without its formats is no CRD")
}

fn remove_unsigned_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| {
                let format = value.as_str().filter(|_| key == "format");
                !format.is_some_and(|format| format.starts_with("uint"))
            });
            fields.values_mut().for_each(remove_unsigned_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_unsigned_formats),
        _ => {}
    }
}

/// `kubectl explain` begins with what the kind is, which the derive puts only on its spec.
fn described(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        let spec = schema
            .properties
            .as_ref()
            .and_then(|properties| properties.get("spec"));
        if let Some(description) = spec.and_then(|spec| spec.description.clone()) {
            schema.description = Some(description);
        }
    }
    crd
}
