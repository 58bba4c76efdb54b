//! Who refused a dry-run pod, from the words of the API server: it has no other way to say so.

use kube::core::Status;
use meshlift_model::view::{PodRefusal, Probe, Refuser};

use crate::words;

/// What an answer says of the pod. Only a refusal by admission is one: what could not be asked says nothing of it.
pub(super) fn of(status: &Status) -> Probe {
    let message = status.message.trim();
    if let Some(webhook) = quoted(message, "admission webhook \"", '"') {
        let denied = after(message, "denied the request");
        return match denied {
            Some(why) => refused(Refuser::Webhook(webhook), why),
            None if message.contains("does not support dry run") => {
                refused(Refuser::NoDryRun(webhook), "")
            }
            None => Probe::Failed(short(message)),
        };
    }
    if let Some(policy) = quoted(message, "ValidatingAdmissionPolicy '", '\'') {
        let why = after(message, "denied request").unwrap_or(message);
        return refused(Refuser::Policy(policy), why);
    }
    let Some(why) = admission(message) else {
        let admitted = status.code == 422 || status.code == 400;
        return if admitted {
            refused(Refuser::Other, message)
        } else {
            Probe::Failed(short(message))
        };
    };
    // What is used and asked for differs from one try to the next.
    if let Some(quota) = quoted(why, "exceeded quota: ", ',') {
        return refused(Refuser::Quota, &format!("exceeded quota {quota}"));
    }
    let by = if why.starts_with("violates PodSecurity") {
        Refuser::PodSecurity
    } else {
        Refuser::Other
    };
    refused(by, why)
}

/// What an admission plugin says: `pods "x" is forbidden: WHY`. Without a name in quotes it is RBAC that forbids.
fn admission(message: &str) -> Option<&str> {
    let (object, why) = message.split_once(" is forbidden: ")?;
    object.contains('"').then_some(why)
}

fn refused(by: Refuser, why: &str) -> Probe {
    Probe::Refused(PodRefusal {
        by,
        why: short(why),
    })
}

/// The text between a beginning and the next of this character.
fn quoted(text: &str, begin: &str, end: char) -> Option<String> {
    let (_, rest) = text.split_once(begin)?;
    let name = rest.split(end).next()?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// What follows these words and a colon.
fn after<'t>(text: &'t str, words: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(words)?;
    Some(rest.trim_start_matches(':').trim())
}

/// It stands in status and conditions: the first line, and no more than a person reads.
fn short(text: &str) -> String {
    words::shortened(text.lines().next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(code: u16, message: &str) -> Probe {
        of(&Status {
            code,
            message: message.into(),
            ..Status::default()
        })
    }

    #[test]
    fn who_refuses_is_told_by_name() {
        let rows = [
            (
                403,
                "pods \"cart-dry-run\" is forbidden: violates PodSecurity \"baseline:latest\": non-default capabilities (container \"istio-init\" must not include \"NET_ADMIN\")",
                Refuser::PodSecurity,
                "violates PodSecurity \"baseline:latest\"",
            ),
            (
                403,
                "pods \"book-dry-run\" is forbidden: exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2",
                Refuser::Quota,
                "exceeded quota team",
            ),
            (
                403,
                "admission webhook \"validation.gatekeeper.sh\" denied the request: [owners] no label owner",
                Refuser::Webhook("validation.gatekeeper.sh".into()),
                "[owners] no label owner",
            ),
            (
                400,
                "admission webhook \"old.example\" does not support dry run",
                Refuser::NoDryRun("old.example".into()),
                "",
            ),
            (
                422,
                "pods \"cart-dry-run\" is forbidden: ValidatingAdmissionPolicy 'registries' with binding 'all' denied request: image of another registry",
                Refuser::Policy("registries".into()),
                "image of another registry",
            ),
            (
                403,
                "pods \"cart-dry-run\" is forbidden: error looking up service account shop/cart: serviceaccount \"cart\" not found",
                Refuser::Other,
                "error looking up service account",
            ),
            (
                403,
                "pods \"cart-dry-run\" is forbidden: failed quota: team: must specify limits.cpu for: app",
                Refuser::Other,
                "failed quota: team",
            ),
            (
                422,
                "Pod \"cart-dry-run\" is invalid: spec.containers: Required value",
                Refuser::Other,
                "is invalid",
            ),
        ];
        for (code, message, by, why) in rows {
            let Probe::Refused(refusal) = says(code, message) else {
                panic!("{message}")
            };
            assert_eq!(refusal.by, by, "{message}");
            assert!(
                refusal.why.starts_with(why) || refusal.why.contains(why),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn what_could_not_be_asked_is_no_refusal() {
        for (code, message) in [
            (
                500,
                "Internal error occurred: failed calling webhook \"rev.namespace.sidecar-injector.istio.io\": failed to call webhook: Post \"https://istiod.istio-system.svc:443/inject\": no endpoints available for service \"istiod\"",
            ),
            (
                403,
                "pods is forbidden: User \"jane\" cannot create resource \"pods\" in API group \"\" in the namespace \"shop\"",
            ),
            (429, "too many requests"),
            (503, ""),
        ] {
            assert!(matches!(says(code, message), Probe::Failed(_)), "{message}");
        }
    }

    #[test]
    fn what_differs_from_one_try_to_the_next_is_not_told() {
        let used = |n: u32| {
            says(
                403,
                &format!(
                    "pods \"a\" is forbidden: exceeded quota: team, requested: pods=1, used: pods={n}, limited: pods=9"
                ),
            )
        };
        assert_eq!(used(8), used(9));
    }
}
