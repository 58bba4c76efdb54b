//! What a cluster is started with.

use crate::versions::{self, PinnedIstio};

/// How much of a cluster there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Control plane only; any user.
    Api,
    /// With a real node that runs pods, and what Istio needs; root on Debian.
    Mesh,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// A name for people.
    pub name: String,
    /// How much of a cluster there is.
    pub profile: Profile,
    /// How many simulated nodes stand beside the real one.
    pub kwok_nodes: u32,
    /// Whether the API server records every request.
    pub audit: bool,
    /// Istio versions at hand beside [`versions::ISTIO`].
    pub more_istio: &'static [PinnedIstio],
    /// The version the API server says it is of (`1.31.4`), if not its own.
    pub kubernetes: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options::api("testbed")
    }
}

impl Options {
    /// A control plane without nodes.
    pub fn api(name: &str) -> Self {
        Options {
            name: name.into(),
            profile: Profile::Api,
            kwok_nodes: 0,
            audit: false,
            more_istio: &[],
            kubernetes: None,
        }
    }

    /// A cluster with a real node.
    pub fn mesh(name: &str) -> Self {
        Options {
            profile: Profile::Mesh,
            ..Options::api(name)
        }
    }

    /// The same with `nodes` simulated nodes.
    pub fn kwok(self, nodes: u32) -> Self {
        Options {
            kwok_nodes: nodes,
            ..self
        }
    }

    /// The same with the Istio versions of a chain of upgrades.
    pub fn chain(self) -> Self {
        Options {
            more_istio: &versions::ISTIO_OF_CHAINS,
            ..self
        }
    }

    /// Every Istio version at hand.
    pub fn istio(&self) -> Vec<PinnedIstio> {
        [&versions::ISTIO, self.more_istio].concat()
    }

    /// The same with an API server that says it is of `version`.
    pub fn kubernetes(self, version: &str) -> Self {
        Options {
            kubernetes: Some(version.into()),
            ..self
        }
    }

    /// The same with a record of every request.
    pub fn audit(self) -> Self {
        Options {
            audit: true,
            ..self
        }
    }
}
