//! Which versions really run, beside the revisions that they have: a value or a mirror may have put another image
//! under the name of the target.

use meshlift_api::Strategy;
use meshlift_istio::version::Version;
use meshlift_model::message;
use meshlift_model::view::{ControlPlane, NodeAgentKind, Pod, Release, Seen, Workload};

use super::health_checking::Look;

/// Why an istiod is not of this version, if that is known. Its own report counts besides the tag of its image,
/// because a tag can be put on any image; by digest alone there is only the report.
pub(super) fn of_another_version(plane: &ControlPlane, wanted: &Version) -> Option<String> {
    let ControlPlane { name, image, .. } = plane;
    if let Some(tagged) = Version::from_image(image).filter(|tag| !tag.is_same_build(wanted)) {
        return Some(format!(
            "{name} runs image {image}, which is {tagged} and not {wanted}"
        ));
    }
    let reported = plane.live.present().and_then(|live| live.build)?;
    let (major, minor, patch) = reported;
    (reported != wanted.numbers()).then(|| {
        format!(
            "{name} reports that it is {major}.{minor}.{patch} and not {wanted} (image {image})"
        )
    })
}

impl Look<'_> {
    /// Workloads with a sidecar of the new revision and of another version: restarted, they got an image that nobody
    /// expected. Those that name an image of their own, and Gateways that istiod renders, may have any.
    pub(super) fn sidecars_of_another_version(&self) -> Vec<String> {
        // In place a sidecar of another version has not moved, and is named as such.
        if self.record.strategy == Strategy::InPlace {
            return Vec::new();
        }
        let to = &self.record.target_version;
        let other = |pod: &Pod| {
            let version = pod.version();
            self.is_moved(pod) && version.is_some_and(|version| !version.is_same_build(to))
        };
        let placements = self.judged.placements.iter();
        let bound = placements.filter(|(workload, _)| !names_its_image(workload));
        bound
            .filter(|(workload, _)| workload.pods.iter().any(|pod| other(pod)))
            .map(|(workload, _)| workload.key.short())
            .collect()
    }

    /// What a person has to know of versions when all has moved.
    pub(super) fn notes_on_versions(&self) -> Vec<String> {
        let own = self.judged.blocked.iter();
        let own = own.filter(|named| named.predicate.moves()).count();
        let pods = self.judged.placements.iter().flat_map(|(w, _)| &w.pods);
        let unknown = pods.filter(|pod| {
            let image = pod.proxy_image.as_deref();
            self.is_moved(pod) && image.is_some_and(|image| Version::from_image(image).is_none())
        });
        [
            message::own_images(own),
            message::images_without_version(unknown.count()),
            self.istiod_without_version(),
            self.base_of_another_version(),
            self.cni_is_behind(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn is_moved(&self, pod: &Pod) -> bool {
        pod.revision.as_ref() == Some(&self.record.target_revision)
    }

    fn istiod_without_version(&self) -> Option<String> {
        let plane = self.target()?;
        let reported = plane
            .live
            .present()
            .is_some_and(|live| live.build.is_some());
        let known = reported || Version::from_image(&plane.image).is_some();
        (!known).then(|| message::istiod_without_version(plane))
    }

    /// The CNI agent is upgraded by whoever installed it, and after the control plane.
    fn cni_is_behind(&self) -> Option<String> {
        let agents = self.view.environment.node_agents.present()?;
        let mut cni = agents
            .iter()
            .filter(|agent| agent.kind == NodeAgentKind::Cni);
        cni.find_map(|agent| {
            let version = agent.behind(&self.record.target_version)?;
            Some(message::cni_is_behind(agent, version, self.record))
        })
    }

    fn base_of_another_version(&self) -> Option<String> {
        let Seen::Present(releases) = &self.view.releases else {
            return None;
        };
        let base = &self.record.base;
        let release = Release::find(releases, &base.name, &base.namespace)?;
        let version = release.version.as_ref()?;
        let to = &self.record.target_version;
        (version != to).then(|| message::base_of_another_version(base, version, to))
    }
}

fn names_its_image(workload: &Workload) -> bool {
    workload.own_proxy_image || workload.managed_gateway
}
