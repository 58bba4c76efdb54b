//! Every story in the middle of a cluster's life, by seed.
//!
//! `MESHLIFT_LIVES` says how many lives are lived. A fault is reported with its story and seed, and
//! `MESHLIFT_LIFE_SEED=story:seed` tells that one again.

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::invariants::{Calm, Invariants};
use crate::life::{Kind, Life};
use crate::run::{Run, Story};
use crate::scenes;

/// How many lives are lived where nobody says otherwise.
const LIVES: u64 = 50_000;
/// How much longer a story may take when others are in the way.
const MORE: i64 = 3 * 3600;
/// Name of the threads in which lives are lived.
const THREAD: &str = "life";

/// A story, with what it comes to when nobody disturbs it.
struct Told {
    story: Story,
    calm: Arc<Calm>,
}

impl Told {
    fn all() -> Vec<Self> {
        let tell = |mut story: Story| {
            let calm = Run::new(&story).tell();
            let calm = Arc::new(Calm::of(&story.world, &calm));
            story.world.lives = true;
            Self { story, calm }
        };
        scenes::all().into_iter().map(tell).collect()
    }

    fn with_life(&self, seed: u64) -> Run {
        let life = Life::new(seed, self.story.world.now, withheld(self.story.name));
        // One that only waits need not be waited with.
        let more = if self.calm.ends { MORE } else { 0 };
        Run::new(&self.story).living(life, Invariants::new(&self.calm), more)
    }
}

/// What does not happen in a story, and why.
fn withheld(story: &str) -> &'static [Kind] {
    match story {
        // Somebody takes the control plane away that would inject a new pod: such a pod loses its sidecar, and that is
        // not this upgrade's doing.
        "old_istiod_uninstalled_half_way" => NEW_PODS,
        // It makes a pod with an old sidecar by hand, which only a namespace that takes pods can have.
        "namespace_appears_between_waves" => &[Kind::QuotaFills],
        // Its moments pass where the operator is slow, or another mesh has an istiod too: then Helm installs once more.
        "asked_back_when_the_installation_was_cut_off" => &[Kind::OperatorIsBusy, Kind::SecondMesh],
        _ => &[],
    }
}

/// What makes new pods in workloads that may not have moved.
const NEW_PODS: &[Kind] = &[
    Kind::PodDies,
    Kind::NodeDrains,
    Kind::Scales,
    Kind::Deploys,
    Kind::RewritesTemplate,
    Kind::NamespaceAppears,
];

/// Tells a run; what went wrong, if anything.
fn live(run: &mut Run) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run.go_on())).map_err(|panic| words(&*panic))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "it panicked".to_owned())
}

/// Faults by what they say, without numbers: the first seed of each, and how many there are.
type Faults = BTreeMap<String, (String, u64)>;

fn note(faults: &mut Faults, story: &str, seed: u64, why: &str) {
    let first = why.lines().next().unwrap_or_default();
    let digitless = first.replace(|c: char| c.is_ascii_digit(), "");
    let entry = faults.entry(format!("{story}: {digitless}"));
    let (_, count) = entry.or_insert_with(|| (format!("{story}:{seed}: {first}"), 0));
    *count += 1;
}

fn retell(told: &[Told], wanted: &str) {
    let (name, seed) = wanted.split_once(':').expect("story:seed");
    let found = told.iter().find(|told| told.story.name == name);
    let seed = seed.parse().expect("a number");
    let mut run = found.expect("a story of that name").with_life(seed);
    let lived = live(&mut run);
    println!("{}", run.transcript.with_end(&run.world));
    lived.expect("no fault");
}

/// Panics in these threads are caught and reported at the end.
fn silence() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(THREAD) {
            before(panic);
        }
    }));
}

#[test]
fn nothing_that_others_do_harms_an_upgrade() {
    let told = Told::all();
    if let Ok(wanted) = env::var("MESHLIFT_LIFE_SEED") {
        return retell(&told, &wanted);
    }
    let lives = env::var("MESHLIFT_LIVES").ok().and_then(|n| n.parse().ok());
    let lives = lives.unwrap_or(LIVES);
    silence();
    let (next, faults) = (AtomicU64::new(0), Mutex::new(Faults::new()));
    let began = Instant::now();
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= lives {
            return;
        }
        let place = usize::try_from(seed).expect("a usize") % told.len();
        let told = &told[place];
        let mut run = told.with_life(seed);
        run.transcript.fall_silent();
        if let Err(why) = live(&mut run) {
            let mut faults = faults.lock().expect("no other panicked");
            note(&mut faults, told.story.name, seed, &why);
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            let thread = thread::Builder::new().name(THREAD.to_owned());
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    let took = began.elapsed().as_secs_f64();
    println!(
        "{lives} lives in {took:.1} s, {:.0} a second",
        lives as f64 / took
    );
    let faults = faults.into_inner().expect("no other panicked");
    if let Some((first, _)) = faults.values().next() {
        for (example, count) in faults.values() {
            println!("{count} times, as in {example}");
        }
        let mut parts = first.splitn(3, ':');
        let (name, seed) = (
            parts.next().expect("a story"),
            parts.next().expect("a seed"),
        );
        retell(&told, &format!("{name}:{seed}"));
    }
}
