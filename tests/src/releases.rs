//! Helm releases of Istio, as Helm shows them.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::bed::{Bed, ISTIO};

/// One revision of a release.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
    /// `deployed`, `superseded`, `failed`, ...
    pub status: String,
    /// Name and version of its chart.
    pub chart: String,
    /// What Helm says of it.
    pub description: String,
}

/// Every revision of a release of Istio, the oldest first: each time that Helm installed or upgraded it.
pub async fn history(bed: &Bed, release: &str) -> Result<Vec<Revision>> {
    let ask = ["history", release, "-n", ISTIO, "-o", "json"];
    let text = bed.cluster.helm(&ask).await?;
    serde_json::from_str(&text).with_context(|| format!("the history of {release}: {text}"))
}
