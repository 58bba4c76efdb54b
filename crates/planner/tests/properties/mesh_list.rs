//! What holds of the mesh list, whatever was seen.

use jiff::SignedDuration;
use meshlift_api::{MeshSpec, MeshStatus};
use meshlift_detect::mesh_list::{KnownMesh, mesh_status, meshes, news, without_object};
use proptest::prelude::*;

use crate::any::{now, view};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_look_says_the_same_and_nothing_new(first in view(), second in view()) {
        let mut mesh = KnownMesh {
            name: "default".into(),
            generation: 1,
            refresh: None,
            discovered: true,
            spec: MeshSpec::default(),
            status: MeshStatus::default(),
        };
        for view in [&first, &second] {
            mesh.status = mesh_status(now(), &mesh, view);
            let later = now() + SignedDuration::from_secs(30);
            let again = mesh_status(later, &mesh, view);
            prop_assert_eq!(&again, &mesh.status);
            prop_assert!(news(&mesh.status, &again).is_empty());
        }
    }

    #[test]
    fn every_mesh_that_is_found_has_a_name_of_its_own(view in view()) {
        let found = meshes(&view);
        let objects = without_object(found.clone(), &Default::default());
        let names: std::collections::BTreeSet<&String> = objects.iter().map(|m| &m.name).collect();
        prop_assert_eq!(names.len(), found.len());
        let known = objects.iter().map(|m| (m.name.clone(), m.spec.control_plane_namespace.clone()));
        prop_assert!(without_object(found, &known.collect()).is_empty());
    }
}
