//! What of a cluster belongs to one mesh: its control planes, the one that counts, its namespaces and
//! its sidecars.

use std::collections::BTreeMap;

use meshlift_api::labels::DEFAULT_REVISION;
use meshlift_api::{DataPlaneStatus, ProxyVersion, RevisionStatus};
use meshlift_istio::version::Version;
use meshlift_model::data_plane::of_another_mesh;
use meshlift_model::injection::{Injector, injector_of};
use meshlift_model::view::{ControlPlane, Installer, MeshView, Pod};

/// So many versions of sidecars are told.
const VERSIONS_SHOWN: usize = 10;

/// One mesh: the control planes of one namespace, and what they serve.
pub(super) struct Members<'a> {
    view: &'a MeshView,
    home: &'a str,
    everywhere: &'a [ControlPlane],
    /// Its control planes.
    pub(super) planes: Vec<&'a ControlPlane>,
    /// The one that serves the default revision; the newest where none does.
    pub(super) main: Option<&'a ControlPlane>,
}

impl<'a> Members<'a> {
    pub(super) fn of(view: &'a MeshView, everywhere: &'a [ControlPlane], home: &'a str) -> Self {
        let planes: Vec<&ControlPlane> = everywhere
            .iter()
            .filter(|plane| plane.namespace == home)
            .collect();
        let main = serves_default(view, &planes).or_else(|| newest(&planes));
        Self {
            view,
            home,
            everywhere,
            planes,
            main,
        }
    }

    /// Every control plane as status tells it. What cannot be counted keeps its last count.
    pub(super) fn revisions(&self, before: &[RevisionStatus]) -> Vec<RevisionStatus> {
        let namespaces = self.namespaces();
        let proxies = self.proxies().map(|all| all.by_revision);
        let told = |plane: &&ControlPlane| {
            let known = before.iter().find(|old| old.name == plane.revision);
            let count = |counts: &Option<BTreeMap<String, u32>>, kept: Option<u32>| match counts {
                Some(counts) => counts.get(&plane.revision).copied().unwrap_or_default(),
                None => kept.unwrap_or_default(),
            };
            RevisionStatus {
                name: plane.revision.clone(),
                version: plane.version.as_ref().map(Version::to_string),
                ready: format!("{}/{}", plane.ready, plane.desired),
                tags: match self.view.tags.unreadable() {
                    Some(_) => known.map(|old| old.tags.clone()).unwrap_or_default(),
                    None => self.tags_of(&plane.revision),
                },
                namespaces: count(&namespaces, known.map(|old| old.namespaces)),
                proxies: count(&proxies, known.map(|old| old.proxies)),
            }
        };
        let mut revisions: Vec<RevisionStatus> = self.planes.iter().map(told).collect();
        revisions.sort_by(|a, b| a.name.cmp(&b.name));
        revisions
    }

    fn tags_of(&self, revision: &str) -> Vec<String> {
        let tags = self
            .view
            .tags()
            .iter()
            .filter(|tag| tag.revision == revision);
        let mut names: Vec<String> = tags.map(|tag| tag.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Namespaces by the revision that injects them.
    fn namespaces(&self) -> Option<BTreeMap<String, u32>> {
        if self.view.tags.unreadable().is_some() {
            return None;
        }
        let no_pod = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for namespace in self.view.namespaces.present()? {
            let tags = self.view.tags();
            let injector = injector_of(&namespace.labels, &no_pod, self.everywhere, tags);
            let revision = match injector {
                Injector::Namespace(revision) => Some(revision),
                Injector::Tag(name) => tags
                    .iter()
                    .find(|tag| tag.name == name)
                    .map(|tag| tag.revision.clone()),
                Injector::Pod(_) | Injector::Nobody => None,
            };
            if let Some(revision) = revision.filter(|_| !namespace.terminating) {
                *counts.entry(revision).or_default() += 1;
            }
        }
        Some(counts)
    }

    /// The sidecars of this mesh; none while they cannot be seen.
    pub(super) fn proxies(&self) -> Option<Proxies> {
        self.view.workloads.present()?;
        let sidecars = self.view.sidecars();
        let ours = sidecars.filter(|pod| !of_another_mesh(self.everywhere, Some(self.home), pod));
        let current = self.main.and_then(|plane| plane.version.as_ref());
        let mut all = Proxies::default();
        let mut versions = BTreeMap::<Version, u32>::new();
        for pod in ours {
            if let Some(revision) = &pod.revision {
                *all.by_revision.entry(revision.clone()).or_default() += 1;
            }
            all.status.total += 1;
            match self.version_of(pod) {
                Some(version) => {
                    let same = Some(&version) == current;
                    all.status.current += u32::from(same);
                    all.status.outdated += u32::from(!same);
                    *versions.entry(version).or_default() += 1;
                }
                None => all.status.unknown += 1,
            }
        }
        let told = |(version, proxies): (Version, u32)| ProxyVersion {
            version: version.to_string(),
            proxies,
        };
        let newest_first = versions.into_iter().rev().take(VERSIONS_SHOWN);
        all.status.versions = newest_first.map(told).collect();
        Some(all)
    }

    /// The version of a sidecar: its image tells; one without a version in its tag (by digest, or a
    /// private build) is of the version of the control plane that injected it.
    fn version_of(&self, pod: &Pod) -> Option<Version> {
        let by_image = pod.version();
        let injected_by = || {
            let revision = pod.revision.as_deref()?;
            let plane = self.planes.iter().find(|p| p.revision == revision)?;
            plane.version.clone()
        };
        by_image.or_else(injected_by)
    }
}

/// The sidecars of a mesh, counted.
#[derive(Default)]
pub(super) struct Proxies {
    pub(super) status: DataPlaneStatus,
    by_revision: BTreeMap<String, u32>,
}

/// The control plane behind `istio-injection=enabled`: that of tag `default`, the one without a
/// revision, or the one that validates.
fn serves_default<'a>(view: &MeshView, planes: &[&'a ControlPlane]) -> Option<&'a ControlPlane> {
    let revision = |name: &str| planes.iter().copied().find(|p| p.revision == name);
    let tag = view.tags().iter().find(|tag| tag.name == DEFAULT_REVISION);
    let validates = || {
        let validator = view.validator.present()?;
        planes.iter().copied().find(|p| validator.calls(p))
    };
    tag.and_then(|tag| revision(&tag.revision))
        .or_else(|| revision(DEFAULT_REVISION))
        .or_else(validates)
}

fn newest<'a>(planes: &[&'a ControlPlane]) -> Option<&'a ControlPlane> {
    planes.iter().copied().max_by_key(|plane| &plane.version)
}

/// The installer as status names it.
pub(super) fn installer_name(installer: &Installer) -> &'static str {
    match installer {
        Installer::Helm { .. } => "Helm",
        Installer::Istioctl => "istioctl",
        Installer::Sail => "Sail",
        Installer::Unknown => "unknown",
    }
}
