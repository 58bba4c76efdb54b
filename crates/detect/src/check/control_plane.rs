//! The running control plane: it must work before another one is put beside it.

use meshlift_api::Severity;
use meshlift_api::labels::DEFAULT_VALIDATOR;
use meshlift_istio::values;
use meshlift_model::message;
use meshlift_model::record::release_of;
use meshlift_model::users::users;
use meshlift_model::view::{ControlPlane, Installer, Seen, Validator};

use super::subject::{about, count};
use super::{Check, Finding, Look, Subject};

pub(super) static NOT_READY: Check = Check {
    code: "ISTIOD-NOT-READY",
    reason: "ControlPlaneNotReady",
    severity: Severity::Blocking,
    acceptable: false,
    title: "every replica of the running istiod is ready",
    explanation: "An upgrade keeps the old control plane serving until the last workload has left it. One that is already ill may fail in between, and its webhook then refuses new pods.",
    fix: "Mend istiod; kubectl describe its Deployment and pods.",
    source: "istio.io docs/setup/upgrade/canary",
    look: Look::Mesh(not_ready),
};

pub(super) static INJECTOR_BROKEN: Check = Check {
    code: "INJECTOR-BROKEN",
    reason: "InjectorBroken",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the running revision has an injection webhook with a CA bundle",
    explanation: "The webhook fails closed: without a CA bundle no pod can be created in the namespaces it serves, also none that a rollback would need.",
    fix: "Restart istiod, which writes the CA bundle, or reinstall its release.",
    source: "istio pkg/webhooks/webhookpatch.go",
    look: Look::Mesh(injector_broken),
};

pub(super) static VALIDATOR_NOWHERE: Check = Check {
    code: "VALIDATOR-NOWHERE",
    reason: "ValidatorPointsNowhere",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the default validating webhook calls an istiod that runs",
    explanation: "istiod-default-validator fails closed once it has worked: when the Service it calls is gone, every write of Istio configuration is refused.",
    fix: "helm upgrade the base release with defaultRevision set to a revision that runs.",
    source: "istio manifests/charts/base/templates/default.yaml",
    look: Look::Mesh(validator_nowhere),
};

pub(super) static VALIDATOR_NO_CA: Check = Check {
    code: "VALIDATOR-NO-CA",
    reason: "ValidatorNoCa",
    severity: Severity::Warning,
    acceptable: true,
    title: "the default validating webhook has a CA bundle",
    explanation: "Without a CA bundle the API server cannot call the webhook. As long as it may be passed over, Istio configuration is written unchecked; once it fails closed, every write of Istio configuration is refused, those of an upgrade's charts included.",
    fix: "Restart the istiod that it calls, which writes the CA bundle.",
    source: "istio pkg/webhooks/validation/controller/controller.go",
    look: Look::Mesh(validator_no_ca),
};

pub(super) static DEFAULT_KEPT: Check = Check {
    code: "DEFAULT-REVISION-DIFFERS",
    reason: "DefaultRevisionDiffers",
    severity: Severity::Info,
    acceptable: true,
    title: "the default validating webhook calls what the values of the base release say",
    explanation: "`istioctl tag set default` points istiod-default-validator at a revision and changes no values of Helm. The next Helm operation on the base release would take it back. So the upgrade keeps the revision that the cluster shows, on the way forward and back, until the new one becomes the default.",
    fix: "Nothing; the values of the base release name the revision from the upgrade on.",
    source: "istio istioctl/pkg/tag; istio manifests/charts/base/templates",
    look: Look::Mesh(default_kept),
};

pub(super) static UNFINISHED: Check = Check {
    code: "UPGRADE-UNFINISHED",
    reason: "UpgradeUnfinished",
    severity: Severity::Info,
    acceptable: true,
    title: "no control plane of the target is there yet",
    explanation: "A control plane of the target's revision is already there: an earlier upgrade was begun and not ended, by this operator or by a person. The upgrade continues from what is found.",
    fix: "Nothing, if that is meant.",
    source: "",
    look: Look::Mesh(unfinished),
};

pub(super) static BEGUN_BY_HAND: Check = Check {
    code: "TARGET-OF-ANOTHER-RELEASE",
    reason: "TargetOfAnotherRelease",
    severity: Severity::Blocking,
    acceptable: false,
    title: "no control plane of the target was installed under another release",
    explanation: "A control plane of the target's revision is there, and it is not part of the Helm release that the upgrade installs (istiod-<revision>): someone began the upgrade by hand, with another name or another tool. Helm does not take over objects of another release, so the upgrade would stop after the CRDs were upgraded.",
    fix: "Finish that upgrade with the tool that began it, or remove that control plane once nothing uses it.",
    source: "helm pkg/action/validate.go, \"invalid ownership metadata\"",
    look: Look::Hop(begun_by_hand),
};

pub(super) static VERSION_UNKNOWN: Check = Check {
    code: "ISTIOD-VERSION-UNKNOWN",
    reason: "OtherVersionUnknown",
    severity: Severity::Warning,
    acceptable: true,
    title: "the version of every other control plane can be told",
    explanation: "Another istiod of this cluster has an image without a version in its tag and no version label. It shares the CRDs and, by tags and labels, namespaces with this mesh; whether it bears the CRDs of the target is not known.",
    fix: "Set label app.kubernetes.io/version on its Deployment.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/deployment.yaml",
    look: Look::Mesh(version_unknown),
};

fn not_ready(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    let finding = || {
        Finding::wrong(
            message::not_ready(plane),
            format!(
                "mend it before upgrading (kubectl -n {} describe deployment {})",
                plane.namespace, plane.name
            ),
        )
        .about([format!("Deployment {}/{}", plane.namespace, plane.name)])
    };
    (!plane.is_ready()).then(finding).into_iter().collect()
}

fn injector_broken(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    vec![match &plane.injector {
        Seen::Present(webhook) if webhook.has_ca_bundle => return Vec::new(),
        Seen::Present(webhook) => Finding::wrong(
            format!(
                "the injection webhook {} has no CA bundle, so no pod can be injected",
                webhook.name
            ),
            format!("restart istiod {}, which writes it", plane.name),
        )
        .about([format!("MutatingWebhookConfiguration {}", webhook.name)]),
        Seen::Absent => Finding::wrong(
            format!("revision {} has no injection webhook", plane.revision),
            match &subject.course.source_release {
                Ok(release) => format!("reinstall release {}", release.name),
                Err(_) => format!("reinstall istiod {}", plane.name),
            },
        ),
        Seen::Unreadable(why) => Finding::unknown("the injection webhook", why),
    }]
}

fn validator_nowhere(subject: &Subject<'_>) -> Vec<Finding> {
    let validator = match &subject.view.validator {
        Seen::Present(validator) => validator,
        // A base chart with an empty defaultRevision renders none.
        Seen::Absent => return Vec::new(),
        Seen::Unreadable(why) => return vec![Finding::unknown("the validating webhook", why)],
    };
    let serves = |service: &str| {
        let mut planes = subject.planes().iter();
        planes.any(|plane| plane.name == service && plane.namespace == validator.namespace)
    };
    if serves(&validator.service) {
        // That of another mesh stays where it is.
        let ours = validator.namespace == subject.course.source.namespace;
        let to_come = ours.then(|| validator_to_come(subject, serves)).flatten();
        return to_come.into_iter().collect();
    }
    vec![Finding::wrong(
        format!(
            "istiod-default-validator calls service {}, which no istiod serves: every Istio configuration write is refused or unchecked",
            validator.service
        ),
        "run helm upgrade of the base release with defaultRevision set to a revision that runs",
    )]
}

/// What the values of the base release to come would make of it.
fn validator_to_come(subject: &Subject<'_>, serves: impl Fn(&str) -> bool) -> Option<Finding> {
    let values = subject.base_values()?;
    match values::default_service(&values) {
        Some(service) if serves(&service) => None,
        Some(service) => Some(Finding::wrong(
            format!(
                "with the values of the base release to come, istiod-default-validator calls service {service}, which no istiod serves"
            ),
            "set defaultRevision under spec.values.base of the Mesh to a revision that runs, or remove it there",
        )),
        None => {
            let release = subject.course.base_release.as_ref().ok()?;
            let (namespace, name) = (&release.namespace, &release.name);
            Some(Finding::wrong(
                format!(
                    "{DEFAULT_VALIDATOR} is not part of Helm release {namespace}/{name}, whose defaultRevision is empty: Helm could not point it at the new revision"
                ),
                format!(
                    "let Helm adopt it: kubectl label validatingwebhookconfiguration {DEFAULT_VALIDATOR} app.kubernetes.io/managed-by=Helm --overwrite && kubectl annotate validatingwebhookconfiguration {DEFAULT_VALIDATOR} meta.helm.sh/release-name={name} meta.helm.sh/release-namespace={namespace} --overwrite, then name its revision: kubectl patch mesh {} --type merge -p '{{\"spec\":{{\"values\":{{\"base\":{{\"defaultRevision\":\"{}\"}}}}}}}}'",
                    subject.upgrade.spec.mesh, subject.course.source.revision
                ),
            ))
        }
    }
}

fn validator_no_ca(subject: &Subject<'_>) -> Vec<Finding> {
    let validator = subject.view.validator.present();
    let finding = |validator: &Validator| {
        Finding::wrong(
            format!("{DEFAULT_VALIDATOR} has no CA bundle: Istio configuration is written unchecked or not at all"),
            format!("restart {}, which writes it", validator.service),
        )
        .about([format!("ValidatingWebhookConfiguration {DEFAULT_VALIDATOR}")])
    };
    let without = validator.filter(|validator| !validator.has_ca_bundle);
    without.map(finding).into_iter().collect()
}

fn default_kept(subject: &Subject<'_>) -> Vec<Finding> {
    let Ok(release) = &subject.course.base_release else {
        return Vec::new();
    };
    let (said, live) = (
        values::default_service(&release.values),
        subject.view.default_plane(),
    );
    let differs = |(said, live): &(String, &ControlPlane)| *said != live.name;
    let found = said.zip(live).filter(differs);
    let finding = |(said, live): (String, &ControlPlane)| {
        Finding::wrong(
            format!(
                "{DEFAULT_VALIDATOR} calls {}, and the values of release {}/{} say {said}",
                live.name, release.namespace, release.name
            ),
            format!(
                "nothing: the upgrade keeps {} until the new revision becomes the default",
                live.name
            ),
        )
        .about([format!(
            "ValidatingWebhookConfiguration {DEFAULT_VALIDATOR}"
        )])
    };
    found.map(finding).into_iter().collect()
}

fn deployment(plane: &ControlPlane) -> String {
    format!("Deployment {}/{}", plane.namespace, plane.name)
}

fn unfinished(subject: &Subject<'_>) -> Vec<Finding> {
    let source = subject.course.source;
    let revision = subject.revision();
    let ours = Installer::Helm {
        release: release_of(&revision),
    };
    let begun = subject.plane(&revision);
    let begun = begun.filter(|plane| *plane != source && plane.installer == ours);
    let finding = |plane: &ControlPlane| {
        Finding::wrong(
            format!(
                "{} is there already: an upgrade to it was begun before",
                plane.name
            ),
            "nothing to do if that is meant: the upgrade continues it",
        )
        .about([deployment(plane)])
    };
    begun.map(finding).into_iter().collect()
}

fn begun_by_hand(subject: &Subject<'_>) -> Vec<Finding> {
    let source = subject.course.source;
    let revision = subject.revision();
    let ours = Installer::Helm {
        release: release_of(&revision),
    };
    let begun = subject.plane(&revision);
    // Of a mesh that others render it is theirs to bring it up.
    let by_helm = subject.course.mesh.by_helm();
    let begun = begun.filter(|plane| by_helm && *plane != source && plane.installer != ours);
    let finding = |plane: &ControlPlane| {
        let ControlPlane {
            namespace, name, ..
        } = plane;
        let (whose, uninstall) = match &plane.installer {
            Installer::Helm { release } => (
                format!("is part of Helm release {namespace}/{release}"),
                format!("helm -n {namespace} uninstall {release}"),
            ),
            Installer::Istioctl => (
                "was installed by istioctl".to_owned(),
                format!("istioctl uninstall -i {namespace} --revision {revision}"),
            ),
            Installer::Sail | Installer::Unknown => (
                "was not installed by Helm".to_owned(),
                "with the tool that installed it".to_owned(),
            ),
        };
        let users = users(subject.view, &revision, Some(plane));
        let fix = if users.is_empty() {
            format!("nothing uses it, so remove it: {uninstall}")
        } else {
            format!(
                "it is used by {}: finish that upgrade with the tool that began it, or move them back and remove it: {uninstall}",
                message::first_few(&users)
            )
        };
        Finding::wrong(
            format!(
                "{name} has the revision of the target and {whose}, where this upgrade would install release {}",
                release_of(&revision)
            ),
            fix,
        )
        .about([deployment(plane)])
    };
    begun.map(finding).into_iter().collect()
}

fn version_unknown(subject: &Subject<'_>) -> Vec<Finding> {
    let unknown = subject
        .planes()
        .iter()
        .filter(|plane| plane.version.is_none());
    about(unknown.map(deployment), |all| {
        Finding::wrong(
            format!(
                "{} of a version that cannot be told from its image or labels",
                count(all.len(), "other control plane")
            ),
            "set label app.kubernetes.io/version on the Deployment",
        )
    })
}
