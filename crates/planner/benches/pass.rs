//! One pass of the planner over a large mesh: what it wants to be observed, and what it decides.
//!
//! Times are medians of one run on one machine: compare them with each other, not with another machine's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshlift_api::{Phase, Step};
use meshlift_model::example::{self, TARGET};
use meshlift_model::view::{MeshView, Namespace, Seen, Workload};
use meshlift_model::{Record, Upgrade};
use meshlift_planner::{decide, wanted};

const NAMESPACES: usize = 50;
const WORKLOADS: usize = 1_000;
const PODS: usize = 10;
const PASSES: usize = 40;

fn main() {
    let detecting = large(example::surrounded(), "default");
    report("Detecting", &example::upgrade(Phase::Detecting), &detecting);
    let mut moving = large(example::moved(), "default");
    moving.record = Seen::Present(recorded());
    let mut upgrade = example::upgrade(Phase::Upgrading);
    upgrade.status.step = Some(Step::RestartingWorkloads);
    report("Upgrading, nothing has moved", &upgrade, &moving);
    let mut moved = large(example::moved(), TARGET);
    moved.record = Seen::Present(recorded());
    report("Upgrading, everything has moved", &upgrade, &moved);
    let mut checking = example::upgrade(Phase::HealthChecking);
    checking.status.step = Some(Step::Soaking);
    report("HealthChecking", &checking, &moved);
}

fn report(what: &str, upgrade: &Upgrade, view: &MeshView) {
    let now = example::now();
    let mut looks = Vec::with_capacity(PASSES);
    let mut decisions = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        let began = Instant::now();
        std::hint::black_box(wanted(now, upgrade, view));
        looks.push(began.elapsed());
        let began = Instant::now();
        std::hint::black_box(decide(now, upgrade, view));
        decisions.push(began.elapsed());
    }
    println!(
        "{what} ({} pods): wanted {:?}, decide {:?}",
        WORKLOADS * PODS,
        median(looks),
        median(decisions)
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn recorded() -> Record {
    example::record()
}

/// The example with as many namespaces and workloads as a large mesh has.
fn large(mut view: MeshView, revision: &str) -> MeshView {
    let labels = match &view.namespaces {
        Seen::Present(namespaces) => namespaces[0].clone(),
        _ => Namespace::default(),
    };
    let name = |n: usize| format!("team-{:02}", n % NAMESPACES);
    view.namespaces = Seen::Present(
        (0..NAMESPACES)
            .map(|n| Namespace {
                name: name(n),
                uid: format!("uid-{}", name(n)),
                ..labels.clone()
            })
            .collect(),
    );
    view.workloads = Seen::Present(
        (0..WORKLOADS)
            .map(|n| workload(n, &name(n), revision))
            .collect(),
    );
    let probe = view.probes.get("shop").cloned();
    view.probes.extend(
        probe
            .into_iter()
            .flat_map(|probe| (0..NAMESPACES).map(move |n| (name(n), probe.clone())))
            .collect::<BTreeMap<_, _>>(),
    );
    view
}

fn workload(n: usize, namespace: &str, revision: &str) -> Workload {
    let mut workload = example::workload(&format!("app-{n:04}"), revision);
    workload.key.namespace = namespace.to_owned();
    workload.pods = (0..PODS)
        .map(|i| {
            let mut pod = example::pod(&format!("app-{n:04}-{i}"), revision);
            pod.namespace = namespace.to_owned();
            Arc::new(pod)
        })
        .collect();
    workload
}
