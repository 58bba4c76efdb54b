//! Who depends on a control plane without running: templates that have no pod now, and configuration that only one
//! revision reads. Listed for a detection, and again right before a control plane is removed.

mod configuration;
mod templates;

use std::time::Duration;

use kube::Client;
use meshlift_model::view::{Dependents, Labelled, PodTemplate, Seen};
use meshlift_planner::ReleasesWanted;

use super::cached::Cached;
use super::environment::crds::CrdFact;
use super::seen;

/// A blocked detection looks again as soon as anything watched changes; these are not looked at more often.
const AGE: Duration = Duration::from_secs(30);

pub(super) struct DependentsLook {
    client: Client,
    templates: Cached<(), Vec<PodTemplate>>,
    configuration: Cached<(), Vec<Labelled>>,
}

impl DependentsLook {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            templates: Cached::new(AGE),
            configuration: Cached::new(AGE),
        }
    }

    pub(super) fn forget(&self) {
        self.templates.forget_all();
        self.configuration.forget_all();
    }

    pub(super) async fn look(
        &self,
        wanted: ReleasesWanted,
        crds: impl Future<Output = Result<Vec<CrdFact>, String>>,
    ) -> Dependents {
        match wanted {
            // Absent would say that there are none, and what uses a control plane could lose it.
            ReleasesWanted::No => return unread("they were not looked at"),
            ReleasesWanted::Known => {}
            ReleasesWanted::Fresh => self.forget(),
        }
        let configuration = async {
            match crds.await {
                Ok(crds) => {
                    let look = configuration::look(&self.client, &crds);
                    seen(self.configuration.get(&(), look).await)
                }
                // Without the kinds nobody can tell what there is of them.
                Err(why) => Seen::Unreadable(why),
            }
        };
        let templates = self.templates.get(&(), templates::look(&self.client));
        let (templates, configuration) = tokio::join!(templates, configuration);
        Dependents {
            templates: seen(templates),
            configuration,
        }
    }
}

fn unread(why: &str) -> Dependents {
    Dependents {
        templates: Seen::Unreadable(why.to_owned()),
        configuration: Seen::Unreadable(why.to_owned()),
    }
}
