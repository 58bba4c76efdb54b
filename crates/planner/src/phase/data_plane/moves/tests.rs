//! What moves, forward and back: one row for each way a namespace, a tag or a Gateway can stand.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use meshlift_api::{GatewayOrder, Move, Phase, RollbackStatus, WaveState, WaveStatus};

mod gateways;
mod labels;

use meshlift_model::decision::{Effect, WaitingOn};
use meshlift_model::example::{TARGET, ago, istiod, labels, moved, now, record, upgrade, workload};
use meshlift_model::record::{
    Record, RecordedGateway, RecordedNamespace, RecordedTag, RecordedWave,
};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{Gateway, MeshView, Namespace, Pod, Seen, Workload};

use super::*;

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
        self.view.tags_mut().push(Tag {
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
