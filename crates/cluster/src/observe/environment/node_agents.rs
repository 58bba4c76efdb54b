//! The CNI agent and ztunnel, from the watch on DaemonSets.

use meshlift_model::view::{NodeAgent, Seen};

use crate::observe::control_planes::version;
use crate::watch::Watches;

pub(super) fn look(watches: &Watches) -> Seen<Vec<NodeAgent>> {
    watches.workloads[2].all().map(|daemon_sets| {
        let agents = daemon_sets.iter().filter_map(|fact| {
            let (agent, workload) = (fact.agent.as_ref()?, &fact.workload);
            Some(NodeAgent {
                kind: agent.kind,
                namespace: workload.key.namespace.clone(),
                name: workload.key.name.clone(),
                version: version(&agent.image, &workload.labels),
                image: agent.image.clone(),
                desired: agent.desired,
                ready: agent.ready,
            })
        });
        let mut agents: Vec<_> = agents.collect();
        agents.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        agents
    })
}
