//! The mesh list: finds meshes, makes their objects, and keeps the status of each.
//! Look, decide, act, record, as with upgrades.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use meshlift_api::conditions::DATA_PLANE_CURRENT;
use meshlift_api::{Mesh, MeshStatus};
use meshlift_cluster::watch::{Guarded, Standing};
use meshlift_cluster::{Error, Observer, Watches, mesh_status as write, undecoded};
use meshlift_detect::mesh_list::{self, FoundMesh, KnownMesh, mesh_status, news};
use meshlift_model::ErrorClass;
use meshlift_model::view::Seen;
use tokio::sync::watch;

use crate::events::Events;
use crate::metrics::Metrics;
use crate::refresh::Refresh;

/// However often things change, a mesh is looked at no more often than this, unless it is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Counts alone are written at most this often: an upgrade changes them with every workload.
const COUNTS_EVERY: Duration = Duration::from_secs(10);
/// Other clusters, the time and the chart repository change without a watch that tells.
const LOOK_AGAIN: Duration = Duration::from_secs(120);
/// The first listing takes this long, and little more.
const LISTING: Duration = Duration::from_secs(1);
/// An object that could not be made is tried again this soon.
const MAKE_AGAIN: Duration = Duration::from_secs(30);

/// Everything the mesh list needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) watches: Watches,
    pub(crate) observer: Arc<Observer>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Arc<Metrics>,
    /// Chart repository of a mesh that is found.
    pub(crate) charts_repository: String,
    /// How old the versions of a chart repository may be.
    pub(crate) versions_interval: Duration,
    pub(crate) pace: Mutex<HashMap<String, Pace>>,
    pub(crate) refresh: Refresh,
}

/// When a mesh was last looked at and written to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    looked: Option<Instant>,
    written: Option<Instant>,
}

/// Reconciles one Mesh.
pub(crate) async fn reconcile(
    object: Arc<Guarded<Mesh>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let object = match &*object {
        Guarded::Decoded(object) => object,
        Guarded::Undecoded(object) => {
            undecoded::refuse_mesh(&context.client, this_second(), object).await?;
            return Ok(Action::await_change());
        }
    };
    let object = match context.newest(object) {
        Seen::Present(object) => object,
        Seen::Absent => return Ok(Action::await_change()),
        Seen::Unreadable(_) => return Ok(Action::requeue(LOOK_EVERY)),
    };
    if context.is_listing() {
        return Ok(Action::requeue(LISTING));
    }
    let mesh = context.observer.known_mesh(&object);
    let ended = context.refresh.take(&object.name_any());
    if let Some(early) = context.early(&object, &mesh, ended) {
        return Ok(Action::requeue(early));
    }
    let interval = context.versions_interval;
    let view = context.observer.look_at_mesh(&mesh, interval).await;
    let after = mesh_status(this_second(), &mesh, &view);
    Ok(Action::requeue(
        match context.record(&object, &mesh.status, &after, ended).await {
            Ok(true) => LOOK_AGAIN.min(interval),
            Ok(false) => COUNTS_EVERY,
            // It changed after it was looked at.
            Err(error) if error.class() == ErrorClass::Conflict => LOOK_EVERY,
            Err(error) => return Err(error),
        },
    ))
}

/// What follows an error of reconcile itself: the status could not be written.
pub(crate) fn error_policy(
    object: Arc<Guarded<Mesh>>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    context.metrics.error(error.class());
    tracing::warn!(mesh = object.name_any(), %error, "reconcile");
    Action::requeue(LOOK_EVERY)
}

/// Makes an object for every mesh that has none, until `stopping` says so.
pub(crate) async fn discover(context: Arc<Context>, mut stopping: watch::Receiver<bool>) {
    let mut changes = context.watches.changes();
    loop {
        changes.borrow_and_update();
        let again = if context.make_missing().await {
            None
        } else {
            Some(MAKE_AGAIN)
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = later(again) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        // Many things change at once while Istio is installed.
        tokio::select! {
            () = tokio::time::sleep(LISTING) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn later(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}

impl Context {
    /// The object as last seen or written, if it is still the same one.
    fn newest(&self, object: &Mesh) -> Seen<Arc<Mesh>> {
        match self.watches.meshes.get(None, &object.name_any()) {
            Seen::Present(newest) if newest.uid() != object.uid() => Seen::Absent,
            seen => seen,
        }
    }

    /// Before everything was listed once, a status would tell of gaps that close by themselves.
    fn is_listing(&self) -> bool {
        let open = self.watches.unsettled();
        open.iter()
            .any(|table| matches!(table.standing, Standing::Listing(None)))
    }

    /// How long to wait before the next look; none if it is due, or an upgrade has `ended`.
    fn early(&self, object: &Mesh, mesh: &KnownMesh, ended: bool) -> Option<Duration> {
        let mut pace = self.pace();
        // A controller is not told of an object that is gone, so it is forgotten at the look at another.
        if let Seen::Present(all) = self.watches.meshes.all() {
            let uids: HashSet<_> = all.iter().filter_map(|mesh| mesh.uid()).collect();
            pace.retain(|uid, _| uids.contains(uid));
        }
        let pace = pace.entry(object.uid().unwrap_or_default()).or_default();
        let asked = ended
            || mesh.refresh != mesh.status.observed_refresh
            || Some(mesh.generation) != mesh.status.observed_generation;
        let since = pace.looked.map(|at| at.elapsed());
        let left = since.and_then(|since| LOOK_EVERY.checked_sub(since));
        let early = left.filter(|left| !asked && !left.is_zero());
        if early.is_none() {
            pace.looked = Some(Instant::now());
        }
        early
    }

    /// Writes the status, and tells of new versions once it is written. Whether the status is as it
    /// should be.
    async fn record(
        &self,
        object: &Mesh,
        before: &MeshStatus,
        after: &MeshStatus,
        ended: bool,
    ) -> Result<bool, Error> {
        if before == after {
            return Ok(true);
        }
        if !ended && !is_weighty(before, after) && !self.may_write_counts(object) {
            return Ok(false);
        }
        if write::write(&self.client, &self.watches, object, after).await? {
            let uid = object.uid().unwrap_or_default();
            self.pace().entry(uid).or_default().written = Some(Instant::now());
            for new in news(before, after) {
                tracing::info!(
                    mesh = object.name_any(),
                    message = new.message,
                    "new version"
                );
                self.events.new_version(object, &new);
            }
        }
        Ok(true)
    }

    fn may_write_counts(&self, object: &Mesh) -> bool {
        let pace = self.pace();
        let written = pace.get(&object.uid().unwrap_or_default());
        let written = written.and_then(|pace| pace.written);
        written.is_none_or(|at| at.elapsed() >= COUNTS_EVERY)
    }

    fn pace(&self) -> MutexGuard<'_, HashMap<String, Pace>> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the objects that are missing; whether all could be made.
    async fn make_missing(&self) -> bool {
        let Some(objects) = self.observer.mesh_objects() else {
            return true;
        };
        let view = self.observer.look_for_meshes().await;
        let mut all = true;
        for found in mesh_list::without_object(mesh_list::meshes(&view), &objects) {
            if let Err(error) = self.make(&found).await {
                self.metrics.error(error.class());
                tracing::warn!(mesh = found.name, %error, "a mesh was found and has no object");
                all = false;
            }
        }
        all
    }

    async fn make(&self, found: &FoundMesh) -> Result<(), Error> {
        let mut spec = found.spec.clone();
        spec.charts.repository.clone_from(&self.charts_repository);
        let made = write::make(&self.client, &self.watches, &found.name, spec).await?;
        if let Some(mesh) = made {
            tracing::info!(mesh = found.name, message = found.message, "new mesh");
            self.events.mesh_found(&mesh, &found.message);
        }
        Ok(())
    }
}

/// Whether more changed than counts and words.
fn is_weighty(before: &MeshStatus, after: &MeshStatus) -> bool {
    let plain = |status: &MeshStatus| {
        let mut status = status.clone();
        status.data_plane = None;
        for revision in &mut status.revisions {
            revision.ready.clear();
            revision.namespaces = 0;
            revision.proxies = 0;
        }
        // It follows from the counts, which swing while workloads restart.
        let conditions = &mut status.conditions;
        conditions.retain(|condition| condition.type_ != DATA_PLANE_CURRENT);
        for condition in conditions {
            condition.message.clear();
        }
        status
    };
    plain(before) != plain(after)
}

/// Now, in whole seconds: what is written to status reads back as the same time.
fn this_second() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use meshlift_api::{DataPlaneStatus, RevisionStatus};

    use super::*;

    #[test]
    fn counts_weigh_nothing_and_versions_do() {
        let status = |version: &str, proxies: u32| MeshStatus {
            version: Some(version.into()),
            data_plane: Some(DataPlaneStatus {
                total: proxies,
                ..DataPlaneStatus::default()
            }),
            revisions: vec![RevisionStatus {
                name: "default".into(),
                ready: format!("{proxies}/2"),
                proxies,
                ..RevisionStatus::default()
            }],
            ..MeshStatus::default()
        };
        assert!(!is_weighty(&status("1.30.2", 1), &status("1.30.2", 2)));
        assert!(is_weighty(&status("1.30.2", 1), &status("1.31.0", 1)));
    }
}
