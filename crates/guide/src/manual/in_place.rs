//! What every upgrade in place shares: two istiods first, proof, restarts.

use meshlift_istio::version::Version;

use super::found::Found;
use super::guide::{Guide, command, quote};
use super::helm::{self, ISTIOD_VALUES};
use super::stage::{self, Sees, deployment_of};

/// At least two istiods and a disruption budget: while the only one restarts no pod could be made,
/// because the injection webhook refuses what it cannot ask for.
pub(super) fn ready(guide: &mut Guide, found: &Found<'_>, release: Option<&str>) {
    let istiod = deployment_of(&found.revision);
    let home = quote(&found.home);
    guide.step("Two istiods, and a disruption budget");
    guide.say(
        "While the only istiod restarts, no pod with a sidecar can be made in the whole mesh.",
    );
    guide.run(&format!(
        "kubectl -n {home} get deployment,horizontalpodautoscaler,poddisruptionbudget -l app=istiod"
    ));
    guide.good(&format!(
        "Deployment {istiod} has 2 ready replicas or more, MINPODS of its autoscaler is 2 or more, and there is a budget whose ALLOWED DISRUPTIONS is not 0."
    ));
    let few = found.plane.is_some_and(|plane| plane.desired < 2);
    match release {
        Some(release) if few => {
            guide.say("It has fewer now. These values change that:");
            let from = found.from.to_string();
            let chart = helm::chart(found, "istiod");
            let mut words = vec!["helm", "-n", &found.home, "upgrade", release];
            words.extend(chart.iter().map(String::as_str));
            words.extend(["--version", &from, "--reset-values", "-f", ISTIOD_VALUES]);
            words.extend(["--set", "autoscaleMin=2", "--set", "replicaCount=2"]);
            guide.run(&command(&words));
            guide.say(&format!("Put the same into {ISTIOD_VALUES} (autoscaleMin: 2, replicaCount: 2), so that the steps below keep it."));
        }
        _ if few => guide.say("It has fewer now: set values.pilot.autoscaleMin to 2 where the mesh was installed from, and apply it before going on."),
        _ => {}
    }
}

/// Proof that istiod came up at the new version.
pub(super) fn proved(guide: &mut Guide, found: &Found<'_>) {
    if found.plane.is_none() {
        return;
    }
    let home = quote(&found.home);
    let istiod = deployment_of(&found.revision);
    guide.run(&format!(
        "kubectl -n {home} rollout status deployment/{istiod} --timeout=5m"
    ));
    guide.run(&format!(
        "kubectl -n {home} get deployment {istiod} -o 'jsonpath={{.spec.template.spec.containers[0].image}}'"
    ));
    guide.good("the rollout ends, the image is the new one, and the applications answer as before: sidecars of the version before work with it.");
}

/// Every sidecar anew.
pub(super) fn restart(guide: &mut Guide, found: &Found<'_>, to: &Version) {
    guide.step(&format!("Workloads, to sidecars of {to}"));
    let moves = found.moves(&to.to_string(), true);
    stage::restart(guide, &moves, &Sees::Image(to));
    guide.back("not by going back with istiod, which must never be older than a sidecar: mend what is broken, or go on.");
}
