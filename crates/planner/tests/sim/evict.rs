//! Evictions on the simulated cluster, with disruption budgets as the eviction API holds them.

use jiff::Timestamp;
use meshlift_model::view::WorkloadKey;

use crate::execute::Failure;
use crate::world::{Injection, World};

impl World {
    /// Evicts a pod. Panics if that takes the workload out of the mesh, moves nothing, or takes more
    /// than one of its pods away at a time.
    pub fn evict(
        &mut self,
        key: &WorkloadKey,
        uid: &str,
        at: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let now = self.now;
        let found = self.apps.iter().position(|app| app.key == *key);
        let pod = |app: usize| self.apps[app].pods.iter().position(|m| m.pod.uid == uid);
        let Some((app, member)) = found.and_then(|app| Some((app, pod(app)?))) else {
            // Gone meanwhile.
            return Ok(());
        };
        let evicted = self.apps[app].pods[member].pod.clone();
        if at.is_none() && evicted.ready {
            // Only what is not ready is evicted once more: the request carries the version that was so.
            return Ok(());
        }
        let ready = self.apps[app].pods.iter().filter(|m| m.pod.ready).count();
        if let Some(least) = self.budgets.get(&key.name)
            && evicted.ready
            && ready <= *least
        {
            let why = format!(
                "The disruption budget {} needs {least} healthy pods and has {ready} currently",
                key.name
            );
            if let Some(object) = &self.object {
                self.refusals.note_budget(now, object, uid, why);
            }
            return Ok(());
        }
        let template = self.apps[app].template_labels.clone();
        let lands = match self.injecting(&key.namespace, &template) {
            Injection::By(revision) => revision,
            Injection::None => panic!("eviction takes a pod of {key} out of the mesh"),
            Injection::Refused(why) => panic!("a pod of {key} would not come back: {why}"),
        };
        let moves = evicted.revision.as_ref() != Some(&lands);
        assert_eq!(moves, at.is_some(), "eviction of {} of {key}", evicted.name);
        assert!(
            !moves || ready == self.apps[app].replicas,
            "eviction of {} of {key} while another pod is away",
            evicted.name
        );
        let serial = self.next_serial();
        let evictor = &mut self.apps[app];
        evictor.pods.remove(member);
        evictor.resource_version = serial;
        evictor.evicted_at = at.or(evictor.evicted_at);
        self.wrote(format!("pods of {key}"));
        Ok(())
    }
}
