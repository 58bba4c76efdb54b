//! What can go wrong with an effect, and what follows from it.

use std::time::Duration;

use meshlift_model::{ErrorClass, Failure};
use meshlift_planner::Violation;

use crate::words::describe;

/// Result of a look or an effect.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed look or effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{what}: {}", describe(source))]
    Kube {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// A right is missing.
    #[error(
        "the right to {verb} {resource} is missing: grant it (the operator's comes with the chart, for a kind newer than that by rbac.extraClusterRules)"
    )]
    Forbidden {
        /// What may not be done.
        verb: &'static str,
        /// With which resource, as RBAC names it: `virtualservices.networking.istio.io`.
        resource: String,
    },
    /// It took too long.
    #[error("{what}: no answer within {after:?}")]
    Timeout {
        /// What was tried.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// Helm failed; its own words.
    #[error("{what}: {output}")]
    Helm {
        /// What was tried.
        what: String,
        /// Helm's error output, shortened.
        output: String,
    },
    /// The Helm program could not be run.
    #[error("the Helm program {program} cannot be run: {source}")]
    NoHelm {
        /// Path of the program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A chart is not the archive that was detected, with what to do.
    #[error("{0}")]
    OtherArchive(String),
    /// An HTTP request failed.
    #[error("{0}")]
    Http(String),
    /// Something came back that cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// This process leads no longer, or is about to stop.
    #[error("nothing was done: the lease of this operator has run out, or it is being stopped")]
    Deposed,
    /// The decision broke a rule that no decision may break.
    #[error("defect of this program, nothing was done: {0}")]
    Lint(#[from] Violation),
}

impl Error {
    /// Names what was tried when the API server said no.
    pub fn kube(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Kube {
            what,
            source: Box::new(source),
        }
    }

    /// What follows from it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Kube { source, .. } => kube_class(source),
            Self::Helm { output, .. } => helm_class(output),
            Self::Timeout { .. } | Self::Http(_) | Self::Unreadable(_) => ErrorClass::Transient,
            Self::NoHelm { .. } | Self::Forbidden { .. } | Self::OtherArchive(_) => {
                ErrorClass::Blocked
            }
            Self::Deposed => ErrorClass::Conflict,
            Self::Lint(_) => ErrorClass::Bug,
        }
    }
}

impl Error {
    /// What it means for the effect that failed.
    pub(crate) fn failure(&self) -> Failure {
        let (answered, why) = match self {
            Self::Kube { source, .. } => (is_answer(source), describe(source)),
            other => (false, other.to_string()),
        };
        Failure {
            class: self.class(),
            answered,
            why,
            message: self.to_string(),
        }
    }
}

/// Whether this is an answer to what was asked, and not that the API server could not answer just now, or does not
/// know who asks.
fn is_answer(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if !matches!(status.code, 401 | 503 | 504))
}

/// Whether the API server said that the object is not there.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn kube_class(error: &kube::Error) -> ErrorClass {
    match error {
        kube::Error::Api(status) => match status.code {
            409 => ErrorClass::Conflict,
            403 => ErrorClass::Blocked,
            400 | 422 => ErrorClass::Invalid,
            _ => ErrorClass::Transient,
        },
        // Our own fence: it says nothing of the cluster.
        kube::Error::Service(error) if error.is::<Error>() => ErrorClass::Conflict,
        _ => ErrorClass::Transient,
    }
}

/// Helm has no exit codes to tell errors apart, so its words must do.
fn helm_class(output: &str) -> ErrorClass {
    const NEEDS_A_PERSON: &[&str] = &[
        "forbidden",
        "invalid ownership metadata",
        "conflict",
        "execution error",
        "unknown compatibility version",
        "parse error",
        "don't meet the specifications",
    ];
    let output = output.to_lowercase();
    if NEEDS_A_PERSON.iter().any(|words| output.contains(words)) {
        ErrorClass::Blocked
    } else {
        ErrorClass::Transient
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16) -> ErrorClass {
        let status = Status {
            code,
            ..Status::default()
        };
        Error::kube("patching")(kube::Error::Api(Box::new(status))).class()
    }

    #[test]
    fn the_answer_of_the_api_server_says_what_follows() {
        assert_eq!(api(409), ErrorClass::Conflict);
        assert_eq!(api(403), ErrorClass::Blocked);
        assert_eq!(api(422), ErrorClass::Invalid);
        assert_eq!(api(500), ErrorClass::Transient);
        assert_eq!(api(429), ErrorClass::Transient);
    }

    #[test]
    fn an_error_is_a_sentence_and_no_dump() {
        let status = Status {
            code: 403,
            reason: "Forbidden".into(),
            message: "deployments.apps \"cart\" is forbidden: not today".into(),
            ..Status::default()
        };
        let error =
            Error::kube("restarting Deployment shop/cart")(kube::Error::Api(Box::new(status)));
        assert_eq!(
            error.to_string(),
            "restarting Deployment shop/cart: the API server: not today"
        );
    }

    #[test]
    fn helm_errors_that_time_will_not_mend_wait_for_a_person() {
        let class = |output: &str| {
            Error::Helm {
                what: "x".into(),
                output: output.into(),
            }
            .class()
        };
        assert_eq!(
            class("Error: looks like \"http://x\" is not a valid chart repository"),
            ErrorClass::Transient
        );
        assert_eq!(class("clusterroles.rbac is Forbidden"), ErrorClass::Blocked);
        assert_eq!(
            class("execution error at (istiod/templates/x.yaml)"),
            ErrorClass::Blocked
        );
    }
}
