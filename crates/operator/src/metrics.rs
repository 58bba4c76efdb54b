//! Metrics: names after `<operator>_<entity>_<what>_<unit>`, of low cardinality.

mod meshes;
mod watches;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use meshlift_api::{Mesh, MeshUpgrade, MeshUpgradeStatus, Phase};
use meshlift_cluster::watch::Health;
use meshlift_model::{Effect, ErrorClass};
use prometheus::{
    Encoder, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    histogram_opts,
};

use self::meshes::MeshGauges;
use self::watches::WatchMetrics;

const PHASES: [Phase; 6] = [
    Phase::Pending,
    Phase::Detecting,
    Phase::Upgrading,
    Phase::HealthChecking,
    Phase::Done,
    Phase::Failed,
];

/// Everything that is measured.
pub(crate) struct Metrics {
    registry: Registry,
    /// Two scrapes at once would mix their gauges.
    scrape: Mutex<()>,
    phase: IntGaugeVec,
    workloads: IntGaugeVec,
    waves: IntGaugeVec,
    rollback: IntGaugeVec,
    meshes: MeshGauges,
    effects: IntCounterVec,
    errors: IntCounterVec,
    reconciles: HistogramVec,
    watches: WatchMetrics,
    /// Whether this replica leads.
    pub(crate) leader: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter =
            |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
                let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(counter.clone()))?;
                Ok(counter)
            };
        let reconciles = HistogramVec::new(
            histogram_opts!(
                "meshlift_reconcile_duration_seconds",
                "Time of one reconcile, effects included.",
                vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0]
            ),
            &["phase"],
        )?;
        registry.register(Box::new(reconciles.clone()))?;
        let leader = IntGauge::new("meshlift_leader", "1 on the replica that leads.")?;
        registry.register(Box::new(leader.clone()))?;
        let build = gauge(
            "meshlift_build_info",
            "1, with the version as a label.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            phase: gauge(
                "meshlift_upgrade_phase",
                "1 for the phase an upgrade is in, 0 for the others.",
                &["upgrade", "phase"],
            )?,
            workloads: gauge(
                "meshlift_upgrade_workloads",
                "Workloads of an upgrade by state.",
                &["upgrade", "state"],
            )?,
            waves: gauge(
                "meshlift_upgrade_wave",
                "1 for the state that a wave of an upgrade is in.",
                &["upgrade", "wave", "state"],
            )?,
            rollback: gauge(
                "meshlift_upgrade_rollback",
                "1 if an upgrade goes or went back, else 0.",
                &["upgrade"],
            )?,
            meshes: MeshGauges::new(&registry)?,
            effects: counter(
                "meshlift_effects_total",
                "Mutations by kind and result.",
                &["kind", "result"],
            )?,
            errors: counter(
                "meshlift_errors_total",
                "Failed looks and effects by class.",
                &["class"],
            )?,
            reconciles,
            watches: WatchMetrics::new(&registry)?,
            leader,
            registry,
            scrape: Mutex::default(),
        })
    }

    /// Sets the gauges of every upgrade there is, and of no other. Read at each scrape, from what is
    /// stored: nothing has to be forgotten when an upgrade goes.
    fn upgrades(&self, upgrades: &[Arc<MeshUpgrade>]) {
        self.phase.reset();
        self.workloads.reset();
        self.waves.reset();
        self.rollback.reset();
        for upgrade in upgrades {
            if let Some(status) = &upgrade.status {
                self.status(&upgrade.name_any(), status);
            }
        }
    }

    fn status(&self, upgrade: &str, status: &MeshUpgradeStatus) {
        for phase in PHASES {
            let here = status.phase == Some(phase);
            self.phase
                .with_label_values(&[upgrade, &phase.to_string()])
                .set(here.into());
        }
        for wave in &status.waves {
            self.waves
                .with_label_values(&[upgrade, &wave.name, &wave.state.to_string()])
                .set(1);
        }
        self.rollback
            .with_label_values(&[upgrade])
            .set(status.rollback.is_some().into());
        let counts = status.workloads.unwrap_or_default();
        for (state, count) in [
            ("moved", counts.moved),
            ("restarting", counts.restarting),
            ("pending", counts.pending),
            ("blocked", counts.blocked),
            ("failed", counts.failed),
        ] {
            self.workloads
                .with_label_values(&[upgrade, state])
                .set(count.into());
        }
    }

    pub(crate) fn effect(&self, effect: &Effect, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.effects
            .with_label_values(&[effect.kind(), result])
            .inc();
    }

    pub(crate) fn error(&self, class: ErrorClass) {
        self.errors.with_label_values(&[class_name(class)]).inc();
    }

    pub(crate) fn reconciled(&self, phase: Phase, took: Duration) {
        self.reconciles
            .with_label_values(&[&phase.to_string()])
            .observe(took.as_secs_f64());
    }

    /// How the tables are kept, on every replica.
    pub(crate) fn watches(&self, tables: &[(&'static str, Health)]) {
        self.watches.set(tables);
    }

    /// The Prometheus text format. Only the replica that leads tells of upgrades and meshes.
    pub(crate) fn text(&self, upgrades: &[Arc<MeshUpgrade>], meshes: &[Arc<Mesh>]) -> String {
        let _one_scrape = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        if self.leader.get() == 1 {
            self.upgrades(upgrades);
            self.meshes.set(meshes);
        }
        let mut buffer = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut buffer) {
            Ok(()) => String::from_utf8_lossy(&buffer).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

fn class_name(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Conflict => "conflict",
        ErrorClass::Transient => "transient",
        ErrorClass::Blocked => "blocked",
        ErrorClass::Invalid => "invalid",
        ErrorClass::Bug => "bug",
    }
}
