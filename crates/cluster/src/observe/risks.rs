//! Which risks of a step concern this cluster: each kind that they name is listed once, and of its
//! objects only the names of those that match are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::RiskResources;
use meshlift_istio::risk::{Risk, concerns, matches};
use meshlift_model::view::{RiskMatch, Seen};
use serde_json::{Map, Value};

use super::cached::Cached;
use crate::Error;
use crate::error::is_not_found;

/// Changes of such objects are rarely urgent, and each look lists whole kinds.
const AGE: Duration = Duration::from_secs(60);
/// A page is what is in memory at once.
const PAGE: u32 = 500;
/// So many kinds are listed at a time.
const AT_ONCE: usize = 4;
/// So many names are kept of each risk.
const NAMED: usize = 5;

type Matches = BTreeMap<String, RiskMatch>;
/// A kind, and what was asked of its objects.
type Asked = (RiskResources, Vec<Risk>);

/// Looks at the objects that risks name.
pub(super) struct Risks {
    client: Client,
    known: Cached<String, Matches>,
}

impl Risks {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: Cached::new(AGE),
        }
    }

    /// The next look lists everything anew.
    pub(super) fn forget(&self) {
        self.known.forget_all();
    }

    /// The risks that concern this cluster, by code, where the Helm values of istiod are `values`. One
    /// that is not among them does not concern it; one that always counts is not among them either.
    pub(super) async fn look(&self, risks: &[&Risk], values: &Map<String, Value>) -> Seen<Matches> {
        let mut found = Matches::new();
        let mut kinds: BTreeMap<RiskResources, Vec<Risk>> = BTreeMap::new();
        for risk in risks {
            let Some(rule) = &risk.rule else { continue };
            match (concerns(risk, values), &rule.resources) {
                (Ok(false), _) => {}
                (Ok(true), None) => {
                    found.insert(risk.code.clone(), RiskMatch::default());
                }
                (Ok(true), Some(kind)) => {
                    let asked = kinds.entry(kind.clone()).or_default();
                    asked.push((*risk).clone());
                }
                (Err(error), _) => {
                    found.insert(risk.code.clone(), unreadable(error.to_string()));
                }
            }
        }
        let looks = kinds.into_iter().map(|asked| self.matched(asked));
        let matched: Vec<Matches> = stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        found.extend(matched.into_iter().flatten());
        Seen::Present(found)
    }

    /// The risks of one kind that have to do with any of its objects.
    async fn matched(&self, asked: Asked) -> Matches {
        // Whatever is asked differently (the catalog was changed) is another look.
        let key = format!("{asked:?}");
        let known = self.known.get(&key, list(&self.client, &asked)).await;
        known.unwrap_or_else(|why| all_unreadable(&asked.1, &why))
    }
}

async fn list(client: &Client, (kind, risks): &Asked) -> Result<Matches, Error> {
    for version in versions_of(client, kind).await? {
        match list_version(client, kind, &version, risks).await {
            Ok(found) => return Ok(found),
            // It is not in this version.
            Err(error) if is_not_found(&error) => {}
            // Rights are asked before the kind is looked up: this too may be a kind that is not there.
            Err(error) if is_forbidden(&error) && !is_served(client, kind, &version).await? => {}
            Err(error) => return Err(refused(kind, error)),
        }
    }
    // What is not installed has no objects.
    Ok(Matches::new())
}

/// The versions to ask for, the one that the API server prefers first.
async fn versions_of(client: &Client, kind: &RiskResources) -> Result<Vec<String>, Error> {
    if let Some(version) = &kind.version {
        return Ok(vec![version.clone()]);
    }
    served_versions(client, &kind.group).await
}

async fn is_served(client: &Client, kind: &RiskResources, version: &str) -> Result<bool, Error> {
    let served = served_versions(client, &kind.group).await?;
    Ok(served.iter().any(|served| served == version))
}

async fn served_versions(client: &Client, group: &str) -> Result<Vec<String>, Error> {
    if group.is_empty() {
        return Ok(vec!["v1".to_owned()]);
    }
    let known = client.list_api_groups().await;
    let groups = known
        .map_err(Error::kube("asking for the API groups"))?
        .groups;
    let group = groups.into_iter().find(|known| known.name == group);
    let versions = group.into_iter().flat_map(|group| group.versions);
    Ok(versions.map(|version| version.version).collect())
}

async fn list_version(
    client: &Client,
    kind: &RiskResources,
    version: &str,
    risks: &[Risk],
) -> Result<Matches, kube::Error> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource_of(kind, version));
    let mut parameters = ListParams::default().limit(PAGE);
    let mut found = Matches::new();
    loop {
        let page = api.list(&parameters).await?;
        let next = page.metadata.continue_.clone();
        for object in page.items {
            judge(kind, risks, object, &mut found);
        }
        match next.filter(|token| !token.is_empty()) {
            Some(next) => parameters = parameters.continue_token(&next),
            None => return Ok(found),
        }
    }
}

fn resource_of(kind: &RiskResources, version: &str) -> ApiResource {
    ApiResource {
        group: kind.group.clone(),
        version: version.to_owned(),
        api_version: match kind.group.as_str() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        },
        kind: kind.kind.clone(),
        plural: kind.resource.clone(),
    }
}

fn judge(kind: &RiskResources, risks: &[Risk], mut object: DynamicObject, found: &mut Matches) {
    object.metadata.managed_fields = None;
    let name = match object.namespace() {
        Some(namespace) => format!("{} {namespace}/{}", kind.kind, object.name_any()),
        None => format!("{} {}", kind.kind, object.name_any()),
    };
    let object = match serde_json::to_value(&object) {
        Ok(object) => object,
        Err(error) => {
            let why = format!("{name} cannot be read: {error}");
            found.extend(all_unreadable(risks, &why));
            return;
        }
    };
    for risk in risks {
        match matches(risk, &object) {
            Ok(false) => {}
            Ok(true) => {
                let told = found.entry(risk.code.clone()).or_default();
                told.total = told.total.saturating_add(1);
                if told.objects.len() < NAMED {
                    told.objects.push(name.clone());
                }
            }
            Err(error) => {
                let told = found.entry(risk.code.clone()).or_default();
                told.unreadable
                    .get_or_insert_with(|| format!("{name}: {error}"));
            }
        }
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn refused(kind: &RiskResources, error: kube::Error) -> Error {
    let resource = match kind.group.as_str() {
        "" => kind.resource.clone(),
        group => format!("{}.{group}", kind.resource),
    };
    match &error {
        refusal if is_forbidden(refusal) => Error::Unreadable(format!(
            "the operator may not list {resource}: grant its ClusterRole list on {resource} (rbac.extraClusterRules of the chart)"
        )),
        _ => Error::kube(format!("listing {resource}"))(error),
    }
}

fn unreadable(why: String) -> RiskMatch {
    RiskMatch {
        unreadable: Some(why),
        ..RiskMatch::default()
    }
}

fn all_unreadable(risks: &[Risk], why: &str) -> Matches {
    let all = risks.iter();
    all.map(|risk| (risk.code.clone(), unreadable(why.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests;
