//! One row for each thing that can be waited for: what causes it, and the reason in the status.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::conditions::RECONCILING;
use meshlift_api::{Attempts, Phase, Step};
use meshlift_model::decision::{Effect, Next, WaitingOn};
use meshlift_model::example::{
    TARGET, ago, before, cart, charts, istiod, moved, namespace, now, passed, planes, releases,
    surrounded, upgrade, version, workload,
};
use meshlift_model::outcome::Executed;
use meshlift_model::record::ChartDigests;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{
    HelmRunner, LiveCounters, MeshView, PodRefusal, Probe, Refuser, ReleaseState, Rival, Seen,
    Validator,
};
use serde_json::json;

use super::{decide, signed};
use crate::status::fold;

mod availability;
mod before_the_soak;
mod dry_run_pods;
mod ending;
mod from_the_soak_on;
mod going_back;
mod versions;

/// A dry-run pod that was refused.
fn refused(by: Refuser, why: &str) -> Probe {
    let why = why.into();
    Probe::Refused(PodRefusal { by, why })
}

type Spoil = fn(&mut Upgrade, &mut MeshView);

/// Expects this wait, its reason in the condition, and a sentence with this piece in it.
fn waits(phase: Phase, on: WaitingOn, reason: &str, sentence: &str, spoil: Spoil) {
    let mut upgrade = upgrade(phase);
    let mut view = if phase.is_locked() { moved() } else { before() };
    spoil(&mut upgrade, &mut view);
    let decision = decide(now(), &upgrade, &view);
    let Next::Wait(waiting) = &decision.next else {
        panic!("{on:?}: {:?}", decision.next)
    };
    assert_eq!(waiting.on, on);
    assert!(waiting.until > now(), "{on:?} looks again at once");
    let status = fold(now(), &upgrade, &decision, &Executed::Nothing);
    assert!(status.message.contains(sentence), "{}", status.message);
    let mut conditions = status.conditions.iter();
    let reconciling = conditions.find(|c| c.type_ == RECONCILING);
    let found = reconciling.map(|c| (c.reason.as_str(), c.status.as_str()));
    let value = if phase.is_terminal() { "False" } else { "True" };
    assert_eq!(found, Some((reason, value)));
}

fn why<T>() -> Seen<T> {
    Seen::Unreadable("the server is on fire".into())
}

/// The soak and the delay passed, the default revision moved.
fn retiring(upgrade: &mut Upgrade, view: &mut MeshView) {
    let values = json!({ "defaultRevision": TARGET });
    releases(view)[0].values = values.as_object().cloned().unwrap_or_default();
    upgrade.status.soak = Some(passed(9999));
    view.validator = Seen::Present(Validator {
        namespace: "istio-system".into(),
        service: "istiod-1-31-0".into(),
        has_ca_bundle: true,
    });
}
