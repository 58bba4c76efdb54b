//! Who has no pod while the mesh is upgraded, and what only one revision reads.

use meshlift_model::view::{Labelled, PodTemplate, Seen};

use super::*;

/// A namespace without labels, where pods ask for their sidecars themselves.
fn night(world: &mut World) {
    world.namespaces.push(namespace("night", &[]));
}

fn sleeping(name: &str, asks: (&str, &str)) -> App {
    let mut app = App::new(WorkloadKind::Deployment, "night", name, 0);
    app.template_labels = labels(&[("app", name), asks]);
    app
}

fn sweep(revision: &str) -> Seen<Vec<PodTemplate>> {
    Seen::Present(vec![PodTemplate {
        kind: "CronJob".into(),
        namespace: "night".into(),
        name: "sweep".into(),
        labels: labels(&[("istio.io/rev", revision)]),
    }])
}

fn policy(revision: &str) -> Seen<Vec<Labelled>> {
    Seen::Present(vec![Labelled {
        kind: "AuthorizationPolicy".into(),
        resource: "authorizationpolicies.security.istio.io".into(),
        namespace: "shop".into(),
        name: "own-namespace-only".into(),
        revision: revision.into(),
        helm_release: None,
    }])
}

/// A workload at 0 replicas by label, one by the wish alone; both wake when all is over.
fn workloads_asleep() -> World {
    let mut world = registered("1.31.0");
    night(&mut world);
    add(&mut world, sleeping("report", ("istio.io/rev", "default")));
    let wishes = sleeping("export", ("sidecar.istio.io/inject", "true"));
    add(&mut world, wishes);
    world
}

fn sleeping_workloads_are_moved_without_a_pod() -> Story {
    let story = story(
        "sleeping_workloads_are_moved_without_a_pod",
        workloads_asleep(),
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 10),
        "report and export are scaled up",
        |world| {
            world.app("report").replicas = 1;
            world.app("export").replicas = 1;
        },
    )
}

fn sleeping_workloads_go_back() -> Story {
    let mut world = workloads_asleep();
    edit(&mut world, |object| {
        object.spec.health_check.soak = duration(300)
    });
    let story = story("sleeping_workloads_go_back", world);
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 20),
        "a person asks for the way back",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    )
}

fn a_cron_job_keeps_the_old_control_plane() -> Story {
    let mut world = registered("1.31.0");
    night(&mut world);
    world.dependents.templates = sweep("default");
    story("a_cron_job_keeps_the_old_control_plane", world)
}

fn a_cron_job_is_labelled_in_time() -> Story {
    let mut world = registered("1.31.0");
    night(&mut world);
    world.dependents.templates = sweep("default");
    let story = story("a_cron_job_is_labelled_in_time", world);
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "a person labels the template of CronJob night/sweep",
        |world| world.dependents.templates = sweep("1-31-0"),
    )
}

fn a_cron_job_keeps_the_new_control_plane() -> Story {
    let mut world = registered("1.31.0");
    night(&mut world);
    edit(&mut world, |object| {
        object.spec.health_check.soak = duration(300)
    });
    let story = story("a_cron_job_keeps_the_new_control_plane", world);
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "a CronJob that asks for 1-31-0 is created",
        |world| world.dependents.templates = sweep("1-31-0"),
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 20),
        "a person asks for the way back",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    )
}

fn who_sleeps_cannot_be_read() -> Story {
    let story = story("who_sleeps_cannot_be_read", registered("1.31.0"));
    with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 10),
        "nobody may list CronJobs any more",
        |world| {
            let why = "the operator may not list cronjobs.batch".to_owned();
            world.unreadable.insert("dependents", why);
        },
    )
}

fn configuration_of_a_revision_is_named_first() -> Story {
    let mut world = registered("1.31.0");
    world.dependents.configuration = policy("default");
    let story = story("configuration_of_a_revision_is_named_first", world);
    with(
        story,
        When::After(60),
        "a person removes the label of the policy",
        |world| world.dependents.configuration = Seen::Present(Vec::new()),
    )
}

fn configuration_of_a_revision_is_accepted() -> Story {
    let mut world = registered("1.31.0");
    world.dependents.configuration = policy("default");
    edit(&mut world, |object| {
        object.spec.accept_risks = vec!["CONFIG-REVISION".into()]
    });
    story("configuration_of_a_revision_is_accepted", world)
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        sleeping_workloads_are_moved_without_a_pod(),
        sleeping_workloads_go_back(),
        a_cron_job_keeps_the_old_control_plane(),
        a_cron_job_is_labelled_in_time(),
        a_cron_job_keeps_the_new_control_plane(),
        who_sleeps_cannot_be_read(),
        configuration_of_a_revision_is_named_first(),
        configuration_of_a_revision_is_accepted(),
    ]
}
