//! Every story again, with crashes and with stale views: the same end, the same writes.

use meshlift_api::MeshInstaller;

use crate::digest::Digest;
use crate::run::{Lag, Run, Story};
use crate::scenes;
use crate::seeded::Seeded;
use crate::world::World;

/// A story with the end it comes to when nothing disturbs it.
struct Calm {
    story: Story,
    end: Digest,
    points: u32,
    looks: u32,
}

fn calm() -> Vec<Calm> {
    let tell = |story: Story| {
        let run = Run::new(&story).tell();
        Calm {
            end: Digest::of(&run.world),
            points: run.points,
            looks: run.looks,
            story,
        }
    };
    scenes::all().into_iter().map(tell).collect()
}

fn assert_same(calm: &Calm, run: &Run, how: &str) {
    let end = Digest::of(&run.world);
    let (name, expected) = (calm.story.name, &calm.end);
    assert_eq!(
        end.state, expected.state,
        "{name}, {how}:\n{}",
        run.transcript
    );
    assert_eq!(
        end.writes, expected.writes,
        "{name}, {how}:\n{}",
        run.transcript
    );
}

/// R1: a crash after each effect and before each status write.
#[test]
fn one_crash_anywhere_changes_nothing() {
    let mut runs = 0;
    for calm in calm() {
        for point in 1..=calm.points {
            let run = Run::new(&calm.story).crashing_at([point]).tell();
            assert_same(&calm, &run, &format!("crashed at point {point}"));
            runs += 1;
        }
    }
    assert!(runs >= 500, "only {runs} runs");
}

/// R2: a second crash, mostly while the first is recovered from.
#[test]
fn a_second_crash_changes_nothing() {
    let calm = calm();
    let mut seeded = Seeded(1);
    for n in 0..2000 {
        let calm = &calm[n % calm.len()];
        let first = 1 + seeded.below(calm.points);
        let second = first + 1 + seeded.below(4);
        let run = Run::new(&calm.story).crashing_at([first, second]).tell();
        assert_same(
            calm,
            &run,
            &format!("crashed at points {first} and {second}"),
        );
    }
}

/// R11: an operator that is upgraded in the middle reads what the last release wrote, and comes to the same end.
#[test]
fn an_upgrade_of_the_operator_changes_nothing() {
    let mut seeded = Seeded(3);
    let mut runs = 0;
    // What others render the last release did not know.
    let known = |calm: &Calm| {
        let mesh = calm.story.world.mesh.as_ref();
        mesh.is_none_or(|mesh| mesh.installer == MeshInstaller::Helm)
    };
    for mut calm in calm().into_iter().filter(known) {
        // A new run, and a retry, write what they know.
        calm.end = without_legs(Run::new(&calm.story).tell().world);
        for _ in 0..4 {
            let look = 1 + seeded.below(calm.looks);
            let run = Run::new(&calm.story).upgraded_at(look).tell();
            let end = without_legs(run.world);
            let (name, text) = (calm.story.name, run.transcript);
            assert_eq!(end.state, calm.end.state, "{name}, at look {look}:\n{text}");
            assert_eq!(
                end.writes, calm.end.writes,
                "{name}, at look {look}:\n{text}"
            );
            runs += 1;
        }
    }
    assert!(runs >= 500, "only {runs} runs");
}

fn without_legs(mut world: World) -> Digest {
    if let Some(object) = &mut world.object {
        object.status.legs.clear();
    }
    world.writes.remove("record");
    Digest::of(&world)
}

/// R3: whatever is decided from any of the last 50 states is no wrong write now.
#[test]
fn no_earlier_view_leads_to_a_wrong_write() {
    let mut tried = 0;
    for story in scenes::all() {
        // Which one it was, where it fails.
        println!("{}", story.name);
        tried += Run::new(&story).with_hindsight().tell().tried;
    }
    assert!(tried >= 1000, "only {tried} writes from earlier views");
}

/// R3: watches that lag for a while, each by its own, lead to the same end.
fn outlives_a_lag(story: &Story) -> bool {
    let object = story.world.object.as_ref();
    let timeout = object.map(|object| object.spec.data_plane.restart.timeout);
    timeout.is_none_or(|timeout| std::time::Duration::from(timeout).as_secs() >= 180)
}

#[test]
fn lagging_watches_lead_to_the_same_end() {
    let mut calm = calm();
    // Five observations may take longer than a short timeout: what fails then has failed by the spec, whatever is seen.
    calm.retain(|calm| outlives_a_lag(&calm.story));
    // A record that was made from a view that lagged is made again, before anything begins.
    for calm in &mut calm {
        calm.end.writes.remove("record");
    }
    let mut seeded = Seeded(2);
    for n in 0..1000 {
        let calm = &calm[n % calm.len()];
        let lag = Lag {
            from: 1 + seeded.below(calm.looks),
            looks: 1 + seeded.below(5),
            watched: seeded.below(8) as usize,
            pods: seeded.below(8) as usize,
        };
        let mut run = Run::new(&calm.story).lagging(lag).tell();
        run.world.writes.remove("record");
        assert_same(calm, &run, &format!("{lag:?}"));
    }
}
