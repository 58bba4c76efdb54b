//! Who else brings the Helm releases of the mesh to a state: what they own is not fought over.

use std::collections::BTreeMap;

use meshlift_api::Severity;
use meshlift_model::view::{HelmRelease, Release, Seen, gitops_tool};

use super::{Check, Finding, Look, Subject};

/// Labels that Flux writes on every object of a HelmRelease. Source: flux helm-controller, `postrender` (origin labels).
const FLUX_NAME: &str = "helm.toolkit.fluxcd.io/name";
const FLUX_NAMESPACE: &str = "helm.toolkit.fluxcd.io/namespace";
/// Annotation that Argo CD writes on every object of an Application: `app:group/kind:namespace/name`. Its older label,
/// `app.kubernetes.io/instance`, is one that Istio's charts write too, and proves nothing.
const ARGO_CD: &str = "argocd.argoproj.io/tracking-id";

pub(super) static OWNED: Check = Check {
    code: "RELEASE-OWNED",
    reason: "ReleaseOwned",
    severity: Severity::Blocking,
    acceptable: true,
    title: "no other tool brings the Helm releases to a state of its own",
    explanation: "A Helm controller (Flux, Fleet), Argo CD or Terraform compares a release with what it knows and brings it back: CRDs and the default revision go down to the version of before while the mesh is upgraded, and the old control plane comes back after it was removed. Two tools that upgrade one release undo each other.",
    fix: "Suspend the tool for these releases, by the command in the message, and give it the target (version, revision, values) before it goes on.",
    source: "fluxcd/helm-controller docs (driftDetection, suspend); argo-cd docs, resource tracking; terraform-provider-helm docs",
    look: Look::Mesh(owned),
};

/// Who owns a release, and how it is stopped.
struct Owner {
    who: String,
    how: String,
}

fn owned(subject: &Subject<'_>) -> Vec<Finding> {
    let flux = &subject.view.environment.helm_releases;
    if let Seen::Unreadable(why) = flux {
        return vec![Finding::unknown("the HelmReleases of Flux", why)];
    }
    let course = subject.course;
    let releases = [&course.base_release, &course.source_release];
    let found = releases.into_iter().filter_map(|release| {
        let release = release.as_ref().ok()?;
        Some((*release, owner(subject, flux, release)?))
    });
    found
        .map(|(release, owner)| {
            let name = format!("{}/{}", release.namespace, release.name);
            Finding::wrong(
                format!(
                    "Helm release {name} belongs to {}, which would bring it back while the mesh is upgraded",
                    owner.who
                ),
                owner.how,
            )
            .about([format!("release {name}")])
        })
        .collect()
}

fn owner(subject: &Subject<'_>, flux: &Seen<Vec<HelmRelease>>, release: &Release) -> Option<Owner> {
    let full = format!("{}/{}", release.namespace, release.name);
    let known = flux.present().into_iter().flatten();
    let known: Vec<&HelmRelease> = known.filter(|of| of.release == full).collect();
    if let Some(active) = known.iter().find(|of| !of.suspended) {
        return Some(by_flux(&active.namespace, &active.name, ""));
    }
    if !known.is_empty() {
        // Suspended: its marks are still there, and nothing is brought back.
        return None;
    }
    let marks = marks(subject, release);
    if let Some(argo) = marks.get(ARGO_CD) {
        return Some(by_argo_cd(argo));
    }
    // Where HelmReleases can be read, one that is not there owns nothing.
    let elsewhere = *flux == Seen::Absent;
    if let (Some(name), Some(namespace)) = (marks.get(FLUX_NAME), marks.get(FLUX_NAMESPACE)) {
        let there = flux.present().into_iter().flatten();
        let mut there = there.filter(|of| of.name == *name && of.namespace == *namespace);
        return match there.next() {
            Some(found) if found.suspended => None,
            Some(_) => Some(by_flux(namespace, name, "")),
            None => elsewhere.then(|| by_flux(namespace, name, " of another cluster")),
        };
    }
    let tool = gitops_tool(release.manager.as_deref()?)?;
    (tool != "Flux" || elsewhere).then(|| by_tool(tool, &full))
}

/// What tools wrote on the objects of a release.
fn marks<'a>(subject: &'a Subject<'_>, release: &Release) -> &'a BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    if release.chart == "istiod" {
        return &subject.course.source.marks;
    }
    let full = format!("{}/{}", release.namespace, release.name);
    let crds = subject.view.environment.crds.present();
    let mut crds = crds.into_iter().flatten();
    let of_release = crds
        .find(|crd| crd.helm_release.as_ref() == Some(&full) && crd.labels.contains_key(FLUX_NAME));
    of_release.map_or(&NONE, |crd| &crd.labels)
}

fn by_flux(namespace: &str, name: &str, elsewhere: &str) -> Owner {
    Owner {
        who: format!("HelmRelease {namespace}/{name} of Flux{elsewhere}"),
        how: format!(
            "flux suspend helmrelease {name} --namespace {namespace}, and give it the target before flux resume"
        ),
    }
}

fn by_argo_cd(tracking_id: &str) -> Owner {
    let application = tracking_id.split(':').next().unwrap_or(tracking_id);
    Owner {
        who: format!("Application {application} of Argo CD"),
        how: format!(
            "argocd app set {application} --sync-policy none, and give it the target before it syncs again"
        ),
    }
}

fn by_tool(tool: &str, release: &str) -> Owner {
    let how = match tool {
        "Terraform" => format!(
            "let nobody apply it until the upgrade is done, then give its helm_release of {release} the target (terraform plan must show no change), and accept RELEASE-OWNED"
        ),
        _ => format!(
            "pause {tool} for {release}, give it the target before it goes on, and accept RELEASE-OWNED"
        ),
    };
    Owner {
        who: format!("{tool}, which wrote its newest revision"),
        how,
    }
}
