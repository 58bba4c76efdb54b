//! Why a workload would not be moved, if so; and what its template has to ask for, where it decides itself.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_api::labels::DEFAULT_REVISION;
use meshlift_api::{Move, Predicate};

use super::Question;
use crate::decision::TemplateRevision;
use crate::injection::{Injector, Revisions};
use crate::selector;
use crate::view::{Namespace, Tag, UpdateStrategy, Workload, WorkloadKind, gitops_tool};

impl Question<'_> {
    /// What its template has to ask for, if anything; or why it is not moved.
    pub(super) fn obstacle(
        &self,
        workload: &Workload,
        namespace: &Namespace,
    ) -> Result<Option<TemplateRevision>, Predicate> {
        if excluded(self.exclude, &namespace.labels) || excluded(self.exclude, &workload.labels) {
            return Err(Predicate::Excluded);
        }
        let stages = self.stages.as_ref();
        if stages.is_some_and(|stages| stages.leaves_alone(workload)) {
            return Err(Predicate::GatewaysExcluded);
        }
        if workload.managed_gateway {
            // Moved by the label of its Gateway, where that is seen.
            let moved = self.gateways.iter().any(|gateway| workload.is_of(gateway));
            return moved.then_some(None).ok_or(Predicate::ManagedGateway);
        }
        if workload.sidecar_in_template.is_some() {
            return Err(Predicate::SidecarInTemplate);
        }
        if workload.host_network {
            return Err(Predicate::HostNetwork);
        }
        let template = self.template(workload, namespace)?;
        // Where there is no pod, none has to be replaced.
        match replaced_by_nobody(workload).filter(|_| !workload.asleep) {
            Some(Predicate::OnDelete) if self.evicts => Ok(template),
            Some(_) if self.evicts && template.is_none() => Ok(None),
            Some(predicate) => Err(predicate),
            None if self.evicts || !self.restart_is_put_back(workload) => Ok(template),
            None => Err(Predicate::RestartPutBack),
        }
    }

    fn template(
        &self,
        workload: &Workload,
        namespace: &Namespace,
    ) -> Result<Option<TemplateRevision>, Predicate> {
        match self.injector(workload, namespace) {
            Injector::Namespace(revision) if revision == self.heading.to => Ok(None),
            // Not yet moved, or put back: it is moved, or waited for.
            Injector::Namespace(_) if self.heading.is_back() => Ok(None),
            Injector::Namespace(_) if self.by == Move::Tags => Err(Predicate::NotOurs),
            Injector::Namespace(_) => Ok(None),
            Injector::Tag(tag) if self.lands(Some(&tag)) || self.moves(&tag) => Ok(None),
            Injector::Tag(_) => Err(Predicate::Tag),
            Injector::Pod(asked) => self.pinned(workload, asked.as_deref()),
            Injector::Nobody => Err(Predicate::InjectionOff),
        }
    }

    /// The template itself asks for injection, by this name or without one.
    fn pinned(
        &self,
        workload: &Workload,
        asked: Option<&str>,
    ) -> Result<Option<TemplateRevision>, Predicate> {
        if self.lands(asked) {
            return Ok(None);
        }
        if let Some(name) = asked.filter(|name| self.is_tag(name)) {
            // It moves when its tag does, in the wave that it is of.
            return self.moves(name).then_some(None).ok_or(Predicate::Tag);
        }
        let owner = workload.template_revision_owner.as_deref();
        let by_git = owner.and_then(gitops_tool).is_some();
        // A change of its template would take a Rollout through all the steps of its strategy.
        let own_steps = workload.key.kind == WorkloadKind::Rollout;
        if by_git || own_steps || !workload.key.kind.rolls() {
            return Err(Predicate::PodLabel);
        }
        let before = workload.template_revision_before.as_deref();
        let asked = asked.unwrap_or_default();
        match self.heading.from {
            None if before == Some(asked) => Err(Predicate::RestartPutBack),
            None => Ok(Some(TemplateRevision {
                label: Some(self.heading.to.to_owned()),
                before: Some(asked.to_owned()),
            })),
            Some(from) => {
                let label = before.map(|label| Some(label).filter(|label| !label.is_empty()));
                let back = label.filter(|label| asked == from && self.lands(*label));
                let label = back.ok_or(Predicate::PodLabel)?;
                Ok(Some(TemplateRevision {
                    label: label.map(str::to_owned),
                    before: None,
                }))
            }
        }
    }

    /// Whether a pod that asks for this revision or tag, or for none, gets the revision that is moved to.
    fn lands(&self, name: Option<&str>) -> bool {
        let name = name.unwrap_or(DEFAULT_REVISION);
        let mut planes = self.control_planes.iter();
        let tag = self.tags.iter().find(|tag| tag.name == name);
        match tag {
            _ if planes.any(|plane| plane.revision == name) => name == self.heading.to,
            Some(tag) => tag.revision == self.heading.to,
            None => false,
        }
    }

    /// Whether a tag that does not lead there yet is one that is moved.
    fn moves(&self, name: &str) -> bool {
        let mut tags = self.tags.iter();
        let of_mesh = |tag: &Tag| tag.namespace.is_empty() || self.home == Some(&tag.namespace);
        let found = tags.any(|tag| tag.name == name && of_mesh(tag));
        found && (self.heading.is_back() || self.by != Move::Labels)
    }

    fn injector(&self, workload: &Workload, namespace: &Namespace) -> Injector {
        let revisions = Revisions {
            control_planes: self.control_planes,
            tags: self.tags,
            recorded: self.recorded,
        };
        revisions.injector(&namespace.labels, &workload.template_labels)
    }

    /// Whether a new pod gets the sidecar that is moved to: labels and tags come before restarts.
    pub(super) fn is_injected(&self, workload: &Workload, namespace: &Namespace) -> bool {
        match self.injector(workload, namespace) {
            Injector::Namespace(revision) => revision == self.heading.to,
            Injector::Tag(tag) => self.lands(Some(&tag)),
            Injector::Pod(Some(name)) if self.is_tag(&name) => self.lands(Some(&name)),
            Injector::Pod(_) | Injector::Nobody => true,
        }
    }

    /// Whether a name is a tag and no revision.
    fn is_tag(&self, name: &str) -> bool {
        let mut planes = self.control_planes.iter();
        let is_revision = planes.any(|plane| plane.revision == name);
        !is_revision && self.tags.iter().any(|tag| tag.name == name)
    }

    /// Whether someone took the mark of this run away: another would be taken away too.
    fn restart_is_put_back(&self, workload: &Workload) -> bool {
        let restarted = workload.restarted_at.filter(|_| workload.mark.is_none());
        restarted.is_some() && self.began.is_some() && restarted >= self.began
    }
}

/// Why nobody replaces its pods when its template changes, if so.
fn replaced_by_nobody(workload: &Workload) -> Option<Predicate> {
    match workload.strategy {
        _ if workload.key.kind == WorkloadKind::ReplicaSet => Some(Predicate::BareReplicaSet),
        // By spec.restartAt, whatever goes on in its steps.
        _ if workload.key.kind == WorkloadKind::Rollout => None,
        UpdateStrategy::OnDelete => Some(Predicate::OnDelete),
        UpdateStrategy::Partition(1..) => Some(Predicate::Partition),
        UpdateStrategy::InPlace => Some(Predicate::InPlace),
        UpdateStrategy::Partition(0) | UpdateStrategy::Rolling | UpdateStrategy::Recreate => {
            workload.paused.then_some(Predicate::Paused)
        }
    }
}

/// Whether the selector matches these labels. An empty selector matches nothing here: to exclude
/// everything is to ask for no upgrade.
pub fn excluded(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else {
        return false;
    };
    !selector::is_empty(selector) && selector::matches(selector, labels)
}
