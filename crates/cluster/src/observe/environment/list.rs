//! Lists in pages, of which no more is kept than what is asked for.

use kube::api::{ListParams, ObjectList, PartialObjectMeta};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::Error;
use crate::error::is_not_found;

/// A page is what is in memory at once.
const PAGE: u32 = 250;

/// What `keep` keeps of everything of a kind; none when the API server does not know the kind.
pub(in crate::observe) async fn list<K, T>(
    api: &Api<K>,
    mut keep: impl FnMut(K) -> Option<T>,
) -> Result<Option<Vec<T>>, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let kind = Right::of(&K::plural(&()), &K::group(&()));
    let mut kept = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let Some(page) = kind.answer("list", api.list(&parameters).await)? else {
            return Ok(None);
        };
        let next = next_page(&page);
        kept.extend(page.items.into_iter().filter_map(&mut keep));
        match next {
            Some(next) => parameters = parameters.continue_token(&next),
            None => return Ok(Some(kept)),
        }
    }
}

/// The same of the metadata alone.
pub(super) async fn list_metadata<K, T>(
    api: &Api<K>,
    right: &Right,
    keep: impl FnMut(PartialObjectMeta<K>) -> Option<T>,
) -> Result<Option<Vec<T>>, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    metadata(api, right, ListParams::default(), keep).await
}

/// The same of what a label selector matches.
pub(in crate::observe) async fn list_labelled<K, T>(
    api: &Api<K>,
    right: &Right,
    labels: &str,
    keep: impl FnMut(PartialObjectMeta<K>) -> Option<T>,
) -> Result<Option<Vec<T>>, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    metadata(api, right, ListParams::default().labels(labels), keep).await
}

async fn metadata<K, T>(
    api: &Api<K>,
    right: &Right,
    parameters: ListParams,
    mut keep: impl FnMut(PartialObjectMeta<K>) -> Option<T>,
) -> Result<Option<Vec<T>>, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut kept = Vec::new();
    let mut parameters = parameters.limit(PAGE);
    loop {
        let Some(page) = right.answer("list", api.list_metadata(&parameters).await)? else {
            return Ok(None);
        };
        let next = next_page(&page);
        kept.extend(page.items.into_iter().filter_map(&mut keep));
        match next {
            Some(next) => parameters = parameters.continue_token(&next),
            None => return Ok(Some(kept)),
        }
    }
}

fn next_page<K: Clone>(page: &ObjectList<K>) -> Option<String> {
    let next = page.metadata.continue_.clone();
    next.filter(|token| !token.is_empty())
}

/// The resource that a request is about, as RBAC names it: `nodes`, `istios.sailoperator.io`.
pub(in crate::observe) struct Right(String);

impl Right {
    pub(in crate::observe) fn of(plural: &str, group: &str) -> Self {
        if group.is_empty() {
            Self(plural.to_owned())
        } else {
            Self(format!("{plural}.{group}"))
        }
    }

    /// What came of a request: none for what is not there, and the right that is missing for a refusal.
    pub(super) fn answer<T>(
        &self,
        verb: &str,
        answer: Result<T, kube::Error>,
    ) -> Result<Option<T>, Error> {
        let resource = &self.0;
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(Error::Unreadable(format!(
                "the operator may not {verb} {resource}: grant its ClusterRole, or its Role in that namespace, {verb} on {resource}, as the chart does"
            ))),
            Err(error) => Err(Error::kube(format!("{verb} {resource}"))(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status {
            code,
            message: "in the way".to_owned(),
            ..Status::default()
        }))
    }

    #[test]
    fn absent_is_no_error_and_a_refusal_names_the_right() {
        let nodes = Right::of("nodes", "");
        assert!(matches!(nodes.answer("list", Ok(1)), Ok(Some(1))));
        assert!(matches!(
            nodes.answer::<()>("list", Err(api(404))),
            Ok(None)
        ));
        let said = |error| match nodes.answer::<()>("list", Err(error)) {
            Err(error) => error.to_string(),
            Ok(_) => "nothing".to_owned(),
        };
        assert!(said(api(403)).contains("may not list nodes"));
        let other = said(api(500));
        assert!(other.starts_with("list nodes: "), "{other}");
        assert!(other.contains("in the way"), "{other}");
        assert_eq!(
            Right::of("istios", "sailoperator.io").0,
            "istios.sailoperator.io"
        );
    }
}
