//! crds/*.yaml and the chart's template of the same CRDs.

use anyhow::{Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use meshlift_api::{Mesh, MeshUpgrade};

use crate::output::{HEADER, Output};

/// Helm leaves an object with this annotation in place when the release goes: deleting a CRD
/// deletes every object of its kind.
const KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

pub(crate) fn generate(output: &mut Output) -> Result<()> {
    let mut template = format!("{HEADER}{{{{- if .Values.crds.install }}}}\n");
    for crd in [Mesh::crd(), MeshUpgrade::crd()] {
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
