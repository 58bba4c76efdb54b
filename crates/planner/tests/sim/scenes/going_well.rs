//! What goes as it should.

use super::*;

fn happy_path() -> Story {
    let mut world = shop("1.31.0");
    edit(&mut world, |object| {
        object.spec.health_check.soak = duration(60);
        object.spec.retire.after = duration(600);
    });
    story("happy_path", world)
}

fn newest_patch_of_a_minor() -> Story {
    story("newest_patch_of_a_minor", registered("1.31"))
}

/// A mesh at 1.31.0 under its revision.
fn at_target() -> World {
    let mut world = registered("1.31.0");
    let mut istiod = Istiod::helm("1-31-0", "istiod-1-31-0", &version("1.31.0"), 2);
    istiod.ready_at = Some(world.now);
    world.istiods = vec![istiod];
    world.helm.releases = vec![
        release(
            "istio-base",
            "base",
            "1.31.0",
            json!({ "defaultRevision": "1-31-0" }),
        ),
        release(
            "istiod-1-31-0",
            "istiod",
            "1.31.0",
            json!({ "revision": "1-31-0" }),
        ),
    ];
    world.validator = Some(Validator {
        namespace: "istio-system".into(),
        service: "istiod-1-31-0".into(),
        has_ca_bundle: true,
    });
    for name in ["shop", "blog"] {
        world.namespace(name).labels = labels(&[("istio.io/rev", "1-31-0")]);
    }
    for member in world.apps.iter_mut().flat_map(|app| &mut app.pods) {
        member.pod_mut().revision = Some("1-31-0".into());
    }
    world.settle();
    world.now += seconds(1);
    world.settle();
    world.renew_images();
    world
}

fn already_at_target() -> Story {
    story("already_at_target", at_target())
}

fn at_target_with_old_sidecars() -> Story {
    let mut world = at_target();
    world.app("web").pods[0].pod_mut().revision = Some("1-30-2".into());
    story("at_target_with_old_sidecars", world)
}

fn next_target_after_done() -> Story {
    let story = story("next_target_after_done", registered("1.31.0"));
    with(
        story,
        When::Reached(Phase::Done, None, 20),
        "a person sets targetVersion: 1.31.1",
        |world| edit_spec(world, |spec| spec.target_version = "1.31.1".into()),
    )
}

/// What only steers an upgrade that runs starts none that has ended.
fn steered_after_the_end() -> Story {
    let story = story("steered_after_the_end", registered("1.31"));
    with(
        story,
        When::Reached(Phase::Done, None, 20),
        "1.31.9 appears in the repository, and a person sets paused: true and approves a wave",
        |world| {
            if let Ok(versions) = &mut world.repository {
                versions.push(version("1.31.9"));
            }
            edit_spec(world, |spec| {
                spec.paused = true;
                spec.approvals = vec!["canary".into()];
            });
        },
    )
}

fn recreated_half_way() -> Story {
    let story = story("recreated_half_way", registered("1.31.0"));
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 6),
        "the object is replaced by a new one, its finalizer torn off",
        |world| {
            world.object = Some(Upgrade {
                uid: "77aa".into(),
                created_at: world.now,
                ..upgrade("1.31.0")
            });
        },
    )
}

fn paused_and_resumed() -> Story {
    let story = story("paused_and_resumed", registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 2),
        "a person sets paused: true",
        |world| edit_spec(world, |spec| spec.paused = true),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 1500),
        "a person sets paused: false",
        |world| edit_spec(world, |spec| spec.paused = false),
    )
}

fn deleted_while_running() -> Story {
    let story = story("deleted_while_running", registered("1.31.0"));
    with(
        story,
        reached(Phase::Upgrading, Step::InstallingControlPlane, 1),
        "a person deletes the object",
        |world| edit(world, |object| object.deleting = true),
    )
}

fn deleted_while_detecting() -> Story {
    let story = story("deleted_while_detecting", registered("1.33.0"));
    with(
        story,
        When::After(60),
        "a person deletes the object",
        |world| {
            edit(world, |object| object.deleting = true);
            let held = world.object.as_ref().is_some_and(|object| object.held);
            if !held {
                world.object = None;
            }
        },
    )
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        happy_path(),
        newest_patch_of_a_minor(),
        already_at_target(),
        at_target_with_old_sidecars(),
        next_target_after_done(),
        steered_after_the_end(),
        recreated_half_way(),
        paused_and_resumed(),
        deleted_while_running(),
        deleted_while_detecting(),
    ]
}
