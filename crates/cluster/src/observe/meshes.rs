//! A look at the mesh list: which meshes there are, and everything that the status of one tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::ResourceExt;
use meshlift_api::labels::{DISCOVERED, REFRESH};
use meshlift_api::{Mesh, MeshSpec};
use meshlift_detect::mesh_list::KnownMesh;
use meshlift_istio::version::Version;
use meshlift_model::view::{Cluster, Environment, InjectionRule, MeshView, Seen};

use super::cached::Cached;
use super::{Observer, control_planes};

/// Other clusters are asked no more often than this.
const CLUSTERS: Duration = Duration::from_secs(30);

/// What is kept between looks at the mesh list: clusters, by the mesh that names them.
pub(super) struct MeshLooks(Cached<String, Seen<Vec<Cluster>>>);

impl MeshLooks {
    pub(super) fn new() -> Self {
        Self(Cached::new(CLUSTERS))
    }
}

impl Observer {
    /// A Mesh as the planner sees it.
    pub fn known_mesh(&self, object: &Mesh) -> KnownMesh {
        KnownMesh {
            name: object.name_any(),
            generation: object.metadata.generation.unwrap_or_default(),
            refresh: object.annotations().get(REFRESH).cloned(),
            discovered: object
                .labels()
                .get(DISCOVERED)
                .is_some_and(|value| value == "true"),
            spec: object.spec.clone(),
            status: object.status.clone().unwrap_or_default(),
        }
    }

    /// The Mesh objects there are, with the namespace of their control planes; none until they were
    /// listed.
    pub fn mesh_objects(&self) -> Option<BTreeMap<String, String>> {
        // One that cannot be read may speak of any namespace: its mesh must not get a second object.
        if !self.watches.meshes.all_undecoded().is_empty() {
            return None;
        }
        let all = self.watches.meshes.all();
        let namespaces = all.present()?.iter().map(|mesh| {
            let namespace = mesh.spec.control_plane_namespace.clone();
            (mesh.name_any(), namespace)
        });
        Some(namespaces.collect())
    }

    /// What tells which meshes there are.
    pub async fn look_for_meshes(&self) -> MeshView {
        // Asked each time something changes: without the data plane, which is most of a look.
        let mut view = MeshView {
            control_planes: control_planes::look(&self.watches),
            validator: control_planes::validator(&self.watches),
            tags: control_planes::tags(&self.watches),
            ..MeshView::default()
        };
        view.environment.injectors = self.injectors_that_lead_away(&view).await;
        view
    }

    /// Everything that the status of a mesh tells. Its chart repository is asked if what is known of
    /// it is older than `interval`, and when the refresh annotation has a new value.
    pub async fn look_at_mesh(&self, mesh: &KnownMesh, interval: Duration) -> MeshView {
        if mesh.refresh != mesh.status.observed_refresh {
            self.mesh_looks.0.forget_all();
            self.charts.forget(&mesh.spec.charts);
            self.redetect();
        }
        let mut view = self.watched_cluster();
        view.mesh = Seen::Present(mesh.spec.clone());
        view.kubernetes = self.kubernetes().await;
        view.catalog = self.offered(mesh, interval).await;
        view.environment = Environment {
            clusters: self.clusters_of(&mesh.spec).await,
            injectors: self.injectors_that_lead_away(&view).await,
            ..view.environment
        };
        view
    }

    /// Versions in the chart repository, read lately; none while it is away, because the status has
    /// those of the last time.
    async fn offered(&self, mesh: &KnownMesh, interval: Duration) -> Seen<Vec<Version>> {
        let charts = &mesh.spec.charts;
        match self.charts.versions_at_most(charts, interval).await {
            Seen::Present(known) => match &known.stale {
                Some(why) => Seen::Unreadable(why.clone()),
                None => Seen::Present(known.versions.clone()),
            },
            Seen::Absent => Seen::Absent,
            Seen::Unreadable(why) => Seen::Unreadable(why),
        }
    }

    async fn clusters_of(&self, mesh: &MeshSpec) -> Seen<Vec<Cluster>> {
        let named = serde_json::to_string(&mesh.clusters).unwrap_or_default();
        let key = format!("{} {named}", mesh.control_plane_namespace);
        let look = async { Ok(self.clusters(mesh).await) };
        match self.mesh_looks.0.get(&key, look).await {
            Ok(clusters) => clusters,
            Err(why) => Seen::Unreadable(why),
        }
    }

    /// Injection webhooks, looked at only if one calls something else than an istiod of this cluster.
    async fn injectors_that_lead_away(&self, view: &MeshView) -> Seen<Vec<InjectionRule>> {
        let Some(planes) = view.control_planes.present() else {
            return Seen::Absent;
        };
        let here: BTreeSet<&str> = planes.iter().map(|p| p.namespace.as_str()).collect();
        let leads_away = |rule: &InjectionRule| {
            let namespace = rule.service.as_deref().and_then(|s| s.split('/').next());
            namespace.is_none_or(|namespace| !here.contains(namespace))
        };
        let facts = self.watches.injection_rules.all();
        let mut rules = facts.present().into_iter().flatten().flat_map(|f| &f.rules);
        if rules.any(leads_away) {
            self.surroundings.injectors(&self.watches).await
        } else {
            Seen::Absent
        }
    }
}
