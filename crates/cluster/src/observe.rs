//! One look at the cluster: from the watched tables without a request, and the costlier parts
//! only when the planner wants them.

mod cached;
mod clusters;
mod control_planes;
mod data_plane;
mod dependents;
mod diffs;
mod drift;
pub(crate) mod environment;
mod fence;
mod knowledge;
mod kubernetes;
mod live;
mod meshes;
mod permissions;
mod probes;
mod refusal;
mod releases;
mod risks;
mod trials;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use meshlift_api::{DEFAULT_MESH, MeshSpec, MeshUpgrade, Phase, labels};
use meshlift_detect::next_charts;
use meshlift_guide::plan::{draft, wanted_comparisons};
use meshlift_istio::version::{KubernetesVersion, Version};
use meshlift_model::view::{
    Cluster, Environment, Gateway, MeshView, Release, Rival, Seen, UndecodedObject,
};
use meshlift_model::{Chart, ChartDigests, Decision, Effect, Next, Record, Upgrade};
use meshlift_planner::{ReleasesWanted, Wanted, wanted};

use self::cached::Cached;
use self::clusters::Clusters;
use self::dependents::DependentsLook;
use self::diffs::Diffs;
use self::drift::DriftLook;
use self::environment::Surroundings;
use self::knowledge::Catalog;
use self::probes::Probes;
use self::releases::Releases;
use self::risks::Risks;
use self::trials::Trials;
use crate::charts::{ChartVersions, ChartsClient};
use crate::helm::Runner;
use crate::watch::{Undecoded, Watches};
use crate::{Error, Settings, backup};

/// How long a look for a backup may take.
const BACKUP_LOOK: Duration = Duration::from_secs(20);

/// How long a detection waits for the charts of the target.
const ARCHIVES_LOOK: Duration = Duration::from_secs(20);

/// Looks at the cluster.
pub struct Observer {
    client: Client,
    settings: Settings,
    watches: Watches,
    charts: ChartsClient,
    releases: Releases,
    probes: Probes,
    diffs: Diffs,
    kubernetes: Cached<String, KubernetesVersion>,
    clusters: Clusters,
    surroundings: Surroundings,
    dependents: DependentsLook,
    drift: DriftLook,
    trials: Trials,
    fence: Cached<(), Option<Vec<String>>>,
    risks: Risks,
    release_catalog: Catalog,
    permissions: Cached<String, Vec<String>>,
    records: Cached<String, Seen<Record>>,
    live: live::LiveClient,
    mesh_looks: meshes::MeshLooks,
}

impl Observer {
    /// An observer over these watches.
    pub fn new(client: Client, settings: Settings, watches: Watches) -> Result<Self, Error> {
        let secrets = Api::<Secret>::namespaced(client.clone(), &settings.namespace);
        let charts = ChartsClient::new(secrets);
        Ok(Self {
            releases: Releases::new(client.clone(), settings.helm.runner().clone()),
            probes: Probes::new(client.clone()),
            diffs: Diffs::new(settings.helm.clone(), charts.clone()),
            charts,
            kubernetes: Cached::new(Duration::from_secs(60)),
            clusters: Clusters::new(client.clone(), settings.namespace.clone()),
            surroundings: Surroundings::new(client.clone()),
            dependents: DependentsLook::new(client.clone()),
            drift: DriftLook::new(client.clone()),
            trials: Trials::new(client.clone()),
            fence: Cached::new(Duration::from_secs(60)),
            risks: Risks::new(client.clone()),
            release_catalog: Catalog::default(),
            permissions: Cached::new(Duration::from_secs(60)),
            records: Cached::new(Duration::from_secs(60)),
            live: live::LiveClient::new(client.clone()),
            mesh_looks: meshes::MeshLooks::new(),
            client,
            settings,
            watches,
        })
    }

    /// The chart repositories, with what is known of them.
    pub fn charts(&self) -> &ChartsClient {
        &self.charts
    }

    /// The upgrade as the planner sees it.
    pub fn upgrade(&self, object: &MeshUpgrade) -> Upgrade {
        let meta = &object.metadata;
        Upgrade {
            name: object.name_any(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            created_at: meta
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::MIN, |time| time.0),
            deleting: meta.deletion_timestamp.is_some(),
            held: object.finalizers().iter().any(|f| f == labels::FINALIZER),
            redetect: object.annotations().get(labels::REDETECT).cloned(),
            retry: object.annotations().get(labels::RETRY).cloned(),
            accepts: object.annotations().get(labels::ACCEPT).cloned(),
            spec: object.spec.clone(),
            status: object.status.clone().unwrap_or_default(),
        }
    }

    /// Everything the next decision may ask for.
    pub async fn look(&self, now: Timestamp, upgrade: &Upgrade) -> MeshView {
        match upgrade.phase() {
            Phase::Done | Phase::Failed => return MeshView::default(),
            Phase::Pending => {
                return MeshView {
                    rivals: self.rivals(upgrade),
                    ..MeshView::default()
                };
            }
            Phase::Detecting | Phase::Upgrading | Phase::HealthChecking => {}
        }
        if upgrade.redetection_asked() {
            self.redetect();
        }
        let mut view = self.watched(upgrade);
        if let Seen::Present(planes) = &mut view.control_planes {
            self.surroundings.autoscaled(planes).await;
        }
        view.record = self.record(upgrade).await;
        view.kubernetes = self.kubernetes().await;
        let wanted = wanted(now, upgrade, &view);
        self.wanted(upgrade, &wanted, &mut view).await;
        if wanted.archives {
            view.archives = Box::pin(self.archives(upgrade, &view)).await;
        }
        if wanted.environment {
            view.environment.unfenced = Box::pin(self.unfenced()).await;
            let writes = meshlift_planner::trial(now, upgrade, &view);
            view.environment.trial = self.trials.look(&upgrade.name, &writes).await;
        }
        if wanted.diffs {
            let comparisons = wanted_comparisons(now, upgrade, &view);
            view.diffs = self.diffs.look(&comparisons, &self.releases, &view).await;
            view.plan = draft(now, upgrade, &view);
        }
        view
    }

    /// Forgets what a decision that was executed may have changed, beyond what is watched.
    pub fn forget(&self, upgrade: &Upgrade, decision: &Decision) {
        match &decision.next {
            Next::Record(_) => self.records.forget(&upgrade.record_name()),
            Next::Act(batch) if batch.iter().any(Effect::changes_releases) => {
                self.releases.forget();
                self.live.forget();
            }
            Next::Act(_) | Next::Wait(_) | Next::Enter(_) => {}
        }
    }

    /// Helm releases of the Istio charts in a namespace, as they are now.
    pub async fn helm_releases(client: &Client, namespace: &str) -> Seen<Vec<Release>> {
        let releases = Releases::new(client.clone(), Runner::new(None));
        releases.look(namespace, ReleasesWanted::Fresh, "").await
    }

    /// The clusters of a mesh besides the one we run in, with the Kubernetes of each.
    pub async fn clusters(&self, mesh: &MeshSpec) -> Seen<Vec<Cluster>> {
        let namespace = &mesh.control_plane_namespace;
        let releases = self.releases.look(namespace, ReleasesWanted::Known, "");
        self.clusters.look(mesh, &releases.await).await
    }

    /// Forgets what a detection found lately, so that the next look asks every API server anew.
    pub fn redetect(&self) {
        self.kubernetes.forget_all();
        self.clusters.forget();
        self.permissions.forget_all();
        self.forget_environment();
    }

    /// Forgets what was found around the mesh, so that the next detection asks for all of it again.
    pub fn forget_environment(&self) {
        self.surroundings.forget();
        self.dependents.forget();
        self.drift.forget();
        self.trials.forget();
        self.fence.forget_all();
        self.risks.forget();
    }

    fn watched(&self, upgrade: &Upgrade) -> MeshView {
        MeshView {
            rivals: self.rivals(upgrade),
            mesh: self.mesh(upgrade),
            refusals: self.watches.refusals.of(upgrade),
            ..self.watched_cluster()
        }
    }

    /// What is watched, whatever mesh is asked about.
    fn watched_cluster(&self) -> MeshView {
        let control_planes = control_planes::look(&self.watches);
        let (workloads, loose_pods) = data_plane::look(&self.watches);
        MeshView {
            control_planes,
            validator: control_planes::validator(&self.watches),
            tags: control_planes::tags(&self.watches),
            gateways: gateways(&self.watches),
            namespaces: self.watches.namespaces.all().map(|all| {
                let mut all: Vec<_> = all.iter().map(|ns| (**ns).clone()).collect();
                all.sort_by(|a, b| a.name.cmp(&b.name));
                all
            }),
            workloads,
            loose_pods,
            undecoded: undecoded(&self.watches),
            knowledge: self.release_catalog.look(&self.watches.catalogs),
            environment: Environment {
                node_agents: self.surroundings.node_agents(&self.watches),
                ..Environment::default()
            },
            ..MeshView::default()
        }
    }

    fn mesh(&self, upgrade: &Upgrade) -> Seen<MeshSpec> {
        let mesh = self.watches.meshes.get(None, &upgrade.spec.mesh);
        mesh.map(|mesh| mesh.spec.clone())
    }

    /// What the upgrades of a Mesh change, by name: one at a time may, and two Mesh objects may name the same. A Mesh
    /// that is not there yet names nothing but itself.
    pub fn control_planes_of(&self, mesh: &str) -> String {
        match self.watches.meshes.get(None, mesh) {
            Seen::Present(mesh) => format!("namespace {}", mesh.spec.control_plane_namespace),
            Seen::Absent | Seen::Unreadable(_) => format!("Mesh {mesh}"),
        }
    }

    fn rivals(&self, upgrade: &Upgrade) -> Vec<Rival> {
        let all = self.watches.upgrades.all();
        let own = self.control_planes_of(&upgrade.spec.mesh);
        let others = all.present().into_iter().flatten().filter(|other| {
            let mesh = &other.spec.mesh;
            let same = *mesh == upgrade.spec.mesh || self.control_planes_of(mesh) == own;
            same && other.uid().as_deref() != Some(&upgrade.uid)
        });
        let mut rivals: Vec<Rival> = others
            .filter(|other| other.metadata.deletion_timestamp.is_none() || phase(other).is_locked())
            .map(|other| Rival {
                name: other.name_any(),
                mesh: other.spec.mesh.clone(),
                uid: other.uid().unwrap_or_default(),
                created_at: other
                    .creation_timestamp()
                    .map_or(Timestamp::MIN, |time| time.0),
                phase: phase(other),
            })
            .collect();
        let undecoded = self.watches.upgrades.all_undecoded();
        let under_way = undecoded.iter().filter(|other| may_be_under_way(other));
        rivals.extend(under_way.filter_map(|other| {
            let mesh = other.mesh.as_deref().unwrap_or(DEFAULT_MESH);
            let same = mesh == upgrade.spec.mesh || self.control_planes_of(mesh) == own;
            same.then(|| undecoded_rival(other, mesh))
        }));
        rivals.sort_by(|a, b| a.uid.cmp(&b.uid));
        rivals
    }

    async fn wanted(&self, upgrade: &Upgrade, wanted: &Wanted, view: &mut MeshView) {
        let namespace = control_plane_namespace(upgrade, view);
        let home = namespace.as_deref();
        // Each waits for answers of its own.
        let (catalog, releases, environment, dependents, missing, backup, budgets, crds) = tokio::join!(
            async {
                let mesh = view.mesh.present().filter(|_| wanted.catalog)?;
                Some(offered(self.charts.versions(&mesh.charts).await))
            },
            async {
                let uid = &upgrade.uid;
                Some(self.releases.look(home?, wanted.releases, uid).await)
            },
            async {
                wanted.environment.then_some(())?;
                // On the heap, as all that is large: looks lie in each other, and a thread has 2 MiB of stack.
                Some(Box::pin(self.surroundings.look(&self.watches, home)).await)
            },
            Box::pin(
                self.dependents
                    .look(wanted.dependents, self.surroundings.crds())
            ),
            async {
                let home = home.filter(|_| wanted.permissions)?;
                Some(self.missing_permissions(home).await)
            },
            async {
                wanted.backup.then_some(())?;
                Some(self.backup(upgrade).await)
            },
            async {
                let home = home.filter(|_| wanted.budgets)?;
                Some(self.surroundings.budgets(home).await)
            },
            async {
                wanted.crds.then_some(())?;
                Some(self.surroundings.istio_crds().await)
            },
        );
        view.backup = backup.unwrap_or_default();
        view.budgets = budgets.unwrap_or_default();
        view.catalog = catalog.unwrap_or_default();
        view.releases = releases.unwrap_or_default();
        if let Some(environment) = environment {
            // Watched, and there already.
            let node_agents = std::mem::take(&mut view.environment.node_agents);
            view.environment = Environment {
                node_agents,
                ..environment
            };
        }
        if let Some(crds) = crds {
            view.environment.crds = crds;
        }
        view.dependents = dependents;
        view.missing_permissions = missing.unwrap_or_default();
        if wanted.environment
            && let Some(mesh) = view.mesh.present()
        {
            view.environment.clusters = self.clusters.look(mesh, &view.releases).await;
        }
        if wanted.environment
            && let Seen::Present(releases) = &view.releases
        {
            view.environment.drift = Box::pin(self.drift.look(&self.releases, releases)).await;
        }
        if wanted.environment
            && let Some(step) = meshlift_detect::step::step(upgrade, view)
        {
            let risks = view.knowledge.risks(&step.from, &step.to);
            view.environment.risks = self.risks.look(&risks, &step.values).await;
        }
        if let Seen::Present(planes) = &mut view.control_planes {
            if wanted.live_counters {
                self.live.fill(&self.watches, planes).await;
            }
            let paced = &wanted.pace;
            self.live.fill_pace(&self.watches, planes, paced).await;
        }
        if let Some(runs) = &wanted.probes {
            view.probes = self.probes.look(runs, view).await;
        }
    }

    async fn unfenced(&self) -> Seen<Vec<String>> {
        let look = fence::gaps(&self.client, &self.settings.namespace);
        match self.fence.get(&(), look).await {
            Ok(Some(gaps)) => Seen::Present(gaps),
            Ok(None) => Seen::Absent,
            Err(why) => Seen::Unreadable(why),
        }
    }

    /// The archives that the next step installs, by their digests.
    async fn archives(&self, upgrade: &Upgrade, view: &MeshView) -> Seen<ChartDigests> {
        let (Some(mesh), Some(wanted)) = (view.mesh.present(), next_charts(upgrade, view)) else {
            return Seen::Absent;
        };
        let look = async {
            let mut found = self.charts.digests(&mesh.charts, &wanted.next).await?;
            if let Some(source) = &wanted.source {
                let archive = self.charts.download(&mesh.charts, Chart::Istiod, source);
                found.source = Some(archive.await?.digest);
            }
            Ok::<_, Error>(found)
        };
        match tokio::time::timeout(ARCHIVES_LOOK, look).await {
            Ok(found) => seen(found.map_err(|error| error.to_string())),
            Err(_) => Seen::Unreadable(format!("no answer within {ARCHIVES_LOOK:?}")),
        }
    }

    async fn kubernetes(&self) -> Seen<KubernetesVersion> {
        let look = kubernetes::version(&self.client);
        seen(self.kubernetes.get(&String::new(), look).await)
    }

    async fn missing_permissions(&self, namespace: &str) -> Seen<Vec<String>> {
        let own = &self.settings.namespace;
        let look = permissions::missing(&self.client, namespace, own);
        seen(self.permissions.get(&namespace.to_owned(), look).await)
    }

    async fn backup(&self, upgrade: &Upgrade) -> Seen<String> {
        let name = upgrade.backup_name();
        let looked = backup::exists(&self.client, &self.settings.namespace, &name);
        match tokio::time::timeout(BACKUP_LOOK, looked).await {
            Ok(Ok(true)) => Seen::Present(name),
            Ok(Ok(false)) => Seen::Absent,
            Ok(Err(error)) => Seen::Unreadable(error.to_string()),
            Err(_) => Seen::Unreadable(format!("no answer within {BACKUP_LOOK:?}")),
        }
    }

    async fn record(&self, upgrade: &Upgrade) -> Seen<Record> {
        let name = upgrade.record_name();
        let look = async {
            let api = Api::<Secret>::namespaced(self.client.clone(), &self.settings.namespace);
            let found = api
                .get_opt(&name)
                .await
                .map_err(Error::kube("reading the record"))?;
            let Some(secret) = found else {
                return Ok(Seen::Absent);
            };
            let data = secret.data.unwrap_or_default();
            let bytes = data.get(crate::execute::RECORD_KEY).ok_or_else(|| {
                Error::Unreadable(format!(
                    "Secret {name} has no key {}",
                    crate::execute::RECORD_KEY
                ))
            })?;
            let record = serde_json::from_slice(&bytes.0)
                .map_err(|error| Error::Unreadable(format!("Secret {name}: {error}")))?;
            Ok(Seen::Present(record))
        };
        match self.records.get(&name, look).await {
            Ok(record) => record,
            Err(why) => Seen::Unreadable(why),
        }
    }
}

/// Gateways that istiod renders; none where the Gateway API is not installed.
fn gateways(watches: &Watches) -> Seen<Vec<Gateway>> {
    watches.gateways.all().map(|all| {
        let mut all: Vec<_> = all.iter().map(|gateway| (**gateway).clone()).collect();
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    })
}

fn undecoded(watches: &Watches) -> Vec<UndecodedObject> {
    let all = watches.undecoded().into_iter();
    all.map(|object| UndecodedObject {
        reference: object.reference(),
        why: object.why.clone(),
    })
    .collect()
}

/// Whatever it does, the mesh is nobody else's until it has ended.
fn undecoded_rival(upgrade: &Undecoded, mesh: &str) -> Rival {
    let metadata = &upgrade.metadata;
    let created_at = metadata.creation_timestamp.as_ref();
    Rival {
        name: metadata.name.clone().unwrap_or_default(),
        mesh: mesh.to_owned(),
        uid: metadata.uid.clone().unwrap_or_default(),
        created_at: created_at.map_or(Timestamp::MIN, |time| time.0),
        phase: Phase::Upgrading,
    }
}

/// Whether an upgrade that cannot be read may have begun to change its mesh: its phase is none of those that touch
/// nothing, or one of a newer version.
fn may_be_under_way(upgrade: &Undecoded) -> bool {
    let untouched = ["Pending", "Detecting", "Done", "Failed"];
    upgrade
        .phase()
        .is_some_and(|phase| !untouched.contains(&phase))
}

/// Namespace of the control plane: in the middle of an upgrade that of the record, else the Mesh's, or where the only
/// istiod runs. A Mesh that is edited or deleted meanwhile must not lead to the releases of another mesh.
fn control_plane_namespace(upgrade: &Upgrade, view: &MeshView) -> Option<String> {
    if upgrade.phase().is_locked()
        && let Some(record) = view.record.present()
    {
        return Some(record.source.namespace.clone());
    }
    match view.mesh.present() {
        Some(mesh) => Some(mesh.control_plane_namespace.clone()),
        None => view
            .control_planes
            .present()?
            .first()
            .map(|plane| plane.namespace.clone()),
    }
}

fn phase(upgrade: &MeshUpgrade) -> Phase {
    upgrade
        .status
        .as_ref()
        .and_then(|status| status.phase)
        .unwrap_or(Phase::Pending)
}

/// The versions of a repository that can be read now: from one that is away nothing can be installed.
fn offered(known: Seen<Arc<ChartVersions>>) -> Seen<Vec<Version>> {
    match known {
        Seen::Present(known) => match &known.stale {
            None => Seen::Present(known.versions.clone()),
            Some(why) => Seen::Unreadable(why.clone()),
        },
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(why) => Seen::Unreadable(why),
    }
}

fn seen<T>(result: Result<T, String>) -> Seen<T> {
    match result {
        Ok(value) => Seen::Present(value),
        Err(why) => Seen::Unreadable(why),
    }
}
