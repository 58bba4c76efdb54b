//! Watches of kinds that a cluster may not have: they cost nothing where their CRD is not, and begin
//! soon after it appears.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::settle::{refusal, words};
use super::table::{Fact, Refusal, Table};
use crate::error::is_not_found;

/// How long until the API server is asked again after it did not answer.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps a table equal to what the API server has, and empty while that does not serve the kind.
pub(super) fn follow_while_served<K, F>(
    client: Client,
    config: watcher::Config,
    table: Arc<Table<F>>,
    recheck: Duration,
    bell: &Arc<watch::Sender<u64>>,
) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    F: Fact<K> + Send + Sync + 'static,
{
    let bell = Arc::clone(bell);
    Box::pin(async move {
        let ring = |news: bool| {
            if news {
                bell.send_modify(|count| *count = count.wrapping_add(1));
            }
        };
        loop {
            let pause = match is_served::<K>(&client).await {
                Ok(true) => {
                    let api = Api::<K>::all(client.clone());
                    until_it_is_gone(api, config.clone(), &table, &ring).await;
                    RETRY
                }
                Ok(false) => {
                    ring(table.none());
                    recheck
                }
                Err(error) => {
                    ring(table.lost(error.to_string(), None));
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    })
}

/// Discovery is open to every account, which a list is not: who may not list what is not there is
/// told that it is forbidden.
async fn is_served<K: Resource<DynamicType = ()>>(client: &Client) -> Result<bool, kube::Error> {
    let group_version = format!("{}/{}", K::group(&()), K::version(&()));
    match client.list_api_group_resources(&group_version).await {
        Ok(list) => Ok(list
            .resources
            .iter()
            .any(|served| served.name == K::plural(&()))),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn until_it_is_gone<K, F>(
    api: Api<K>,
    config: watcher::Config,
    table: &Table<F>,
    ring: &(impl Fn(bool) + Sync),
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    F: Fact<K>,
{
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => ring(table.take(&event)),
            Err(error) => {
                tracing::warn!(kind = std::any::type_name::<K>(), %error, "watch");
                let refused = refusal(&error);
                ring(table.lost(words(&error), refused));
                if refused == Some(Refusal::NotInstalled) {
                    return;
                }
            }
        }
    }
}
