//! What the API server said no to, as one sentence with what to do.

use anyhow::{Error, anyhow};
use meshlift_cluster::watch::Undecoded;

/// How Meshlift is installed.
const INSTALL: &str = "helm install meshlift charts/meshlift --namespace meshlift-system --create-namespace --set image.repository=REGISTRY/meshlift-operator";

/// A command line that clap took and that is wrong all the same: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The sentence for a request that failed while `doing` something.
pub(crate) fn request(doing: &str, server: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => {
            let said = if status.message.is_empty() {
                status.reason.clone()
            } else {
                status.message.clone()
            };
            match status.code {
                401 => anyhow!(
                    "{doing}: the API server at {server} does not know you ({said}): log in again, or choose another --context"
                ),
                403 => anyhow!(
                    "{doing}: you have not the right: {said}; ask for it, or choose another --context or --user"
                ),
                404 if is_not_installed(&status) => anyhow!(not_installed(doing)),
                409 => anyhow!(
                    "{doing}: {said}; change it where it is managed, or choose another name"
                ),
                _ => anyhow!("{doing}: {said}"),
            }
        }
        kube::Error::Auth(error) => anyhow!(
            "{doing}: the credentials of the kubeconfig cannot be had: {error}; log in, or choose another --context"
        ),
        error => anyhow!(
            "{doing}: the API server at {server} does not answer ({}): see that it can be reached, or choose another --context",
            innermost(&error)
        ),
    }
}

/// The sentence for an object that cannot be read.
pub(crate) fn undecoded(object: &Undecoded) -> String {
    let (kind, why) = (object.kind.to_lowercase(), &object.why);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    format!(
        "{} cannot be read ({why}): correct the field with kubectl edit {kind} {name}, or run the version of Meshlift that wrote it",
        object.reference()
    )
}

/// The sentence for a cluster that has none of Meshlift's kinds.
pub(crate) fn not_installed(doing: &str) -> String {
    format!("{doing}: Meshlift is not installed in this cluster; install it: {INSTALL}")
}

/// Whether the API server does not know the kind, and not only the object.
pub(crate) fn is_not_installed(status: &kube::core::Status) -> bool {
    let named = status
        .details
        .as_ref()
        .is_some_and(|details| !details.name.is_empty());
    status.code == 404 && !named
}

/// The outer errors only say that there is an inner one.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::core::response::StatusDetails;

    use super::*;

    fn said(code: u16, message: &str, name: &str) -> String {
        let mut status = Status::failure(message, "Reason").with_code(code);
        status.details = Some(StatusDetails {
            name: name.into(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        let error = kube::Error::Api(Box::new(status));
        request("listing meshes", "https://east:6443", error).to_string()
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let all = [
            said(401, "Unauthorized", ""),
            said(403, "User \"ann\" cannot list resource \"meshes\"", ""),
            said(404, "the server could not find the requested resource", ""),
            said(404, "meshupgrades.meshlift.io \"x\" not found", "x"),
            said(
                409,
                "conflict with \"argocd\": .spec.targetVersion",
                "to-1-31",
            ),
            said(422, "spec.targetVersion: is no Istio version", "to-1-31"),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }
}
