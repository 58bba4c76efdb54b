//! Which fields of a kubeconfig are read, which are of no consequence, and why the others are refused.
//! Source of the names: kubernetes `client-go/tools/clientcmd/api/v1/types.go`.

use serde_yaml_ng::{Mapping, Value};

use super::{KubeconfigError, Result};

/// The fields of one part of the file.
pub(super) struct Fields {
    /// Read here, or without any effect on what is reached and how.
    known: &'static [&'static str],
    /// Name, why it is refused, what to do instead.
    refused: &'static [(&'static str, &'static str, &'static str)],
}

const RUNS: &str = "this operator runs no program that a kubeconfig names";
const READS: &str = "this operator reads no file that a kubeconfig names";
const ACTS_AS: &str = "this operator acts as nobody else";
const PASSWORD: &str = "Kubernetes takes no passwords any more";
const OWN_ACCOUNT: &str =
    "make a service account in that cluster with the rights it needs, and write its token as token";

pub(super) const TOP: Fields = Fields {
    known: &[
        "apiVersion",
        "kind",
        "preferences",
        "extensions",
        "clusters",
        "users",
        "contexts",
        "current-context",
    ],
    refused: &[],
};

pub(super) const CONTEXT: Fields = Fields {
    known: &["cluster", "user", "namespace", "extensions"],
    refused: &[],
};

pub(super) const CLUSTER: Fields = Fields {
    known: &[
        "server",
        "tls-server-name",
        "certificate-authority-data",
        "disable-compression",
        "extensions",
    ],
    refused: &[
        (
            "certificate-authority",
            READS,
            "write the certificate itself, as certificate-authority-data",
        ),
        (
            "insecure-skip-tls-verify",
            "anybody could answer in the name of that cluster",
            "remove it, and write the cluster's certificate as certificate-authority-data",
        ),
        (
            "proxy-url",
            "it sends this operator to another place than the API server",
            "remove it; the API server must be reachable from the operator itself",
        ),
    ],
};

pub(super) const USER: Fields = Fields {
    known: &[
        "token",
        "client-certificate-data",
        "client-key-data",
        "extensions",
    ],
    refused: &[
        ("exec", RUNS, OWN_ACCOUNT),
        ("auth-provider", RUNS, OWN_ACCOUNT),
        ("tokenFile", READS, "write the token itself, as token"),
        (
            "client-certificate",
            READS,
            "write the certificate itself, as client-certificate-data",
        ),
        (
            "client-key",
            READS,
            "write the key itself, as client-key-data",
        ),
        ("username", PASSWORD, OWN_ACCOUNT),
        ("password", PASSWORD, OWN_ACCOUNT),
        ("as", ACTS_AS, OWN_ACCOUNT),
        ("as-uid", ACTS_AS, OWN_ACCOUNT),
        ("as-groups", ACTS_AS, OWN_ACCOUNT),
        ("as-user-extra", ACTS_AS, OWN_ACCOUNT),
    ],
};

/// Fails at the first field that is not harmless. What is not known may be the next way to run a program.
pub(super) fn allowed(part: &Mapping, place: &str, fields: Fields) -> Result<()> {
    for (name, value) in part {
        let name = name.as_str().unwrap_or_default();
        if fields.known.contains(&name) {
            continue;
        }
        let Some((name, why, fix)) = fields.refused.iter().find(|(field, ..)| *field == name)
        else {
            // Its name may be what should have been a value.
            return Err(KubeconfigError::Refused {
                field: path(place, "unknown field"),
                why: "only fields that are known to be harmless are taken",
                fix: "write it again, with kubectl config view --minify --flatten --raw",
            });
        };
        if !is_unset(value) {
            return Err(KubeconfigError::Refused {
                field: path(place, name),
                why,
                fix,
            });
        }
    }
    Ok(())
}

/// What programs write for a field that is not used.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Sequence(list) => list.is_empty(),
        Value::Mapping(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Tagged(_) => false,
    }
}

pub(super) fn path(place: &str, name: &str) -> String {
    match place {
        "" => name.to_owned(),
        _ => format!("{place}.{name}"),
    }
}
