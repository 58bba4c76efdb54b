//! Versions that a mesh could be upgraded to.

use std::collections::BTreeMap;

use meshlift_api::{AvailableVersion, MeshStatus, UpgradePath};
use meshlift_istio::knowledge::Knowledge;
use meshlift_istio::risk::Risk;
use meshlift_istio::version::{Minor, StepRule, Version, path};
use meshlift_model::message;
use meshlift_model::view::{MeshView, Seen};

use super::clusters::{Cluster, obstacles, unfit};
use crate::steps::step_rule;

/// So many are told: the nearest, and the newest.
const SHOWN: usize = 10;

/// The versions that count for a mesh: those of its flavour in the repository. While the repository
/// cannot be read, those that were known before.
pub(super) fn known_versions(
    catalog: &Seen<Vec<Version>>,
    flavour: &str,
    before: &MeshStatus,
) -> Vec<Version> {
    let mut known: Vec<Version> = match catalog {
        Seen::Present(versions) => versions.clone(),
        Seen::Absent | Seen::Unreadable(_) => {
            let offered = before.available.iter();
            let named = offered.flat_map(|offer| offer.hops.iter().chain([&offer.version]));
            let named = named.chain(&before.latest);
            named.filter_map(|version| version.parse().ok()).collect()
        }
    };
    known.retain(|version| version.is_of_flavour(flavour) && !version.is_pre_release());
    known.sort();
    known.dedup();
    known
}

/// What decides whether a version can be reached.
pub(super) struct Ground<'a> {
    from: &'a Version,
    known: &'a [Version],
    fitting: Vec<Version>,
    clusters: &'a [Cluster],
    view: &'a MeshView,
    rule: StepRule,
}

impl<'a> Ground<'a> {
    pub(super) fn new(
        from: &'a Version,
        known: &'a [Version],
        clusters: &'a [Cluster],
        view: &'a MeshView,
    ) -> Self {
        let knowledge = &view.knowledge;
        let fits = |v: &&Version| unfit(clusters, knowledge.kubernetes_range(v)).is_empty();
        Self {
            from,
            known,
            fitting: known.iter().filter(fits).cloned().collect(),
            clusters,
            view,
            // As an upgrade goes that chooses nothing.
            rule: step_rule(UpgradePath::default(), view),
        }
    }

    fn knowledge(&self) -> &Knowledge {
        &self.view.knowledge
    }

    /// The newest patch of the own minor and of each newer one, oldest first.
    pub(super) fn offers(&self) -> Vec<AvailableVersion> {
        let mut newest = BTreeMap::<Minor, &Version>::new();
        for version in self.known.iter().filter(|version| *version > self.from) {
            let best = newest.entry(Minor::of(version)).or_insert(version);
            *best = (*best).max(version);
        }
        let mut offers: Vec<AvailableVersion> =
            newest.into_values().map(|to| self.offer(to)).collect();
        if offers.len() > SHOWN {
            let end = offers.len() - SHOWN / 2;
            offers.drain(SHOWN / 2..end);
        }
        offers
    }

    fn offer(&self, to: &Version) -> AvailableVersion {
        let range = self.knowledge().kubernetes_range(to);
        let clusters = unfit(self.clusters, range);
        // Only over versions that fit; of those that do not fit, the way is worth knowing all the same.
        let way = path(self.from, to, &self.fitting, self.rule, self.knowledge());
        let any_way = || path(self.from, to, self.known, self.rule, self.knowledge());
        let (hops, message) = match way {
            Ok(hops) => (hops, String::new()),
            Err(_) if !clusters.is_empty() => {
                let why = obstacles(self.clusters, &to.to_string(), range).join("; ");
                (any_way().unwrap_or_default(), why)
            }
            Err(refusal) => match any_way() {
                Ok(hops) => {
                    let why = self.unfit_hops(to, &hops);
                    (hops, why)
                }
                Err(_) => (Vec::new(), refusal.to_string()),
            },
        };
        let fits = message.is_empty() && clusters.is_empty();
        let message = match hops.len() {
            2.. if fits => format!("in {} steps: {}", hops.len(), names(&hops).join(", then ")),
            _ => message::capped(&message),
        };
        AvailableVersion {
            version: to.to_string(),
            risks: self.risks(&hops),
            hops: names(&hops),
            fits,
            clusters,
            message,
        }
    }

    /// Why the way leads nowhere: the versions on it that do not fit.
    fn unfit_hops(&self, to: &Version, hops: &[Version]) -> String {
        let said = hops.iter().flat_map(|hop| {
            let range = self.knowledge().kubernetes_range(hop);
            obstacles(self.clusters, &hop.to_string(), range)
        });
        let said: Vec<String> = said.collect();
        let fewest = step_rule(UpgradePath::FewestRestarts, self.view);
        let passed_over = match path(self.from, to, &self.fitting, fewest, self.knowledge()) {
            Ok(_) => "; a MeshUpgrade with spec.path: FewestRestarts passes over them",
            Err(_) => "",
        };
        format!(
            "the way leads over versions that do not fit: {}{passed_over}",
            said.join("; ")
        )
    }

    /// Codes of what changes on the way; without those that this cluster was seen not to be touched by.
    fn risks(&self, hops: &[Version]) -> Vec<String> {
        let matched = self.view.environment.risks.present();
        // What was looked for and is not among the matches does not concern this mesh.
        let concerns = |risk: &Risk| match matched {
            None => true,
            Some(all) => risk.rule.is_none() || all.contains_key(&risk.code),
        };
        let mut codes = Vec::new();
        let mut at = self.from;
        for hop in hops {
            for risk in self.knowledge().risks(at, hop) {
                if concerns(risk) && !codes.contains(&risk.code) {
                    codes.push(risk.code.clone());
                }
            }
            at = hop;
        }
        codes
    }
}

/// The newest of the offers that is one step away and fits.
pub(super) fn upgradable(offers: &[AvailableVersion]) -> Option<&AvailableVersion> {
    let one_step = |offer: &&AvailableVersion| offer.fits && offer.hops.len() == 1;
    offers.iter().rev().find(one_step)
}

fn names(versions: &[Version]) -> Vec<String> {
    versions.iter().map(Version::to_string).collect()
}
