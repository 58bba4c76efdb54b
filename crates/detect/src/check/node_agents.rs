//! What of Istio runs once on every node, and is not upgraded by revision: the CNI agent, ztunnel.

use meshlift_api::Severity;
use meshlift_istio::version::Version;
use meshlift_model::message;
use meshlift_model::view::{NodeAgent, NodeAgentKind};

use super::subject::{about, judge};
use super::{Check, Finding, Look, Subject};

const SKEW: &str =
    "istio.io docs/setup/additional-setup/cni, \"Compatibility with Istio control planes\"";

pub(super) static CNI_SKEW: Check = Check {
    code: "CNI-SKEW",
    reason: "CniSkew",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the CNI agent works with the control plane of the target",
    explanation: "The CNI agent of 1.x works with control planes of 1.x and of one minor later. Farther apart, or ahead of the control plane, pods may start without their traffic being redirected, or not at all. There is one agent on each node for all revisions.",
    fix: "Bring the CNI agent to the version that runs. For a target that is farther away than one minor each step is checked when it is next: the upgrade waits there until the agent follows.",
    source: SKEW,
    look: Look::Hop(cni_skew),
};

pub(super) static CNI_AFTER: Check = Check {
    code: "CNI-AFTER",
    reason: "CniAfter",
    severity: Severity::Info,
    acceptable: true,
    title: "no CNI agent is left to be upgraded by hand",
    explanation: "This operator does not upgrade the CNI agent: that takes the right to run privileged pods on every node. The agent works with the control plane of one minor later, so it is upgraded after the control plane and before the next minor. While it restarts on a node, no pod starts there. An upgrade over several minors waits after each of them until the agent follows.",
    fix: "helm upgrade the release of chart cni to the target when the upgrade is done, and after each step of an upgrade over several minors.",
    source: SKEW,
    look: Look::Mesh(cni_after),
};

pub(super) static CNI_NOT_READY: Check = Check {
    code: "CNI-NOT-READY",
    reason: "CniNotReady",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the CNI agent is ready on every node",
    explanation: "Where the CNI plugin is installed, no pod gets a network on a node whose agent is not ready. An upgrade restarts every workload, and pods that come to such a node do not start.",
    fix: "Mend the DaemonSet; kubectl describe its pods.",
    source: "istio cni/README.md",
    look: Look::Mesh(cni_not_ready),
};

pub(super) static AMBIENT: Check = Check {
    code: "AMBIENT",
    reason: "Ambient",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the mesh has no ztunnel",
    explanation: "In ambient mode the traffic of pods runs through ztunnel and waypoints, which are upgraded in an order of their own and cannot be upgraded by revision: a restart of ztunnel cuts every long-lived connection of its node. This operator moves sidecars; it would leave ztunnel behind.",
    fix: "Upgrade with Helm in the order that istio.io describes for ambient mode; `meshlift manual` prints the steps.",
    source: "istio.io docs/ambient/upgrade/helm",
    look: Look::Mesh(ambient),
};

fn agents(
    subject: &Subject<'_>,
    kind: NodeAgentKind,
    with: impl Fn(&NodeAgent) -> Option<Finding>,
) -> Vec<Finding> {
    judge(
        &subject.view.environment.node_agents,
        "the DaemonSets of Istio",
        |agents| {
            let ours = agents.iter().filter(|agent| agent.kind == kind);
            let found = ours.filter_map(|agent| {
                let object = format!("DaemonSet {}/{}", agent.namespace, agent.name);
                Some(with(agent)?.about([object]))
            });
            found.collect()
        },
    )
}

/// The command that upgrades the agent. The name of its release is not known here.
fn upgrade(subject: &Subject<'_>, agent: &NodeAgent, to: &Version) -> String {
    message::upgrade_cni(agent, &subject.course.mesh.charts.repository, to)
}

fn cni_skew(subject: &Subject<'_>) -> Vec<Finding> {
    let to = subject.to;
    // A later step begins with a detection of its own, which waits until the agent has followed.
    if subject.from != subject.course.from {
        return Vec::new();
    }
    agents(subject, NodeAgentKind::Cni, |agent| {
        let Some(version) = &agent.version else {
            return Some(Finding::wrong(
                format!(
                    "the version of the CNI agent cannot be told from its image {}",
                    agent.image
                ),
                "if it is of the running minor, accept CNI-SKEW",
            ));
        };
        if version.major == to.major
            && (version.minor..=version.minor.saturating_add(1)).contains(&to.minor)
        {
            return None;
        }
        let (how, fix) = if version.minor > to.minor {
            (
                "ahead of",
                format!("choose a target of {} or later", version.minor_name()),
            )
        } else {
            (
                "too far behind",
                format!(
                    "bring it to {} first: {}",
                    subject.from,
                    upgrade(subject, agent, subject.from)
                ),
            )
        };
        Some(Finding::wrong(
            format!("the CNI agent is of {version}, which is {how} a control plane of {to}"),
            fix,
        ))
    })
}

fn cni_after(subject: &Subject<'_>) -> Vec<Finding> {
    let course = subject.course;
    let to = &course.to;
    let when = match course.hops.len() {
        0 | 1 => "when the upgrade is done",
        _ => "when the upgrade is done, and after each step of it to the version of that step",
    };
    agents(subject, NodeAgentKind::Cni, |agent| {
        let version = agent.behind(to)?;
        Some(Finding::wrong(
            format!("the CNI agent stays at {version}: this operator does not upgrade it"),
            format!("{when}: {}", upgrade(subject, agent, to)),
        ))
    })
}

fn cni_not_ready(subject: &Subject<'_>) -> Vec<Finding> {
    agents(subject, NodeAgentKind::Cni, |agent| {
        let NodeAgent {
            namespace,
            name,
            desired,
            ready,
            ..
        } = agent;
        (ready < desired).then(|| {
            Finding::wrong(
                format!("the CNI agent is ready on {ready} of {desired} nodes: pods do not start on the others"),
                format!("mend it (kubectl -n {namespace} describe daemonset {name})"),
            )
        })
    })
}

fn ambient(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.environment.node_agents,
        "the DaemonSets of Istio",
        |agents| {
            let ztunnels = agents
                .iter()
                .filter(|agent| agent.kind == NodeAgentKind::Ztunnel);
            let objects =
                ztunnels.map(|agent| format!("DaemonSet {}/{}", agent.namespace, agent.name));
            about(objects, |_| {
                Finding::wrong(
                    "ztunnel runs here: the mesh is in ambient mode, which this operator does not upgrade",
                    "upgrade it with Helm (`meshlift manual` prints the steps)",
                )
            })
        },
    )
}
