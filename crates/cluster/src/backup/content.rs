//! What a backup holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshlift_api::ControlPlaneRef;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One line of a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// The first line.
    Header(Header),
    /// A CRD, by its versions.
    Crd(BackedUpCrd),
    /// A Helm release.
    Release(BackedUpRelease),
    /// The labels of a namespace that Istio reads.
    Namespace(BackedUpNamespace),
    /// An object: configuration, a webhook, the Service of a tag.
    Object(Value),
    /// The last line.
    End(End),
}

/// Of what, by whom and when a backup was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Version of the format.
    pub format: u32,
    /// Name of the backup.
    pub name: String,
    /// The mesh.
    pub mesh: String,
    /// The MeshUpgrade that took it; none for one that a person took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<String>,
    /// The control plane that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ControlPlaneRef>,
    /// The control plane that it was to become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ControlPlaneRef>,
    /// When it was begun.
    pub taken_at: Timestamp,
    /// Version of Meshlift that took it.
    pub meshlift: String,
}

/// A CRD, by its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackedUpCrd {
    /// Name, e.g. `virtualservices.networking.istio.io`.
    pub name: String,
    /// Versions that were served.
    pub served: Vec<String>,
    /// Versions that objects may be stored in.
    pub stored: Vec<String>,
}

/// A Helm release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackedUpRelease {
    /// Release name.
    pub name: String,
    /// Release namespace.
    pub namespace: String,
    /// Chart name.
    pub chart: String,
    /// Chart version, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Values the user gave; they may hold secrets.
    pub values: Map<String, Value>,
}

/// The labels of a namespace that Istio reads: `istio-injection`, and those of `istio.io`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUpNamespace {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// That a backup is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Lines before this one.
    pub entries: u64,
}

impl Entry {
    /// What it is counted as: `networking.istio.io/v1 VirtualService`.
    pub fn kind(&self) -> String {
        match self {
            Self::Header(_) => "Header".to_owned(),
            Self::Crd(_) => "apiextensions.k8s.io/v1 CustomResourceDefinition".to_owned(),
            Self::Release(_) => "Helm release".to_owned(),
            Self::Namespace(_) => "v1 Namespace".to_owned(),
            Self::Object(object) => {
                let word = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
                format!("{} {}", word("apiVersion"), word("kind"))
            }
            Self::End(_) => "End".to_owned(),
        }
    }
}
