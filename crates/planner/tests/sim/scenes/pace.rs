//! When it goes on, and how fast: maintenance windows, an istiod and an API server that cannot keep up.

use meshlift_api::Window;

use super::*;

fn window(start: &str, end: &str) -> Window {
    Window {
        days: Vec::new(),
        start: start.into(),
        end: end.into(),
        time_zone: "UTC".into(),
    }
}

/// The first wave is the blog, and every pod takes its time.
fn slowly_in_waves() -> World {
    let mut world = registered("1.31.0");
    for app in &mut world.apps {
        app.startup = 20;
    }
    edit(&mut world, |object| {
        let waves = json!([{ "name": "blog", "namespaces": { "names": ["blog"] } }]);
        object.spec.data_plane.waves = serde_json::from_value(waves).expect("waves");
    });
    world
}

/// The window ends at 02:02, in the middle of the second wave.
fn window_ends_in_a_wave() -> Story {
    let mut world = slowly_in_waves();
    edit(&mut world, |object| {
        object.spec.windows = vec![window("01:00", "02:02"), window("02:08", "05:00")];
    });
    story("window_ends_in_a_wave", world)
}

fn edited_before_its_window() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.windows = vec![window("02:30", "05:00")];
    });
    let story = story("edited_before_its_window", world);
    with(
        story,
        When::After(600),
        "a person sets targetVersion: 1.31.1",
        |world| edit_spec(world, |spec| spec.target_version = "1.31.1".into()),
    )
}

fn goes_back_outside_its_window() -> Story {
    let mut world = registered("1.31.0");
    world.app("web").breaks = Some("container app: CrashLoopBackOff".into());
    edit(&mut world, |object| {
        object.spec.windows = vec![window("01:00", "02:05")];
    });
    story("goes_back_outside_its_window", world)
}

/// Ten workloads more, which may all restart beside each other.
fn crowded() -> World {
    let mut world = registered("1.31.0");
    for n in 0..10 {
        let mut app = App::new(WorkloadKind::Deployment, "shop", &format!("item-{n}"), 1);
        app.startup = 12;
        add(&mut world, app);
    }
    edit(&mut world, |object| {
        let restart = &mut object.spec.data_plane.restart;
        restart.max_concurrent = 4;
        restart.max_concurrent_per_namespace = 4;
    });
    world
}

fn slow_istiod() -> Story {
    let story = story("slow_istiod", crowded());
    let story = with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 3),
        "istiod needs 12 s to converge",
        |world| world.slow_istiod = true,
    );
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 35),
        "istiod is fast again",
        |world| world.slow_istiod = false,
    )
}

fn busy_api_server() -> Story {
    let mut world = crowded();
    world.too_many_requests = 2;
    story("busy_api_server", world)
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        window_ends_in_a_wave(),
        edited_before_its_window(),
        goes_back_outside_its_window(),
        slow_istiod(),
        busy_api_server(),
    ]
}
