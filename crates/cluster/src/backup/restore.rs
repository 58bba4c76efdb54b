//! Compares a backup with a cluster, and brings back what is missing or was changed. Never a CRD: its versions do
//! not go back. Never a Helm release, nor what belongs to one: Helm would find what it did not write.

mod filter;
mod namespaces;
mod objects;
mod releases;
mod webhooks;

use std::collections::BTreeSet;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use meshlift_model::view::{Release, Seen};
use serde::Serialize;
use serde_json::Value;

pub use self::filter::Filter;
use self::objects::Live;
use super::format::Contents;
use super::plain::ObjectId;
use crate::Result;
use crate::observe::environment::crds::{CrdFact, Crds};

/// Owns what a restore writes.
const MANAGER: &str = "meshlift-cli";

/// How a cluster differs from a backup.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// What a restore writes, in the order in which it does.
    pub changes: Vec<Change>,
    /// What differs and is not written.
    pub left: Vec<Left>,
    /// What is there and was not when the backup was taken; it stays.
    pub newer: Vec<ObjectId>,
    /// How many are as they were.
    pub same: u64,
}

/// One object that a restore writes.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Which.
    pub id: ObjectId,
    /// As it is; none if it is missing.
    pub found: Option<Value>,
    /// As it was.
    pub wanted: Value,
    #[serde(skip)]
    write: Write,
}

/// Something that differs and is not written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Left {
    /// What.
    pub what: String,
    /// Why it is not written, and what to do.
    pub why: String,
    /// For a Helm release: its name, which the command to bring it back needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<super::BackedUpRelease>,
}

#[derive(Clone, Debug)]
enum Write {
    /// The whole object, where there is none.
    Create(ApiResource),
    /// Only what differs, guarded by the resource version that it was looked at.
    Patch(ApiResource, Value),
}

/// Compares. Only what one of `only` matches is looked at, everything if there is none. `releases` are those
/// that are there now.
pub async fn compare(
    client: &Client,
    backup: &Contents,
    releases: &Seen<Vec<Release>>,
    only: &[Filter],
) -> Result<Comparison> {
    let wanted = |id: &ObjectId| only.is_empty() || only.iter().any(|filter| filter.matches(id));
    let crds = Crds::new(client.clone()).look().await;
    let crds = crds.map_err(crate::Error::Unreadable)?.unwrap_or_default();
    let mut comparing = Comparing {
        client,
        backup,
        crds: &crds,
        wanted: &wanted,
        result: Comparison::default(),
        answered: BTreeSet::new(),
    };
    comparing.crds();
    releases::compare(&mut comparing.result, backup, releases, only);
    comparing.tag_services().await?;
    comparing.webhooks().await?;
    let there = comparing.namespaces().await?;
    comparing.configuration(&there).await?;
    Ok(comparing.result)
}

struct Comparing<'a> {
    client: &'a Client,
    backup: &'a Contents,
    crds: &'a [CrdFact],
    wanted: &'a (dyn Fn(&ObjectId) -> bool + Sync),
    result: Comparison,
    /// Revisions and tags that an injection webhook answers for.
    answered: BTreeSet<String>,
}

impl Comparing<'_> {
    fn crds(&mut self) {
        for was in &self.backup.crds {
            let is = self.crds.iter().find(|fact| fact.crd.name == was.name);
            let id = ObjectId {
                kind: "CustomResourceDefinition".to_owned(),
                group: "apiextensions.k8s.io".to_owned(),
                namespace: None,
                name: was.name.clone(),
            };
            let why = match is {
                None => "is not there: it comes with its Helm release or its manifest".to_owned(),
                Some(is) if is.crd.served_versions != was.served => format!(
                    "serves {}, and served {}: versions of a CRD are never taken back",
                    is.crd.served_versions.join(", "),
                    was.served.join(", ")
                ),
                Some(_) => {
                    self.result.same += u64::from((self.wanted)(&id));
                    continue;
                }
            };
            self.leave(&id, why);
        }
    }

    fn leave(&mut self, id: &ObjectId, why: String) {
        if (self.wanted)(id) {
            self.result.left.push(Left {
                what: id.to_string(),
                why,
                release: None,
            });
        }
    }

    /// What is missing is made.
    fn create(&mut self, id: ObjectId, wanted: Value, kind: &ApiResource) {
        self.result.changes.push(Change {
            id,
            found: None,
            wanted,
            write: Write::Create(kind.clone()),
        });
    }

    /// What differs between two forms of it is patched.
    fn patch(&mut self, live: &Live, forms: (Value, Value), merge: Value, kind: &ApiResource) {
        let mut merge = merge;
        merge["metadata"]["resourceVersion"] = live.resource_version.clone().into();
        self.result.changes.push(Change {
            id: live.id.clone(),
            found: Some(forms.0),
            wanted: forms.1,
            write: Write::Patch(kind.clone(), merge),
        });
    }
}

/// Writes one change.
pub async fn apply(client: &Client, change: &Change) -> Result<(), kube::Error> {
    let of = |kind: &ApiResource| -> Api<DynamicObject> {
        match &change.id.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
            None => Api::all_with(client.clone(), kind),
        }
    };
    let name = &change.id.name;
    match &change.write {
        Write::Create(kind) => {
            let parameters = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(&change.wanted);
            of(kind).patch(name, &parameters, &patch).await.map(drop)
        }
        Write::Patch(kind, merge) => {
            let parameters = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let patch = Patch::Merge(merge);
            of(kind).patch(name, &parameters, &patch).await.map(drop)
        }
    }
}
