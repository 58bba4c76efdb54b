//! Gateways that istiod renders. It rolls one the moment another revision owns it, so each asks for its revision by
//! its own label: kept where it is before a move would roll it by accident, moved in its turn, one after the other.
//!
//! istiod copies labels to the pod template, so writing one rolls the Gateway once even where the owner stays. A label
//! that we wrote is therefore left in place, except where the Gateway named a tag before, and on the way back.

use jiff::Timestamp;
use meshlift_api::labels::ISTIO_REV;
use meshlift_api::{GatewayOrder, Move};
use meshlift_model::data_plane::excluded;
use meshlift_model::decision::{Batch, Decision, Effect, Next, Report, Waiting, WaitingOn};
use meshlift_model::owners::Owners;
use meshlift_model::reference;
use meshlift_model::view::{Gateway, Workload, gitops_tool};

use super::git::{Change, Theirs};
use crate::phase::data_plane::Drive;
use crate::phase::upgrading::{step_began, timeout};
use crate::phase::{BACKSTOP, failing, later};

/// The label that a Gateway shall have.
pub(super) struct Wanted<'a> {
    gateway: &'a Gateway,
    label: Option<String>,
    /// The revision that owns it then.
    revision: String,
    /// Whether it is remembered on the Gateway.
    mark: bool,
}

impl Drive<'_> {
    /// Keeps Gateways from being rolled by what is about to move, or moves them first where their turn has come.
    pub(super) fn gateways_before(
        &self,
        tags: &[Effect],
        namespaces: &[Effect],
        report: &Report,
    ) -> Option<Decision> {
        let now = Owners::now(self.view);
        // Tags move first; what they roll is seen before the namespaces are.
        let next = if tags.is_empty() { namespaces } else { tags };
        let after = now.clone().after(next);
        let rolled = self
            .gateways()
            .filter(|gateway| self.leaves_with(&now, &after, gateway));
        let rolled: Vec<Wanted<'_>> = rolled.map(|gateway| self.kept(gateway)).collect();
        self.one_by_one(&now, rolled, report)
    }

    /// Moves the Gateways whose turn has come.
    pub(super) fn gateways_in_turn(&self, report: &Report) -> Option<Decision> {
        let owners = Owners::now(self.view);
        let turn = self.gateways_to_label(&owners);
        self.one_by_one(&owners, turn, report)
    }

    /// The Gateways whose turn has come and whose label is ours to write.
    pub(super) fn gateways_to_label(&self, owners: &Owners<'_>) -> Vec<Wanted<'_>> {
        let turn = self.gateways().filter_map(|g| self.in_turn(owners, g));
        turn.filter(|wanted| self.gateway_theirs(wanted).is_none())
            .collect()
    }

    pub(super) fn label(&self, wanted: &Wanted<'_>) -> Effect {
        let gateway = wanted.gateway;
        Effect::LabelGateway {
            namespace: gateway.namespace.clone(),
            name: gateway.name.clone(),
            uid: gateway.uid.clone(),
            resource_version: gateway.resource_version.clone(),
            revision: wanted.revision.clone(),
            label: wanted.label.clone(),
            mark: wanted.mark,
            at: self.now,
        }
    }

    /// Gateways whose turn has come, or that have to be kept, and whose label the API server refuses.
    pub(super) fn refused_gateways(&self) -> Vec<&Gateway> {
        let refused = self
            .gateways()
            .filter(|gateway| self.steps_aside(&gateway.uid));
        let owners = Owners::now(self.view);
        let (tags, namespaces) = (self.tags().act, self.namespaces().act);
        let after = owners.clone().after(&tags).after(&namespaces);
        let rolled = |g: &&Gateway| self.leaves_with(&owners, &after, g);
        refused
            .filter(|g| self.in_turn(&owners, g).is_some() || rolled(g))
            .collect()
    }

    /// The same moves without those that would roll a Gateway whose own label was refused.
    pub(super) fn sparing_gateways(&self, mut moves: Batch) -> Batch {
        let refused = self
            .gateways()
            .filter(|gateway| self.steps_aside(&gateway.uid));
        let refused: Vec<&Gateway> = refused.collect();
        if refused.is_empty() {
            return moves;
        }
        let now = Owners::now(self.view);
        moves.retain(|effect| {
            let after = now.clone().after([effect]);
            !refused
                .iter()
                .any(|gateway| self.leaves_with(&now, &after, gateway))
        });
        moves
    }

    /// Whether a move takes a Gateway away from the control plane that is left.
    fn leaves_with(&self, now: &Owners<'_>, after: &Owners<'_>, gateway: &Gateway) -> bool {
        let label = gateway.label.as_deref();
        let (before, then) = (owned(now, gateway, label), owned(after, gateway, label));
        before.as_deref() == Some(self.leaving()) && then != before && !follows_git(now, gateway)
    }

    /// Gateways that others have to move.
    pub(super) fn gateway_changes(&self) -> Vec<Change> {
        let owners = Owners::now(self.view);
        let turn = self.gateways().filter_map(|g| self.in_turn(&owners, g));
        turn.filter_map(|wanted| {
            let theirs = self.gateway_theirs(&wanted)?;
            let change = match &wanted.label {
                Some(label) => format!("set label {ISTIO_REV}: {label}"),
                None => format!("remove label {ISTIO_REV}"),
            };
            let Gateway {
                namespace, name, ..
            } = wanted.gateway;
            Some(Change {
                reference: reference::gateway(namespace, name),
                change,
                theirs,
            })
        })
        .collect()
    }

    fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        let all = self.view.gateways.present();
        all.filter(|_| self.relabels()).into_iter().flatten()
    }

    /// What keeps a Gateway from being rolled by accident: the revision it has, or where it is going if it may.
    fn kept<'g>(&self, gateway: &'g Gateway) -> Wanted<'g> {
        let goes = self.heading.is_back() || self.may_move(gateway);
        let revision = if goes {
            self.heading.to
        } else {
            self.leaving()
        };
        self.asks_for(gateway, revision)
    }

    fn asks_for<'g>(&self, gateway: &'g Gateway, revision: &str) -> Wanted<'g> {
        Wanted {
            gateway,
            label: Some(revision.to_owned()),
            revision: revision.to_owned(),
            mark: true,
        }
    }

    /// What a Gateway shall ask for now that its turn has come; none where it does, or its turn has not come.
    fn in_turn<'g>(&self, owners: &Owners<'_>, gateway: &'g Gateway) -> Option<Wanted<'g>> {
        if follows_git(owners, gateway) {
            return None;
        }
        let to = self.heading.to;
        let before = self.recorded_label(gateway);
        let owner = |label: Option<&str>| owned(owners, gateway, label);
        let at = owner(gateway.label.as_deref());
        let as_before = || {
            let back_is_there = owner(before.as_deref()).as_deref() == Some(to);
            back_is_there.then(|| Wanted {
                gateway,
                label: before.clone(),
                revision: to.to_owned(),
                mark: false,
            })
        };
        let ours = gateway.moved_to.is_some();
        if self.heading.is_back() {
            let asked = ours || gateway.label.as_deref() == self.heading.from;
            let goes = (at.as_deref() != Some(to)).then(|| self.asks_for(gateway, to));
            return asked.then(|| as_before().or(goes)).flatten();
        }
        if !self.may_move(gateway) {
            return self.kept_for_good(owners, gateway);
        }
        if at.as_deref() == Some(to) {
            let named_a_tag = before.as_deref().is_some_and(|name| owners.is_tag(name));
            return as_before().filter(|_| ours && named_a_tag && gateway.label != before);
        }
        let contested =
            at.is_none() && owners.by_default(gateway.label.as_deref(), &gateway.namespace);
        let leaves = at.as_deref() == Some(self.leaving()) || contested;
        leaves.then(|| {
            as_before()
                .filter(|_| ours)
                .unwrap_or_else(|| self.asks_for(gateway, to))
        })
    }

    /// A Gateway that is left alone must not go with the default revision either, which moves last.
    fn kept_for_good<'g>(&self, owners: &Owners<'_>, gateway: &'g Gateway) -> Option<Wanted<'g>> {
        let last = self.stages.all().len().saturating_sub(1);
        let by_default = owners.by_default(gateway.label.as_deref(), &gateway.namespace);
        let leaves =
            owned(owners, gateway, gateway.label.as_deref()).as_deref() == Some(self.leaving());
        let pins = self.left_alone(gateway) && gateway.label.is_none() && by_default && leaves;
        (pins && self.stages.is_open(last)).then(|| self.asks_for(gateway, self.leaving()))
    }

    /// Whether the turn of a Gateway has come.
    fn may_move(&self, gateway: &Gateway) -> bool {
        !self.left_alone(gateway) && self.stages.is_open(self.stage_of(gateway))
    }

    fn left_alone(&self, gateway: &Gateway) -> bool {
        let exclude = self.upgrade.spec.data_plane.exclude.as_ref();
        let mut namespaces = self.view.namespaces.present().into_iter().flatten();
        let namespace = namespaces.find(|ns| ns.name == gateway.namespace);
        self.upgrade.spec.gateways.order == GatewayOrder::None
            || namespace.is_none_or(|ns| ns.terminating || excluded(exclude, &ns.labels))
    }

    fn stage_of(&self, gateway: &Gateway) -> usize {
        let own = self.stages.gateways();
        own.unwrap_or_else(|| self.stages.of_namespace(&gateway.namespace))
    }

    /// The label that a Gateway had before this upgrade.
    fn recorded_label(&self, gateway: &Gateway) -> Option<String> {
        let mut recorded = self.record.gateways.iter();
        let same = recorded.find(|r| r.namespace == gateway.namespace && r.name == gateway.name);
        match same {
            Some(before) => before.label.clone(),
            // It came later; what we wrote is not its own.
            None => gateway.label.clone().filter(|_| gateway.moved_to.is_none()),
        }
    }

    fn gateway_theirs(&self, wanted: &Wanted<'_>) -> Option<Theirs> {
        let gateway = wanted.gateway;
        let owner = gateway.owner.as_deref();
        if self.upgrade.spec.data_plane.by == Move::None {
            return Some(Theirs::Owned("spec.dataPlane.move is None".to_owned()));
        }
        if let Some(tool) = owner.and_then(gitops_tool) {
            return Some(Theirs::Owned(format!("{tool} owns it")));
        }
        let moved_to = gateway.moved_to.as_deref();
        let put_back =
            moved_to == Some(wanted.revision.as_str()) && gateway.label.as_deref() != moved_to;
        if self.heading.is_back() {
            return moved_to
                .is_none()
                .then(|| Theirs::PutBack("Meshlift did not move it".to_owned()));
        }
        put_back.then(|| Theirs::PutBack("it was put back".to_owned()))
    }

    /// The next of them, once the one before has been rolled.
    fn one_by_one(
        &self,
        owners: &Owners<'_>,
        wanted: Vec<Wanted<'_>>,
        report: &Report,
    ) -> Option<Decision> {
        if let Some(decision) = self.wait_for_roll(owners, report) {
            return Some(decision);
        }
        let next = wanted
            .into_iter()
            .find(|wanted| !self.steps_aside(&wanted.gateway.uid))?;
        let Wanted {
            gateway, revision, ..
        } = &next;
        let Gateway {
            namespace, name, ..
        } = gateway;
        let message = if *revision == self.heading.to {
            format!(
                "{}moving Gateway {namespace}/{name} to {revision}",
                self.wave()
            )
        } else {
            format!(
                "{}keeping Gateway {namespace}/{name} at {revision} until its turn comes, by label {ISTIO_REV}",
                self.wave()
            )
        };
        let batch = vec![self.label(&next)];
        let report = self.as_before_if_again(&batch, self.says(report, message));
        Some(Decision::new(Next::Act(batch), report))
    }

    /// Waits for the Gateway that istiod rolls; one that does not come up in time has failed.
    fn wait_for_roll(&self, owners: &Owners<'_>, report: &Report) -> Option<Decision> {
        let (gateway, roll) = self
            .gateways()
            .find_map(|g| Some((g, self.roll(owners, g)?)))?;
        let name = format!("Gateway {}/{}", gateway.namespace, gateway.name);
        if self.now > roll.until {
            let trouble = roll
                .trouble
                .map(|why| format!(" ({why})"))
                .unwrap_or_default();
            let what = format!(
                "{name} was not rolled to {} in time{trouble}",
                roll.revision
            );
            let report = self.says(report, String::new());
            let Self {
                upgrade,
                view,
                record,
                ..
            } = self;
            return Some(failing::failed(
                self.now, upgrade, view, record, &what, report,
            ));
        }
        let message = format!(
            "{}waiting for {name}, which istiod {} rolls",
            self.wave(),
            roll.revision
        );
        let waiting = Waiting {
            on: WaitingOn::Gateways,
            until: roll
                .until
                .min(later(self.now, BACKSTOP))
                .max(later(self.now, jiff::SignedDuration::from_secs(1))),
        };
        Some(Decision::new(
            Next::Wait(waiting),
            self.says(report, message),
        ))
    }

    /// The roll of a Gateway that is under way; none where it has what it asks for.
    fn roll(&self, owners: &Owners<'_>, gateway: &Gateway) -> Option<Roll> {
        let revision = owned(owners, gateway, gateway.label.as_deref())?;
        let began = self.upgrade.status.started_at.as_ref().map(|at| at.0);
        let asked = gateway.asked_at.is_some() && gateway.asked_at >= began;
        let goes = revision == self.heading.to;
        if !asked && !goes {
            return None;
        }
        let workload = self.rendered(gateway)?;
        let stale = workload
            .pods
            .iter()
            .any(|pod| pod.revision.as_ref().is_some_and(|at| *at != revision));
        // istiod copies the label: before it did, the Deployment is still that of before.
        let rendered = gateway.label.is_none()
            || workload.template_labels.get(ISTIO_REV) == gateway.label.as_ref();
        let step = self
            .upgrade
            .status
            .step
            .unwrap_or(meshlift_api::Step::MovingNamespaces);
        let rolled = || self.rolled_back_at(workload, &revision);
        let since = gateway.asked_at.or_else(rolled);
        let since = since.unwrap_or_else(|| step_began(self.upgrade, step, self.now));
        let resumed = self.upgrade.status.resumed_at.as_ref();
        let since = resumed.map_or(since, |resumed| resumed.0.max(since));
        let until = later(since, timeout(self.upgrade));
        let expired = self.now > until;
        let under_way = stale || (asked && !expired && !(workload.settled && rendered));
        // What only stays where it is has done no harm by then, and what is named holds nobody.
        let fails = goes && !self.names_failures();
        (under_way && (fails || !expired)).then(|| Roll {
            revision,
            until,
            trouble: workload.pods.iter().find_map(|pod| pod.trouble.clone()),
        })
    }

    /// On the way back, when istiod began to roll a Gateway that nobody asked to: the steps of that way alternate, so
    /// that none of them could tell how long it takes.
    fn rolled_back_at(&self, workload: &Workload, to: &str) -> Option<Timestamp> {
        let began = meshlift_model::heading::rollback(self.upgrade)?.since.0;
        let new = workload.pods.iter();
        let new = new.filter(|pod| pod.revision.as_deref() == Some(to));
        Some(
            new.filter_map(|pod| pod.created_at)
                .fold(began, Timestamp::max),
        )
    }

    /// The Deployment that istiod made of a Gateway.
    fn rendered(&self, gateway: &Gateway) -> Option<&Workload> {
        let mut workloads = self.view.workloads.present().into_iter().flatten();
        workloads.find(|w| w.managed_gateway && w.is_of(gateway))
    }
}

/// A Gateway that is being rolled.
struct Roll {
    revision: String,
    until: Timestamp,
    trouble: Option<String>,
}

fn owned(owners: &Owners<'_>, gateway: &Gateway, label: Option<&str>) -> Option<String> {
    owners.owner(label, &gateway.namespace).map(str::to_owned)
}

/// Whether Git itself binds a Gateway to a tag: it goes with its tag, as whoever wrote that wants it.
fn follows_git(owners: &Owners<'_>, gateway: &Gateway) -> bool {
    let by_tool = gateway.owner.as_deref().and_then(gitops_tool).is_some();
    by_tool
        && gateway
            .label
            .as_deref()
            .is_some_and(|name| owners.is_tag(name))
}
