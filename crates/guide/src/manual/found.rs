//! What the steps by hand are written for: one control plane, its releases, and what it injects.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use meshlift_api::labels::DEFAULT_REVISION;
use meshlift_api::{MeshSpec, Predicate};
use meshlift_detect::revision::new_revision;
use meshlift_istio::version::Version;
use meshlift_model::data_plane::{self, Placement, Question, judge};
use meshlift_model::heading::Heading;
use meshlift_model::injection::{Injector, injector_of};
use meshlift_model::message;
use meshlift_model::view::{ControlPlane, MeshView, Namespace, Release, Workload, WorkloadKey};

/// A mesh as found.
pub(super) struct Found<'a> {
    pub(super) mesh: &'a str,
    pub(super) spec: MeshSpec,
    pub(super) view: &'a MeshView,
    /// Namespace of the control planes.
    pub(super) home: String,
    /// The control plane; none where it is not in this cluster.
    pub(super) plane: Option<&'a ControlPlane>,
    pub(super) from: Version,
    pub(super) revision: String,
    /// Namespaces that follow the revision by their own labels.
    pub(super) namespaces: Vec<&'a Namespace>,
    /// Tags that point at it, with the namespaces that follow each.
    pub(super) tags: BTreeMap<&'a str, Vec<&'a str>>,
}

/// Workloads to restart, by namespace, and what a restart does not move.
pub(super) struct Moves<'a> {
    pub(super) restarts: BTreeMap<&'a str, Vec<&'a Workload>>,
    pub(super) blocked: Vec<(String, String)>,
    pub(super) managed_gateways: Vec<&'a Workload>,
}

impl<'a> Found<'a> {
    /// Revision that a version gets in this mesh.
    pub(super) fn new_revision(&self, version: &Version) -> String {
        new_revision(version, self.mesh, &self.home, self.view.planes())
    }

    pub(super) fn look(mesh: &'a str, view: &'a MeshView) -> Result<Self, String> {
        let planes = seen(&view.control_planes, "the control planes")?;
        let namespaces = seen(&view.namespaces, "the namespaces")?;
        seen(&view.workloads, "the workloads")?;
        if !matches!(view.tags, meshlift_model::view::Seen::Absent) {
            seen(&view.tags, "the revision tags")?;
        }
        let spec = view.mesh.present().cloned().unwrap_or_else(|| MeshSpec {
            control_plane_namespace: home_of(planes),
            ..MeshSpec::default()
        });
        let home = spec.control_plane_namespace.clone();
        let here: Vec<&ControlPlane> = planes.iter().filter(|p| p.namespace == home).collect();
        let plane = match here[..] {
            [] => None,
            [only] => Some(only),
            _ => return Err(several(&here, &home)),
        };
        let revision = plane.map_or_else(|| remote_revision(view), |p| p.revision.clone());
        let from = version_of(plane, view, &home)?;
        let none = BTreeMap::new();
        let mut by_label = Vec::new();
        let mut tags: BTreeMap<&str, Vec<&str>> = view
            .tags()
            .iter()
            .filter(|tag| tag.revision == revision)
            .map(|tag| (tag.name.as_str(), Vec::new()))
            .collect();
        let known = known_planes(plane, planes, &home, &revision);
        for namespace in namespaces.iter().filter(|ns| !ns.terminating) {
            match injector_of(&namespace.labels, &none, &known, view.tags()) {
                Injector::Namespace(of) if of == revision => by_label.push(namespace),
                Injector::Tag(tag) => {
                    if let Some(followers) = tags.get_mut(tag.as_str()) {
                        followers.push(&namespace.name);
                    }
                }
                _ => {}
            }
        }
        Ok(Self {
            mesh,
            spec,
            view,
            home,
            plane,
            from,
            revision,
            namespaces: by_label,
            tags,
        })
    }

    /// What is to be restarted for `target`: a revision, or for an upgrade in place a version.
    pub(super) fn moves(&self, target: &str, in_place: bool) -> Moves<'a> {
        let view = self.view;
        let all: &'a [Workload] = view.workloads.present().map_or(&[], Vec::as_slice);
        let planes = view.control_planes.present().map_or(&[][..], Vec::as_slice);
        let known = known_planes(self.plane, planes, &self.home, &self.revision);
        // The question is asked as if nothing had begun: no time has passed for anything.
        let judged = judge(&Question {
            now: Timestamp::UNIX_EPOCH,
            heading: Heading::forward(target),
            stages: None,
            by: Default::default(),
            evicts: false,
            retries: 0,
            max_failures: 0,
            home: Some(&self.home),
            timeout: SignedDuration::MAX,
            ended: None,
            began: None,
            resumed: None,
            exclude: None,
            control_planes: &known,
            tags: view.tags(),
            recorded: [None; 2],
            // By hand they are told apart.
            gateways: &[],
            namespaces: view.namespaces.present().map_or(&[][..], Vec::as_slice),
            workloads: all,
            loose_pods: &view.loose_pods,
            others_move: false,
            refused: &view.refusals,
            named: &[],
        });
        let turns: BTreeMap<&WorkloadKey, Turn> = judged
            .placements
            .iter()
            .map(|(workload, placement)| (&workload.key, turn(placement, in_place)))
            .collect();
        let having = |wanted: Turn| {
            let mut found: Vec<&'a Workload> = all
                .iter()
                .filter(|w| turns.get(&w.key) == Some(&wanted))
                .collect();
            found.sort_by(|a, b| a.key.cmp(&b.key));
            found
        };
        let mut restarts: BTreeMap<&'a str, Vec<&'a Workload>> = BTreeMap::new();
        for workload in having(Turn::Restart) {
            let of = restarts.entry(&workload.key.namespace).or_default();
            of.push(workload);
        }
        let named: BTreeSet<String> = having(Turn::Named)
            .iter()
            .map(|w| w.key.to_string())
            .collect();
        let is_pod = |reference: &str| reference.starts_with("v1 Pod ");
        let blocked = judged
            .blocked
            .iter()
            .filter(|b| is_pod(&b.reference) || named.contains(&b.reference));
        let mut blocked: Vec<(String, String)> = blocked
            .map(|b| (b.reference.clone(), b.message.clone()))
            .collect();
        let pinned = having(Turn::Named).into_iter().filter(|workload| {
            let key = workload.key.to_string();
            blocked.iter().all(|(reference, _)| *reference != key)
        });
        let by_label =
            |w: &Workload| message::blocked_workload(&w.key, Predicate::PodLabel, target);
        let pinned: Vec<_> = pinned.map(|w| (w.key.to_string(), by_label(w))).collect();
        blocked.extend(pinned);
        blocked.sort();
        Moves {
            restarts,
            blocked,
            managed_gateways: having(Turn::Gateway),
        }
    }

    /// A Helm release of a chart in the namespace of the control plane.
    pub(super) fn release(&self, chart: &str, name: Option<&str>) -> Option<&'a Release> {
        let releases = self.view.releases.present()?;
        releases
            .iter()
            .filter(|r| r.chart == chart)
            .find(|r| name.is_none_or(|name| r.name == name && r.namespace == self.home))
    }
}

fn seen<'a, T>(seen: &'a meshlift_model::view::Seen<T>, what: &str) -> Result<&'a T, String> {
    seen.present().ok_or_else(|| {
        let why = seen.unreadable().unwrap_or("they were not looked at");
        format!("the steps by hand need {what}, and they could not be read: {why}")
    })
}

fn home_of(planes: &[ControlPlane]) -> String {
    let first = planes.first().map(|plane| plane.namespace.clone());
    first.unwrap_or_else(|| MeshSpec::default().control_plane_namespace)
}

fn several(planes: &[&ControlPlane], home: &str) -> String {
    let names: Vec<&str> = planes.iter().map(|p| p.name.as_str()).collect();
    format!(
        "namespace {home} has several control planes ({}), so it is not clear which to leave: finish the upgrade to one of them and remove those that nothing uses, then ask again",
        names.join(", ")
    )
}

/// How a workload comes to its new sidecar.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Restart,
    /// istiod rolls it.
    Gateway,
    /// Not by a restart; it is named with what to do.
    Named,
    Nothing,
}

fn turn(placement: &Placement, in_place: bool) -> Turn {
    match placement {
        Placement::Moved => Turn::Nothing,
        Placement::Blocked(Predicate::ManagedGateway) => Turn::Gateway,
        // A label that no restart writes has to be changed first.
        Placement::Stale(data_plane::Turn::Restart {
            template: Some(_), ..
        }) if !in_place => Turn::Named,
        // Tags are moved before the restarts.
        Placement::Blocked(Predicate::Tag) => Turn::Restart,
        // In place every label stays right as it is.
        Placement::Blocked(Predicate::PodLabel) if in_place => Turn::Restart,
        Placement::Blocked(_) => Turn::Named,
        _ => Turn::Restart,
    }
}

/// The revision that injects here, where the control plane is elsewhere.
fn remote_revision(view: &MeshView) -> String {
    let injectors = view.environment.injectors.present().into_iter().flatten();
    let mut own = injectors.filter(|rule| rule.tag.is_none());
    let revision = own.find_map(|rule| rule.revision.clone());
    revision.unwrap_or_else(|| DEFAULT_REVISION.to_owned())
}

fn version_of(
    plane: Option<&ControlPlane>,
    view: &MeshView,
    home: &str,
) -> Result<Version, String> {
    if let Some(plane) = plane {
        return plane.version.clone().ok_or_else(|| format!(
            "the version of istiod {home}/{} cannot be told from its image {} or its labels: set label app.kubernetes.io/version on the Deployment",
            plane.name, plane.image
        ));
    }
    let images = view.sidecars();
    let images = images.filter_map(|pod| pod.proxy_image.as_deref());
    let versions = images.filter_map(|image| {
        let (_, tag) = image.rsplit_once(':')?;
        Version::from_image_tag(tag)
    });
    let releases = view.releases.present().into_iter().flatten();
    let releases = releases.filter_map(|release| release.version.clone());
    versions.chain(releases).max().ok_or_else(|| format!(
        "no istiod was found in namespace {home}, and no sidecar or Helm release tells the version of the mesh: make another Mesh, with spec.controlPlaneNamespace set to where istiod runs"
    ))
}

/// Control planes as injection sees them: one that is elsewhere injects here all the same.
fn known_planes(
    plane: Option<&ControlPlane>,
    planes: &[ControlPlane],
    home: &str,
    revision: &str,
) -> Vec<ControlPlane> {
    let mut known = planes.to_vec();
    if plane.is_none() {
        known.push(ControlPlane {
            namespace: home.to_owned(),
            name: String::new(),
            uid: String::new(),
            revision: revision.to_owned(),
            version: None,
            image: String::new(),
            installer: meshlift_model::view::Installer::Unknown,
            desired: 0,
            ready: 0,
            enough: None,
            rolling: false,
            trouble: None,
            injector: meshlift_model::view::Seen::Absent,
            live: meshlift_model::view::Seen::Absent,
            requests: meshlift_model::view::Requests::default(),
            external: true,
            marks: BTreeMap::new(),
        });
    }
    known
}
