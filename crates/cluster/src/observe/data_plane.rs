//! Workloads with their sidecars: the watched pods joined to their controllers.

use std::collections::HashMap;
use std::sync::Arc;

use meshlift_model::view::{Pod, Seen, Workload, WorkloadKey, WorkloadKind};

use crate::watch::Watches;

type Pods = Vec<Arc<Pod>>;

/// Workloads that have a sidecar, were restarted or evicted by this operator or ask for injection themselves, and the
/// pods that belong to none.
pub(super) fn look(watches: &Watches) -> (Seen<Vec<Workload>>, Pods) {
    match join(watches) {
        Ok((workloads, loose)) => (Seen::Present(workloads), loose),
        Err(why) => (Seen::Unreadable(why), Vec::new()),
    }
}

fn join(watches: &Watches) -> Result<(Vec<Workload>, Pods), String> {
    let (mut owned, mut loose) = by_owner(listed(watches.pods.all())?);
    let mut workloads = Vec::with_capacity(owned.len());
    for table in &watches.workloads {
        for fact in listed(table.all())? {
            let pods = owned.remove(&fact.workload.key).unwrap_or_default();
            let ours = fact.workload.mark.is_some() || fact.workload.evicted_at.is_some();
            let of_mesh = !pods.is_empty() || ours;
            // A template without pods is seen by nobody else, and its next pod may come at any time.
            let wakes = fact.workload.asks_itself() || fact.workload.sidecar_in_template.is_some();
            if of_mesh || wakes {
                let pods_ready =
                    pods.len() >= fact.desired as usize && pods.iter().all(|p| p.ready);
                workloads.push(Workload {
                    // Two watches have to say so: each may lag.
                    whole: fact.workload.whole && pods_ready,
                    pods,
                    ..fact.workload.clone()
                });
            }
        }
    }
    // Pods of a controller that is gone, or of another kind.
    loose.extend(owned.into_values().flatten());
    workloads.sort_by(|a, b| a.key.cmp(&b.key));
    loose.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok((workloads, loose))
}

fn listed<T>(seen: Seen<Vec<T>>) -> Result<Vec<T>, String> {
    match seen {
        Seen::Present(all) => Ok(all),
        Seen::Absent => Ok(Vec::new()),
        Seen::Unreadable(why) => Err(why),
    }
}

fn by_owner(pods: Vec<Arc<crate::watch::PodFact>>) -> (HashMap<WorkloadKey, Pods>, Pods) {
    let mut owned = HashMap::<WorkloadKey, Pods>::new();
    let mut loose = Pods::new();
    for fact in pods.into_iter().filter(|fact| fact.sidecar) {
        match owner(&fact.pod) {
            Some(key) => owned.entry(key).or_default().push(Arc::clone(&fact.pod)),
            None => loose.push(Arc::clone(&fact.pod)),
        }
    }
    for pods in owned.values_mut() {
        pods.sort_by(|a, b| a.name.cmp(&b.name));
    }
    (owned, loose)
}

fn owner(pod: &Pod) -> Option<WorkloadKey> {
    let kind = WorkloadKind::named(pod.owner_kind.as_deref()?)?;
    Some(WorkloadKey {
        namespace: pod.namespace.clone(),
        kind,
        name: pod.owner_name.clone()?,
    })
}
