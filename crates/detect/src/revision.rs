//! The name that a new control plane gets as its revision.

use meshlift_api::DEFAULT_MESH;
use meshlift_api::labels::DEFAULT_REVISION;
use meshlift_istio::version::Version;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::ControlPlane;

/// Revision of the control plane that an upgrade installs for a version: as it is asked for, or made of the version.
pub fn revision_of(
    upgrade: &Upgrade,
    version: &Version,
    home: &str,
    planes: &[ControlPlane],
) -> String {
    match &upgrade.spec.revision {
        Some(name) => name.clone(),
        None => new_revision(version, &upgrade.spec.mesh, home, planes),
    }
}

/// Why a name is not valid for a revision; none if it is. The API server asks the same, and is not there when a file is
/// checked.
pub fn invalid(name: &str) -> Option<&'static str> {
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name == DEFAULT_REVISION {
        return Some("it is the revision of an installation without one");
    }
    let is_label =
        name.starts_with(part) && name.ends_with(part) && name.chars().all(|c| part(c) || c == '-');
    (!is_label).then_some(
        "use lower case letters, digits and hyphens, with a letter or digit at both ends",
    )
}

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
    fn a_revision_is_a_label_of_dns_and_not_the_default_one() {
        for name in ["canary", "1-31-0", "9", "a-b"] {
            assert_eq!(invalid(name), None, "{name}");
        }
        for name in ["", "default", "Canary", "a.b", "-a", "a-", "a_b", "ä"] {
            assert!(invalid(name).is_some(), "{name}");
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
