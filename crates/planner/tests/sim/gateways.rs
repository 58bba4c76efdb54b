//! Revision tags, and Gateways that istiods render: a Deployment for each, rolled as soon as its owner or its label changes.

use std::sync::Arc;

use meshlift_model::view::{Gateway, Pod, WorkloadKind};
use meshlift_model::{ChartTarget, Effect};

use crate::execute::{Failure, conflict};
use crate::helm::Stored;
use crate::world::{App, Member, World, labels};

impl World {
    /// Adds a Gateway with the Deployment that its istiod made of it.
    pub fn add_gateway(&mut self, namespace: &str, name: &str, label: Option<&str>) {
        let gateway = Gateway {
            namespace: namespace.into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            resource_version: "1".into(),
            class: "istio".into(),
            label: label.map(str::to_owned),
            ..Gateway::default()
        };
        let mut app = App::new(
            WorkloadKind::Deployment,
            namespace,
            &format!("{name}-istio"),
            2,
        );
        app.managed_gateway = true;
        app.labels = labels(&[("gateway.networking.k8s.io/gateway-name", name)]);
        let copied = label.map(|label| ("istio.io/rev".to_owned(), label.to_owned()));
        app.template_labels.extend(copied);
        app.rendered_by = self.owner_of(&gateway);
        for n in 0..app.replicas {
            let pod = Pod {
                namespace: namespace.into(),
                name: format!("{name}-istio-{n}"),
                uid: format!("uid-{name}-istio-{n}"),
                owner_kind: Some("Deployment".into()),
                owner_name: Some(app.key.name.clone()),
                revision: app.rendered_by.clone(),
                ready: true,
                ..Pod::default()
            };
            app.pods.push(Member {
                pod: Arc::new(pod),
                sidecar: true,
                template: 1,
                ready_at: None,
            });
        }
        self.gateways.push(gateway);
        self.apps.push(app);
    }

    pub fn gateway(&mut self, name: &str) -> &mut Gateway {
        let serial = self.next_serial();
        let found = self
            .gateways
            .iter_mut()
            .find(|gateway| gateway.name == name);
        let gateway = found.expect("a Gateway of that name");
        gateway.resource_version = serial.to_string();
        gateway
    }

    /// istiod's part: a Gateway of its own is rendered when it changes owner or label.
    pub fn render(&mut self, at: usize) {
        let app = &self.apps[at];
        let name = app.labels.get("gateway.networking.k8s.io/gateway-name");
        let mut gateways = self.gateways.iter();
        let Some(gateway) = gateways.find(|g| {
            app.managed_gateway && g.namespace == app.key.namespace && Some(&g.name) == name
        }) else {
            return;
        };
        let owner = self.owner_of(gateway);
        let label = gateway.label.clone();
        let same =
            app.rendered_by == owner && app.template_labels.get("istio.io/rev") == label.as_ref();
        let ready = |revision: &String| {
            let mut planes = self.istiods.iter().map(|i| &i.plane);
            planes.any(|plane| plane.revision == *revision && plane.is_ready())
        };
        if same || !owner.as_ref().is_some_and(ready) {
            return;
        }
        // One that does not come up has had its time, and holds no other.
        let rolling = |other: &App| {
            let broken = other.breaks.is_some();
            // A pod that died is no rollout.
            let rolls = !other.settled() && other.pods.iter().any(|m| m.template < other.template);
            other.managed_gateway && other.key != app.key && rolls && !broken
        };
        let others = self.apps.iter().find(|other| rolling(other));
        if let Some(other) = others {
            assert!(
                gateway.owner.as_deref() == Some("argocd-controller"),
                "{} and {} are rolled at the same time",
                app.key,
                other.key
            );
        }
        let serial = self.next_serial();
        let app = &mut self.apps[at];
        app.resource_version = serial;
        app.rendered_by = owner;
        app.template_labels.remove("istio.io/rev");
        let label = label.map(|label| ("istio.io/rev".to_owned(), label));
        app.template_labels.extend(label);
        app.change_template();
    }

    /// Which revision owns a Gateway. Two that claim it would render in turns, without end.
    fn owner_of(&self, gateway: &Gateway) -> Option<String> {
        let namespace = self
            .namespaces
            .iter()
            .find(|ns| ns.name == gateway.namespace)?;
        let label = gateway
            .label
            .as_ref()
            .or(namespace.labels.get("istio.io/rev"));
        let claims = |revision: &str, service: &str| {
            let tags = |name: &str| self.tags.iter().find(|tag| tag.name == name);
            let by_default = |named: bool| match tags("default") {
                Some(tag) => tag.revision == revision,
                None => {
                    !named
                        && self
                            .validator
                            .as_ref()
                            .is_some_and(|v| v.service == service)
                }
            };
            match label.map(String::as_str) {
                None => revision == "default" || by_default(false),
                Some("default") => revision == "default" || by_default(true),
                Some(name) => {
                    name == revision || tags(name).is_some_and(|tag| tag.revision == revision)
                }
            }
        };
        let planes = self.istiods.iter().map(|i| &i.plane);
        let owners: Vec<&str> = planes
            .filter(|plane| claims(&plane.revision, &plane.name))
            .map(|plane| plane.revision.as_str())
            .collect();
        assert!(
            owners.len() < 2,
            "{owners:?} fight over Gateway {}/{}",
            gateway.namespace,
            gateway.name
        );
        owners.first().map(|owner| (*owner).to_owned())
    }

    /// Gateways that a revision renders.
    pub fn rendered_by(&self, revision: &str) -> Vec<String> {
        let own = |g: &&Gateway| self.owner_of(g).as_deref() == Some(revision);
        self.gateways
            .iter()
            .filter(own)
            .map(|g| g.name.clone())
            .collect()
    }

    pub fn label_gateway(&mut self, effect: &Effect) -> Result<(), Failure> {
        let Effect::LabelGateway {
            namespace,
            name,
            uid,
            resource_version,
            revision,
            label,
            mark,
            at,
        } = effect
        else {
            panic!("{} is of no Gateway", effect.describe())
        };
        let found = self
            .gateways
            .iter()
            .find(|g| g.name == *name && g.namespace == *namespace);
        match found {
            Some(found) if found.uid != *uid || found.resource_version != *resource_version => {
                return Err(conflict(format!("Gateway {name} changed")));
            }
            None => return Err(conflict(format!("Gateway {name} is gone"))),
            Some(_) => {}
        }
        let gateway = self.gateway(name);
        gateway.label.clone_from(label);
        gateway.moved_to = mark.then(|| revision.clone());
        gateway.asked_at = Some(*at);
        gateway.owner = Some("meshlift".into());
        self.wrote(format!("gateway {name}"));
        Ok(())
    }

    pub fn point_tag(
        &mut self,
        name: &str,
        resource_version: &str,
        revision: &str,
        mark: bool,
    ) -> Result<(), Failure> {
        self.must_be_ready(revision, name);
        let serial = self.next_serial();
        let Some(tag) = self.tags.iter_mut().find(|tag| tag.name == name) else {
            return Err(conflict(format!("tag {name} is gone")));
        };
        if tag.resource_version != resource_version {
            return Err(conflict(format!("tag {name} changed")));
        }
        tag.revision = revision.to_owned();
        tag.moved_to = mark.then(|| revision.to_owned());
        tag.resource_version = serial.to_string();
        self.wrote(format!("tag {name}"));
        Ok(())
    }

    pub fn keep_tag(&mut self, name: &str, resource_version: &str) -> Result<(), Failure> {
        let serial = self.next_serial();
        let Some(tag) = self.tags.iter_mut().find(|tag| tag.name == name) else {
            return Err(conflict(format!("tag {name} is gone")));
        };
        if tag.resource_version != resource_version {
            return Err(conflict(format!("tag {name} changed")));
        }
        tag.kept = true;
        tag.resource_version = serial.to_string();
        self.wrote(format!("tag {name}"));
        Ok(())
    }

    /// Helm deletes what a release no longer has, unless the live object says otherwise.
    pub fn release_tags(&mut self, target: &ChartTarget) -> Result<(), Failure> {
        assert!(
            !target.values.contains_key("revisionTags"),
            "tags stay in {}",
            target.release
        );
        let before = self
            .helm
            .find(&target.release)
            .and_then(|r| r.revisions.last());
        let before = before.expect("the release").clone();
        assert_eq!(
            before.version, target.version,
            "taking tags out changes nothing else"
        );
        self.begin_or_die(target)?;
        let of_release = format!("{}/{}", target.namespace, target.release);
        let lost = |tag: &&meshlift_model::view::Tag| {
            tag.helm_release.as_ref() == Some(&of_release) && !tag.kept
        };
        if let Some(tag) = self.tags.iter().find(lost) {
            panic!("Helm deletes tag {}", tag.name);
        }
        Ok(())
    }

    /// What an uninstall of a release takes along.
    pub fn nothing_goes_along(&self, release: &Stored, revision: &str) {
        let newest = release.revisions.last().expect("a revision");
        let of_release = format!("{}/{}", release.namespace, release.name);
        let goes = |tag: &&meshlift_model::view::Tag| {
            tag.revision == revision
                || (newest.values.contains_key("revisionTags")
                    && tag.helm_release.as_ref() == Some(&of_release))
        };
        if let Some(tag) = self.tags.iter().find(goes) {
            panic!("uninstall of {} takes tag {} along", release.name, tag.name);
        }
        let gateways = self.rendered_by(revision);
        assert!(gateways.is_empty(), "nobody renders {gateways:?} any more");
    }
}
