//! `ReleaseCatalog`: what is known of Istio releases, as data that can be corrected without a new
//! operator.

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The only name that a ReleaseCatalog may have.
pub const RELEASE_CATALOG: &str = "default";

/// What the operator knows of Istio releases, besides or instead of what is built into it:
/// Kubernetes ranges, ends of life, and the risks of stepping up to each release. There is one, and
/// it is called `default`. The versions themselves come from the chart repository of each Mesh.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    group = "meshlift.io",
    version = "v1alpha1",
    kind = "ReleaseCatalog",
    plural = "releasecatalogs",
    category = "meshlift",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name == 'default'")
        .message("there is one catalog and its name is default: set metadata.name to default"),
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Releases","type":"string","jsonPath":".spec.releases[*].minor"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.mode != 'Replace' || self.releases.all(release, has(release.kubernetes))",
    "message": "mode Replace takes nothing from the operator's own data, so every release needs its range: add kubernetes: {low, high} to each",
}]))]
pub struct ReleaseCatalogSpec {
    /// Whether `releases` is laid over the operator's own data or takes its place.
    #[serde(default)]
    pub mode: CatalogMode,
    /// The releases, one for each minor.
    #[serde(default)]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["minor"])
    )]
    pub releases: Vec<IstioRelease>,
}

/// How a catalog goes together with the operator's own data.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum CatalogMode {
    /// Fields that are given replace those of the same minor, risks those of the same code.
    #[default]
    Extend,
    /// Nothing but this catalog counts.
    Replace,
}

/// One minor release of Istio.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IstioRelease {
    /// The minor: `1.31`.
    #[schemars(schema_with = "istio_minor")]
    pub minor: String,
    /// The day its first version came out: `2026-08-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date")]
    pub released: Option<String>,
    /// The day upstream ends its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date")]
    pub end_of_life: Option<String>,
    /// Whether that day is only expected and not announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_of_life_expected: Option<bool>,
    /// Kubernetes versions that are officially supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesVersions>,
    /// Older Kubernetes versions that upstream tests but does not support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<KubernetesVersions>,
    /// The Kubernetes version below which `istioctl` refuses to install it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "kubernetes_minor")]
    pub minimum_kubernetes: Option<String>,
    /// For earlier minors that must be at a certain patch before this release: that patch (`1.17.3`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "patches")]
    pub minimum_from: Option<Vec<String>>,
    /// The values of `compatibilityVersion` that its charts still have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "istio_minors")]
    pub compatibility_versions: Option<Vec<String>>,
    /// Gateway API CRDs of which it stops to process objects when they are older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub gateway_api: Option<Vec<GatewayApiMinimum>>,
    /// Image hub that its charts have by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub hub: Option<String>,
    /// What may change or break for a mesh that steps up to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["code"])
    )]
    pub risks: Vec<ReleaseRisk>,
}

/// Kubernetes versions, both ends included.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "![self.low, self.high].all(v, v.matches('^[0-9]{1,3}[.][0-9]{1,3}$')) || int(self.low.split('.')[0]) * 1000 + int(self.low.split('.')[1]) <= int(self.high.split('.')[0]) * 1000 + int(self.high.split('.')[1])",
    "message": "low is above high: exchange them",
}]))]
pub struct KubernetesVersions {
    /// Lowest: `1.32`.
    #[schemars(schema_with = "kubernetes_minor")]
    pub low: String,
    /// Highest.
    #[schemars(schema_with = "kubernetes_minor")]
    pub high: String,
}

/// The oldest CRD of the Gateway API that a release works with.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct GatewayApiMinimum {
    /// Name of the CRD: `tlsroutes.gateway.networking.k8s.io`.
    #[schemars(schema_with = "crd_name")]
    pub crd: String,
    /// Lowest version of the bundle it comes from: `1.5.0`.
    #[schemars(schema_with = "patch")]
    pub minimum: String,
}

/// A change of a release that can break something.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseRisk {
    /// Stable name, by which it is accepted: `R121-AUTO-SNI`. Unique in the whole catalog.
    #[schemars(schema_with = "code")]
    pub code: String,
    /// A few words for a table.
    #[schemars(length(min = 1, max = 120))]
    pub title: String,
    /// What changes, and what that can break.
    #[schemars(length(min = 1, max = 1024))]
    pub message: String,
    /// What to do.
    #[schemars(length(min = 1, max = 1024))]
    pub fix: String,
    /// Where upstream says so.
    #[schemars(schema_with = "url")]
    pub url: String,
    /// When it concerns a mesh; without it, always. Every condition that is given must hold.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub rule: Option<RiskRule>,
}

/// When a risk concerns a mesh: every condition that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.flag) || has(self.values) || has(self.resources)",
        "message": "has no condition: give flag, values or resources, or leave match out for a risk that always counts",
    },
    {
        "rule": "!has(self.expression) || has(self.resources)",
        "message": "expression needs resources: it is asked of each object of that kind",
    },
]))]
pub struct RiskRule {
    /// The environment variable of istiod that decides it. A mesh whose Helm values set it, or keep
    /// the behaviour of an older release with `compatibilityVersion`, is not concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "flag")]
    pub flag: Option<String>,
    /// CEL over `values`, the Helm values that people gave the running istiod release (with `pilot`
    /// laid over the root, as the chart does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub values: Option<String>,
    /// Objects of this kind are looked at, in every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<RiskResources>,
    /// CEL over `object`, each object of that kind. Without it every object matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expression: Option<String>,
}

/// A kind of objects.
#[derive(
    Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.group) && self.group != '') || !(self.resource in ['secrets', 'pods'])",
    "message": "Secrets are never read and pods are too many to be listed: match another kind",
}]))]
pub struct RiskResources {
    /// API group; empty for the core group.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub group: String,
    /// API version (`v1beta1`): one that is served before and after the step. Without it, the first
    /// one that the API server has the kind in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "api_version")]
    pub version: Option<String>,
    /// The kind in the plural, as in URLs: `destinationrules`.
    #[schemars(schema_with = "resource")]
    pub resource: String,
    /// The kind: `DestinationRule`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
}

/// A text with a rule, whose refusal says what to write instead.
fn text(pattern: &str, longest: u32, refusal: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": longest,
        "x-kubernetes-validations": [{
            "rule": format!("self.matches('{pattern}')"),
            "message": refusal,
        }],
    })
}

fn istio_minor(_: &mut SchemaGenerator) -> Schema {
    text(
        "^[0-9]{1,3}[.][0-9]{1,3}$",
        32,
        "is no minor of Istio: write \"1.31\", in quotes",
    )
}

fn istio_minors(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 32, "items": istio_minor(generator) })
}

fn kubernetes_minor(_: &mut SchemaGenerator) -> Schema {
    text(
        "^[0-9]{1,3}[.][0-9]{1,3}$",
        32,
        "is no minor of Kubernetes: write \"1.32\", in quotes",
    )
}

fn patch(_: &mut SchemaGenerator) -> Schema {
    text(
        "^[0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}$",
        32,
        "is no version: write all three numbers (1.17.3)",
    )
}

fn patches(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 16, "items": patch(generator) })
}

fn date(_: &mut SchemaGenerator) -> Schema {
    text(
        "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
        32,
        "is no day: write year, month and day (\"2026-08-31\", in quotes)",
    )
}

fn code(_: &mut SchemaGenerator) -> Schema {
    text(
        "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*$",
        63,
        "is no code: write capital letters, digits and hyphens (R121-AUTO-SNI)",
    )
}

fn crd_name(_: &mut SchemaGenerator) -> Schema {
    text(
        "^[a-z0-9]+([.][a-z0-9-]+)+$",
        253,
        "is no name of a CRD: write plural and group (tlsroutes.gateway.networking.k8s.io)",
    )
}

fn url(_: &mut SchemaGenerator) -> Schema {
    text("^https?://[^ ]+$", 512, "is no address: write https://...")
}

fn flag(_: &mut SchemaGenerator) -> Schema {
    text(
        "^[A-Z][A-Z0-9_]*$",
        128,
        "is no environment variable of istiod: write it as its values do (ENABLE_AUTO_SNI)",
    )
}

fn api_version(_: &mut SchemaGenerator) -> Schema {
    text(
        "^v[0-9]+((alpha|beta)[0-9]+)?$",
        32,
        "is no API version: write it as in v1 or v1beta1, without the group",
    )
}

fn resource(_: &mut SchemaGenerator) -> Schema {
    text(
        "^[a-z][a-z0-9]*$",
        63,
        "is no resource: write the plural in lower case (destinationrules)",
    )
}
