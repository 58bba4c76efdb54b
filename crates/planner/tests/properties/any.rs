//! Arbitrary upgrades and views: every shape the types allow, from a small vocabulary, so that
//! names meet.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use meshlift_api::{
    Approval, Attempts, GoDuration, MeshInstaller, MeshSpec, MeshType, MeshUpgradeSpec,
    MeshUpgradeStatus, Phase, RestartMethod, Rollback, RollbackStatus, Soak, Step,
    Strategy as Replacing, Wave, WaveState, WaveStatus,
};
use meshlift_istio::version::{KubernetesVersion, Version};
use meshlift_model::view::*;
use meshlift_model::{
    ChartDigests, Record, RecordedBudget, RecordedRelease, RecordedWave, Refusal, Upgrade,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::surroundings::budget;

pub(crate) fn now() -> Timestamp {
    "2026-11-02T02:00:00.25Z".parse().expect("a time")
}

fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn namespace_name() -> impl Strategy<Value = String> {
    text(&["istio-system", "istio-b", "shop", "blog"])
}

fn revision() -> impl Strategy<Value = String> {
    text(&["default", "1-31-0", "1-31-0", "prod", "team-b"])
}

fn mark() -> impl Strategy<Value = String> {
    text(&["1-31-0", "1-31-0.2", "1-31-0.3", "1-31-0.x", "1-30-2", ""])
}

fn version() -> impl Strategy<Value = Version> {
    select(&["1.29.8", "1.30.2", "1.31.0", "1.31.0-x", "1.32.0"][..])
        .prop_map(|v| v.parse().expect("a version"))
}

fn moment() -> impl Strategy<Value = Timestamp> {
    let near = (-100_000_i64..100_000).prop_map(|s| now() + SignedDuration::from_secs(s));
    let [first, last] = ["0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z"];
    let far = |text: &str| Just(text.parse::<Timestamp>().expect("a time"));
    prop_oneof![8 => near, 1 => far(first), 1 => far(last)]
}

fn duration() -> impl Strategy<Value = GoDuration> {
    let seconds = prop_oneof![0_u64..10_000, Just(u64::MAX), Just(i64::MAX as u64)];
    seconds.prop_map(|s| std::time::Duration::from_secs(s).into())
}

fn seen<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Seen<T>> {
    prop_oneof![
        10 => value.prop_map(Seen::Present),
        1 => Just(Seen::Absent),
        1 => Just(Seen::Unreadable("the server is on fire".into())),
    ]
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let pair = prop_oneof![
        4 => text(&["enabled", "disabled"]).prop_map(|v| ("istio-injection".to_owned(), v)),
        6 => revision().prop_map(|v| ("istio.io/rev".to_owned(), v)),
        1 => text(&["true", "false"]).prop_map(|v| ("sidecar.istio.io/inject".to_owned(), v)),
        1 => Just(("team".to_owned(), "legacy".to_owned())),
    ];
    vec(pair, 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

prop_compose! {
    fn pod()(
        namespace in namespace_name(),
        name in text(&["a", "b", "c"]),
        owner in option::of(text(&["Deployment", "Job", "GameServer"])),
        revision in option::of(revision()),
        mark in option::of(mark()),
        ready in any::<bool>(),
        restarts in prop_oneof![0_u32..3, Just(u32::MAX)],
        created_at in option::of(moment()),
        changed in (option::of(moment()), option::of(moment())),
        trouble in option::of(text(&["container app: CrashLoopBackOff"])),
    ) -> Arc<Pod> {
        let owner_name = owner.as_ref().map(|_| "owner".to_owned());
        Arc::new(Pod {
            uid: format!("uid-{name}"), created_at, ready_changed_at: changed.0, restarted_at: changed.1,
            namespace, name, owner_kind: owner, owner_name, revision, mark, ready, restarts, trouble,
            ..Pod::default()
        })
    }
}

prop_compose! {
    fn workload()(
        namespace in namespace_name(),
        kind in select(&WorkloadKind::ALL[..]),
        name in text(&["cart", "web", "db"]),
        labels in labels(),
        template_labels in labels(),
        mark in option::of(mark()),
        restarted_at in option::of(moment()),
        strategy in select(&[UpdateStrategy::Rolling, UpdateStrategy::Rolling, UpdateStrategy::OnDelete, UpdateStrategy::Partition(0), UpdateStrategy::Partition(2), UpdateStrategy::InPlace][..]),
        flags in any::<[bool; 6]>(),
        template in (option::of(revision()), option::of(text(&["argocd-controller", "kubectl-edit", "meshlift"]))),
        evicted_at in option::of(moment()),
        replicas in (0_u32..4, 0_u32..4),
        pods in vec(pod(), 0..4),
    ) -> Workload {
        Workload {
            uid: format!("uid-{name}"),
            resource_version: "7".into(),
            key: WorkloadKey { namespace, kind, name },
            labels, template_labels, mark, restarted_at, strategy,
            paused: flags[0] && flags[1],
            managed_gateway: flags[1] && flags[2],
            injected_gateway: flags[0] && flags[2],
            settled: flags[3],
            whole: flags[4],
            asleep: flags[2] && flags[4],
            replicas: Replicas { desired: replicas.0, ready: replicas.1, rolling: flags[2] },
            own_proxy_image: flags[5] && flags[0],
            host_network: flags[5] && flags[1],
            sidecar_in_template: template.0.clone().filter(|_| flags[5] && flags[3]),
            template_revision_before: template.0,
            template_revision_owner: template.1,
            evicted_at,
            pods,
        }
    }
}

prop_compose! {
    fn namespace()(
        name in namespace_name(),
        labels in labels(),
        moved_to in option::of(revision()),
        terminating in prop::bool::weighted(0.1),
    ) -> Namespace {
        Namespace {
            uid: format!("uid-{name}"), resource_version: "7".into(), name, labels, moved_to,
            terminating, label_owner: None,
        }
    }
}

prop_compose! {
    fn control_plane()(
        namespace in text(&["istio-system", "istio-system", "istio-system", "istio-b"]),
        revision in revision(),
        version in option::of(version()),
        installer in prop_oneof![
            6 => text(&["istiod", "istiod-1-31-0"]).prop_map(|release| Installer::Helm { release }),
            1 => Just(Installer::Istioctl), 1 => Just(Installer::Sail), 1 => Just(Installer::Unknown),
        ],
        desired in 0_u32..3,
        (ready, enough, rolling) in (0_u32..3, option::of(0_u32..3), prop::bool::weighted(0.1)),
        trouble in option::of(text(&["ImagePullBackOff"])),
        has_ca_bundle in prop::bool::weighted(0.8),
        injector in seen(Just(())),
        live in seen((0_u64..3, 0_u64..3)),
    ) -> ControlPlane {
        let webhook = InjectorWebhook { name: "istio-sidecar-injector".into(), has_ca_bundle };
        ControlPlane {
            name: if revision == "default" { "istiod".into() } else { format!("istiod-{revision}") },
            uid: format!("uid-{revision}"),
            namespace, revision, version, image: "pilot:x".into(), installer, desired, ready, enough, rolling, trouble,
            injector: map(injector, |()| webhook),
            live: map(live, |(connected, injection_failures)| LiveCounters { connected, newest: (connected > 1).then_some((1, 31, 0)), injection_failures, ..LiveCounters::default() }),
            requests: Requests::default(), external: false, marks: BTreeMap::new(),
        }
    }
}

fn map<T, U>(seen: Seen<T>, with: impl FnOnce(T) -> U) -> Seen<U> {
    match seen {
        Seen::Present(value) => Seen::Present(with(value)),
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(why) => Seen::Unreadable(why),
    }
}

fn values() -> impl Strategy<Value = Map<String, Value>> {
    let all = [
        json!({}),
        json!({ "global": { "tag": "1.30.2-distroless" } }),
        json!({ "tag": "our-own" }),
        json!({ "defaultRevision": "1-31-0" }),
        json!({ "pilot": 7, "global": [] }),
        json!({ "autoscaleMin": 2 }),
    ];
    select(all.to_vec()).prop_map(|v| v.as_object().expect("an object").clone())
}

fn helm_runner() -> impl Strategy<Value = HelmRunner> {
    select(vec![
        HelmRunner::Here,
        HelmRunner::Before,
        HelmRunner::Elsewhere,
        HelmRunner::Foreign,
    ])
}

prop_compose! {
    fn release()(
        name in text(&["istio-base", "istiod", "istiod-1-31-0"]),
        version in option::of(version()),
        state in prop_oneof![
            6 => Just(ReleaseState::Deployed),
            1 => (moment(), helm_runner()).prop_map(|(since, by)| ReleaseState::Pending { since, by }),
            1 => Just(ReleaseState::Failed),
            1 => Just(ReleaseState::Other("uninstalling".into())),
        ],
        values in values(),
        manager in option::of(text(&["Helm", "helm-controller", "terraform-provider-helm_v2.17.0_x5"])),
    ) -> Release {
        let chart = if name == "istio-base" { "base" } else { "istiod" };
        Release {
            chart: chart.into(), namespace: "istio-system".into(), name, version, state, values, manager,
            storage: StorageRef { name: "s".into(), uid: "u".into(), resource_version: "1".into() },
        }
    }
}

/// The first of these that a row of stages has, or none of them.
const WAVES: [&str; 4] = ["canary", "prod", "rest", "gateways"];

fn recorded_waves() -> impl Strategy<Value = Vec<RecordedWave>> {
    let of = prop::collection::btree_set(namespace_name(), 0..3);
    (0..3_u32, vec(of, 2)).prop_map(|(shape, of)| {
        let shown = match shape {
            0 => return Vec::new(),
            1 => &WAVES[..3],
            _ => &WAVES[..],
        };
        let of = of
            .into_iter()
            .chain([Default::default(), Default::default()]);
        let wave = |(name, of): (&&str, std::collections::BTreeSet<String>)| RecordedWave {
            name: (*name).to_owned(),
            namespaces: of.into_iter().collect(),
        };
        shown.iter().zip(of).map(wave).collect()
    })
}

prop_compose! {
    fn wave_status()(
        state in select(&[
            WaveState::Pending, WaveState::WaitingForApproval, WaveState::Moving, WaveState::Verifying,
            WaveState::Verified, WaveState::Verified, WaveState::Verified,
        ][..]),
        begun in prop::bool::weighted(0.8),
        at in moment(),
        soak in option::of((moment(), 0_u64..3)),
    ) -> WaveStatus {
        let entered = state >= WaveState::Moving;
        WaveStatus {
            state,
            started_at: (entered && begun).then_some(Time(at)),
            soak: soak.map(|(since, injection_failures)| Soak {
                since: Time(since), injection_failures, passed_at: None,
            }),
            finished_at: (state == WaveState::Verified).then_some(Time(at)),
            ..WaveStatus::pending("")
        }
    }
}

fn wave_statuses() -> impl Strategy<Value = Vec<WaveStatus>> {
    (0..=WAVES.len(), vec(wave_status(), WAVES.len())).prop_map(|(told, statuses)| {
        let named = |(name, status): (&&str, WaveStatus)| WaveStatus {
            name: (*name).to_owned(),
            ..status
        };
        WAVES.iter().zip(statuses).take(told).map(named).collect()
    })
}

prop_compose! {
    fn spec_waves()(soaks in vec(option::of(duration()), 2), asked in any::<[bool; 2]>()) -> Vec<Wave> {
        let wave = |(n, soak): (usize, &Option<GoDuration>)| Wave {
            name: WAVES[n].to_owned(),
            soak: *soak,
            approval: if asked[n] { Approval::Required } else { Approval::Automatic },
            ..Wave::default()
        };
        soaks.iter().enumerate().map(wave).collect()
    }
}

fn installer_of_mesh() -> impl Strategy<Value = MeshInstaller> {
    prop_oneof![4 => Just(MeshInstaller::Helm), 1 => Just(MeshInstaller::None)]
}

prop_compose! {
    fn record()(
        base_values in values(),
        raised_minimum in option::of(1_u32..4),
        budget in any::<bool>(),
        waves in recorded_waves(), to in select(&["1.31.0", "1.31.0", "1.31.0-x"][..]),
        in_place in prop::bool::weighted(0.25),
        installer in installer_of_mesh(),
    ) -> Record {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        let recorded = |name: &str| RecordedRelease {
            name: name.into(), namespace: "istio-system".into(), version: version("1.30.2"), values: Map::new(),
        };
        Record {
            made_at: now(),
            strategy: if in_place { Replacing::InPlace } else { Replacing::Canary },
            installer,
            source_proxy_image: in_place.then(|| "example.org/proxyv2:1.30.2".to_owned()),
            repository: "https://charts.example.org".into(),
            source: recorded("istiod"),
            source_revision: "default".into(),
            base: recorded("istio-base"),
            target_revision: if in_place { "default".into() } else { version(to).revision() },
            target_version: version(to),
            later: Vec::new(),
            charts: None,
            backup: "meshlift-backup-x".into(),
            target_values: Map::new(),
            raised_minimum,
            budget: budget.then(|| RecordedBudget { name: "by-hand".into(), rule: BudgetRule::default() }),
            base_values,
            route: Vec::new(),
            namespaces: Vec::new(),
            waves,
            tags: Vec::new(),
            gateways: Vec::new(),
            checks: Vec::new(),
            unsteady: Vec::new(),
        }
    }
}

fn probes() -> impl Strategy<Value = BTreeMap<String, Probe>> {
    let probe = prop_oneof![
        6 => revision().prop_map(|revision| Probe::Injected { revision, image: "proxyv2:1.31.0".into() }),
        1 => Just(Probe::NotInjected),
        1 => Just(Probe::Refused(PodRefusal { by: Refuser::Quota, why: "exceeded quota team".into() })),
        1 => Just(Probe::Failed("no answer".into())),
    ];
    prop::collection::btree_map(namespace_name(), probe, 0..5)
}

prop_compose! {
    fn rival()(created_at in moment(), phase in phase(), uid in text(&["a", "z"])) -> Rival {
        Rival { name: "other".into(), mesh: "default".into(), uid, created_at, phase }
    }
}

prop_compose! {
    fn dependents()(
        templates in seen(vec((namespace_name(), labels()), 0..2)),
        configuration in seen(vec(revision(), 0..2)),
    ) -> Dependents {
        let template = |(namespace, labels)| PodTemplate {
            kind: "CronJob".into(), name: "sweep".into(), namespace, labels,
        };
        let labelled = |revision| Labelled {
            kind: "Sidecar".into(), resource: "sidecars.networking.istio.io".into(), name: "default".into(),
            namespace: "shop".into(), revision, helm_release: None,
        };
        Dependents {
            templates: map(templates, |all| all.into_iter().map(template).collect()),
            configuration: map(configuration, |all| all.into_iter().map(labelled).collect()),
        }
    }
}

prop_compose! {
    pub fn view()(
        mesh in seen((any::<bool>(), values(), installer_of_mesh()).prop_map(|(external, base, installer)| {
            let mut mesh = MeshSpec { installer, ..MeshSpec::default() };
            if external { mesh.mesh_type = MeshType::External }
            mesh.values.base = base;
            mesh
        })),
        kubernetes in seen((28_u32..40).prop_map(|minor| KubernetesVersion { major: 1, minor })),
        planes in seen(vec(control_plane(), 0..4)),
        releases in seen(vec(release(), 0..4)),
        catalog in seen(vec(version(), 0..5)),
        validator in seen((text(&["istiod", "istiod-1-31-0", "gone"]), any::<bool>())),
        tags in seen(vec(revision(), 0..2)),
        namespaces in seen(vec(namespace(), 0..5)),
        workloads in seen(vec(workload(), 0..5)),
        (loose_pods, probes, refused) in (vec(pod(), 0..3), probes(), vec(refusal(), 0..3)),
        missing in seen(vec(text(&["patch namespaces"]), 0..2)),
        (rivals, record, backup, dependents) in (vec(rival(), 0..2), seen(record()), seen(text(&["meshlift-backup-x"])), dependents()),
        (archives, budgets) in (seen(text(&["ba5e"])), seen(vec(budget(), 0..2))),
    ) -> MeshView {
        MeshView {
            mesh, kubernetes, control_planes: planes, releases, catalog,
            validator: map(validator, |(service, has_ca_bundle)| Validator { namespace: "istio-system".to_owned(), service, has_ca_bundle }),
            tags: map(tags, |tags| tags.into_iter().map(|revision| Tag { name: "prod".into(), revision, ..Tag::default() }).collect()),
            undecoded: Vec::new(), namespaces, workloads, loose_pods, missing_permissions: missing, probes, rivals, record, backup,
            archives: map(archives, |digest| ChartDigests { base: digest.clone(), istiod: digest.clone(), source: Some(digest) }),
            refusals: refused.into_iter().collect(), dependents, budgets,
            environment: Environment::default(), diffs: Seen::Absent, plan: None, knowledge: Default::default(), gateways: Seen::Absent,
        }
    }
}

prop_compose! {
    fn refusal()(
        uid in text(&["uid-a", "uid-b", "", "u"]),
        budget in any::<bool>(),
        count in 1..20_u32,
        (first, last) in (0..2000_i64, 0..2000_i64),
    ) -> (String, Refusal) {
        let at = |before: i64| now() - jiff::SignedDuration::from_secs(before);
        let refusal = Refusal { why: "policy: no".into(), budget, count, first_at: at(first), last_at: at(last.min(first)) };
        (uid, refusal)
    }
}

fn phase() -> impl Strategy<Value = Phase> {
    use Phase::*;
    select(
        &[
            Pending,
            Detecting,
            Upgrading,
            Upgrading,
            HealthChecking,
            HealthChecking,
            Done,
            Failed,
        ][..],
    )
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    select(
        &[
            CheckingEnvironment,
            Recording,
            UpgradingBase,
            InstallingControlPlane,
            ProvingControlPlane,
            WaitingForApproval,
            MovingNamespaces,
            RestartingWorkloads,
            VerifyingWave,
            Soaking,
            KeepingOldControlPlane,
            MovingDefaultRevision,
            RestoringAutoscaler,
            RetiringControlPlane,
            MovingBack,
            RestartingBack,
            ProvingBack,
            RemovingNewControlPlane,
        ][..],
    )
}

prop_compose! {
    fn soak()(
        since in moment(),
        injection_failures in 0_u64..3,
        passed_at in option::of(moment()),
    ) -> Soak {
        Soak {
            since: Time(since), injection_failures,
            passed_at: passed_at.map(Time),
        }
    }
}

prop_compose! {
    /// A rollback under way.
    pub fn rollback()(since in moment(), soak in option::of(soak())) -> RollbackStatus {
        RollbackStatus { reason: "it was not healthy".into(), since: Time(since), soak }
    }
}

prop_compose! {
    fn status()(
        phase in option::of(phase()),
        step in option::of(step()),
        observed_generation in option::of(1_i64..3),
        observed_retry in option::of(text(&["1"])),
        times in vec(option::of(moment()), 3),
        soak in option::of(soak()),
        rollback in option::weighted(0.3, rollback()),
        attempts in option::of((0_u32..u32::MAX, option::of(moment()))),
        message in text(&["", "as before"]),
        waves in wave_statuses(),
    ) -> MeshUpgradeStatus {
        let time = |at: &Option<Timestamp>| at.map(Time);
        MeshUpgradeStatus {
            phase, step, observed_generation, observed_retry, message, waves,
            started_at: time(&times[0]), step_started_at: time(&times[1]), finished_at: time(&times[2]),
            soak, rollback,
            attempts: attempts.map(|(count, next_at)| Attempts {
                count, next_at: next_at.map(Time), last_error: String::new(),
            }),
            ..MeshUpgradeStatus::default()
        }
    }
}

prop_compose! {
    pub fn upgrade()(
        uid in prop_oneof![Just("m".to_owned()), Just("u".repeat(300))],
        target in text(&["1.31.0", "1.31", "1.29.8", "v1", ""]),
        mesh in text(&["default", "prod"]),
        durations in vec(duration(), 3),
        concurrency in (0_u32..4, 0_u32..4),
        method in select(&[RestartMethod::Rollout, RestartMethod::Evict][..]),
        exclude in option::of(labels()),
        (created_at, status) in (moment(), status()),
        flags in any::<[bool; 5]>(),
        back in select(&[Rollback::Automatic, Rollback::Manual, Rollback::Never][..]),
        (retry, accepts) in (option::of(text(&["1", "2"])), option::of(text(&["METRICS-UNREADABLE", "x"]))),
        (waves, approvals) in (spec_waves(), prop::collection::btree_set(text(&["canary", "prod", "x"]), 0..3)),
    ) -> Upgrade {
        let spec = json!({ "targetVersion": target, "mesh": mesh });
        let mut spec: MeshUpgradeSpec = serde_json::from_value(spec).expect("a spec");
        spec.paused = flags[0] && flags[1];
        spec.strategy = if flags[0] && flags[4] { Replacing::InPlace } else { Replacing::Canary };
        spec.data_plane.waves = waves;
        spec.approvals = approvals.into_iter().collect();
        spec.rollback = back;
        spec.request_rollback = flags[3] && back != Rollback::Never;
        spec.data_plane.restart.timeout = durations[0];
        spec.data_plane.restart.method = method;
        spec.health_check.soak = durations[1];
        spec.retire.after = durations[2];
        spec.data_plane.restart.max_concurrent = concurrency.0;
        spec.data_plane.restart.max_concurrent_per_namespace = concurrency.1;
        spec.data_plane.exclude = exclude.map(|match_labels| LabelSelector {
            match_labels: Some(match_labels), ..LabelSelector::default()
        });
        Upgrade {
            name: "to-1-31".into(), uid, generation: 2, created_at, deleting: flags[1] && flags[2],
            held: flags[2], retry, redetect: None, accepts, spec, status,
        }
    }
}
