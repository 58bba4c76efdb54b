//! Webhooks that inject sidecars, from the watch, and whether the Services they call are there.

use std::collections::{BTreeMap, BTreeSet};

use futures::future;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use meshlift_model::view::{InjectionRule, Seen};

use super::AGE;
use super::list::Right;
use crate::Error;
use crate::observe::cached::Cached;
use crate::watch::Watches;

pub(super) struct Injectors {
    client: Client,
    services: Cached<String, bool>,
}

impl Injectors {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            services: Cached::new(AGE),
        }
    }

    pub(super) fn forget(&self) {
        self.services.forget_all();
    }

    pub(super) async fn look(&self, watches: &Watches) -> Seen<Vec<InjectionRule>> {
        let facts = match watches.injection_rules.all() {
            Seen::Present(facts) => facts,
            Seen::Absent => return Seen::Absent,
            Seen::Unreadable(why) => return Seen::Unreadable(why),
        };
        let mut rules: Vec<InjectionRule> = facts.iter().flat_map(|f| f.rules.clone()).collect();
        let called: BTreeSet<String> = rules.iter().filter_map(|r| r.service.clone()).collect();
        match self.there(called).await {
            Ok(there) => {
                for rule in &mut rules {
                    let service = rule.service.as_ref();
                    rule.service_exists = service.is_some_and(|service| there[service]);
                }
                rules.sort_by(|a, b| {
                    (&a.configuration, &a.webhook).cmp(&(&b.configuration, &b.webhook))
                });
                Seen::Present(rules)
            }
            Err(why) => Seen::Unreadable(why),
        }
    }

    async fn there(&self, services: BTreeSet<String>) -> Result<BTreeMap<String, bool>, String> {
        let one = async |service: String| {
            let there = self.services.get(&service, self.exists(&service)).await?;
            Ok::<_, String>((service, there))
        };
        let all = future::try_join_all(services.into_iter().map(one)).await?;
        Ok(all.into_iter().collect())
    }

    async fn exists(&self, service: &str) -> Result<bool, Error> {
        let (namespace, name) = service.split_once('/').unwrap_or_default();
        let api = Api::<Service>::namespaced(self.client.clone(), namespace);
        let answer = api.get_metadata(name).await;
        let found = Right::of("services", "").answer("get", answer)?;
        Ok(found.is_some())
    }
}
