//! The benchmark: how fast, how big and how quiet the operator is on a large mesh, beside the
//! smallest client that does the same restarts on the same cluster.

mod args;
mod audit;
mod detection;
mod figures;
mod floor;
mod kubectl;
mod mesh;
mod operator;
mod report;
mod schedule;
mod standing;
mod timeline;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

pub use self::args::BenchArgs;
use self::figures::{Figures, Memory, Run, WithHelm};
use self::mesh::Size;
use self::operator::{Followed, Operator, USER};
use self::schedule::Limits;
use self::timeline::Recorder;
use crate::istio::{self, IstioOptions};
use crate::shop::serve::terminated;
use crate::versions::{ISTIO_FROM, ISTIO_TO};
use crate::{Cluster, Options, cargo, progress};

/// How long one run of restarts may take.
const RUN_LIMIT: Duration = Duration::from_secs(1800);
/// Simulated nodes of the cluster.
const NODES: u32 = 20;

/// Runs the benchmark, prints its table and writes its figures. A goal that is missed is said and
/// is no failure. Ctrl-C stops everything.
pub async fn run(args: BenchArgs) -> Result<()> {
    let mut kept = None;
    let outcome = tokio::select! {
        outcome = play(&args, &mut kept) => Some(outcome),
        stopped = terminated() => { stopped?; None }
    };
    if let Some(cluster) = kept {
        progress::line("stopping everything that was started");
        cluster.down().await.context("stopping the cluster")?;
    }
    let Some(outcome) = outcome else {
        // A build that goes on in a thread is not waited for.
        eprintln!("interrupted");
        std::process::exit(130)
    };
    outcome
}

/// The benchmark itself. The cluster is the caller's to stop, also when this is dropped halfway.
async fn play(args: &BenchArgs, kept: &mut Option<Cluster>) -> Result<()> {
    let binary = match &args.operator {
        Some(binary) => binary.clone(),
        None => tokio::task::spawn_blocking(build_operator).await??,
    };
    if !args.only_detection {
        upgrade(args, &binary, kept).await?;
        if let Some(cluster) = kept.take() {
            cluster.down().await.context("stopping the cluster")?;
        }
    }
    if !args.detection() {
        return Ok(());
    }
    let options = Options::mesh("bench-detection").kwok(NODES).audit();
    let cluster = kept.insert(Cluster::up(options).await?);
    let size = detection::size(args.quick());
    let detection = detection::measure(cluster, &binary, size).await?;
    println!("{}", detection.table());
    println!("Figures: {}", detection.write()?.display());
    Ok(())
}

/// Measures a whole upgrade, and the memory of a large mesh.
async fn upgrade(args: &BenchArgs, binary: &Path, kept: &mut Option<Cluster>) -> Result<()> {
    let options = Options::mesh("bench").kwok(NODES).audit();
    let cluster = kept.insert(Cluster::up(options).await?);
    let bench = Bench {
        args,
        cluster,
        limits: args.limits(),
        size: args.size(),
    };
    bench.prepare().await?;
    let figures = bench.measure(binary).await?;
    println!("{}", report::table(&figures));
    println!("Figures: {}", report::write(&figures)?.display());
    Ok(())
}

fn build_operator() -> Result<PathBuf> {
    let task = progress::task("build the operator with cargo, for release");
    let binary = cargo::build("meshlift-operator", "release")?;
    task.done();
    Ok(binary)
}

struct Bench<'a> {
    args: &'a BenchArgs,
    cluster: &'a Cluster,
    limits: Limits,
    size: Size,
}

impl Bench<'_> {
    async fn prepare(&self) -> Result<()> {
        let task = progress::task(format!("install Istio {ISTIO_FROM}"));
        istio::install(self.cluster, ISTIO_FROM, IstioOptions::default()).await?;
        task.done();
        let task = progress::task(format!("start {}", self.size));
        mesh::create(&self.cluster.client(), self.size, self.args.placed()).await?;
        task.done();
        let task = progress::task("install the custom resources");
        operator::install_kinds(self.cluster).await?;
        task.done();
        Ok(())
    }

    async fn measure(&self, binary: &Path) -> Result<Figures> {
        let began = Timestamp::now();
        let floor_before = self.floor("the floor, before").await?;
        let kubectl = if self.args.kubectl() {
            Some(self.kubectl().await?)
        } else {
            None
        };
        let mut figures = self.operator(binary).await?;
        figures.began = began;
        let floor_after = self.floor("the floor, after").await?;
        figures.floors = vec![floor_before, floor_after];
        figures.kubectl = kubectl;
        for pods in self.args.standing() {
            figures.memory.push(self.standing(binary, pods).await?);
        }
        Ok(figures)
    }

    async fn floor(&self, what: &str) -> Result<Run> {
        let client = self.cluster.client();
        let keys = self.size.keys();
        self.restarts(
            what,
            floor::run(client, &keys, self.size.replicas, self.limits),
        )
        .await
    }

    async fn kubectl(&self) -> Result<Run> {
        let keys = self.size.keys();
        let what = "kubectl rollout restart and status";
        self.restarts(what, kubectl::run(self.cluster, &keys, self.limits.total))
            .await
    }

    /// Records what `work` restarts, until all of it is ready.
    async fn restarts(&self, what: &str, work: impl Future<Output = Result<()>>) -> Result<Run> {
        let task = progress::task(format!("restart {}: {what}", self.size));
        let recorder = Recorder::start(self.cluster.client(), &self.size.keys()).await?;
        let (worked, recorded) = tokio::join!(
            async { tokio::time::timeout(RUN_LIMIT, work).await },
            recorder.complete(RUN_LIMIT)
        );
        worked.with_context(|| format!("{what} did not end within {RUN_LIMIT:?}"))??;
        let run = Run::of(&recorded?, self.limits)?;
        task.done();
        progress::line(&format!("{what}: {run}"));
        Ok(run)
    }

    async fn operator(&self, binary: &Path) -> Result<Figures> {
        let operator = Operator::start(self.cluster, binary).await?;
        let recorder = Recorder::start(self.cluster.client(), &self.size.keys()).await?;
        let task = progress::task(format!("upgrade the mesh to {ISTIO_TO}"));
        let spec = operator::upgrade(self.limits, self.args.soak())?;
        let (followed, recorded) = tokio::try_join!(
            operator::follow(self.cluster.client(), "bench", spec, RUN_LIMIT),
            recorder.complete(RUN_LIMIT)
        )
        .with_context(|| operator.last_words())?;
        task.done();
        let run = Run::of(&recorded, self.limits)?;
        progress::line(&format!("the operator: {run}"));
        let memory = Memory {
            pods: self.size.pods(),
            when: "through the upgrade".into(),
            peak_kib: operator.peak_kib()?,
            helm: Some(WithHelm {
                together_kib: operator.together().most_kib(),
                helm_kib: operator.together().most_of_children_kib(),
            }),
            start: None,
            idle_millicores: None,
        };
        operator.stop().await?;
        let requests = audit::requests(self.cluster.audit_log(), USER)?;
        Ok(Figures::new(
            self.size,
            self.limits,
            run,
            &followed,
            &recorded.timeline,
            &requests,
            memory,
        ))
    }

    /// The memory of a fresh operator that looks at a mesh of so many pods.
    async fn standing(&self, binary: &Path, pods: usize) -> Result<Memory> {
        let client = self.cluster.client();
        let task = progress::task(format!("start standing pods, {pods} in all"));
        let per_workload = self.args.per_standing();
        standing::fill(&client, self.size.pods(), pods, per_workload).await?;
        task.done();
        let task = progress::task(format!("a fresh operator looks at {pods} pods"));
        let began = tokio::time::Instant::now();
        let operator = Operator::start(self.cluster, binary).await?;
        let name = format!("again-{pods}");
        let spec = operator::upgrade(self.limits, self.args.soak())?;
        let Followed { ended, .. } = operator::follow(client, &name, spec, RUN_LIMIT)
            .await
            .with_context(|| operator.last_words())?;
        let start = Some(began.elapsed().as_secs_f64());
        task.done();
        let memory = Memory {
            pods,
            when: format!("a fresh operator, an upgrade that finds nothing to do ({ended})"),
            peak_kib: operator.peak_kib()?,
            helm: None,
            start,
            idle_millicores: Some(operator.millicores(self.args.idle()).await?),
        };
        operator.stop().await?;
        Ok(memory)
    }
}
