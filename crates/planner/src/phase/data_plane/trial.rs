//! The writes that an upgrade will send to objects of others, for a detection that tries them as dry runs: a policy that
//! refuses them is named before anything is touched.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshlift_model::data_plane::{Placement, Turn, assess_toward};
use meshlift_model::decision::Effect;
use meshlift_model::heading::Heading;
use meshlift_model::stages::Stages;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::MeshView;

use super::Drive;
use crate::phase::detecting::drafted;

/// Up to so many restarts are all tried. Each is a request, and policies tell namespaces and labels apart, seldom
/// single workloads.
const ALL: usize = 200;
/// Of more than that, so many in each namespace.
const PER_NAMESPACE: usize = 2;
/// And never more than this.
const MOST: usize = 500;

/// The relabels, tags, Gateways and restarts of an upgrade that has not begun, as it will send them; of thousands of
/// restarts some of each namespace.
pub fn trial(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Vec<Effect> {
    let Some((record, _)) = drafted(now, upgrade, view) else {
        return Vec::new();
    };
    let heading = Heading::ahead(&record);
    let stages = Stages::of(upgrade, &record).opened();
    let Some(judged) = assess_toward(now, heading, Some(&stages), upgrade, view) else {
        return Vec::new();
    };
    let drive = Drive {
        now,
        upgrade,
        view,
        record: &record,
        heading,
        stages,
        judged,
    };
    let mut writes = drive.moves_in_the_end();
    writes.extend(some_of_each(drive.restarts_in_the_end()));
    writes
}

impl Drive<'_> {
    fn restarts_in_the_end(&self) -> Vec<Effect> {
        let moves = self.judged.in_order(|placement| {
            matches!(
                placement,
                Placement::Stale(Turn::Restart { .. }) | Placement::Later | Placement::Busy
            )
        });
        // istiod rolls those that it renders.
        let moves = moves
            .into_iter()
            .filter(|(workload, _)| !workload.managed_gateway);
        moves
            .map(|(workload, placement)| match placement {
                Placement::Stale(turn) => self.effect(workload, turn),
                _ => self.effect(
                    workload,
                    &Turn::Restart {
                        mark: self.heading.mark(),
                        template: None,
                    },
                ),
            })
            .collect()
    }
}

fn some_of_each(restarts: Vec<Effect>) -> Vec<Effect> {
    if restarts.len() <= ALL {
        return restarts;
    }
    let mut taken = BTreeMap::<String, usize>::new();
    let mut few = |effect: &Effect| match effect {
        Effect::RestartWorkload { key, .. } => {
            let taken = taken.entry(key.namespace.clone()).or_default();
            *taken += 1;
            *taken <= PER_NAMESPACE
        }
        _ => true,
    };
    restarts
        .into_iter()
        .filter(|effect| few(effect))
        .take(MOST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshlift_model::view::{WorkloadKey, WorkloadKind};

    fn restart(namespace: usize, name: usize) -> Effect {
        Effect::RestartWorkload {
            key: WorkloadKey {
                namespace: format!("ns-{namespace}"),
                kind: WorkloadKind::Deployment,
                name: format!("app-{name}"),
            },
            uid: "u".into(),
            resource_version: "1".into(),
            mark: "1-31-0".into(),
            template_revision: None,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn of_thousands_some_of_each_namespace_are_tried() {
        let all = |namespaces: usize, each: usize| {
            let pairs = (0..namespaces).flat_map(|ns| (0..each).map(move |n| restart(ns, n)));
            some_of_each(pairs.collect()).len()
        };
        assert_eq!(all(10, 20), 200);
        assert_eq!(all(10, 100), 20);
        assert_eq!(all(1000, 3), 500);
    }
}
