//! Which Kubernetes an API server is: asked in the same way of our own and of any other.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use meshlift_istio::version::KubernetesVersion;
use serde::Deserialize;
use tokio::time::error::Elapsed;

use crate::Error;

/// An API server says in less than this what it is.
const LARGEST: usize = 64 << 10;

/// An API server that says nothing for as long as we wait.
pub(super) const SILENT: &str =
    "it does not answer in time: it is down, or something keeps the operator from reaching it";

/// The fields of `/version` that matter.
/// Source: kubernetes `apimachinery/pkg/version/types.go`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Info {
    major: String,
    minor: String,
    git_version: String,
}

/// Asks an API server. What it answers is not trusted: no error repeats it.
pub(super) async fn version(client: &Client) -> Result<KubernetesVersion, Error> {
    let request = Request::get("/version")
        .body(Body::empty())
        .map_err(|error| Error::Http(format!("/version cannot be asked for: {error}")))?;
    let answer = client
        .send(request)
        .await
        .map_err(|error| Error::Http(unreached(&error)))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => {
            return Err(Error::Http(
                "it does not know who asks (401): the token or certificate has run out or was withdrawn, so write a new one".to_owned(),
            ));
        }
        StatusCode::FORBIDDEN => {
            return Err(Error::Http(
                "it does not say its version (403): grant get on the path /version, as its ClusterRole system:public-info-viewer does".to_owned(),
            ));
        }
        other => {
            let code = other.as_u16();
            return Err(Error::Http(format!(
                "it answers status {code} and not its version: is the address that of an API server?"
            )));
        }
    }
    let unread = |why: &str| Error::Unreadable(format!("what it answers is no version: {why}"));
    let body = Limited::new(answer.into_body(), LARGEST)
        .collect()
        .await
        .map_err(|_| unread("the answer broke off or is too long"))?;
    let info: Info = serde_json::from_slice(&body.to_bytes())
        .map_err(|_| unread("it is not the JSON of an API server"))?;
    understood(&info).ok_or_else(|| unread("neither major and minor nor gitVersion is a version"))
}

/// `1` and `32+`; or, where a distribution leaves those empty, `v1.33.1-gke.2`.
fn understood(info: &Info) -> Option<KubernetesVersion> {
    numbers(&info.major, &info.minor).or_else(|| {
        let mut parts = info.git_version.strip_prefix('v')?.split('.');
        numbers(parts.next()?, parts.next()?)
    })
}

fn numbers(major: &str, minor: &str) -> Option<KubernetesVersion> {
    // Some clouds write `32+`.
    let minor = minor.strip_suffix('+').unwrap_or(minor);
    Some(KubernetesVersion {
        major: number(major)?,
        minor: number(minor)?,
    })
}

fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// The cause at the bottom says it: `Connection refused`. Those above only say that it failed.
fn unreached(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let late = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
    if cause.is::<Elapsed>() || cause.downcast_ref().is_some_and(late) {
        return SILENT.to_owned();
    }
    format!("it cannot be reached ({cause})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_clouds_and_distributions_are_understood() {
        let of = |major: &str, minor: &str, git: &str| {
            let info = Info {
                major: major.to_owned(),
                minor: minor.to_owned(),
                git_version: git.to_owned(),
            };
            understood(&info).map(|version| version.to_string())
        };
        for (major, minor, git, version) in [
            ("1", "33", "v1.33.1", "1.33"),
            ("1", "32+", "v1.32.4-eks-1234567", "1.32"),
            ("1", "33", "v1.33.1-gke.2", "1.33"),
            ("", "", "v1.33.1-gke.2", "1.33"),
            ("", "", "v1.34.0+k3s1", "1.34"),
            ("", "", "v1.35", "1.35"),
        ] {
            assert_eq!(of(major, minor, git).as_deref(), Some(version), "{git}");
        }
        for (major, minor, git) in [
            ("", "", ""),
            ("1", "x", "1.33"),
            ("-1", "+", "v1"),
            ("", "", "v1.-3"),
            ("1", "++", "vv1.2"),
            ("1", "99999999999", ""),
        ] {
            assert_eq!(of(major, minor, git), None, "{major} {minor} {git}");
        }
    }
}
