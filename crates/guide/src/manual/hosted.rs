//! A control plane that is not in this cluster: what is to be done here, and when.

use meshlift_istio::version::Version;

use super::found::Found;
use super::guide::{Guide, command};
use super::stage;
use super::{Way, by_helm};

pub(super) fn guide(guide: &mut Guide, way: Way, found: &Found<'_>, hops: &[Version]) {
    guide.say("The control plane of this mesh is not in this cluster: there is no istiod here, only what sends pods to it. It is upgraded where it runs, by these steps there (run `meshlift manual` against that cluster). All clusters of a mesh go together: CRDs everywhere, then every istiod, then the workloads of each cluster.");
    let Some(release) = found.release("istiod", None) else {
        without_release(guide, way, found, hops);
        return;
    };
    match way {
        Way::InPlace => by_helm::in_place(guide, found, &release.name, hops),
        Way::Canary | Way::Helm => by_helm::canary(guide, way, found, &release.name, hops),
    }
}

/// Nothing of Helm is here: whoever runs the control plane brings the webhook too.
fn without_release(guide: &mut Guide, way: Way, found: &Found<'_>, hops: &[Version]) {
    guide.say("No Helm release of Istio was found here either, so whoever runs the control plane also brings what is needed here.");
    if way == Way::InPlace {
        for to in hops {
            guide.step(&format!(
                "Wait until istiod is at {to} in the cluster where it runs"
            ));
            super::in_place::restart(guide, found, to);
        }
        return;
    }
    for stage in stage::stages(found, "", hops) {
        guide.step(&format!(
            "Wait until revision {} injects here",
            stage.revision
        ));
        guide.run(&command(&[
            "kubectl",
            "get",
            "mutatingwebhookconfigurations",
            "-l",
            "istio.io/rev",
            "-L",
            "istio.io/rev,istio.io/tag",
        ]));
        guide.good(&format!("there is one whose REV is {}. If its owner gave it another name, take that name in the steps below.", stage.revision));
        guide.step(&format!("Namespaces to revision {}", stage.revision));
        stage::move_namespaces(guide, found, &stage);
        if !found.tags.is_empty() {
            let tags: Vec<&str> = found.tags.keys().copied().collect();
            guide.say(&format!(
                "Tags ({}) are moved by whoever made them.",
                tags.join(", ")
            ));
        }
        stage::move_workloads(
            guide,
            found,
            &stage,
            "put the labels back as above and restart the same workloads again.",
        );
        guide.step("Tell the owner that this cluster has moved");
        guide.say("The old control plane goes there, when no cluster uses it any more.");
    }
}
