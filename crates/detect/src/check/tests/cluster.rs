//! Nodes, budgets, and what runs on every node.

use meshlift_api::UpgradePath;
use meshlift_model::example::{TARGET, istiod, planes, version};
use meshlift_model::view::{MeshView, NodeAgent, NodeAgentKind, Quota, Seen};

use super::table::{Row, fine, unknown, wrong};
use super::{present, why};

fn agent(view: &mut MeshView, kind: NodeAgentKind, of: Option<&str>) {
    let name = match kind {
        NodeAgentKind::Cni => "istio-cni-node",
        NodeAgentKind::Ztunnel => "ztunnel",
    };
    present(&mut view.environment.node_agents).push(NodeAgent {
        kind,
        namespace: "kube-system".into(),
        name: name.into(),
        version: of.map(version),
        image: format!("example.org/agent:{}", of.unwrap_or("ours")),
        desired: 2,
        ready: 2,
    });
}

fn cni(view: &mut MeshView, of: &str) {
    agent(view, NodeAgentKind::Cni, Some(of));
}

fn quota(view: &mut MeshView, pods: Option<i64>, cpu: Option<i64>, memory: Option<i64>) {
    present(&mut view.environment.quotas).push(Quota {
        namespace: "istio-system".into(),
        name: "mesh".into(),
        pods,
        cpu,
        memory,
    });
}

const ISTIOD: &[&str] = &["Deployment istio-system/istiod"];
const CNI: &[&str] = &["DaemonSet kube-system/istio-cni-node"];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = capacity();
    rows.extend(agents());
    rows
}

fn capacity() -> Vec<Row> {
    vec![
        wrong(
            "NO-ROOM",
            &["Node b"],
            "2 pods with 500m of CPU and 2048 MiB",
            |_, v| {
                let nodes = present(&mut v.environment.nodes);
                nodes[0].free_cpu = 900;
                nodes[1].schedulable = false;
            },
        ),
        wrong("NO-ROOM", &["Node a"], "room for 1", |_, v| {
            let nodes = present(&mut v.environment.nodes);
            nodes[0].free_memory = -1;
            nodes[1].free_memory = 3 << 30;
        }),
        // Together they have the room, and none has it alone.
        wrong("NO-ROOM", &["Node a", "Node b"], "room for 0", |_, v| {
            for node in present(&mut v.environment.nodes) {
                node.free_cpu = 400;
            }
        }),
        fine("NO-ROOM", |_, v| present(&mut v.environment.nodes).clear()),
        fine("NO-ROOM", |_, v| {
            planes(v)[0].requests = Default::default();
            present(&mut v.environment.nodes)[0].schedulable = false;
        }),
        // The new one is there already.
        fine("NO-ROOM", |_, v| {
            planes(v).push(istiod(TARGET, "1.31.0"));
            present(&mut v.environment.nodes)[0].schedulable = false;
            present(&mut v.environment.nodes)[1].schedulable = false;
        }),
        unknown("NO-ROOM", |_, v| v.environment.nodes = why()),
        wrong(
            "ISTIOD-SINGLE",
            &[
                "Deployment istio-system/istiod",
                "HorizontalPodAutoscaler istio-system/istiod",
            ],
            "autoscaleMin: 2",
            |_, v| present(&mut v.environment.autoscalers)[0].min = 1,
        ),
        wrong("ISTIOD-SINGLE", ISTIOD, "replicaCount: 2", |_, v| {
            v.environment.autoscalers = Seen::Absent;
            planes(v)[0].desired = 1;
        }),
        // As many as the old one has grown to, and never more than the autoscaler of the new one allows.
        fine("NO-ROOM", |_, v| planes(v)[0].desired = 4),
        wrong("NO-ROOM", &[], "room for 5 pods with", |_, v| {
            planes(v)[0].desired = 50;
        }),
        wrong(
            "NO-ROOM",
            &["ResourceQuota istio-system/mesh"],
            "needs 3 pods, and resource quota istio-system/mesh allows 2 pods",
            |_, v| {
                planes(v)[0].desired = 3;
                quota(v, Some(2), None, None);
            },
        ),
        wrong(
            "NO-ROOM",
            &["ResourceQuota istio-system/mesh"],
            "needs 1000m of CPU, and resource quota istio-system/mesh allows 0m of CPU",
            |_, v| quota(v, Some(9), Some(-500), None),
        ),
        wrong(
            "NO-ROOM",
            &["ResourceQuota istio-system/mesh"],
            "needs 4096 MiB of memory, and resource quota istio-system/mesh allows 1024 MiB of memory",
            |_, v| quota(v, None, None, Some(1 << 30)),
        ),
        fine("NO-ROOM", |_, v| {
            quota(v, Some(2), Some(1000), Some(4 << 30))
        }),
        fine("NO-ROOM", |_, v| {
            quota(v, Some(0), None, None);
            present(&mut v.environment.quotas)[0].namespace = "shop".into();
        }),
        unknown("NO-ROOM", |_, v| v.environment.quotas = why()),
        fine("ISTIOD-SINGLE", |_, v| {
            present(&mut v.environment.autoscalers)[0].target = "istiod-other".into();
        }),
        unknown("ISTIOD-SINGLE", |_, v| v.environment.autoscalers = why()),
        wrong("ISTIOD-BUDGET", ISTIOD, "no disruption budget", |_, v| {
            present(&mut v.environment.budgets)[0].namespace = "shop".into();
        }),
        wrong(
            "ISTIOD-BUDGET",
            &["PodDisruptionBudget istio-system/istiod"],
            "maxUnavailable: 1",
            |_, v| present(&mut v.environment.budgets)[0].allowed = 0,
        ),
        unknown("ISTIOD-BUDGET", |_, v| v.environment.budgets = why()),
        fine("ISTIOD-BUDGET", |_, v| v.environment.budgets = Seen::Absent),
    ]
}

fn agents() -> Vec<Row> {
    vec![
        wrong(
            "AMBIENT",
            &["DaemonSet kube-system/ztunnel"],
            "ambient mode",
            |_, v| {
                agent(v, NodeAgentKind::Ztunnel, Some("1.30.2"));
            },
        ),
        unknown("AMBIENT", |_, v| v.environment.node_agents = why()),
        wrong(
            "CNI-SKEW",
            CNI,
            "bring it to 1.30.2 first: helm -n kube-system",
            |_, v| {
                cni(v, "1.29.8");
            },
        ),
        wrong(
            "CNI-SKEW",
            CNI,
            "ahead of a control plane of 1.31.0",
            |_, v| cni(v, "1.32.0"),
        ),
        wrong("CNI-SKEW", CNI, "accept CNI-SKEW", |_, v| {
            agent(v, NodeAgentKind::Cni, None);
        }),
        // After the first step it is checked again, and waited for there.
        wrong(
            "CNI-AFTER",
            CNI,
            "after each step of it to the version of that step: helm -n kube-system",
            |u, v| {
                // The agent makes it one minor at a time, whatever was chosen.
                u.spec.path = UpgradePath::FewestRestarts;
                planes(v)[0].version = Some(version("1.29.1"));
                v.catalog = Seen::Present(vec![version("1.30.5"), version("1.31.0")]);
                cni(v, "1.29.1");
            },
        ),
        fine("CNI-SKEW", |u, v| {
            u.spec.path = UpgradePath::FewestRestarts;
            planes(v)[0].version = Some(version("1.29.1"));
            v.catalog = Seen::Present(vec![version("1.30.5"), version("1.31.0")]);
            cni(v, "1.29.1");
        }),
        fine("CNI-SKEW", |_, v| cni(v, "1.30.0")),
        fine("CNI-SKEW", |_, v| cni(v, "1.31.0")),
        unknown("CNI-SKEW", |_, v| v.environment.node_agents = why()),
        wrong("CNI-AFTER", CNI, "--version 1.31.0", |_, v| {
            cni(v, "1.30.2")
        }),
        fine("CNI-AFTER", |_, v| cni(v, "1.31.0")),
        unknown("CNI-AFTER", |_, v| v.environment.node_agents = why()),
        wrong("CNI-NOT-READY", CNI, "1 of 2 nodes", |_, v| {
            cni(v, "1.30.2");
            present(&mut v.environment.node_agents)[0].ready = 1;
        }),
        unknown("CNI-NOT-READY", |_, v| v.environment.node_agents = why()),
        fine("CNI-NOT-READY", |_, v| {
            v.environment.node_agents = Seen::Absent
        }),
    ]
}
