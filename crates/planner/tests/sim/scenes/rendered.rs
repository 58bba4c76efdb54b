//! A mesh that others render, for example Argo CD from Git: each commit comes when the upgrade reports that it waits for it.

use meshlift_api::{MeshInstaller, Strategy};
use meshlift_model::view::{Crd, Installer, Seen};

use super::*;

/// The CRDs as chart base of this version renders them.
fn crds(of: &str) -> Seen<Vec<Crd>> {
    let crd = |name: &str| Crd {
        name: format!("{name}.istio.io"),
        labels: labels(&[("app.kubernetes.io/version", of)]),
        ..Crd::default()
    };
    let names = ["gateways.networking", "peerauthentications.security"];
    Seen::Present(names.map(crd).into())
}

fn rendered() -> World {
    let mut world = registered("1.31.0");
    let mesh = world.mesh.as_mut().expect("a Mesh");
    mesh.installer = MeshInstaller::None;
    world.helm.releases.clear();
    world.istiod("default").plane.installer = Installer::Unknown;
    world.environment.crds = crds("1.30.2");
    world
}

/// Whether the upgrade reports that it waits for this.
fn waits_for(world: &World, change: &str) -> bool {
    let message = world.object.as_ref().map(|object| &object.status.message);
    message.is_some_and(|message| {
        message.starts_with("waiting for a commit") && message.contains(change)
    })
}

/// What chart istiod renders for the new revision, as soon as the upgrade asks for it.
fn renders_istiod(world: &mut World) {
    let mut istiod = Istiod::helm("1-31-0", "", &version("1.31.0"), 2);
    istiod.plane.installer = Installer::Unknown;
    istiod.plane.trouble.clone_from(&world.istiod_trouble);
    let healthy = world.istiod_trouble.is_none();
    istiod.ready_at = healthy.then(|| world.now + seconds(10));
    world.istiods.push(istiod);
}

/// Somebody makes the first two commits.
fn with_control_plane(story: Story) -> Story {
    let story = with(
        story,
        When::Once(|world| waits_for(world, "render chart base 1.31.0 with the values")),
        "a person commits chart base 1.31.0",
        |world| world.environment.crds = crds("1.31.0"),
    );
    with(
        story,
        When::Once(|world| waits_for(world, "revision=1-31-0")),
        "a person commits chart istiod 1.31.0 of revision 1-31-0",
        renders_istiod,
    )
}

fn goes_well() -> Story {
    let story = with_control_plane(story("rendered_by_others", rendered()));
    let story = with(
        story,
        When::Once(|world| waits_for(world, "defaultRevision=1-31-0")),
        "a person commits the default revision",
        |world| {
            let validator = world.validator.as_mut().expect("the validator");
            validator.service = "istiod-1-31-0".into();
            validator.has_ca_bundle = false;
        },
    );
    with(
        story,
        When::Once(|world| waits_for(world, "remove what chart istiod renders")),
        "a person removes the old control plane from Git",
        |world| world.istiods.retain(|i| i.plane.revision != "default"),
    )
}

/// Both are in Git before the upgrade begins: it waits for neither.
fn committed_before() -> Story {
    let mut world = rendered();
    world.environment.crds = crds("1.31.0");
    renders_istiod(&mut world);
    Story {
        limit: 600,
        ..story("rendered_before_the_upgrade", world)
    }
}

/// Nobody commits anything: it waits, and after a while says for whom.
fn never_committed() -> Story {
    Story {
        limit: HOUR,
        ..story("rendered_and_never_committed", rendered())
    }
}

fn does_not_come_up() -> Story {
    let mut world = rendered();
    world.istiod_trouble = Some("container discovery: CrashLoopBackOff".into());
    with_control_plane(story("rendered_istiod_does_not_come_up", world))
}

fn asked_back_in_the_soak() -> Story {
    let story = with_control_plane(story("rendered_asked_back_in_the_soak", rendered()));
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "a person sets requestRollback: true",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    )
}

fn in_place() -> Story {
    let mut world = rendered();
    edit(&mut world, |object| {
        object.spec.strategy = Strategy::InPlace;
    });
    Story {
        limit: 120,
        ..story("rendered_in_place", world)
    }
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        goes_well(),
        committed_before(),
        never_committed(),
        does_not_come_up(),
        asked_back_in_the_soak(),
        in_place(),
    ]
}
