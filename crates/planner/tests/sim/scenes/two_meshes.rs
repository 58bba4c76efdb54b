//! Two meshes in one cluster: what one does concerns nothing of the other.

use super::*;

const TEAM_B: &str = "team-b";

fn ready(mut istiod: Istiod) -> Istiod {
    istiod.plane.ready = istiod.plane.desired;
    if let meshlift_model::view::Seen::Present(webhook) = &mut istiod.plane.injector {
        webhook.has_ca_bundle = true;
    }
    istiod
}

/// Beside the shop, a mesh of its own with namespace books. Its base chart renders no default validator: there is one
/// in a cluster, and the other mesh has it.
fn add_team_b(world: &mut World) {
    let mut istiod = ready(Istiod::helm(TEAM_B, "istiod-b", &version("1.30.2"), 1));
    istiod.plane.namespace = "istio-b".into();
    world.istiods.push(istiod);
    let no_default = json!({ "defaultRevision": "" });
    let own = json!({ "revision": TEAM_B, "autoscaleMin": 2 });
    for (name, chart, values) in [("base-b", "base", no_default), ("istiod-b", "istiod", own)] {
        let mut stored = release(name, chart, "1.30.2", values);
        stored.namespace = "istio-b".into();
        world.helm.releases.push(stored);
    }
    world.namespaces.push(namespace("istio-b", &[]));
    let bound = [("istio.io/rev", TEAM_B)];
    world.namespaces.push(namespace("books", &bound));
    for name in ["catalog", "lending"] {
        let app = App::new(WorkloadKind::Deployment, "books", name, 2);
        add(world, app);
    }
}

/// The upgrade that is looked at from now on is that of the other mesh.
fn upgrade_team_b(world: &mut World) {
    world.mesh = Some(MeshSpec {
        control_plane_namespace: "istio-b".into(),
        ..MeshSpec::default()
    });
    let mut object = upgrade("1.31.0");
    object.name = "team-b-to-1-31".into();
    object.uid = "b0b".into();
    object.spec.mesh = TEAM_B.into();
    world.object = Some(object);
}

/// The first mesh as an upgrade to 1.31.0 leaves it, our marks on its namespaces.
fn upgraded_shop() -> World {
    let mut world = registered("1.31.0");
    world.istiods = vec![ready(Istiod::helm(
        "1-31-0",
        "istiod-1-31-0",
        &version("1.31.0"),
        2,
    ))];
    world.validator = Some(Validator {
        namespace: "istio-system".into(),
        service: "istiod-1-31-0".into(),
        has_ca_bundle: true,
    });
    world.helm.releases = vec![
        release("istio-base", "base", "1.31.0", json!({})),
        release("istiod-1-31-0", "istiod", "1.31.0", values()),
    ];
    for namespace in &mut world.namespaces {
        if namespace.labels.remove("istio-injection").is_some() {
            namespace.labels = labels(&[("istio.io/rev", "1-31-0")]);
            namespace.moved_to = Some("1-31-0".into());
        }
    }
    for member in world.apps.iter_mut().flat_map(|app| &mut app.pods) {
        member.pod_mut().revision = Some("1-31-0".into());
    }
    add_team_b(&mut world);
    upgrade_team_b(&mut world);
    world
}

/// One after the other to the same version: each gets a revision of its own.
fn two_meshes_to_one_version() -> Story {
    let mut world = registered("1.31.0");
    add_team_b(&mut world);
    let ended = |world: &World| {
        let object = world.object.as_ref().expect("the object");
        object.name == "to-1-31" && object.phase().is_terminal()
    };
    with(
        story("two_meshes_to_one_version", world),
        When::Once(ended),
        "the other mesh is to be upgraded too",
        upgrade_team_b,
    )
}

/// The second one goes back: the first, which our own marks say was moved to that version, stays as it is.
fn second_mesh_goes_back() -> Story {
    let mut world = upgraded_shop();
    world.app("lending").breaks = Some("container app: CrashLoopBackOff".into());
    story("second_mesh_goes_back", world)
}

pub fn all() -> Vec<Story> {
    vec![two_meshes_to_one_version(), second_mesh_goes_back()]
}
