//! Commands of Helm for the releases of a mesh.

use meshlift_istio::version::Version;
use meshlift_model::view::Release;

use super::found::Found;
use super::guide::{Guide, command, quote};
use super::stage::Stage;
use super::values::Flags;

/// The releases that the commands name.
pub(super) struct Releases<'a> {
    pub(super) istiod: &'a str,
    pub(super) istiod_release: Option<&'a Release>,
    pub(super) base: Option<&'a Release>,
}

impl<'a> Releases<'a> {
    pub(super) fn of(found: &Found<'a>, istiod: &'a str) -> Self {
        Self {
            istiod,
            istiod_release: found.release("istiod", Some(istiod)),
            base: found.release("base", None),
        }
    }

    /// Name and namespace of the `base` release, also of one that is yet to be made.
    pub(super) fn base_name<'n>(&'n self, found: &'n Found<'_>) -> (&'n str, &'n str) {
        match self.base {
            Some(base) => (&base.name, &base.namespace),
            None => ("istio-base", &found.home),
        }
    }
}

pub(super) const ISTIOD_VALUES: &str = "istiod-values.yaml";
const BASE_VALUES: &str = "base-values.yaml";

pub(super) fn save(guide: &mut Guide, found: &Found<'_>, releases: &Releases<'_>) {
    guide.step("Save what there is");
    guide.say("Values may hold secrets, so they go to files that only you can read, in a folder of their own. Every command below is run in it.");
    guide.run(&format!(
        "umask 077 && mkdir istio-{mesh}-upgrade && cd istio-{mesh}-upgrade",
        mesh = found.mesh
    ));
    guide.run(&format!(
        "{} > {ISTIOD_VALUES}",
        command(&[
            "helm",
            "-n",
            &found.home,
            "get",
            "values",
            releases.istiod,
            "-o",
            "yaml"
        ])
    ));
    if let Some(base) = releases.base {
        guide.run(&format!(
            "{} > {BASE_VALUES}",
            command(&[
                "helm",
                "-n",
                &base.namespace,
                "get",
                "values",
                &base.name,
                "-o",
                "yaml"
            ])
        ));
    }
    guide.run("kubectl get customresourcedefinitions -l app.kubernetes.io/part-of=istio -o yaml > crds.yaml");
    guide.run("kubectl get istio-io -A -o yaml > configuration.yaml");
    guide.run("kubectl get namespaces --show-labels > namespaces.txt");
    if !found.spec.values.istiod.is_empty() {
        guide.say("The Mesh adds values of its own:");
        guide.run(&format!(
            "kubectl get meshes.meshlift.io {} -o 'jsonpath={{.spec.values.istiod}}' > mesh-values.json",
            quote(found.mesh)
        ));
    }
    if !found.spec.values.base.is_empty() {
        guide.run(&format!(
            "kubectl get meshes.meshlift.io {} -o 'jsonpath={{.spec.values.base}}' > mesh-base-values.json",
            quote(found.mesh)
        ));
    }
    if found.spec.charts.secret_ref.is_some() {
        guide.say("The chart repository asks for credentials: log in first (helm registry login, or --username and --password-stdin with each command).");
    }
    guide.good(
        "the files are there, and the values are the ones you know (null means: none were given).",
    );
}

pub(super) fn istiod(
    found: &Found<'_>,
    stage: &Stage<'_>,
    flags: &Flags,
    verb: &str,
    extra: &[&str],
) -> String {
    release(found, &stage.istiod(), &stage.to, flags, verb, extra)
}

pub(super) fn release(
    found: &Found<'_>,
    release: &str,
    to: &Version,
    flags: &Flags,
    verb: &str,
    extra: &[&str],
) -> String {
    let chart = chart(found, "istiod");
    let to = to.to_string();
    let mut words = vec!["helm", "-n", &found.home, verb, release];
    words.extend(chart.iter().map(String::as_str));
    words.extend(["--version", &to]);
    if verb == "upgrade" {
        words.push("--reset-values");
    }
    words.extend(["-f", ISTIOD_VALUES]);
    if !found.spec.values.istiod.is_empty() {
        words.extend(["-f", "mesh-values.json"]);
    }
    words.extend(flags.flags.iter().map(String::as_str));
    words.extend(extra);
    command(&words)
}

impl Releases<'_> {
    /// Brings the `base` release to a version.
    pub(super) fn base_to(&self, found: &Found<'_>, to: &Version, extra: &[String]) -> String {
        let (name, namespace) = self.base_name(found);
        let chart = chart(found, "base");
        let to = to.to_string();
        let mut words = vec!["helm", "-n", namespace, "upgrade", name];
        words.extend(chart.iter().map(String::as_str));
        words.extend(["--version", &to, "--reset-values"]);
        match self.base {
            Some(_) => words.extend(["-f", BASE_VALUES]),
            None => words.extend(["--install", "--take-ownership"]),
        }
        if !found.spec.values.base.is_empty() {
            words.extend(["-f", "mesh-base-values.json"]);
        }
        words.extend(extra.iter().map(String::as_str));
        command(&words)
    }
}

/// A chart as Helm is told of it.
pub(super) fn chart(found: &Found<'_>, name: &str) -> Vec<String> {
    let repository = found.spec.charts.repository.trim_end_matches('/');
    if repository.starts_with("oci://") {
        vec![format!("{repository}/{name}")]
    } else {
        vec![name.to_owned(), "--repo".to_owned(), repository.to_owned()]
    }
}
