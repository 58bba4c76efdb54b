//! What moves, forward and back: one row for each way a namespace, a tag or a Gateway can stand.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use meshlift_api::{GatewayOrder, Move, Phase, RollbackStatus, WaveState, WaveStatus};

use super::*;
use crate::decision::{Effect, WaitingOn};
use crate::example::{TARGET, ago, istiod, labels, moved, now, record, upgrade, workload};
use crate::record::{Record, RecordedGateway, RecordedNamespace, RecordedTag, RecordedWave};
use crate::upgrade::Upgrade;
use crate::view::{Gateway, MeshView, Namespace, Pod, Seen, Workload};

/// A mesh that comes from a revision of its own, `1-30-2`, with nothing moved.
struct Scene {
    upgrade: Upgrade,
    view: MeshView,
    record: Record,
}

const OLD: &str = "1-30-2";

impl Scene {
    fn new() -> Self {
        let mut view = moved();
        view.control_planes = Seen::Present(vec![istiod(OLD, "1.30.2"), istiod(TARGET, "1.31.0")]);
        view.namespaces = Seen::Present(Vec::new());
        view.workloads = Seen::Present(Vec::new());
        view.gateways = Seen::Present(Vec::new());
        if let Seen::Present(validator) = &mut view.validator {
            validator.service = format!("istiod-{OLD}");
        }
        let mut record = record();
        record.source_revision = OLD.into();
        Self {
            upgrade: upgrade(Phase::Upgrading),
            view,
            record,
        }
    }

    fn back(mut self) -> Self {
        self.upgrade.status.rollback = Some(RollbackStatus {
            reason: "a test".into(),
            since: Time(ago(60)),
            soak: None,
        });
        self
    }

    /// A namespace with a label, and the one it was recorded with.
    fn namespace(mut self, name: &str, rev: &str, recorded: &str) -> Self {
        let namespace = Namespace {
            name: name.into(),
            uid: format!("uid-{name}"),
            resource_version: "7".into(),
            labels: labels(&[("istio.io/rev", rev)]),
            moved_to: (rev != recorded).then(|| rev.to_owned()),
            ..Namespace::default()
        };
        if let Seen::Present(namespaces) = &mut self.view.namespaces {
            namespaces.push(namespace);
        }
        self.record.namespaces.push(RecordedNamespace {
            name: name.into(),
            labels: labels(&[("istio.io/rev", recorded)]),
        });
        self
    }

    fn in_namespace(mut self, spoil: impl Fn(&mut Namespace)) -> Self {
        if let Seen::Present(namespaces) = &mut self.view.namespaces {
            spoil(namespaces.last_mut().expect("a namespace"));
        }
        self
    }

    fn tag(mut self, name: &str, revision: &str) -> Self {
        self.view.tags.push(Tag {
            name: name.into(),
            revision: revision.into(),
            configuration: format!("istio-revision-tag-{name}"),
            moved_to: (revision == TARGET).then(|| TARGET.to_owned()),
            ..Tag::default()
        });
        self.record.tags.push(RecordedTag {
            name: name.into(),
            revision: OLD.into(),
        });
        self
    }

    /// A Gateway with a label, what it was recorded with, and the revision that its pods run.
    fn gateway(
        mut self,
        name: &str,
        label: Option<&str>,
        before: Option<&str>,
        runs: &str,
    ) -> Self {
        let gateway = Gateway {
            namespace: "edge".into(),
            name: name.into(),
            class: "istio".into(),
            label: label.map(str::to_owned),
            moved_to: label.filter(|_| label != before).map(str::to_owned),
            asked_at: Some(ago(30)),
            ..Gateway::default()
        };
        if let Seen::Present(namespaces) = &mut self.view.namespaces
            && !namespaces.iter().any(|ns| ns.name == "edge")
        {
            namespaces.push(Namespace {
                name: "edge".into(),
                ..Namespace::default()
            });
        }
        if let Seen::Present(gateways) = &mut self.view.gateways {
            gateways.push(gateway);
        }
        self.record.gateways.push(RecordedGateway {
            namespace: "edge".into(),
            name: name.into(),
            label: before.map(str::to_owned),
        });
        let mut rendered = Workload {
            managed_gateway: true,
            labels: labels(&[("gateway.networking.k8s.io/gateway-name", name)]),
            template_labels: label
                .map_or_else(Default::default, |rev| labels(&[("istio.io/rev", rev)])),
            ..workload(&format!("{name}-istio"), runs)
        };
        rendered.key.namespace = "edge".into();
        if let Seen::Present(workloads) = &mut self.view.workloads {
            workloads.push(rendered);
        }
        self
    }

    fn in_gateway(mut self, spoil: impl Fn(&mut Gateway)) -> Self {
        if let Seen::Present(gateways) = &mut self.view.gateways {
            spoil(gateways.last_mut().expect("a Gateway"));
        }
        self
    }

    /// Stages in their order, the first `open` of them begun.
    fn stages(mut self, stages: &[(&str, &[&str])], open: usize) -> Self {
        for (at, (name, namespaces)) in stages.iter().enumerate() {
            self.record.waves.push(RecordedWave {
                name: (*name).into(),
                namespaces: namespaces.iter().map(|ns| (*ns).to_owned()).collect(),
            });
            let state = match at + 1 {
                at if at < open => WaveState::Verified,
                at if at == open => WaveState::Moving,
                _ => WaveState::Pending,
            };
            self.upgrade.status.waves.push(WaveStatus {
                state,
                ..WaveStatus::pending(name)
            });
        }
        self
    }

    fn by(mut self, by: Move) -> Self {
        self.upgrade.spec.data_plane.by = by;
        self
    }

    fn order(mut self, order: GatewayOrder) -> Self {
        self.upgrade.spec.gateways.order = order;
        self
    }

    fn decide(&self, now: Timestamp) -> Option<Decision> {
        let drive = Drive::look(now, &self.upgrade, &self.view, &self.record).expect("all is seen");
        let report = drive.report();
        drive.moves(&report).or_else(|| drive.git(&report))
    }

    /// What is done next, in short: `shop=1-31-0`, `tag prod=1-31-0`, `edge/front=1-31-0`, `waits: ...`.
    fn next(&self) -> Vec<String> {
        let Some(decision) = self.decide(now()) else {
            return Vec::new();
        };
        match decision.next {
            Next::Act(batch) => batch.iter().map(short).collect(),
            Next::Wait(waiting) => vec![format!("{:?}: {}", waiting.on, decision.report.message)],
            other => vec![format!("{other:?}")],
        }
    }

    fn git(&self) -> String {
        let decision = self.decide(now()).expect("a decision");
        assert!(
            matches!(&decision.next, Next::Wait(w) if w.on == WaitingOn::Git),
            "{:?}",
            decision.next
        );
        decision.report.message
    }
}

fn short(effect: &Effect) -> String {
    let marked = |mark: bool| if mark { "" } else { " unmarked" };
    match effect {
        Effect::MoveNamespace {
            name, labels, mark, ..
        } => {
            let revision = labels.revision.as_deref().unwrap_or("-");
            format!("{name}={revision}{}", marked(*mark))
        }
        Effect::PointTag {
            tag,
            revision,
            istiod,
            mark,
            ..
        } => format!("tag {tag}={revision} at {istiod}{}", marked(*mark)),
        Effect::LabelGateway {
            name, label, mark, ..
        } => format!(
            "{name}={}{}",
            label.as_deref().unwrap_or("-"),
            marked(*mark)
        ),
        other => other.describe(),
    }
}

#[test]
fn namespaces_by_label_and_by_tag() {
    let mesh = || {
        Scene::new()
            .tag("prod", OLD)
            .namespace("blog", OLD, OLD)
            .namespace("shop", "prod", "prod")
    };
    // Tags first; the namespaces of a tag keep their label.
    assert_eq!(mesh().next(), ["tag prod=1-31-0 at istiod-1-31-0"]);
    assert_eq!(mesh().by(Move::Labels).next(), ["blog=1-31-0"]);
    let tags_only = mesh().by(Move::Tags);
    assert_eq!(tags_only.next(), ["tag prod=1-31-0 at istiod-1-31-0"]);
    let moved = Scene::new().tag("prod", TARGET);
    let moved = moved
        .namespace("shop", "prod", "prod")
        .namespace("blog", OLD, OLD);
    assert_eq!(moved.next(), ["blog=1-31-0"]);
    assert!(moved.by(Move::Tags).next().is_empty());
}

#[test]
fn one_tag_over_two_waves_moves_with_the_last() {
    let waves: &[(&str, &[&str])] = &[("canary", &["cart"]), ("rest", &[])];
    let mesh = |cart: &str, tag: &str, open: usize| {
        Scene::new()
            .tag("prod", tag)
            .namespace("cart", cart, "prod")
            .namespace("web", "prod", "prod")
            .stages(waves, open)
    };
    assert_eq!(mesh("prod", OLD, 1).next(), ["cart=1-31-0"]);
    assert!(mesh(TARGET, OLD, 1).next().is_empty());
    assert_eq!(
        mesh(TARGET, OLD, 2).next(),
        ["tag prod=1-31-0 at istiod-1-31-0"]
    );
    // Its label back: the same istiod injects.
    assert_eq!(mesh(TARGET, TARGET, 2).next(), ["cart=prod unmarked"]);
    assert!(mesh("prod", TARGET, 2).next().is_empty());
    // Where Git owns the label, the namespace waits for its tag.
    let by_git = mesh("prod", OLD, 1).in_namespace(|_| ());
    let mut by_git = by_git;
    if let Seen::Present(namespaces) = &mut by_git.view.namespaces {
        namespaces[0].label_owner = Some("argocd-controller".into());
    }
    assert!(by_git.next().is_empty());
}

#[test]
fn a_tag_that_cannot_move_as_a_whole_leaves_its_namespaces_to_labels() {
    let mut mesh = Scene::new()
        .tag("prod", OLD)
        .namespace("shop", "prod", "prod")
        .namespace("legacy", "prod", "prod")
        .in_namespace(|ns| {
            ns.labels.insert("team".into(), "legacy".into());
        });
    mesh.upgrade.spec.data_plane.exclude = Some(LabelSelector {
        match_labels: Some(labels(&[("team", "legacy")])),
        ..LabelSelector::default()
    });
    assert_eq!(mesh.next(), ["shop=1-31-0"]);
    let mut by_url = Scene::new()
        .tag("prod", OLD)
        .namespace("shop", "prod", "prod");
    by_url.view.tags[0].by_url = true;
    assert_eq!(by_url.next(), ["shop=1-31-0"]);
}

#[test]
fn a_tag_that_nobody_uses_moves_with_the_rest_and_one_of_another_mesh_never() {
    let waves: &[(&str, &[&str])] = &[("canary", &["cart"]), ("rest", &[])];
    let unused = |open| Scene::new().tag("spare", OLD).stages(waves, open);
    assert!(unused(1).next().is_empty());
    assert_eq!(unused(2).next(), ["tag spare=1-31-0 at istiod-1-31-0"]);
    let mut foreign = unused(2);
    foreign.view.tags[0].namespace = "other".into();
    assert!(foreign.next().is_empty());
    let third = Scene::new().tag("spare", "1-29-0");
    assert!(third.next().is_empty());
}

#[test]
fn what_git_owns_is_told_and_the_others_go_first() {
    let git = |ns: &mut Namespace| ns.label_owner = Some("argocd-controller".into());
    let both = Scene::new()
        .namespace("blog", OLD, OLD)
        .namespace("shop", OLD, OLD)
        .in_namespace(git);
    assert_eq!(both.next(), ["blog=1-31-0"]);
    let message = Scene::new()
        .namespace("shop", OLD, OLD)
        .in_namespace(git)
        .git();
    assert!(
        message.contains("Namespace shop (Argo CD owns it): set label istio.io/rev: 1-31-0"),
        "{message}"
    );
    let put_back = Scene::new().namespace("shop", OLD, OLD).in_namespace(|ns| {
        ns.moved_to = Some(TARGET.into());
        ns.label_owner = Some("kubectl-label".into());
    });
    let message = put_back.git();
    assert!(
        message.contains("it was put back by kubectl-label"),
        "{message}"
    );
    let mut tag = Scene::new()
        .tag("prod", OLD)
        .namespace("shop", "prod", "prod");
    tag.view.tags[0].owner = Some("helm-controller".into());
    let message = tag.git();
    assert!(
        message.contains("MutatingWebhookConfiguration istio-revision-tag-prod (Flux owns it)")
            && message.contains("clientConfig.service.name: istiod-1-31-0"),
        "{message}"
    );
    let nothing_written = Scene::new().namespace("shop", OLD, OLD).by(Move::None);
    let message = nothing_written.git();
    assert!(message.contains("spec.dataPlane.move is None"), "{message}");
}

#[test]
fn many_changes_are_told_in_short() {
    let mut mesh = Scene::new().by(Move::None);
    for name in ["a", "b", "c", "d", "e"] {
        mesh = mesh.namespace(name, OLD, OLD);
    }
    let message = mesh.git();
    assert!(
        message.contains("the same for 2 more: Namespace d, Namespace e"),
        "{message}"
    );
}

#[test]
fn back_goes_what_was_moved_to_what_was_recorded() {
    let mesh = Scene::new()
        .tag("prod", TARGET)
        .namespace("blog", TARGET, OLD)
        .namespace("cart", TARGET, "prod")
        .namespace("late", TARGET, TARGET)
        .namespace("web", "prod", "prod")
        .back();
    assert_eq!(mesh.next(), ["tag prod=1-30-2 at istiod-1-30-2 unmarked"]);
    let mut mesh = mesh;
    (mesh.view.tags[0].revision, mesh.view.tags[0].moved_to) = (OLD.into(), None);
    assert_eq!(mesh.next(), ["blog=1-30-2 unmarked", "cart=prod unmarked"]);
    let done = Scene::new()
        .tag("prod", OLD)
        .namespace("web", "prod", "prod")
        .back();
    assert!(done.next().is_empty());
}

#[test]
fn back_takes_nothing_from_whoever_moved_it() {
    let by_others = Scene::new()
        .namespace("shop", TARGET, OLD)
        .in_namespace(|ns| {
            ns.moved_to = None;
            ns.label_owner = Some("argocd-controller".into());
        });
    let message = by_others.back().git();
    assert!(
        message.contains("set label istio.io/rev: 1-30-2"),
        "{message}"
    );
    // What is back already only loses our mark, whoever owns it.
    let put_back = Scene::new().namespace("shop", OLD, OLD).in_namespace(|ns| {
        ns.moved_to = Some(TARGET.into());
        ns.label_owner = Some("argocd-controller".into());
    });
    assert_eq!(put_back.back().next(), ["shop=1-30-2 unmarked"]);
}

#[test]
fn a_gateway_is_kept_where_it_is_before_its_namespace_or_tag_moves() {
    let stages: &[(&str, &[&str])] = &[("rest", &[]), ("gateways", &[])];
    let by_namespace = |label, open| {
        Scene::new()
            .namespace("edge", OLD, OLD)
            .gateway("front", label, None, OLD)
            .stages(stages, open)
    };
    assert_eq!(by_namespace(None, 1).next(), ["front=1-30-2"]);
    assert_eq!(by_namespace(Some(OLD), 1).next(), ["edge=1-31-0"]);
    let by_tag = Scene::new()
        .tag("prod", OLD)
        .gateway("front", Some("prod"), Some("prod"), OLD)
        .stages(stages, 1);
    assert_eq!(by_tag.next(), ["front=1-30-2"]);
    // Git binds it to the tag: it goes with it.
    let by_git = by_tag.in_gateway(|g| g.owner = Some("argocd-controller".into()));
    assert_eq!(by_git.next(), ["tag prod=1-31-0 at istiod-1-31-0"]);
    // What cannot be seen could be rolled by accident.
    let mut blind = by_namespace(Some(OLD), 1);
    blind.view.gateways = Seen::Unreadable("forbidden".into());
    assert!(
        blind.next()[0].contains("the Gateways cannot be read"),
        "{:?}",
        blind.next()
    );
}

#[test]
fn gateways_move_one_after_the_other_in_their_turn() {
    let stages: &[(&str, &[&str])] = &[("rest", &[]), ("gateways", &[])];
    let mesh = |first: (Option<&str>, &str), open| {
        Scene::new()
            .gateway("a", first.0, None, first.1)
            .gateway("b", None, None, OLD)
            .stages(stages, open)
    };
    assert!(
        mesh((None, OLD), 1).next().is_empty(),
        "its turn has not come"
    );
    assert_eq!(mesh((None, OLD), 2).next(), ["a=1-31-0"]);
    let rolling = mesh((Some(TARGET), OLD), 2);
    assert_eq!(
        rolling.next(),
        ["Gateways: wave gateways: waits for Gateway edge/a, which istiod 1-31-0 rolls"]
    );
    assert_eq!(mesh((Some(TARGET), TARGET), 2).next(), ["b=1-31-0"]);
    // One that does not come up in time fails like a workload.
    let late = rolling
        .decide(now() + jiff::SignedDuration::from_mins(20))
        .expect("an answer");
    assert_eq!(late.next, Next::Enter(Phase::Upgrading));
    let rollback = late.report.rollback.expect("a rollback");
    assert!(
        rollback.reason.contains("Gateway edge/a was not rolled"),
        "{}",
        rollback.reason
    );
}

#[test]
fn a_gateway_that_was_kept_asks_again_for_what_it_asked_before() {
    let stages: &[(&str, &[&str])] = &[("rest", &[]), ("gateways", &[])];
    let by_namespace = Scene::new()
        .namespace("edge", TARGET, OLD)
        .gateway("front", Some(OLD), None, OLD)
        .stages(stages, 2);
    assert_eq!(by_namespace.next(), ["front=- unmarked"]);
    let by_tag = |label, runs| {
        Scene::new()
            .tag("prod", TARGET)
            .gateway("front", Some(label), Some("prod"), runs)
            .stages(stages, 2)
    };
    assert_eq!(by_tag(OLD, OLD).next(), ["front=prod unmarked"]);
    assert_eq!(by_tag(TARGET, TARGET).next(), ["front=prod unmarked"]);
    assert!(by_tag("prod", TARGET).next().is_empty());
}

#[test]
fn gateways_that_are_left_alone_are_kept_from_the_default_too() {
    let mesh = |label| {
        Scene::new()
            .gateway("front", label, None, OLD)
            .order(GatewayOrder::None)
    };
    assert_eq!(mesh(None).next(), ["front=1-30-2"]);
    assert!(mesh(Some(OLD)).next().is_empty());
}

#[test]
fn gateways_go_back_by_their_own_label_until_all_is_as_before() {
    let mesh = |label, runs, tag| {
        Scene::new()
            .tag("prod", tag)
            .gateway("front", Some(label), Some("prod"), runs)
            .back()
    };
    // Bound to its tag again: kept by its own label before the tag goes back.
    assert_eq!(mesh("prod", TARGET, TARGET).next(), ["front=1-30-2"]);
    assert_eq!(
        mesh(OLD, OLD, TARGET).next(),
        ["tag prod=1-30-2 at istiod-1-30-2 unmarked"]
    );
    assert_eq!(mesh(OLD, OLD, OLD).next(), ["front=prod unmarked"]);
    let by_default = Scene::new()
        .gateway("front", Some(TARGET), None, TARGET)
        .back();
    assert_eq!(by_default.next(), ["front=- unmarked"]);
    let never_moved = Scene::new().gateway("front", None, None, OLD).back();
    assert!(never_moved.next().is_empty());
}

#[test]
fn nothing_moves_to_a_control_plane_that_is_ill() {
    let mut mesh = Scene::new().tag("prod", OLD).namespace("blog", OLD, OLD);
    if let Seen::Present(planes) = &mut mesh.view.control_planes {
        planes[1].ready = 0;
    }
    assert!(mesh.next().is_empty());
}

#[test]
fn pods_of_before_count_only_while_they_are_there() {
    let gone = |w: &mut Workload| w.pods = vec![std::sync::Arc::new(Pod::default())];
    let mut mesh = Scene::new().gateway("front", Some(TARGET), None, OLD);
    if let Seen::Present(workloads) = &mut mesh.view.workloads {
        gone(&mut workloads[0]);
    }
    assert!(mesh.next().is_empty());
}
