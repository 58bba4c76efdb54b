//! The chart's RBAC, from the table of rights.

use std::fmt::Write;

use anyhow::Result;
use meshlift_api::permissions::{Permission, Scope, in_scope};

use crate::output::{HEADER, Output};

const FULL_NAME: &str = r#"{{ include "meshlift.fullname" . }}"#;

pub(crate) fn generate(output: &mut Output) -> Result<()> {
    let mut text = String::from(HEADER);
    text.push_str(
        "# Source: crates/api/src/permissions/table.rs, where each right has its reason.\n",
    );
    text.push_str("{{- if .Values.rbac.create }}\n");
    cluster(&mut text)?;
    control_plane(&mut text)?;
    own(&mut text)?;
    text.push_str("{{- end }}\n");
    output.file("charts/meshlift/templates/rbac.yaml", &text)
}

fn cluster(text: &mut String) -> Result<()> {
    head(text, "ClusterRole", FULL_NAME, None, ".")?;
    rules(text, Scope::Cluster)?;
    text.push_str("  {{- with .Values.rbac.extraClusterRules }}\n");
    text.push_str("  {{- toYaml . | nindent 2 }}\n  {{- end }}\n");
    head(text, "ClusterRoleBinding", FULL_NAME, None, ".")?;
    binding(text, "ClusterRole", FULL_NAME, ".")
}

fn control_plane(text: &mut String) -> Result<()> {
    // A release installed into the namespace of istiod would otherwise render two Roles of one name.
    let name = r#"{{ include "meshlift.fullname" $ }}-control-plane"#;
    text.push_str("{{- range $namespace := .Values.controlPlaneNamespaces }}\n");
    head(text, "Role", name, Some("{{ $namespace }}"), "$")?;
    rules(text, Scope::ControlPlaneNamespace)?;
    head(text, "RoleBinding", name, Some("{{ $namespace }}"), "$")?;
    binding(text, "Role", name, "$")?;
    text.push_str("{{- end }}\n");
    Ok(())
}

fn own(text: &mut String) -> Result<()> {
    let namespace = Some("{{ .Release.Namespace }}");
    head(text, "Role", FULL_NAME, namespace, ".")?;
    rules(text, Scope::OperatorNamespace)?;
    head(text, "RoleBinding", FULL_NAME, namespace, ".")?;
    binding(text, "Role", FULL_NAME, ".")
}

fn head(
    text: &mut String,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    context: &str,
) -> Result<()> {
    writeln!(
        text,
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:"
    )?;
    writeln!(text, "  name: {name}")?;
    if let Some(namespace) = namespace {
        writeln!(text, "  namespace: {namespace}")?;
    }
    writeln!(
        text,
        "  labels:\n    {{{{- include \"meshlift.labels\" {context} | nindent 4 }}}}"
    )?;
    Ok(())
}

fn rules(text: &mut String, scope: Scope) -> Result<()> {
    text.push_str("rules:\n");
    for permission in in_scope(scope) {
        rule(text, permission)?;
    }
    Ok(())
}

fn rule(text: &mut String, permission: &Permission) -> Result<()> {
    writeln!(text, "  # {}", permission.why)?;
    writeln!(text, "  - apiGroups: [\"{}\"]", permission.group)?;
    writeln!(text, "    resources: [\"{}\"]", permission.resource)?;
    if !permission.names.is_empty() {
        text.push_str("    resourceNames:\n");
        for name in permission.names {
            writeln!(text, "      - {name}")?;
        }
    }
    writeln!(text, "    verbs: [\"{}\"]", permission.verbs.join("\", \""))?;
    Ok(())
}

fn binding(text: &mut String, kind: &str, role: &str, context: &str) -> Result<()> {
    let root = if context == "." { "" } else { context };
    writeln!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}"
    )?;
    writeln!(text, "  name: {role}\nsubjects:\n  - kind: ServiceAccount")?;
    writeln!(
        text,
        "    name: {{{{ include \"meshlift.serviceAccountName\" {context} }}}}"
    )?;
    writeln!(text, "    namespace: {{{{ {root}.Release.Namespace }}}}")?;
    Ok(())
}
