//! What cannot begin, or not yet.

use super::*;

fn refused(name: &'static str, target: &str) -> Story {
    Story {
        limit: 120,
        ..story(name, registered(target))
    }
}

fn unknown_version() -> Story {
    refused("unknown_version", "1.31.7")
}

fn lower_version() -> Story {
    refused("lower_version", "1.29.8")
}

fn unknown_minor() -> Story {
    refused("unknown_minor", "1.32.0")
}

fn malformed_version() -> Story {
    refused("malformed_version", "v1.31")
}

fn mesh_not_found() -> Story {
    let mut story = refused("mesh_not_found", "1.31.0");
    edit(&mut story.world, |object| object.spec.mesh = "prod".into());
    story.world.mesh = None;
    story
}

fn external_mesh() -> Story {
    let mut story = refused("external_mesh", "1.31.0");
    story.world.mesh.as_mut().expect("a Mesh").mesh_type = MeshType::External;
    story
}

fn installed_by_istioctl() -> Story {
    let mut story = refused("installed_by_istioctl", "1.31.0");
    story.world.istiod("default").plane.installer = Installer::Istioctl;
    story
}

fn no_istio() -> Story {
    let mut story = refused("no_istio", "1.31.0");
    story.world.mesh = None;
    story.world.istiods.clear();
    story
}

fn kubernetes_too_new() -> Story {
    let mut story = refused("kubernetes_too_new", "1.30.5");
    story.world.kubernetes.minor = 37;
    story
}

fn kubernetes_mended() -> Story {
    let mut world = registered("1.31.0");
    world.kubernetes.minor = 30;
    world.missing_permissions = ["patch namespaces", "create pods", "list secrets", "get x"]
        .map(str::to_owned)
        .into();
    let story = story("kubernetes_mended", world);
    let story = with(story, When::After(60), "the cluster is upgraded", |world| {
        world.kubernetes.minor = 34;
    });
    with(story, When::After(120), "the RBAC is mended", |world| {
        world.missing_permissions.clear();
    })
}

fn two_at_once() -> Story {
    let mut world = registered("1.31.0");
    world.rivals.push(Rival {
        mesh: "default".into(),
        name: "to-1-30-5".into(),
        uid: "0aaa".into(),
        created_at: start() - seconds(60),
        phase: Phase::Upgrading,
    });
    with(
        story("two_at_once", world),
        When::After(300),
        "the other upgrade ends",
        |world| world.rivals[0].phase = Phase::Done,
    )
}

fn repository_down() -> Story {
    let mut world = registered("1.31.0");
    world.repository =
        Err("GET https://charts.example.org/index.yaml: 503 Service Unavailable".into());
    with(
        story("repository_down", world),
        When::After(180),
        "the chart repository is up again",
        |world| world.repository = Ok(["1.30.2", "1.31.0"].map(version).into()),
    )
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        unknown_version(),
        lower_version(),
        unknown_minor(),
        malformed_version(),
        mesh_not_found(),
        external_mesh(),
        installed_by_istioctl(),
        no_istio(),
        kubernetes_too_new(),
        kubernetes_mended(),
        two_at_once(),
        repository_down(),
    ]
}
