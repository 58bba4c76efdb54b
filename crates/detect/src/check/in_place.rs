//! What an upgrade in place needs: somebody who serves while a replica is replaced, and sidecars that say what they are.

use meshlift_api::Severity;
use meshlift_model::view::Seen;
use meshlift_model::{budgets, replicas};

use super::capacity::{deployment, least};
use super::proxies::told_by_no_tag;
use super::subject::{Member, about, count, judge};
use super::{Check, Finding, Look, Subject};

pub(super) static REPLICAS: Check = Check {
    code: "IN-PLACE-REPLICAS",
    reason: "InPlaceNeedsReplicas",
    severity: Severity::Blocking,
    acceptable: false,
    title: "istiod runs with at least two replicas",
    explanation: "In place the same istiod that injects and configures every sidecar is replaced. Its injection webhook fails closed, so with one replica no pod with a sidecar could start while that is replaced, and no proxy would get its configuration.",
    fix: "Let the upgrade raise the minimum of the autoscaler, as in `meshlift upgrade --to 1.31 --strategy InPlace --ensure-replicas 2` (spec.inPlace.ensureReplicas: 2). Or set autoscaleMin (or replicaCount, without an autoscaler) of the istiod release to 2 yourself, or use strategy Canary.",
    source: "istio.io docs/setup/upgrade/in-place",
    look: Look::Mesh(replicas),
};

pub(super) static BUDGET: Check = Check {
    code: "IN-PLACE-BUDGET",
    reason: "InPlaceNeedsBudget",
    severity: Severity::Blocking,
    acceptable: true,
    title: "istiod has a disruption budget",
    explanation: "While a replica is replaced, a drain may take the other one: without a budget nothing keeps it. Then nobody injects.",
    fix: "Let the chart make one (global.defaultPodDisruptionBudget.enabled), or accept it while no node is drained.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/poddisruptionbudget.yaml",
    look: Look::Mesh(budget),
};

pub(super) static VERSIONS: Check = Check {
    code: "IN-PLACE-VERSIONS",
    reason: "InPlaceNeedsVersions",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the image tag of every sidecar names its version",
    explanation: "In place the revision is the same before and after, so only the version tells a sidecar that has moved from one that has not. It is read from the tag of the image.",
    fix: "Use images with the version in their tag, or strategy Canary, which tells sidecars by their revision.",
    source: "",
    look: Look::Mesh(versions),
};

pub(super) static GATEWAYS: Check = Check {
    code: "IN-PLACE-GATEWAYS",
    reason: "InPlaceRollsGateways",
    severity: Severity::Warning,
    acceptable: true,
    title: "no Gateway is rendered by the istiod that is upgraded",
    explanation: "istiod itself renders the Deployments of Gateway API Gateways, with its own version. In place all of them roll as soon as it is upgraded, at the same time and before any wave.",
    fix: "Give each Gateway two replicas, or use strategy Canary, which moves Gateways one by one.",
    source: "istio pilot/pkg/config/kube/gateway/deploymentcontroller.go",
    look: Look::Mesh(gateways),
};

fn replicas(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    if let Seen::Unreadable(why) = &subject.view.environment.autoscalers {
        return vec![Finding::unknown("the autoscaler of istiod", why)];
    }
    let (least, field) = least(subject, plane);
    let fewest = least.min(plane.ready);
    if fewest >= 2 || is_ensured(subject) {
        return Vec::new();
    }
    // Without an autoscaler it changes nothing, and this finding would stay. A flag and not a whole command, because
    // `meshlift upgrade` resets what an earlier run of it had set by flags that are missing now (--soak, --accept).
    let raise = if raises_minimum(subject, Some(2)) {
        "let the upgrade raise the minimum of the autoscaler (add --ensure-replicas 2 to meshlift upgrade, or set spec.inPlace.ensureReplicas: 2), or "
    } else {
        ""
    };
    let release = match &subject.course.source_release {
        Ok(release) => format!("{} -n {}", release.name, release.namespace),
        Err(_) => plane.name.clone(),
    };
    let finding = Finding::wrong(
        format!("{} runs with as little as one replica", plane.name),
        format!(
            "{raise}scale istiod first: helm upgrade {release} --reuse-values --set {field}=2 with the chart that runs; or set spec.strategy to Canary"
        ),
    );
    vec![finding.about([deployment(plane)])]
}

/// Whether the upgrade itself brings istiod to more replicas first.
fn is_ensured(subject: &Subject<'_>) -> bool {
    raises_minimum(subject, subject.upgrade.ensured_replicas())
}

/// Whether an upgrade with this number in `spec.inPlace.ensureReplicas` raises the minimum of the autoscaler.
fn raises_minimum(subject: &Subject<'_>, ensure_replicas: Option<u32>) -> bool {
    let values = subject.course.running_values().unwrap_or_default();
    replicas::ensured(&values, ensure_replicas).is_some()
}

fn budget(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    let all = &subject.view.environment.budgets;
    judge(all, "the disruption budgets", |budgets| {
        let mut ours = budgets::of_revision(budgets, &plane.namespace, &plane.revision);
        // The chart makes one with the second replica.
        if ours.next().is_some() || is_ensured(subject) {
            return Vec::new();
        }
        let finding = Finding::wrong(
            format!(
                "no disruption budget keeps {} up while it is upgraded",
                plane.name
            ),
            "set global.defaultPodDisruptionBudget.enabled to true in the istiod release; or accept IN-PLACE-BUDGET while no node is drained",
        );
        vec![finding.about([deployment(plane)])]
    })
}

fn versions(subject: &Subject<'_>) -> Vec<Finding> {
    let own = |member: &Member<'_>| {
        member
            .workload
            .is_some_and(|workload| workload.own_proxy_image)
    };
    told_by_no_tag(
        subject.members().filter(|member| !own(member)),
        "set spec.strategy to Canary, or give the images tags with their version",
    )
}

fn gateways(subject: &Subject<'_>) -> Vec<Finding> {
    let rendered = subject
        .workloads()
        .filter(|workload| workload.managed_gateway);
    about(rendered.map(|workload| workload.key.short()), |all| {
        Finding::wrong(
            format!(
                "{} rendered by istiod, all of which roll as soon as it is upgraded",
                count(all.len(), "gateway")
            ),
            "give each two replicas, or set spec.strategy to Canary",
        )
    })
}
