//! The name that a new control plane gets as its revision.

use meshlift_api::DEFAULT_MESH;
use meshlift_istio::version::Version;
use meshlift_model::view::ControlPlane;

/// Revision of the control plane that brings a mesh to a version: `1-31-0`, where there are several meshes
/// `team-b-1-31-0`. Two control planes of one revision would both inject whatever asks for it, and a second mesh could
/// never be brought to the version of the first.
pub fn new_revision(version: &Version, mesh: &str, home: &str, planes: &[ControlPlane]) -> String {
    let plain = version.revision();
    let named = format!("{}-{plain}", mesh.replace('.', "-"));
    let (here, elsewhere): (Vec<_>, Vec<_>) = planes.iter().partition(|p| p.namespace == home);
    let is_here = |revision: &str| here.iter().any(|plane| plane.revision == revision);
    // What was begun under a name goes on under it, whatever other meshes came meanwhile.
    if is_here(&plain) || elsewhere.is_empty() {
        return plain;
    }
    let taken = elsewhere.iter().any(|plane| plane.revision == plain);
    if mesh == DEFAULT_MESH && !taken && !is_here(&named) {
        return plain;
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshlift_model::example::version;

    fn plane(namespace: &str, revision: &str) -> ControlPlane {
        ControlPlane {
            namespace: namespace.into(),
            revision: revision.into(),
            ..ControlPlane::default()
        }
    }

    #[test]
    fn a_mesh_names_its_revision_where_it_is_not_the_only_one() {
        let (a, b) = (plane("istio-system", "default"), plane("istio-b", "team-b"));
        let name = |mesh: &str, home: &str, planes: &[ControlPlane]| {
            new_revision(&version("1.31.0"), mesh, home, planes)
        };
        assert_eq!(
            name("prod", "istio-system", std::slice::from_ref(&a)),
            "1-31-0"
        );
        let both = [a.clone(), b.clone()];
        assert_eq!(name("default", "istio-system", &both), "1-31-0");
        assert_eq!(name("team-b", "istio-b", &both), "team-b-1-31-0");
        assert_eq!(name("team.b", "istio-b", &both), "team-b-1-31-0");
        // Taken by the other mesh: the default one has to give way too.
        let taken = [a.clone(), plane("istio-b", "1-31-0")];
        assert_eq!(name("default", "istio-system", &taken), "default-1-31-0");
        // Begun while it was alone.
        let begun = [a, plane("istio-system", "1-31-0"), b];
        assert_eq!(name("prod", "istio-system", &begun), "1-31-0");
        let begun = [
            plane("istio-system", "default-1-31-0"),
            plane("istio-b", "team-b"),
        ];
        assert_eq!(name("default", "istio-system", &begun), "default-1-31-0");
    }
}
