//! One look at the cluster with the person's own rights, through the operator's own eyes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use meshlift_api::{
    ChartSource, DataPlane, Gateways, HealthCheck, Mesh, MeshSpec, MeshStatus, MeshUpgrade,
    MeshUpgradeSpec, MeshUpgradeStatus, Mode, Phase, Retire, Rollback, Strategy, UpgradePath,
};
use meshlift_cluster::helm::Helm;
use meshlift_cluster::watch::{Standing, Unsettled};
use meshlift_cluster::{Observer, Settings, Watches};
use meshlift_detect::detect_offline;
use meshlift_detect::mesh_list::{FoundMesh, mesh_status, meshes, without_object};
use meshlift_istio::version::Version;
use meshlift_model::view::{MeshView, Seen};
use meshlift_model::{Detection, Upgrade};

use crate::args::Global;
use crate::connect::Connection;
use crate::failure;
use crate::terminal::{Terminal, Tone};

/// A mesh of ten thousand pods is listed in seconds; who waits longer has a broken connection.
const LIMIT: Duration = Duration::from_secs(120);

/// The check that asks the API server for the rights of whoever looks.
const OPERATORS_OWN: &str = "PERMISSIONS";

/// The cluster as it was listed; looks at it may be made while this lives.
pub(crate) struct Look {
    watches: Watches,
    observer: Observer,
    charts: ChartSource,
    follow: tokio::task::JoinHandle<String>,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.follow.abort();
    }
}

/// A detection and the view it was made from.
pub(crate) struct Detected {
    /// The mesh as the planner was asked for it.
    pub(crate) upgrade: Upgrade,
    /// What was seen.
    pub(crate) view: MeshView,
    /// What was found.
    pub(crate) detection: Detection,
}

impl Look {
    /// Lists what the planner needs; says on a terminal what is still missing.
    pub(crate) async fn at(
        global: &Global,
        connection: &Connection,
        terminal: &Terminal,
    ) -> Result<Self> {
        connection.answers("reading the cluster").await?;
        let charts = ChartSource {
            repository: global.charts(),
            ..ChartSource::default()
        };
        let settings = Settings {
            namespace: global.operator_namespace.clone(),
            default_charts_repository: charts.repository.clone(),
            keep_backups: 0,
            helm: Helm::new(&global.helm, global.kubeconfig.clone()),
        };
        let (watches, follow) = Watches::start(&connection.watches);
        let look = Self {
            observer: Observer::new(connection.requests.clone(), settings, watches.clone())?,
            follow: tokio::spawn(follow),
            watches,
            charts,
        };
        let refused = look.listed(terminal, &connection.server).await?;
        if let Some(why) = nothing_to_see(&refused) {
            bail!(why);
        }
        if global.charts_repository.is_some() {
            look.read_charts_from_the_flag(terminal);
        }
        Ok(look)
    }

    /// Has every mesh read the charts that the command line names, without the login of the repository that its object
    /// names: that is for another host.
    fn read_charts_from_the_flag(&self, terminal: &Terminal) {
        for mesh in self.objects() {
            let of_mesh = &mesh.spec.charts.repository;
            if *of_mesh == self.charts.repository {
                continue;
            }
            let note = format!(
                "note: charts are read from {}, not from {of_mesh} as Mesh {} has it",
                self.charts.repository,
                mesh.name_any()
            );
            eprintln!("{}", terminal.paint(Tone::Warn, &note));
            let mut mesh = (*mesh).clone();
            mesh.spec.charts = self.charts.clone();
            // Newer than whatever was listed.
            mesh.meta_mut().resource_version = Some(u64::MAX.to_string());
            self.watches.meshes.wrote(mesh);
        }
    }

    async fn listed(&self, terminal: &Terminal, server: &str) -> Result<Vec<Unsettled>> {
        let bar = terminal.live.then(spinner);
        let mut changes = self.watches.changes();
        let told = async {
            loop {
                changes.borrow_and_update();
                if let Some(bar) = &bar {
                    bar.set_message(reading(&self.watches.unsettled()));
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let settled = tokio::select! {
            () = told => Vec::new(),
            refused = self.watches.settled() => refused,
            () = tokio::time::sleep(LIMIT) => {
                let open = self.watches.unsettled();
                return Err(anyhow!(not_listed(server, &open)));
            }
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(settled)
    }

    /// What was not listed, for a warning.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let open = self.watches.unsettled();
        open.into_iter()
            .filter_map(|table| match table.standing {
                Standing::Forbidden(why) => Some(why),
                _ => None,
            })
            .collect()
    }

    /// The meshes: the objects there are, and those that were found and have none, as the operator
    /// would make them.
    pub(crate) async fn meshes(&self) -> Vec<Mesh> {
        let mut meshes: Vec<Mesh> = self.objects().iter().map(|mesh| (**mesh).clone()).collect();
        meshes.extend(self.found().await);
        for mesh in &mut meshes {
            mesh.status = Some(self.told(mesh).await);
        }
        meshes.sort_by_key(ResourceExt::name_any);
        meshes
    }

    /// The status of one mesh, as `list` tells it.
    pub(crate) async fn status(&self, name: &str) -> Result<MeshStatus> {
        let mesh = self.registered(name).await?;
        Ok(self.told(&mesh).await)
    }

    /// What the operator would write to the status of a mesh.
    async fn told(&self, mesh: &Mesh) -> MeshStatus {
        let known = self.observer.known_mesh(mesh);
        let view = self.observer.look_at_mesh(&known, LIMIT).await;
        mesh_status(Timestamp::now(), &known, &view)
    }

    /// Looks and detects, as the operator does for a MeshUpgrade with this spec.
    pub(crate) async fn detect(&self, spec: MeshUpgradeSpec) -> Result<Detected> {
        let mesh = self.registered(&spec.mesh).await?;
        let known = known_versions(&mesh, &spec.target_version);
        let upgrade = self.observer.upgrade(&asked(spec));
        let mut view = self.observer.look(Timestamp::now(), &upgrade).await;
        let mut detection = detect_offline(&upgrade, &mut view, known);
        // The operator's rights only the operator can tell: here it would speak of the person's.
        detection.checks.retain(|told| told.code != OPERATORS_OWN);
        Ok(Detected {
            upgrade,
            view,
            detection,
        })
    }

    /// The mesh of this name; one that was found and has no object goes into our own tables only.
    async fn registered(&self, name: &str) -> Result<Mesh> {
        if let Seen::Present(mesh) = self.watches.meshes.get(None, name) {
            return Ok((*mesh).clone());
        }
        let mut undecoded = self.watches.meshes.all_undecoded().into_iter();
        if let Some(mesh) = undecoded.find(|mesh| mesh.metadata.name.as_deref() == Some(name)) {
            bail!(failure::undecoded(&mesh));
        }
        let found = self.found().await;
        let mesh = found.iter().find(|mesh| mesh.name_any() == name);
        let Some(mesh) = mesh else {
            let objects = self.objects();
            let names = objects.iter().map(|mesh| mesh.name_any());
            let names = names.chain(found.iter().map(ResourceExt::name_any));
            bail!(no_such_mesh(name, names.collect()));
        };
        self.watches.meshes.wrote(mesh.clone());
        Ok(mesh.clone())
    }

    fn objects(&self) -> Vec<Arc<Mesh>> {
        let all = self.watches.meshes.all();
        all.present().cloned().unwrap_or_default()
    }

    /// Meshes that no object speaks of.
    async fn found(&self) -> Vec<Mesh> {
        let view = self.observer.look_for_meshes().await;
        let objects = self.observer.mesh_objects().unwrap_or_default();
        let made = |found: FoundMesh| {
            let spec = MeshSpec {
                charts: self.charts.clone(),
                ..found.spec
            };
            let mut mesh = Mesh::new(&found.name, spec);
            // Newer than whatever was listed.
            mesh.meta_mut().resource_version = Some(u64::MAX.to_string());
            mesh
        };
        let found = without_object(meshes(&view), &objects);
        found.into_iter().map(made).collect()
    }
}

/// The spec of an upgrade that asks for nothing but this.
pub(crate) fn spec(mesh: &str, mode: Mode, to: &str) -> MeshUpgradeSpec {
    MeshUpgradeSpec {
        mesh: mesh.to_owned(),
        target_version: to.to_owned(),
        mode,
        strategy: Strategy::default(),
        path: UpgradePath::default(),
        in_place: None,
        revision: None,
        data_plane: DataPlane::default(),
        gateways: Gateways::default(),
        rollback: Rollback::default(),
        windows: Vec::new(),
        health_check: HealthCheck::default(),
        retire: Retire::default(),
        accept_risks: Vec::new(),
        paused: false,
        approvals: Vec::new(),
        request_rollback: false,
    }
}

fn no_such_mesh(name: &str, mut there: Vec<String>) -> String {
    there.sort();
    if there.is_empty() {
        "no Istio was found in this cluster (a Deployment with label app=istiod)".to_owned()
    } else {
        format!(
            "there is no mesh {name}: name another with --mesh (there is {})",
            there.join(", ")
        )
    }
}

/// A MeshUpgrade that nobody applied, at the moment of its detection.
fn asked(spec: MeshUpgradeSpec) -> MeshUpgrade {
    let mut upgrade = MeshUpgrade::new("check", spec);
    upgrade.status = Some(MeshUpgradeStatus {
        phase: Some(Phase::Detecting),
        ..MeshUpgradeStatus::default()
    });
    upgrade
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}")
        .expect("the template is a constant that parses");
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn reading(open: &[Unsettled]) -> String {
    let names: Vec<&str> = open.iter().map(|table| table.what).collect();
    if names.is_empty() {
        "looks at the mesh".to_owned()
    } else {
        format!("reads the cluster: {}", names.join(", "))
    }
}

/// The versions that are known without the chart repository: those that the operator last found there, the one that
/// runs, and one that was asked for exactly. None where the target is among none of them.
fn known_versions(mesh: &Mesh, target: &str) -> Vec<Version> {
    let status = mesh.status.clone().unwrap_or_default();
    let offered = status.available.iter().flat_map(|offer| {
        let hops = offer.hops.iter().cloned();
        hops.chain([offer.version.clone()])
    });
    let named = [status.version.clone(), status.latest.clone()];
    let texts = offered.chain(named.into_iter().flatten());
    let mut known: Vec<Version> = texts
        .chain([target.to_owned()])
        .filter_map(|text| text.parse().ok())
        .collect();
    known.sort();
    known.dedup();
    known
}

/// What was not listed in time, and why, where a watch has said so.
fn not_listed(server: &str, open: &[Unsettled]) -> String {
    let names: Vec<&str> = open.iter().map(|table| table.what).collect();
    let why = open.iter().find_map(|table| match &table.standing {
        Standing::Listing(why) => why.clone(),
        Standing::Complete | Standing::NotInstalled | Standing::Forbidden(_) => None,
    });
    format!(
        "the API server at {server} did not list {} within {} s{}",
        names.join(", "),
        LIMIT.as_secs(),
        why.map_or(": check that it can be reached".to_owned(), |why| format!(
            ": {why}"
        ))
    )
}

/// Without the Deployments no control plane can be told from none.
fn nothing_to_see(refused: &[Unsettled]) -> Option<String> {
    let deployments = refused.iter().find(|table| table.what == "deployments")?;
    match &deployments.standing {
        Standing::Forbidden(why) => Some(format!(
            "looking for control planes: you have not the right: {why}; ask for the right to list Deployments, or choose another --context"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(what: &'static str, standing: Standing) -> Unsettled {
        Unsettled { what, standing }
    }

    #[test]
    fn without_the_right_to_see_control_planes_there_is_nothing_to_tell() {
        let forbidden = |what| refused(what, Standing::Forbidden("ann cannot list them".into()));
        assert_eq!(nothing_to_see(&[forbidden("meshupgrades")]), None);
        let why = nothing_to_see(&[forbidden("pods"), forbidden("deployments")])
            .expect("nothing can be told");
        assert!(why.contains("ann cannot list them; ask for"), "{why}");
    }

    #[test]
    fn what_was_not_listed_comes_with_the_error_of_its_watch() {
        let open = [
            refused("pods", Standing::Listing(None)),
            refused(
                "namespaces",
                Standing::Listing(Some("connection reset".into())),
            ),
        ];
        assert_eq!(
            not_listed("https://east:6443", &open),
            "the API server at https://east:6443 did not list pods, namespaces within 120 s: connection reset"
        );
    }

    #[test]
    fn without_the_repository_the_status_of_the_mesh_knows_versions() {
        let mut mesh = Mesh::new("default", MeshSpec::default());
        assert!(known_versions(&mesh, "1.31").is_empty());
        let status = serde_json::json!({ "version": "1.30.2", "latest": "1.31.1" });
        mesh.status = serde_json::from_value(status).expect("a status");
        let known: Vec<String> = known_versions(&mesh, "1.31.0")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(known, ["1.30.2", "1.31.0", "1.31.1"]);
    }

    #[test]
    fn the_check_of_the_operators_rights_is_there() {
        assert!(meshlift_detect::check::find(OPERATORS_OWN).is_some());
    }

    #[test]
    fn a_person_sees_what_is_still_read() {
        let open = [
            refused("pods", Standing::Listing(None)),
            refused("namespaces", Standing::Listing(None)),
        ];
        assert_eq!(reading(&open), "reads the cluster: pods, namespaces");
        assert_eq!(reading(&[]), "looks at the mesh");
    }
}
