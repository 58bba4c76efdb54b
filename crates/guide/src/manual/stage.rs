//! One hop of the way by hand, and the commands that every way shares.

use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV};
use meshlift_istio::version::Version;
use meshlift_model::view::Workload;

use super::found::{Found, Moves};
use super::guide::{Guide, command, quote};

/// One hop, with what the one before it left.
pub(super) struct Stage<'a> {
    pub(super) from: Version,
    pub(super) from_revision: String,
    /// Helm release of the control plane to leave.
    pub(super) release: String,
    /// Version of the control plane whose values were saved, and of the image tags in them.
    pub(super) saved: Version,
    pub(super) to: Version,
    pub(super) revision: String,
    /// Namespaces with the injection labels that they have when this hop begins.
    pub(super) namespaces: Vec<(&'a str, Vec<&'static str>)>,
    pub(super) first: bool,
}

/// The hops of a canary by revision.
pub(super) fn stages<'a>(found: &Found<'a>, release: &str, hops: &[Version]) -> Vec<Stage<'a>> {
    let mut stages = Vec::new();
    let mut from = (
        found.from.clone(),
        found.revision.clone(),
        release.to_owned(),
    );
    for (n, to) in hops.iter().enumerate() {
        let labels = |labels: &std::collections::BTreeMap<String, String>| {
            let has = |key: &&'static str| labels.contains_key(*key);
            match n {
                0 => [ISTIO_INJECTION, ISTIO_REV]
                    .into_iter()
                    .filter(has)
                    .collect(),
                _ => vec![ISTIO_REV],
            }
        };
        let namespaces = found.namespaces.iter();
        stages.push(Stage {
            from: from.0,
            from_revision: from.1,
            release: from.2,
            saved: found.from.clone(),
            to: to.clone(),
            revision: found.new_revision(to),
            namespaces: namespaces
                .map(|ns| (ns.name.as_str(), labels(&ns.labels)))
                .collect(),
            first: n == 0,
        });
        let revision = found.new_revision(to);
        from = (to.clone(), revision.clone(), format!("istiod-{revision}"));
    }
    stages
}

impl Stage<'_> {
    /// `istiod-1-31-0`; the Deployment and the Service are called the same by every chart.
    pub(super) fn istiod(&self) -> String {
        format!("istiod-{}", self.revision)
    }

    pub(super) fn old_istiod(&self) -> String {
        deployment_of(&self.from_revision)
    }
}

/// The Deployment and Service of a revision. Source: istio-discovery `templates/deployment.yaml`.
pub(super) fn deployment_of(revision: &str) -> String {
    match revision {
        "default" => "istiod".to_owned(),
        revision => format!("istiod-{revision}"),
    }
}

/// The injection webhook of a revision. Source: istio-discovery `templates/mutatingwebhook.yaml`.
pub(super) fn injector(found: &Found<'_>, revision: &str) -> String {
    let home = match found.home.as_str() {
        "istio-system" => String::new(),
        home => format!("-{home}"),
    };
    match revision {
        "default" => format!("istio-sidecar-injector{home}"),
        revision => format!("istio-sidecar-injector-{revision}{home}"),
    }
}

/// Proof that the new control plane is up and injects.
pub(super) fn prove(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    let home = quote(&found.home);
    let istiod = stage.istiod();
    if found.plane.is_some() {
        guide.run(&format!(
            "kubectl -n {home} rollout status deployment/{istiod} --timeout=5m"
        ));
        guide.good("it ends with \"successfully rolled out\".");
    }
    let webhook = injector(found, &stage.revision);
    guide.run(&format!(
        "kubectl get mutatingwebhookconfiguration {} -o 'jsonpath={{.webhooks[*].clientConfig.caBundle}}' | wc -c",
        quote(&webhook)
    ));
    guide.good("a number well above 0: istiod has written its CA into the webhook. With 0 no pod of the new revision could be made.");
    let Some(namespace) = unlabelled(found) else {
        return;
    };
    guide.run(&format!(
        "kubectl -n {} run istio-probe --image=probe --labels={ISTIO_REV}={} --dry-run=server -o 'jsonpath={{.metadata.annotations.sidecar\\.istio\\.io/status}}'",
        quote(namespace),
        stage.revision
    ));
    guide.good(&format!(
        "the answer names \"revision\":\"{}\". The pod is only tried (--dry-run), none is made. A connection that is refused: try again after a few seconds, when every node knows the new Service.",
        stage.revision
    ));
}

/// A namespace where the label of a pod decides who injects it: one without labels of its own.
fn unlabelled<'a>(found: &'a Found<'_>) -> Option<&'a str> {
    let namespaces = found.view.namespaces.present()?;
    let free = |name: &&str| {
        let namespace = namespaces.iter().find(|ns| ns.name == **name);
        namespace.is_some_and(|ns| {
            let decides = [ISTIO_INJECTION, ISTIO_REV];
            !decides.iter().any(|label| ns.labels.contains_key(*label))
        })
    };
    // istiod never injects into kube-system and its like, so no other is guessed.
    [found.home.as_str(), "default"].into_iter().find(free)
}

/// Gateways that follow their namespace or a tag are rolled by istiod at the moment that one moves, before everything
/// else and all at once: their own label keeps them until it is their turn.
fn keep_gateways(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    let rendered = found.moves(&stage.revision, false).managed_gateways;
    let own = |workload: &Workload| {
        let mut gateways = found.view.gateways.present().into_iter().flatten();
        let of = gateways.find(|gateway| workload.is_of(gateway));
        of.is_some_and(|gateway| gateway.label.as_ref() == Some(&stage.from_revision))
    };
    let follow: Vec<&&Workload> = rendered.iter().filter(|w| !own(w)).collect();
    if follow.is_empty() || !stage.first {
        return;
    }
    guide.say("These Gateways follow their namespace, a tag or the default: istiod would roll them with it. A label of their own keeps them at the old revision until everything else has moved.");
    for workload in follow {
        guide.run(&label_gateway(workload, &stage.from_revision));
    }
}

fn label_gateway(workload: &Workload, revision: &str) -> String {
    let name = workload.labels.get(meshlift_api::labels::GATEWAY_NAME);
    // What istiod renders is called as its Gateway and its class. Source: istio `pilot/pkg/config/kube/gateway`.
    let called = workload.key.name.trim_end_matches("-istio");
    command(&[
        "kubectl",
        "-n",
        &workload.key.namespace,
        "label",
        "gateways.gateway.networking.k8s.io",
        name.map_or(called, String::as_str),
        &format!("{ISTIO_REV}={revision}"),
        "--overwrite",
    ])
}

/// Namespaces from the old revision to the new one, each in one patch.
pub(super) fn move_namespaces(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    keep_gateways(guide, found, stage);
    if stage.namespaces.is_empty() {
        guide.say("No namespace follows the old revision by a label of its own.");
        return;
    }
    guide.say("Running pods stay as they are until they are restarted. Both labels go in one command, because between two commands a new pod would get no sidecar. If the labels come from Git, change them there and let its tool do it.");
    for (namespace, labels) in &stage.namespaces {
        guide.run(&label(namespace, labels, &stage.revision));
    }
    guide.run(&format!(
        "kubectl get namespaces -L {ISTIO_INJECTION},{ISTIO_REV}"
    ));
    guide.good(&format!(
        "each of them shows {} under REV and nothing under ISTIO-INJECTION.",
        stage.revision
    ));
    guide.back("put the labels back:");
    for (namespace, labels) in &stage.namespaces {
        guide.run(&label_back(namespace, labels, &stage.from_revision));
    }
}

fn label(namespace: &str, had: &[&str], revision: &str) -> String {
    let set = format!("{ISTIO_REV}={revision}");
    let drop = format!("{ISTIO_INJECTION}-");
    let mut words = vec!["kubectl", "label", "namespace", namespace, "--overwrite"];
    if had.contains(&ISTIO_INJECTION) {
        words.push(&drop);
    }
    words.push(&set);
    command(&words)
}

fn label_back(namespace: &str, had: &[&str], revision: &str) -> String {
    let rev = if had.contains(&ISTIO_REV) {
        format!("{ISTIO_REV}={revision}")
    } else {
        format!("{ISTIO_REV}-")
    };
    let injection = format!("{ISTIO_INJECTION}=enabled");
    let mut words = vec![
        "kubectl",
        "label",
        "namespace",
        namespace,
        "--overwrite",
        &rev,
    ];
    if had.contains(&ISTIO_INJECTION) {
        words.push(&injection);
    }
    command(&words)
}

/// The heading of a hop, where there are several.
pub(super) fn heading(guide: &mut Guide, stage: &Stage<'_>, hops: &[Version]) {
    if hops.len() > 1 {
        guide.heading(&format!("== From {} to {}", stage.from, stage.to));
    }
}

/// The way back where labels, and tags, were moved.
pub(super) const LABELS_BACK: &str =
    "put the labels (and tags) back as above and restart the same workloads again.";

/// Workloads to the new revision, and how they get back.
pub(super) fn move_workloads(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>, back: &str) {
    guide.step("Workloads");
    let moves = found.moves(&stage.revision, false);
    restart(guide, &moves, &Sees::Revision(&stage.revision));
    guide.back(back);
}

/// What is to be seen before a person removes the old control plane.
pub(super) fn before_removal(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    guide.say("Leave it for as long as you want to be able to go back quickly: an hour at least, a day if you can.");
    unused(guide, found, stage);
}

/// Workloads restarted namespace by namespace, and what is not moved by that.
pub(super) fn restart(guide: &mut Guide, moves: &Moves<'_>, sees: &Sees<'_>) {
    if moves.restarts.is_empty() {
        guide.say("No workload has a sidecar of the old control plane that a restart would renew.");
    } else {
        guide.say("Namespace by namespace: go on when one is healthy. A restart is a rolling update, so disruption budgets and the strategies of the workloads hold.");
    }
    for (namespace, workloads) in &moves.restarts {
        let names: Vec<String> = workloads.iter().map(|w| reference(w)).collect();
        guide.say(&format!("Namespace {namespace}:"));
        let mut words = vec!["kubectl", "-n", namespace, "rollout", "restart"];
        words.extend(names.iter().map(String::as_str));
        guide.run(&command(&words));
        for name in &names {
            let words = [
                "kubectl",
                "-n",
                namespace,
                "rollout",
                "status",
                name,
                "--timeout=10m",
            ];
            guide.run(&command(&words));
        }
        guide.run(&sees.command(namespace));
    }
    if !moves.restarts.is_empty() {
        guide.good(&sees.good());
    }
    if !moves.managed_gateways.is_empty() {
        move_gateways(guide, &moves.managed_gateways, sees);
    }
    if !moves.blocked.is_empty() {
        guide.say("These are not renewed by a restart. As long as they run their old sidecar they need the control plane that it is connected to:");
        for (reference, message) in &moves.blocked {
            guide.say(&format!("  {reference}: {message}"));
        }
    }
}

/// The Gateways that istiod renders, one after the other.
fn move_gateways(guide: &mut Guide, gateways: &[&Workload], sees: &Sees<'_>) {
    let Sees::Revision(revision) = sees else {
        guide.say("istiod has rolled these gateways itself; nothing is to do for them:");
        for workload in gateways {
            guide.say(&format!("  {}", workload.key));
        }
        return;
    };
    guide.say("Gateways that istiod renders, last and one after the other: it rolls each when the label of its Gateway changes. An istiod before 1.31 takes the configuration away from the pods that still serve, so requests through the Gateway are lost until its new pods are ready (istio issue 59959; late patches of 1.29 and 1.30 have the fix). Do it when such a gap does no harm.");
    for workload in gateways {
        guide.run(&label_gateway(workload, revision));
        guide.run(&command(&[
            "kubectl",
            "-n",
            &workload.key.namespace,
            "rollout",
            "status",
            &reference(workload),
            "--timeout=10m",
        ]));
        guide.run(&sees.command(&workload.key.namespace));
    }
    guide.good(&sees.good());
}

fn reference(workload: &Workload) -> String {
    format!("{}/{}", workload.key.kind.resource(), workload.key.name)
}

/// How a person sees that sidecars are renewed.
pub(super) enum Sees<'a> {
    /// By the revision that the injector wrote.
    Revision(&'a str),
    /// By the image, where the revision stays the same.
    Image(&'a Version),
}

impl Sees<'_> {
    fn command(&self, namespace: &str) -> String {
        let shown = match self {
            Sees::Revision(_) => r"{.metadata.annotations.sidecar\.istio\.io/status}",
            // A native sidecar is an init container.
            Sees::Image(_) => {
                r#"{.spec.containers[?(@.name=="istio-proxy")].image}{.spec.initContainers[?(@.name=="istio-proxy")].image}"#
            }
        };
        format!(
            "kubectl -n {} get pods -o 'jsonpath={{range .items[*]}}{{.metadata.name}}{{\"  \"}}{shown}{{\"\\n\"}}{{end}}'",
            quote(namespace)
        )
    }

    fn good(&self) -> String {
        match self {
            Sees::Revision(revision) => format!(
                "every pod that had a sidecar names \"revision\":\"{revision}\", and the applications answer as before."
            ),
            Sees::Image(version) => format!(
                "every pod that had a sidecar names an image of {version}, and the applications answer as before."
            ),
        }
    }
}

/// What still uses the old control plane; nothing may, before it goes.
pub(super) fn unused(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    let home = quote(&found.home);
    let old = &stage.from_revision;
    guide.say("Nothing may use the old control plane any more:");
    let by_revision = format!("{ISTIO_REV}={old}");
    let by_default = (old == "default").then_some("istio-injection=enabled");
    for selector in by_default.into_iter().chain([by_revision.as_str()]) {
        guide.run(&format!("kubectl get namespaces -l {}", quote(selector)));
    }
    guide.run(&format!(
        "kubectl get mutatingwebhookconfigurations -l {}",
        quote(&format!("istio.io/tag,{ISTIO_REV}={old}"))
    ));
    guide.good("they find nothing.");
    guide.run(&format!(
        "kubectl get pods -A -o 'jsonpath={{range .items[*]}}{{.metadata.namespace}}/{{.metadata.name}}{{\" \"}}{{.metadata.annotations.sidecar\\.istio\\.io/status}}{{\"\\n\"}}{{end}}' | grep {}",
        quote(&format!("\"revision\":\"{old}\""))
    ));
    guide.good("nothing: no pod runs a sidecar of the old revision.");
    if found.plane.is_none() {
        guide.say("And nothing of another cluster may use it: ask where istiod runs.");
        return;
    }
    guide.run(&format!(
        "for pod in $(kubectl -n {home} get pods -l {} -o name); do kubectl get --raw \"/api/v1/namespaces/{home}/pods/${{pod#pod/}}:15014/proxy/metrics\" | grep '^pilot_xds{{'; done",
        quote(&format!("app=istiod,{ISTIO_REV}={old}"))
    ));
    guide.good("every number is 0, or there is none. Another number is of proxies that are no pods of this cluster: virtual machines, or other clusters that reach this istiod by its Service, which goes with it.");
}
