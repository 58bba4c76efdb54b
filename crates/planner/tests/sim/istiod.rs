//! An istiod of the simulated cluster: what it injects, and how its replicas are replaced.

use std::sync::Arc;

use jiff::Timestamp;
use meshlift_istio::version::Version;
use meshlift_model::view::{ControlPlane, Installer};

/// An istiod Deployment with its injection webhook.
#[derive(Clone)]
pub struct Istiod {
    pub plane: ControlPlane,
    pub ready_at: Option<Timestamp>,
    pub ca_bundle_at: Option<Timestamp>,
    /// Image of the sidecars that it injects, where its values name one.
    pub pinned: Option<Arc<str>>,
    /// While it is upgraded in place: image of the sidecars that its replicas of before inject.
    pub replaces: Option<Arc<str>>,
}

impl Istiod {
    /// The image of the sidecars that it injects now.
    pub fn injects(&self) -> Option<Arc<str>> {
        let own = || {
            let version = self.plane.version.as_ref()?;
            Some(format!("example.org/istio/proxyv2:{version}").into())
        };
        let pinned = self.pinned.clone();
        self.replaces.clone().or(pinned).or_else(own)
    }

    /// Whether a pod that asks for it is injected: in the middle of a rollout by a replica of before.
    pub fn serves(&self) -> bool {
        self.plane.is_ready() || self.replaces.is_some()
    }

    /// Replaces its replicas, those of before serving until the new ones are ready.
    pub fn roll(&mut self, version: &Version, pinned: Option<&str>, ready_at: Option<Timestamp>) {
        let before = self.injects();
        self.replaces = before.filter(|_| self.serves());
        self.pinned = pinned.map(Into::into);
        self.plane.version = Some(version.clone());
        self.plane.image = format!("example.org/istio/pilot:{version}");
        self.plane.ready = 0;
        self.plane.rolling = self.replaces.is_some();
        self.ready_at = ready_at;
    }
}

impl Istiod {
    pub fn helm(revision: &str, release: &str, of: &Version, desired: u32) -> Self {
        let suffix = match revision {
            "default" => String::new(),
            revision => format!("-{revision}"),
        };
        Self {
            plane: ControlPlane {
                namespace: "istio-system".into(),
                name: format!("istiod{suffix}"),
                uid: format!("uid-istiod{suffix}"),
                revision: revision.into(),
                version: Some(of.clone()),
                image: format!("example.org/istio/pilot:{of}"),
                installer: Installer::Helm {
                    release: release.into(),
                },
                desired,
                ready: 0,
                enough: None,
                rolling: false,
                trouble: None,
                injector: meshlift_model::view::Seen::Present(
                    meshlift_model::view::InjectorWebhook {
                        name: format!("istio-sidecar-injector{suffix}"),
                        has_ca_bundle: false,
                    },
                ),
                live: meshlift_model::view::Seen::Absent,
                requests: Default::default(),
                external: false,
                marks: Default::default(),
            },
            ready_at: None,
            ca_bundle_at: None,
            pinned: None,
            replaces: None,
        }
    }
}
