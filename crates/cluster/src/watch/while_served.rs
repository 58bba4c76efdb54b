//! Watches of kinds that a cluster may not have: they cost nothing where their CRD is not, and begin
//! soon after it appears.

use std::time::Duration;

use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::follow::Feed;
use super::table::{Fact, Table};
use crate::error::is_not_found;

/// How long until the API server is asked again after it did not answer.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps a table equal to what the API server has, and empty while that does not serve the kind.
pub(super) async fn follow_while_served<K, F>(
    client: Client,
    feed: Feed<K, std::sync::Arc<Table<F>>>,
    recheck: Duration,
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    F: Fact<K> + Send + Sync,
{
    loop {
        let pause = match is_served::<K>(&client).await {
            Ok(true) => {
                feed.until_not_served().await;
                RETRY
            }
            Ok(false) => {
                if feed.sink.none() {
                    feed.ring();
                }
                recheck
            }
            Err(error) => {
                if feed.sink.lost(error.to_string(), None) {
                    feed.ring();
                }
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
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
