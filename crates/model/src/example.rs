//! A healthy mesh half way through an upgrade, for unit tests to spoil in one place each.

mod surroundings;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::{
    MeshInstaller, MeshSpec, MeshUpgradeSpec, MeshUpgradeStatus, Phase, Soak, Strategy,
};
use meshlift_istio::version::{KubernetesVersion, Version};
use serde_json::{Map, json};

use self::surroundings::surroundings;
pub use self::surroundings::{injector, selector};
use crate::view::*;
use crate::{ChartDigests, Record, RecordedRelease, Upgrade};

/// The revision that the example goes to.
pub const TARGET: &str = "1-31-0";

impl MeshView {
    /// The revision tags, to spoil.
    pub fn tags_mut(&mut self) -> &mut Vec<Tag> {
        if self.tags.present().is_none() {
            self.tags = Seen::Present(Vec::new());
        }
        match &mut self.tags {
            Seen::Present(tags) => tags,
            Seen::Absent | Seen::Unreadable(_) => unreachable!("they were just made readable"),
        }
    }
}

pub fn now() -> Timestamp {
    "2026-11-02T02:00:00Z".parse().expect("a time")
}

pub fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

pub fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

pub fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    pairs.iter().map(owned).collect()
}

/// An upgrade to 1.31.0 in a phase, its finalizer set.
pub fn upgrade(phase: Phase) -> Upgrade {
    let spec = json!({ "targetVersion": "1.31.0" });
    let spec: MeshUpgradeSpec = serde_json::from_value(spec).expect("a spec");
    Upgrade {
        name: "to-1-31".into(),
        uid: "0b5e".into(),
        generation: 1,
        created_at: ago(3600),
        deleting: false,
        held: true,
        retry: None,
        redetect: None,
        accepts: None,
        spec,
        status: MeshUpgradeStatus {
            phase: Some(phase),
            observed_generation: Some(1),
            started_at: Some(Time(ago(1800))),
            ..MeshUpgradeStatus::default()
        },
    }
}

pub fn istiod(revision: &str, of: &str) -> ControlPlane {
    let suffix = match revision {
        "default" => String::new(),
        revision => format!("-{revision}"),
    };
    ControlPlane {
        namespace: "istio-system".into(),
        name: format!("istiod{suffix}"),
        uid: format!("uid-istiod{suffix}"),
        revision: revision.into(),
        version: Some(version(of)),
        image: format!("example.org/pilot:{of}"),
        installer: Installer::Helm {
            release: format!("istiod{suffix}"),
        },
        desired: 2,
        ready: 2,
        enough: None,
        rolling: false,
        trouble: None,
        injector: Seen::Present(InjectorWebhook {
            name: format!("istio-sidecar-injector{suffix}"),
            has_ca_bundle: true,
        }),
        live: Seen::Present(LiveCounters::default()),
        requests: Requests {
            cpu: 500,
            memory: 2 << 30,
        },
        external: false,
        marks: BTreeMap::new(),
    }
}

pub fn release(name: &str, chart: &str, of: &str) -> Release {
    Release {
        name: name.into(),
        namespace: "istio-system".into(),
        chart: chart.into(),
        version: Some(version(of)),
        state: ReleaseState::Deployed,
        values: Map::new(),
        manager: Some("Helm".into()),
        storage: StorageRef {
            name: format!("sh.helm.release.v1.{name}.v1"),
            uid: "s".into(),
            resource_version: "1".into(),
        },
    }
}

pub fn pod(name: &str, revision: &str) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        revision: Some(revision.into()),
        ready: true,
        ..Pod::default()
    }
}

/// A settled workload whose one pod runs a sidecar of a revision.
pub fn workload(name: &str, revision: &str) -> Workload {
    Workload {
        key: WorkloadKey {
            namespace: "shop".into(),
            kind: WorkloadKind::Deployment,
            name: name.into(),
        },
        uid: format!("uid-{name}"),
        resource_version: "7".into(),
        labels: BTreeMap::new(),
        template_labels: BTreeMap::new(),
        template_revision_before: None,
        template_revision_owner: None,
        own_proxy_image: false,
        sidecar_in_template: None,
        host_network: false,
        mark: None,
        restarted_at: None,
        evicted_at: None,
        strategy: UpdateStrategy::Rolling,
        paused: false,
        managed_gateway: false,
        injected_gateway: false,
        asleep: false,
        settled: true,
        whole: true,
        replicas: Replicas {
            desired: 1,
            ready: 1,
            rolling: false,
        },
        pods: vec![Arc::new(pod(&format!("{name}-1"), revision))],
    }
}

pub fn record() -> Record {
    let recorded = |name: &str| RecordedRelease {
        name: name.into(),
        namespace: "istio-system".into(),
        version: version("1.30.2"),
        values: Map::new(),
    };
    Record {
        made_at: ago(1800),
        strategy: Strategy::Canary,
        installer: MeshInstaller::Helm,
        repository: "https://charts.example.org".into(),
        source: recorded("istiod"),
        source_revision: "default".into(),
        base: recorded("istio-base"),
        target_version: version("1.31.0"),
        target_revision: TARGET.into(),
        backup: "meshlift-backup-to-1-31-0b5e-1793583000".into(),
        later: Vec::new(),
        charts: Some(charts()),
        target_values: Map::new(),
        raised_minimum: None,
        budget: None,
        base_values: Map::new(),
        route: Vec::new(),
        namespaces: Vec::new(),
        waves: Vec::new(),
        tags: Vec::new(),
        gateways: Vec::new(),
        checks: Vec::new(),
        source_proxy_image: None,
        unsteady: Vec::new(),
    }
}

/// The archives of the target's charts.
pub fn charts() -> ChartDigests {
    ChartDigests {
        base: "ba5e".into(),
        istiod: "1d".into(),
        source: None,
    }
}

/// Istio 1.30.2 as Detecting finds it.
pub fn before() -> MeshView {
    MeshView {
        mesh: Seen::Present(MeshSpec::default()),
        kubernetes: Seen::Present(KubernetesVersion {
            major: 1,
            minor: 36,
        }),
        control_planes: Seen::Present(vec![istiod("default", "1.30.2")]),
        releases: Seen::Present(vec![
            release("istio-base", "base", "1.30.2"),
            release("istiod", "istiod", "1.30.2"),
        ]),
        catalog: Seen::Present(["1.29.8", "1.30.2", "1.31.0", "1.32.0"].map(version).into()),
        validator: Seen::Present(Validator {
            namespace: "istio-system".into(),
            service: "istiod".into(),
            has_ca_bundle: true,
        }),
        namespaces: Seen::Present(vec![Namespace {
            name: "shop".into(),
            uid: "uid-shop".into(),
            resource_version: "7".into(),
            labels: labels(&[("istio-injection", "enabled")]),
            ..Namespace::default()
        }]),
        workloads: Seen::Present(vec![workload("cart", "default")]),
        missing_permissions: Seen::Present(Vec::new()),
        archives: Seen::Present(charts()),
        backup: Seen::Present("meshlift-backup-to-1-31-0b5e-1793583000".into()),
        ..MeshView::default()
    }
}

/// The same with everything around it looked at.
pub fn surrounded() -> MeshView {
    MeshView {
        environment: surroundings(),
        ..before()
    }
}

/// The same with the new control plane proved and namespace and workload moved.
pub fn moved() -> MeshView {
    let mut view = before();
    view.record = Seen::Present(record());
    planes(&mut view).push(istiod(TARGET, "1.31.0"));
    view.releases = Seen::Present(vec![
        release("istio-base", "base", "1.31.0"),
        release("istiod", "istiod", "1.30.2"),
        release("istiod-1-31-0", "istiod", "1.31.0"),
    ]);
    let namespace = namespace(&mut view);
    namespace.labels = labels(&[("istio.io/rev", TARGET)]);
    namespace.moved_to = Some(TARGET.into());
    *cart(&mut view) = workload("cart", TARGET);
    let probe = Probe::Injected {
        revision: TARGET.into(),
        image: "example.org/proxyv2:1.31.0".into(),
    };
    for namespace in ["istio-system", "shop"] {
        view.probes.insert(namespace.into(), probe.clone());
    }
    view
}

/// A soak that passed a while ago.
pub fn passed(seconds: i64) -> Soak {
    Soak {
        since: Time(ago(seconds)),
        injection_failures: 0,
        passed_at: Some(Time(ago(seconds))),
    }
}

pub fn planes(view: &mut MeshView) -> &mut Vec<ControlPlane> {
    match &mut view.control_planes {
        Seen::Present(planes) => planes,
        _ => panic!("no control planes"),
    }
}

pub fn releases(view: &mut MeshView) -> &mut Vec<Release> {
    match &mut view.releases {
        Seen::Present(releases) => releases,
        _ => panic!("no releases"),
    }
}

pub fn namespace(view: &mut MeshView) -> &mut Namespace {
    match &mut view.namespaces {
        Seen::Present(namespaces) => &mut namespaces[0],
        _ => panic!("no namespaces"),
    }
}

pub fn cart(view: &mut MeshView) -> &mut Workload {
    match &mut view.workloads {
        Seen::Present(workloads) => &mut workloads[0],
        _ => panic!("no workloads"),
    }
}
