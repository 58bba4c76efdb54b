//! What the observer sees around a mesh on a real API server, with the account of the chart.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase};
use meshlift_cluster::helm::Helm;
use meshlift_cluster::{Observer, Settings, Watches};
use meshlift_istio::version::KubernetesVersion;
use meshlift_model::view::{
    Autoscaler, Environment, EnvoyFilter, HelmRelease, MeshView, Node, NodeAgent, NodeAgentKind,
    Quota, Requests, Seen,
};
use meshlift_testbed::Options;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::{Bed, ISTIO, OPERATOR_NAMESPACE, OPERATOR_USER};
use meshlift_tests::istio;
use meshlift_tests::wait::until;
use serde_json::json;
use tokio::runtime::Runtime;

const SOON: Duration = Duration::from_secs(40);
const MIB: i64 = 1 << 20;

/// Looks as the operator does while it detects.
struct Eyes {
    observer: Observer,
    watches: Watches,
}

impl Eyes {
    fn open(bed: &Bed, client: Client) -> Result<Self> {
        let (watches, run) = Watches::start(&client);
        // It ends with the runtime of the test.
        tokio::spawn(run);
        let settings = Settings {
            namespace: OPERATOR_NAMESPACE.into(),
            default_charts_repository: bed.cluster.charts_url_host()?,
            keep_backups: 0,
            helm: Helm::new(bed.cluster.tools().program("helm")?, None),
        };
        let observer = Observer::new(client, settings, watches.clone())?;
        Ok(Self { observer, watches })
    }

    async fn look(&self) -> Result<MeshView> {
        let spec = serde_json::from_value(json!({ "targetVersion": "1.31" }))?;
        let mut object = MeshUpgrade::new("looks", spec);
        object.status = Some(MeshUpgradeStatus {
            phase: Some(Phase::Detecting),
            ..MeshUpgradeStatus::default()
        });
        let upgrade = self.observer.upgrade(&object);
        Ok(self.observer.look(Timestamp::now(), &upgrade).await)
    }
}

async fn operator_client(bed: &Bed) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(&bed.operator_kubeconfig)?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(Client::try_from(config)?)
}

fn here<'a, T>(what: &str, seen: &'a Seen<T>) -> Result<&'a T> {
    let why = seen.unreadable().unwrap_or("absent");
    seen.present().with_context(|| format!("{what}: {why}"))
}

#[test]
fn api_the_surroundings_of_a_mesh_are_seen_as_they_are() -> Result<()> {
    Runtime::new()?.block_on(async {
        let bed = Bed::up(Options::api("environment")).await?;
        let eyes = Eyes::open(&bed, operator_client(&bed).await?)?;
        until("everything is listed", SOON, || async {
            let open = eyes.watches.unsettled();
            Ok(open.is_empty().then_some(()).ok_or(format!("{open:?}")))
        })
        .await?;

        let bare = eyes.look().await?.environment;
        ensure!(bare.envoy_filters == Seen::Absent, "{:?}", bare.envoy_filters);
        ensure!(bare.crds == Seen::Present(vec![]), "{:?}", bare.crds);

        prepare(&bed).await?;
        let view = until("all of it is seen", SOON, || async {
            eyes.observer.forget_environment();
            let view = eyes.look().await?;
            Ok(match complete(&view) {
                Ok(()) => Ok(view),
                Err(why) => Err(format!("{why:#}")),
            })
        })
        .await?;
        crds(&view.environment)?;
        control_planes(&view)?;

        let audit = bed.audit()?;
        let again = eyes.look().await?;
        ensure!(again.environment == view.environment, "it changed by itself");
        let asked = audit.reads(OPERATOR_USER)?;
        ensure!(
            !asked.iter().any(|(_, resource)| resource.contains("nodes") || resource.contains("definitions")),
            "what is known is asked again: {asked:?}"
        );
        eyes.observer.forget_environment();
        eyes.look().await?;
        let asked: BTreeSet<_> = audit.reads(OPERATOR_USER)?.into_iter().collect();
        let listed = |resource: &str| asked.contains(&("list".to_owned(), resource.to_owned()));
        ensure!(listed("/nodes"), "what is forgotten is not asked again: {asked:?}");
        ensure!(!listed("/pods"), "pods are listed: {asked:?}");
        ensure!(
            !asked.contains(&("get".to_owned(), "apiextensions.k8s.io/customresourcedefinitions".to_owned())),
            "CRDs that did not change are read again: {asked:?}"
        );
        bed.cluster.down().await
    })
}

/// Installs Istio and makes what lies around it. No istiod runs: its pod would take room.
async fn prepare(bed: &Bed) -> Result<()> {
    istio::install(bed, ISTIO_FROM).await?;
    let scale = ["scale", "deployment", "istiod", "-n", ISTIO, "--replicas=0"];
    bed.cluster.kubectl(&scale).await?;
    bed.cluster.apply_yaml(include_str!("kinds.yaml")).await?;
    let kinds = [
        "crd/istios.sailoperator.io",
        "crd/envoyfilters.networking.istio.io",
    ];
    let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
    bed.cluster.kubectl(&[&wait[..], &kinds].concat()).await?;
    bed.cluster.apply_yaml(include_str!("objects.yaml")).await
}

/// Whether everything but the CRDs is as it was made.
fn complete(view: &MeshView) -> Result<()> {
    let around = &view.environment;
    nodes(around)?;
    let expected = vec![Autoscaler {
        namespace: ISTIO.into(),
        name: "istiod".into(),
        target: "istiod".into(),
        min: 1,
        max: 5,
    }];
    ensure!(
        around.autoscalers == Seen::Present(expected),
        "{:?}",
        around.autoscalers
    );
    let expected = vec![Quota {
        namespace: ISTIO.into(),
        name: "mesh".into(),
        ..Quota::default()
    }];
    ensure!(
        around.quotas == Seen::Present(expected),
        "{:?}",
        around.quotas
    );
    let expected = vec![NodeAgent {
        kind: NodeAgentKind::Cni,
        namespace: "kube-system".into(),
        name: "istio-cni-node".into(),
        version: Some("1.29.3".parse()?),
        image: "docker.io/istio/install-cni:1.29.3-distroless".into(),
        desired: 0,
        ready: 0,
    }];
    ensure!(
        around.node_agents == Seen::Present(expected),
        "{:?}",
        around.node_agents
    );
    let expected = vec![EnvoyFilter {
        namespace: "shop".into(),
        name: "pinned".into(),
        proxy_versions: vec![r"^1\.30.*".into()],
    }];
    ensure!(
        around.envoy_filters == Seen::Present(expected),
        "{:?}",
        around.envoy_filters
    );
    let expected = vec!["Istio shop (sailoperator.io)".to_owned()];
    ensure!(
        around.other_installers == Seen::Present(expected),
        "{:?}",
        around.other_installers
    );
    let expected = vec![HelmRelease {
        namespace: ISTIO.into(),
        name: "istiod".into(),
        release: "istio-system/istiod".into(),
        suspended: false,
    }];
    ensure!(
        around.helm_releases == Seen::Present(expected),
        "{:?}",
        around.helm_releases
    );
    dependents(view)?;
    budgets(around)?;
    injectors(around)?;
    let pod = view.loose_pods.iter().find(|pod| pod.name == "cart");
    let image = pod.and_then(|pod| pod.proxy_image.as_deref());
    ensure!(
        image == Some("docker.io/istio/proxyv2:1.30.2"),
        "{:?}",
        view.loose_pods
    );
    ensure!(
        view.loose_pods.len() == 1,
        "pods without a sidecar count: {:?}",
        view.loose_pods
    );
    Ok(())
}

/// Who would miss the control plane without running now.
fn dependents(view: &MeshView) -> Result<()> {
    let templates = here("templates", &view.dependents.templates)?;
    let named: Vec<_> = templates
        .iter()
        .map(|of| (of.kind.as_str(), of.name.as_str()))
        .collect();
    ensure!(
        named == [("CronJob", "sweep"), ("Job", "waits")],
        "{named:?}"
    );
    let configuration = here("configuration", &view.dependents.configuration)?;
    let [door] = &configuration[..] else {
        anyhow::bail!("{configuration:?}")
    };
    ensure!(
        door.resource == "authorizationpolicies.security.istio.io" && door.revision == "default",
        "{door:?}"
    );
    let workloads = here("workloads", &view.workloads)?;
    let report = workloads.iter().find(|of| of.key.name == "report");
    let report = report.with_context(|| format!("{workloads:?}"))?;
    ensure!(report.pods.is_empty(), "{report:?}");
    Ok(())
}

fn nodes(around: &Environment) -> Result<()> {
    let node = |name: &str, schedulable, free_cpu, free_memory, kubelet| Node {
        name: name.into(),
        schedulable,
        kubelet,
        free_cpu,
        free_memory,
    };
    let kubelet = Some(KubernetesVersion {
        major: 1,
        minor: 33,
    });
    // Both pods: 1 core for the init container of one, 110m for the other.
    let (cpu, memory) = (3920 - 1000 - 110, 14 * 1024 * MIB - 1536 * MIB - 128 * MIB);
    let expected = vec![
        node("cordoned", false, 2000, 4096 * MIB, None),
        node("room", true, cpu, memory, kubelet),
        node("tainted", false, 2000, 4096 * MIB, None),
    ];
    ensure!(
        around.nodes == Seen::Present(expected),
        "{:?}",
        around.nodes
    );
    Ok(())
}

fn budgets(around: &Environment) -> Result<()> {
    // The chart makes none for an istiod that may have a single replica.
    let budgets = here("budgets", &around.budgets)?;
    let [cart] = &budgets[..] else {
        anyhow::bail!("{budgets:?}")
    };
    ensure!(
        (cart.namespace.as_str(), cart.name.as_str()) == ("shop", "cart"),
        "{cart:?}"
    );
    let selector = serde_json::to_value(&cart.selector)?;
    let expressions = json!([{ "key": "app", "operator": "In", "values": ["cart", "checkout"] }]);
    ensure!(
        selector == json!({ "matchExpressions": expressions }),
        "{selector}"
    );
    Ok(())
}

fn injectors(around: &Environment) -> Result<()> {
    let rules = here("injectors", &around.injectors)?;
    let forgotten = rules.iter().find(|rule| rule.configuration == "forgotten");
    let forgotten = forgotten.with_context(|| format!("{rules:?}"))?;
    ensure!(
        forgotten.revision.is_none() && !forgotten.service_exists,
        "{forgotten:?}"
    );
    ensure!(
        forgotten.service.as_deref() == Some("istio-old/istiod"),
        "{forgotten:?}"
    );
    let own: Vec<_> = rules
        .iter()
        .filter(|r| r.configuration == "istio-sidecar-injector")
        .collect();
    ensure!(own.len() == 4, "{own:?}");
    for rule in own {
        ensure!(
            rule.revision.as_deref() == Some("default") && rule.service_exists,
            "{rule:?}"
        );
        ensure!(
            rule.tag.is_none() && rule.namespaces.match_expressions.is_some(),
            "{rule:?}"
        );
    }
    Ok(())
}

fn crds(around: &Environment) -> Result<()> {
    let crds = here("CRDs", &around.crds)?;
    let named = |name: &str| {
        let found = crds.iter().find(|crd| crd.name == name);
        found.with_context(|| format!("no CRD {name}"))
    };
    let routes = named("virtualservices.networking.istio.io")?;
    ensure!(
        routes.helm_release.as_deref() == Some("istio-system/istio-base"),
        "{routes:?}"
    );
    ensure!(routes.stored_versions == ["v1"], "{routes:?}");
    let served: BTreeSet<&str> = routes.served_versions.iter().map(String::as_str).collect();
    ensure!(
        served == BTreeSet::from(["v1", "v1alpha3", "v1beta1"]),
        "{routes:?}"
    );
    ensure!(
        routes.labels["app.kubernetes.io/part-of"] == "istio",
        "{routes:?}"
    );
    let gateways = named("gateways.gateway.networking.k8s.io")?;
    ensure!(
        gateways.bundle_version.as_deref() == Some("v1.2.1"),
        "{gateways:?}"
    );
    ensure!(
        gateways.served_versions == ["v1"] && gateways.helm_release.is_none(),
        "{gateways:?}"
    );
    let others = crds
        .iter()
        .filter(|crd| !crd.name.ends_with(".istio.io") && crd.name != gateways.name);
    ensure!(others.count() == 0, "{crds:?}");
    Ok(())
}

fn control_planes(view: &MeshView) -> Result<()> {
    let planes = here("control planes", &view.control_planes)?;
    let [istiod] = &planes[..] else {
        anyhow::bail!("{planes:?}")
    };
    let expected = Requests {
        cpu: 500,
        memory: 2048 * MIB,
    };
    ensure!(
        istiod.requests == expected && !istiod.external,
        "{istiod:?}"
    );
    Ok(())
}

#[test]
fn api_what_may_not_be_read_is_said_with_the_right_that_is_missing() -> Result<()> {
    Runtime::new()?.block_on(async {
        let bed = Bed::up(Options::api("environment-rights")).await?;
        let nobody = bed.cluster.client_for("nobody", &[]).await?;
        let view = Eyes::open(&bed, nobody)?.look().await?;
        let (around, dependents) = (view.environment, view.dependents);
        for (what, why) in [
            (
                "list customresourcedefinitions.apiextensions.k8s.io",
                around.crds.unreadable(),
            ),
            (
                "list customresourcedefinitions.apiextensions.k8s.io",
                around.other_installers.unreadable(),
            ),
            ("list cronjobs.batch", dependents.templates.unreadable()),
            (
                "list customresourcedefinitions.apiextensions.k8s.io",
                dependents.configuration.unreadable(),
            ),
            (
                "list poddisruptionbudgets.policy",
                around.budgets.unreadable(),
            ),
            (
                "list envoyfilters.networking.istio.io",
                around.envoy_filters.unreadable(),
            ),
        ] {
            let why = why.with_context(|| format!("{what} is not told"))?;
            ensure!(why.contains("may not") && why.contains(what), "{why}");
        }
        // What comes from the watches: nothing is absent before it was listed.
        ensure!(around.nodes.unreadable().is_some(), "{:?}", around.nodes);
        ensure!(
            around.injectors.unreadable().is_some(),
            "{:?}",
            around.injectors
        );
        ensure!(
            around.node_agents.unreadable().is_some(),
            "{:?}",
            around.node_agents
        );
        bed.cluster.down().await
    })
}
