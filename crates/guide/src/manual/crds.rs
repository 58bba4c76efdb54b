//! CRDs by hand, with the one time that Helm has to be told that they are its own.

use meshlift_istio::version::Version;

use super::found::Found;
use super::guide::{Guide, command};
use super::helm::{Releases, chart};

/// The `base` chart with the CRDs, before any new istiod.
pub(super) fn upgrade(
    guide: &mut Guide,
    found: &Found<'_>,
    releases: &Releases<'_>,
    (from, to): (&Version, &Version),
    default_revision: &[String],
) {
    guide.step(&format!("CRDs: chart base {to}"));
    let (name, namespace) = releases.base_name(found);
    if releases.base.is_none() {
        guide.say("No Helm release of chart base was found. The command makes one and takes the CRDs over.");
    }
    // Until 1.23 the CRDs were no part of the release. Source: 1.24 upgrade notes.
    let templated = |version: &Version| (version.major, version.minor) >= (1, 24);
    if !templated(from) && templated(to) && !owned(found) {
        guide.say("From 1.24 on the CRDs belong to the release. Helm takes over only what says so; without this it fails with \"invalid ownership metadata\".");
        for selector in ["chart=istio", "app.kubernetes.io/part-of=istio"] {
            let label = [
                "kubectl",
                "label",
                "customresourcedefinitions",
                "-l",
                selector,
                "app.kubernetes.io/managed-by=Helm",
                "--overwrite",
            ];
            guide.run(&command(&label));
            let release = format!("meta.helm.sh/release-name={name}");
            let of = format!("meta.helm.sh/release-namespace={namespace}");
            let annotate = [
                "kubectl",
                "annotate",
                "customresourcedefinitions",
                "-l",
                selector,
                &release,
                &of,
                "--overwrite",
            ];
            guide.run(&command(&annotate));
        }
        guide.good("together they name every CRD of Istio; \"No resources found\" for one of the two is right.");
    }
    if !templated(to) {
        guide.say(
            "Helm does not upgrade the CRDs of this version, so they are applied from the chart.",
        );
        let chart = chart(found, "base");
        let mut pull = vec!["helm", "pull"];
        pull.extend(chart.iter().map(String::as_str));
        let (version, folder) = (to.to_string(), format!("base-{to}"));
        pull.extend(["--version", &version, "--untar", "--untardir", &folder]);
        guide.run(&command(&pull));
        guide.run(&format!(
            "kubectl apply --server-side --force-conflicts -f {folder}/base/crds"
        ));
    }
    guide.run(&releases.base_to(found, to, default_revision));
    guide.run(&command(&[
        "helm",
        "-n",
        namespace,
        "list",
        "--filter",
        &format!("^{name}$"),
    ]));
    guide.good(&format!(
        "STATUS is deployed and CHART is base-{to}. The old control plane goes on as before."
    ));
    guide.back("not needed, and not to be done: the new CRDs serve the old control plane too, and older CRDs could drop fields that are stored by then.");
}

fn owned(found: &Found<'_>) -> bool {
    let crds = found.view.environment.crds.present();
    crds.is_some_and(|crds| {
        let mut ours = crds.iter().filter(|crd| crd.name.ends_with(".istio.io"));
        ours.all(|crd| crd.helm_release.is_some())
    })
}
