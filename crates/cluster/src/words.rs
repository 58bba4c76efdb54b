//! Errors of the API server as a sentence. The client's own text holds a dump of the whole answer, which nobody can
//! read in a condition or an Event.

use kube::core::Status;

/// How much of an answer is quoted: a webhook may answer with pages.
const QUOTED: usize = 300;

/// What the API server answered: who refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// `ValidatingAdmissionPolicy change-freeze`, `admission webhook x`; the API server where nobody is named.
    pub(crate) by: String,
    /// The answer, without what repeats the object.
    pub(crate) why: String,
}

impl Answer {
    /// Who refused, and why.
    pub(crate) fn sentence(&self) -> String {
        format!("{}: {}", self.by, self.why)
    }
}

/// An error of the client as a sentence without its end.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => answer(status).sentence(),
        other => innermost(other),
    }
}

/// Who refused a request, and why.
pub(crate) fn answer(status: &Status) -> Answer {
    let message = match status.message.trim() {
        "" => with_code(&status.reason, status.code),
        message => message.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    let (by, why) = named(&message).unwrap_or_else(|| ("the API server".to_owned(), message));
    Answer {
        by,
        why: shortened(&why),
    }
}

fn with_code(reason: &str, code: u16) -> String {
    match reason {
        "" => format!("status {code}"),
        reason => format!("{reason} (status {code})"),
    }
}

/// Whoever is named in a message, and what is left of it.
/// Source: kubernetes `apiserver/pkg/admission/plugin/{webhook,policy/validating}`, `apiserver/pkg/endpoints/handlers`.
fn named(message: &str) -> Option<(String, String)> {
    if let Some((_, rest)) = message.split_once("ValidatingAdmissionPolicy '") {
        let (name, rest) = rest.split_once('\'')?;
        let (_, why) = rest.split_once("denied request: ").unwrap_or(("", rest));
        let why = why.trim_start_matches("with ");
        return Some((format!("ValidatingAdmissionPolicy {name}"), why.to_owned()));
    }
    if let Some((_, rest)) = message.split_once("failed calling webhook \"") {
        let (name, why) = rest.split_once('"')?;
        let why = why.trim_start_matches(": ");
        let why = format!("it could not be called: {why}");
        return Some((format!("admission webhook {name}"), why));
    }
    if let Some((_, rest)) = message.split_once("admission webhook \"") {
        let (name, rest) = rest.split_once('"')?;
        let (_, why) = rest.split_once(": ").unwrap_or(("", "no reason is given"));
        return Some((format!("admission webhook {name}"), why.to_owned()));
    }
    let (_, why) = message.split_once(" is forbidden: ")?;
    let by = match why {
        why if why.starts_with("exceeded quota") => "ResourceQuota",
        why if why.starts_with("violates PodSecurity") => "Pod Security admission",
        why if why.starts_with("User ") => "RBAC",
        _ => "the API server",
    };
    Some((by.to_owned(), why.to_owned()))
}

/// As much of a text as is quoted.
pub(crate) fn shortened(why: &str) -> String {
    match why.char_indices().nth(QUOTED) {
        None => why.to_owned(),
        Some((end, _)) => format!("{}...", &why[..end]),
    }
}

/// What stands at the bottom: `Connection refused`, and not the layers that passed it on.
fn innermost(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match error {
        // Our own fence: the API server was not asked.
        kube::Error::Service(own) if own.is::<crate::Error>() => own.to_string(),
        kube::Error::HyperError(_) | kube::Error::Service(_) => {
            format!("the API server cannot be reached: {cause}")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, message: &str) -> String {
        let status = Status {
            code,
            message: message.to_owned(),
            reason: "Forbidden".to_owned(),
            ..Status::default()
        };
        describe(&kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn who_refused_is_named_first_and_the_object_is_not_repeated() {
        for (message, sentence) in [
            (
                "deployments.apps \"idle\" is forbidden: ValidatingAdmissionPolicy 'change-freeze' with binding 'change-freeze' denied request: the namespace is frozen",
                "ValidatingAdmissionPolicy change-freeze: the namespace is frozen",
            ),
            (
                "admission webhook \"validate.kyverno.svc-fail\" denied the request: \n\nresource Deployment/shop/cart was blocked",
                "admission webhook validate.kyverno.svc-fail: resource Deployment/shop/cart was blocked",
            ),
            (
                "admission webhook \"deny.example\" denied the request without explanation",
                "admission webhook deny.example: no reason is given",
            ),
            (
                "Internal error occurred: failed calling webhook \"check.example\": failed to call webhook: Post \"https://check\": EOF",
                "admission webhook check.example: it could not be called: failed to call webhook: Post \"https://check\": EOF",
            ),
            (
                "pods \"a\" is forbidden: exceeded quota: small, requested: pods=1",
                "ResourceQuota: exceeded quota: small, requested: pods=1",
            ),
            (
                "deployments.apps \"a\" is forbidden: User \"x\" cannot patch resource \"deployments\"",
                "RBAC: User \"x\" cannot patch resource \"deployments\"",
            ),
            (
                "etcdserver: request timed out",
                "the API server: etcdserver: request timed out",
            ),
            ("", "the API server: Forbidden (status 403)"),
        ] {
            assert_eq!(said(403, message), sentence);
        }
    }

    #[test]
    fn a_long_answer_is_cut_and_never_inside_a_character() {
        let long = "ü".repeat(1000);
        let said = said(500, &long);
        assert!(said.ends_with("ü..."), "{said}");
        assert!(said.chars().count() < 350, "{said}");
    }
}
