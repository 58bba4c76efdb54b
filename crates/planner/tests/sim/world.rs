//! The truth of a simulated cluster: what the API server stores, what istiod and the kubelet do
//! with time, and how often each object was written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{MeshSpec, Strategy};
use meshlift_istio::version::{KubernetesVersion, Version};
use meshlift_model::view::{
    ControlPlane, Dependents, Gateway, Namespace, Pod, Rival, Tag, UpdateStrategy, Validator,
    WorkloadKey, WorkloadKind,
};
use meshlift_model::{ChartDigests, ErrorClass, Injector, Record, Refusals, Upgrade, injector_of};

use crate::helm::Helm;
use crate::istiod::Istiod;

/// Everything there is.
#[derive(Clone)]
pub struct World {
    pub now: Timestamp,
    pub object: Option<Upgrade>,
    pub records: BTreeMap<String, Record>,
    /// Names of the backups there are.
    pub backups: BTreeSet<String>,
    pub mesh: Option<MeshSpec>,
    pub rivals: Vec<Rival>,
    pub kubernetes: KubernetesVersion,
    pub missing_permissions: Vec<String>,
    /// What the chart repository has, or why it does not answer.
    pub repository: Result<Vec<Version>, String>,
    /// The archives of its charts, whatever the version.
    pub archives: ChartDigests,
    pub helm: Helm,
    pub istiods: Vec<Istiod>,
    pub validator: Option<Validator>,
    /// What only the detection looks at.
    pub environment: meshlift_model::view::Environment,
    /// Templates without pods, and configuration that only one revision reads.
    pub dependents: Dependents,
    /// The plan that was written down.
    pub plan: Option<String>,
    pub tags: Vec<Tag>,
    /// Gateways of the Gateway API; each has an App that istiod renders.
    pub gateways: Vec<Gateway>,
    pub namespaces: Vec<Namespace>,
    pub apps: Vec<App>,
    pub loose: Vec<Arc<Pod>>,
    /// Proxies that are no pods of this cluster, by the revision they are connected to.
    pub outsiders: BTreeMap<String, u64>,
    pub injection_failures: u64,
    /// Lists that cannot be read, by their name in the view.
    pub unreadable: BTreeMap<&'static str, String>,
    /// Why the pods of a newly installed istiod never get ready.
    pub istiod_trouble: Option<String>,
    /// Namespaces that refuse new pods, and why.
    pub refusing: BTreeMap<String, String>,
    /// Whether others do as they like, so that a pod may have to wait until it can start.
    pub lives: bool,
    /// Namespaces with a quota of pods that is used up: there is room for a new one only where an old one goes first.
    pub full: BTreeSet<String>,
    /// A workload that a policy lets nobody change.
    pub denied: Option<String>,
    /// Whether every istiod needs long for every push.
    pub slow_istiod: bool,
    /// How many restarts the API server refuses yet, because it has too much to do.
    pub too_many_requests: u32,
    /// How many ready pods a workload keeps, by its name.
    pub budgets: BTreeMap<String, usize>,
    /// Writes that a policy, a webhook or a busy API server refuses.
    pub policies: Vec<Policy>,
    /// Refusals, as the operator's memory has them.
    pub refusals: Refusals,
    /// Writes by object; the status of the MeshUpgrade aside.
    pub writes: BTreeMap<String, u32>,
    pub status_writes: u32,
    pub serial: u64,
}

/// Somebody who refuses writes.
#[derive(Clone)]
pub struct Policy {
    /// Part of what the effect is called.
    pub what: &'static str,
    pub class: ErrorClass,
    /// Who refuses, and why; without a word where no answer comes.
    pub why: &'static str,
}

/// A workload with its pods.
#[derive(Clone)]
pub struct App {
    pub key: WorkloadKey,
    pub uid: String,
    pub resource_version: u64,
    pub labels: BTreeMap<String, String>,
    pub template_labels: BTreeMap<String, String>,
    pub template_revision_before: Option<String>,
    pub template_revision_owner: Option<String>,
    pub own_proxy_image: bool,
    /// The revision whose sidecar its template itself holds.
    pub sidecar_in_template: Option<String>,
    pub host_network: bool,
    pub mark: Option<String>,
    pub restarted_at: Option<Timestamp>,
    pub evicted_at: Option<Timestamp>,
    pub strategy: UpdateStrategy,
    pub paused: bool,
    pub managed_gateway: bool,
    pub injected_gateway: bool,
    /// The revision that rendered it last, if it is of a Gateway.
    pub rendered_by: Option<String>,
    /// Whether its containers restart all the time on this revision.
    pub flaps_on: Option<&'static str>,
    pub replicas: usize,
    pub template: u32,
    pub startup: i64,
    /// Why pods of a template newer than the first never get ready.
    pub breaks: Option<String>,
    pub pods: Vec<Member>,
}

/// A pod of an App.
#[derive(Clone)]
pub struct Member {
    pub pod: Arc<Pod>,
    pub sidecar: bool,
    pub template: u32,
    pub ready_at: Option<Timestamp>,
}

impl Member {
    /// The pod, to change it; whoever looked at it before keeps what was seen.
    pub fn pod_mut(&mut self) -> &mut Pod {
        Arc::make_mut(&mut self.pod)
    }
}

pub fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    pairs.iter().map(owned).collect()
}

pub fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

pub fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

impl World {
    pub fn wrote(&mut self, object: impl Into<String>) {
        *self.writes.entry(object.into()).or_default() += 1;
    }

    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn planes(&self) -> Vec<ControlPlane> {
        self.istiods.iter().map(|i| i.plane.clone()).collect()
    }

    pub fn istiod(&mut self, revision: &str) -> &mut Istiod {
        let found = self
            .istiods
            .iter_mut()
            .find(|i| i.plane.revision == revision);
        found.expect("an istiod of that revision")
    }

    pub fn namespace(&mut self, name: &str) -> &mut Namespace {
        let serial = self.next_serial();
        let found = self.namespaces.iter_mut().find(|ns| ns.name == name);
        let namespace = found.expect("a namespace of that name");
        namespace.resource_version = serial.to_string();
        namespace
    }

    pub fn app(&mut self, name: &str) -> &mut App {
        let serial = self.next_serial();
        let found = self.apps.iter_mut().find(|app| app.key.name == name);
        let app = found.expect("a workload of that name");
        app.resource_version = serial;
        app
    }

    /// Restarts the container of each of its pods so often.
    pub fn crash(&mut self, name: &str, times: u32) {
        let now = self.now;
        for member in &mut self.app(name).pods {
            member.pod_mut().restarts += times;
            member.pod_mut().restarted_at = Some(now);
        }
    }

    /// Deletes a namespace with all that is in it, at once.
    pub fn delete_namespace(&mut self, name: &str) {
        self.namespaces.retain(|ns| ns.name != name);
        self.apps.retain(|app| app.key.namespace != name);
        self.loose.retain(|pod| pod.namespace != name);
    }

    /// The image of the sidecar that a revision injects.
    pub fn proxy_image(&self, revision: &str) -> Option<Arc<str>> {
        let mut istiods = self.istiods.iter();
        istiods
            .find(|istiod| istiod.plane.revision == revision)?
            .injects()
    }

    /// How the upgrade replaces the control plane.
    pub fn strategy(&self) -> Strategy {
        let object = self.object.as_ref();
        object.map_or(Strategy::Canary, |object| object.spec.strategy)
    }

    /// What a pod runs, as restarts are marked: the revision of its sidecar, in place the version.
    pub fn sidecar(&self, pod: &Pod) -> Option<String> {
        match self.strategy() {
            Strategy::Canary => pod.revision.clone(),
            Strategy::InPlace => Some(pod.version()?.revision()),
        }
    }

    /// The same of a pod that a revision injects now.
    pub fn lands(&self, revision: String) -> String {
        let image = || Version::from_image(&self.proxy_image(&revision)?);
        match self.strategy() {
            Strategy::Canary => revision,
            Strategy::InPlace => image()
                .map(|version| version.revision())
                .unwrap_or(revision),
        }
    }

    /// Gives every sidecar the image that its revision injects now, as if it had never had another one.
    pub fn renew_images(&mut self) {
        for at in 0..self.apps.len() {
            for member in 0..self.apps[at].pods.len() {
                let revision = self.apps[at].pods[member].pod.revision.clone();
                let image = revision.and_then(|revision| self.proxy_image(&revision));
                self.apps[at].pods[member].pod_mut().proxy_image = image;
            }
        }
    }

    /// Which revision injects a new pod, by the webhooks that are there.
    pub fn injecting(&self, namespace: &str, template: &BTreeMap<String, String>) -> Injection {
        let Some(namespace) = self.namespaces.iter().find(|ns| ns.name == namespace) else {
            return Injection::Refused(format!("namespaces \"{namespace}\" not found"));
        };
        if let Some(why) = self.refusing.get(&namespace.name) {
            return Injection::Refused(why.clone());
        }
        let planes = self.planes();
        let revision = match injector_of(&namespace.labels, template, &planes, &self.tags) {
            Injector::Namespace(revision) => revision,
            Injector::Tag(name) | Injector::Pod(Some(name)) => self.revision_of(name),
            Injector::Pod(None) => self.revision_of("default".to_owned()),
            Injector::Nobody => return Injection::None,
        };
        match self.istiods.iter().find(|i| i.plane.revision == revision) {
            Some(istiod) if istiod.serves() => Injection::By(revision),
            Some(istiod) => {
                let name = &istiod.plane.name;
                Injection::Refused(format!("no endpoints for service {name}"))
            }
            None => Injection::None,
        }
    }

    /// Whether an istiod that served has no pod any more.
    fn has_lost_an_istiod(&self) -> bool {
        let mut planes = self.istiods.iter().map(|istiod| &istiod.plane);
        planes.any(|plane| plane.ready == 0 && plane.trouble.is_some())
    }

    /// The revision that a tag points at, or the name itself.
    fn revision_of(&self, name: String) -> String {
        let tag = self.tags.iter().find(|tag| tag.name == name);
        tag.map_or(name, |tag| tag.revision.clone())
    }

    /// The time of the next thing that happens by itself.
    pub fn next_event(&self) -> Option<Timestamp> {
        let pods = self.apps.iter().flat_map(|app| &app.pods);
        let pods = pods.filter(|member| !member.pod.ready);
        let istiods = self.istiods.iter();
        let planes = istiods.flat_map(|i| [i.ready_at, i.ca_bundle_at]);
        let times = pods.map(|member| member.ready_at).chain(planes).flatten();
        times.filter(|at| *at > self.now).min()
    }

    /// Lets istiod, the workload controllers and the kubelet do what is due.
    pub fn settle(&mut self) {
        let now = self.now;
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        for istiod in &mut self.istiods {
            if due(istiod.ready_at) {
                istiod.ready_at = None;
                istiod.plane.ready = istiod.plane.desired;
                istiod.plane.trouble = None;
                istiod.replaces = None;
                istiod.plane.rolling = false;
                istiod.ca_bundle_at = Some(now + seconds(1));
            }
            if due(istiod.ca_bundle_at) {
                istiod.ca_bundle_at = None;
                if let meshlift_model::view::Seen::Present(webhook) = &mut istiod.plane.injector {
                    webhook.has_ca_bundle = true;
                }
            }
            let serves = |v: &&mut Validator| v.service == istiod.plane.name;
            if let Some(validator) = self.validator.as_mut().filter(serves) {
                validator.has_ca_bundle |= istiod.plane.is_ready();
            }
        }
        for at in 0..self.apps.len() {
            self.render(at);
            let settled = (self.apps[at].settled(), self.apps[at].whole());
            let flaps_on = self.apps[at].flaps_on;
            for member in &mut self.apps[at].pods {
                if !member.pod.ready && due(member.ready_at) {
                    member.pod_mut().ready = true;
                    member.pod_mut().ready_changed_at = member.ready_at;
                }
                if flaps_on.is_some() && member.pod.revision.as_deref() == flaps_on {
                    let thousands = u32::try_from(now.as_second() % 100_000).expect("small");
                    member.pod_mut().restarts = thousands * 1000;
                    member.pod_mut().restarted_at = Some(now);
                }
            }
            while self.roll(at) {}
            // Its status changed.
            if (self.apps[at].settled(), self.apps[at].whole()) != settled {
                self.apps[at].resource_version = self.next_serial();
            }
        }
    }

    /// One step of a rollout; whether there was one to take.
    fn roll(&mut self, at: usize) -> bool {
        let app = &self.apps[at];
        let held = app.paused
            || app.strategy != UpdateStrategy::Rolling
            || app.key.kind == WorkloadKind::ReplicaSet;
        if held {
            // What is gone comes back, and nothing else happens.
            return app.pods.len() < app.replicas && self.start_pod(at);
        }
        if app
            .pods
            .iter()
            .any(|m| m.template == app.template && !m.pod.ready)
        {
            return false;
        }
        // A Deployment takes away first what does not serve.
        let outdated = |m: &Member| m.template < app.template;
        let idle = app.pods.iter().position(|m| outdated(m) && !m.pod.ready);
        let old = idle.or_else(|| app.pods.iter().position(outdated));
        // The others take one away at a time, and that only while none is missing. Where nobody lives, the golden stories
        // have them taken away at once: nothing can come between, and the new ones start one by one all the same.
        let surges = app.key.kind == WorkloadKind::Deployment;
        let whole = app.pods.len() == app.replicas || !self.lives;
        let spare = app.pods.len() > app.replicas || (!surges && whole);
        match old {
            Some(old) if spare => {
                self.apps[at].pods.remove(old);
                true
            }
            _ if app.pods.len() < app.replicas || old.is_some() => self.start_pod(at),
            _ => false,
        }
    }

    fn start_pod(&mut self, at: usize) -> bool {
        let serial = self.next_serial();
        let app = &self.apps[at];
        let injection = match &app.rendered_by {
            Some(revision) => Injection::By(revision.clone()),
            None => self.injecting(&app.key.namespace, &app.template_labels),
        };
        let (revision, sidecar) = match injection {
            Injection::By(revision) => (Some(revision), true),
            Injection::None => (None, false),
            // Its istiod went down since it was looked at, or others are in the way: the controller tries again.
            Injection::Refused(_) if self.lives || self.has_lost_an_istiod() => return false,
            Injection::Refused(why) => panic!("{} cannot start a pod: {why}", app.key),
        };
        let renewed = app.template > 1 || app.evicted_at.is_some();
        let trouble = app.breaks.clone().filter(|_| renewed);
        let own = || "example.org/ours/proxyv2:1.30.2".into();
        let proxy_image = match (app.own_proxy_image, &revision) {
            (true, Some(_)) => Some(own()),
            (_, revision) => revision.as_ref().and_then(|by| self.proxy_image(by)),
        };
        let pod = Pod {
            proxy_image,
            namespace: app.key.namespace.clone(),
            name: format!("{}-{serial}", app.key.name),
            uid: format!("uid-{}-{serial}", app.key.name),
            created_at: Some(self.now),
            owner_kind: Some(app.key.kind.to_string()),
            owner_name: Some(app.key.name.clone()),
            revision,
            // A Rollout is not restarted by its template.
            mark: app
                .mark
                .clone()
                .filter(|_| app.key.kind != WorkloadKind::Rollout),
            trouble: trouble.clone(),
            labels: app.template_labels.clone(),
            ..Pod::default()
        };
        let ready_at = trouble.is_none().then(|| self.now + seconds(app.startup));
        let template = app.template;
        self.apps[at].pods.push(Member {
            pod: Arc::new(pod),
            sidecar,
            template,
            ready_at,
        });
        true
    }
}

/// What the injection webhooks do with a new pod.
pub enum Injection {
    By(String),
    None,
    Refused(String),
}

impl App {
    pub fn new(kind: WorkloadKind, namespace: &str, name: &str, replicas: usize) -> Self {
        Self {
            key: WorkloadKey {
                namespace: namespace.into(),
                kind,
                name: name.into(),
            },
            uid: format!("uid-{namespace}-{name}"),
            resource_version: 1,
            labels: labels(&[("app", name)]),
            template_labels: labels(&[("app", name)]),
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
            rendered_by: None,
            flaps_on: None,
            replicas,
            template: 1,
            startup: 4,
            breaks: None,
            pods: Vec::new(),
        }
    }

    /// Writes a new pod template, as any change of it does.
    pub fn change_template(&mut self) {
        self.template += 1;
    }

    /// Whether it has every pod that it wants, each ready.
    pub fn whole(&self) -> bool {
        self.pods.len() == self.replicas && self.pods.iter().all(|m| m.pod.ready)
    }

    pub fn settled(&self) -> bool {
        let current = |m: &Member| m.template == self.template && m.pod.ready;
        self.pods.len() == self.replicas && self.pods.iter().all(current)
    }
}
