//! Helm releases, from Helm's own storage: Secrets of type `helm.sh/release.v1`, whose labels
//! name release, state and revision, and whose data is base64 of gzip of JSON.
//! Source: helm `pkg/storage/driver/{secrets,util}.go`.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};
use meshlift_model::view::{HelmRunner, Release, ReleaseState, Seen, StorageRef};
use meshlift_planner::ReleasesWanted;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::cached::Cached;
use super::seen;
use crate::Error;
use crate::helm::{OPERATION_LABEL, Runner, UPGRADE_LABEL};

/// No release of an Istio chart is near this size unpacked.
const LARGEST: u64 = 64 << 20;

pub(super) struct Releases {
    client: Client,
    runner: Runner,
    listed: Cached<String, Vec<Stored>>,
    /// Secrets are never changed in their payload once an operation ended; the resource version
    /// tells when they were.
    decoded: Cached<(String, String), Payload>,
}

#[derive(Clone)]
struct Stored {
    release: String,
    namespace: String,
    status: String,
    since: Timestamp,
    upgrade: Option<String>,
    /// Who signed its newest operation; none if the signature is inherited.
    signature: Option<String>,
    manager: Option<String>,
    storage: StorageRef,
    payload: Payload,
}

#[derive(Clone, Deserialize)]
struct Payload {
    #[serde(default)]
    config: Option<Map<String, Value>>,
    chart: ChartOf,
}

#[derive(Clone, Deserialize)]
struct ChartOf {
    metadata: ChartMetadata,
}

#[derive(Clone, Deserialize)]
struct ChartMetadata {
    name: String,
    version: String,
}

impl Releases {
    pub(super) fn new(client: Client, runner: Runner) -> Self {
        Self {
            client,
            runner,
            listed: Cached::new(Duration::from_secs(120)),
            decoded: Cached::new(Duration::from_secs(3600)),
        }
    }

    pub(super) fn forget(&self) {
        self.listed.forget_all();
    }

    /// Releases of the charts `base` and `istiod` in a namespace, each at its newest revision.
    pub(super) async fn look(
        &self,
        namespace: &str,
        wanted: ReleasesWanted,
        upgrade: &str,
    ) -> Seen<Vec<Release>> {
        let key = namespace.to_owned();
        match wanted {
            // Absent would say that there are none.
            ReleasesWanted::No => return Seen::Unreadable("they were not looked at".to_owned()),
            ReleasesWanted::Known => {}
            ReleasesWanted::Fresh => self.listed.forget(&key),
        }
        let stored = self.listed.get(&key, self.list(namespace)).await;
        seen(stored.map(|stored| {
            stored
                .into_iter()
                .filter(|s| ["base", "istiod"].contains(&s.payload.chart.metadata.name.as_str()))
                .map(|s| release(s, upgrade, &self.runner))
                .collect()
        }))
    }

    async fn list(&self, namespace: &str) -> Result<Vec<Stored>, Error> {
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let what = format!("listing the Helm releases in namespace {namespace}");
        let all = api
            .list_metadata(&ListParams::default().labels("owner=helm"))
            .await
            .map_err(Error::kube(what))?;
        let mut newest = BTreeMap::<String, (u64, PartialObjectMeta<Secret>)>::new();
        let mut signed = BTreeMap::<String, u32>::new();
        for secret in all {
            let labels = secret.labels();
            let (Some(name), Some(version)) = (labels.get("name"), labels.get("version")) else {
                continue;
            };
            if let Some(signature) = labels.get(OPERATION_LABEL) {
                *signed.entry(signature.clone()).or_default() += 1;
            }
            let version = version.parse::<u64>().unwrap_or_default();
            let known = newest.get(name).map(|(version, _)| *version);
            if known.is_none_or(|known| known < version) {
                newest.insert(name.clone(), (version, secret));
            }
        }
        let mut stored = Vec::new();
        for (release, (_, secret)) in newest {
            let signature = secret.labels().get(OPERATION_LABEL);
            // On an earlier revision, too, Helm took it over from there: somebody else began this one.
            let own = signature.filter(|signature| signed.get(*signature) == Some(&1));
            let own = own.cloned();
            let decoded = self.decode(release, namespace, &secret).await?;
            stored.extend(decoded.map(|stored| Stored {
                signature: own,
                ..stored
            }));
        }
        Ok(stored)
    }

    async fn decode(
        &self,
        release: String,
        namespace: &str,
        secret: &PartialObjectMeta<Secret>,
    ) -> Result<Option<Stored>, Error> {
        let storage = StorageRef {
            name: secret.name_any(),
            uid: secret.uid().unwrap_or_default(),
            resource_version: secret.resource_version().unwrap_or_default(),
        };
        let key = (storage.uid.clone(), storage.resource_version.clone());
        let payload = self
            .decoded
            .get(&key, self.payload(namespace, &storage.name))
            .await;
        let labels = secret.labels();
        let seconds = |label: &str| labels.get(label)?.parse::<i64>().ok();
        let since = seconds("modifiedAt")
            .or(seconds("createdAt"))
            .unwrap_or_default();
        Ok(Some(Stored {
            release,
            namespace: namespace.to_owned(),
            status: labels.get("status").cloned().unwrap_or_default(),
            since: Timestamp::from_second(since).unwrap_or(Timestamp::UNIX_EPOCH),
            upgrade: labels.get(UPGRADE_LABEL).cloned(),
            signature: None,
            manager: manager(secret),
            storage,
            payload: payload.map_err(Error::Unreadable)?,
        }))
    }

    /// The manifest of the release in this Secret, read anew: it is large, and few ask for it.
    pub(super) async fn manifest(&self, namespace: &str, name: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Rendered {
            #[serde(default)]
            manifest: String,
        }
        let rendered: Rendered = self.payload(namespace, name).await?;
        Ok(rendered.manifest)
    }

    async fn payload<T: DeserializeOwned>(&self, namespace: &str, name: &str) -> Result<T, Error> {
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let what = format!("reading the Helm release in Secret {namespace}/{name}");
        let secret = api.get(name).await.map_err(Error::kube(what.clone()))?;
        let data = secret.data.unwrap_or_default();
        let packed = data
            .get("release")
            .ok_or(Error::Unreadable(format!("{what}: it has no key release")))?;
        unpack(&packed.0).map_err(|why| Error::Unreadable(format!("{what}: {why}")))
    }
}

/// Who wrote it last: Helm, or the tool that Helm is a part of.
fn manager(secret: &PartialObjectMeta<Secret>) -> Option<String> {
    let entries = secret.managed_fields().iter();
    let last = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    last.manager.clone()
}

fn unpack<T: DeserializeOwned>(packed: &[u8]) -> Result<T, String> {
    let zipped = STANDARD
        .decode(packed)
        .map_err(|_| "it is not base64".to_owned())?;
    let mut json = Vec::new();
    GzDecoder::new(zipped.as_slice())
        .take(LARGEST)
        .read_to_end(&mut json)
        .map_err(|_| "it is not gzip".to_owned())?;
    // The parser's own words could quote values.
    serde_json::from_slice(&json)
        .map_err(|error| format!("it is no release (line {})", error.line()))
}

fn release(stored: Stored, upgrade: &str, runner: &Runner) -> Release {
    let by = if stored.upgrade.as_deref() == Some(upgrade) {
        runner.whose(stored.signature.as_deref())
    } else {
        HelmRunner::Foreign
    };
    let metadata = stored.payload.chart.metadata;
    let state = match stored.status.as_str() {
        "deployed" => ReleaseState::Deployed,
        "failed" => ReleaseState::Failed,
        status if status.starts_with("pending-") => ReleaseState::Pending {
            since: stored.since,
            by,
        },
        other => ReleaseState::Other(other.to_owned()),
    };
    Release {
        name: stored.release,
        namespace: stored.namespace,
        chart: metadata.name,
        version: metadata.version.parse().ok(),
        state,
        values: stored.payload.config.unwrap_or_default(),
        manager: stored.manager,
        storage: stored.storage,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http::{Request, Response};
    use kube::client::Body;
    use meshlift_model::view::HelmRunner;
    use serde_json::json;

    use super::*;

    /// A client of an API server with these storage Secrets of the release `istio-base`: state and labels of each revision.
    fn storing(revisions: Vec<(&'static str, Value)>) -> Client {
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let payload =
            r#"{"name":"istio-base","chart":{"metadata":{"name":"base","version":"1.30.2"}}}"#;
        zip.write_all(payload.as_bytes()).expect("zip");
        let data = STANDARD.encode(zip.finish().expect("zip"));
        let secrets = revisions
            .into_iter()
            .zip(1..)
            .map(|((status, mut labels), version)| {
                labels["name"] = json!("istio-base");
                labels["owner"] = json!("helm");
                labels["status"] = json!(status);
                labels["version"] = json!(version.to_string());
                let name = format!("sh.helm.release.v1.istio-base.v{version}");
                let metadata =
                    json!({ "name": name, "uid": name, "resourceVersion": "1", "labels": labels });
                json!({ "metadata": metadata })
            });
        let list = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
            "metadata": {}, "items": secrets.collect::<Vec<_>>(),
        });
        let one = json!({ "metadata": {}, "data": { "release": STANDARD.encode(data) } });
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = if request.uri().path().ends_with("/secrets") {
                list.to_string()
            } else {
                one.to_string()
            };
            async { Ok::<_, tower::BoxError>(Response::new(Body::from(answer.into_bytes()))) }
        });
        Client::new(service, "default")
    }

    async fn pending_by(runner: &Runner, revisions: Vec<(&'static str, Value)>) -> HelmRunner {
        let releases = Releases::new(storing(revisions), runner.clone());
        let found = releases
            .look("istio-system", ReleasesWanted::Fresh, "u")
            .await;
        let Seen::Present(found) = found else {
            panic!("{found:?}")
        };
        match found[..] {
            [
                Release {
                    state: ReleaseState::Pending { by, .. },
                    ..
                },
            ] => by,
            ref other => panic!("{other:?}"),
        }
    }

    /// Helm takes labels over from the revision before: what a person or Flux does after us carries ours.
    #[tokio::test]
    async fn an_operation_that_inherited_our_labels_is_someone_elses() {
        let runner = Runner::new(Some("meshlift-0"));
        let ours = |signature: &str| json!({ UPGRADE_LABEL: "u", OPERATION_LABEL: signature });
        let (first, second) = (runner.sign(), runner.sign());
        let after_us = vec![
            ("deployed", ours(&first)),
            ("pending-upgrade", ours(&first)),
        ];
        assert_eq!(pending_by(&runner, after_us).await, HelmRunner::Foreign);
        let again = vec![
            ("deployed", ours(&first)),
            ("pending-upgrade", ours(&second)),
        ];
        assert_eq!(pending_by(&runner, again.clone()).await, HelmRunner::Here);
        let other = Runner::new(Some("meshlift-1"));
        assert_eq!(pending_by(&other, again).await, HelmRunner::Elsewhere);
        let install = vec![("pending-install", ours(&first))];
        assert_eq!(pending_by(&runner, install).await, HelmRunner::Here);
        let unsigned = vec![("pending-upgrade", json!({ UPGRADE_LABEL: "u" }))];
        assert_eq!(pending_by(&runner, unsigned).await, HelmRunner::Foreign);
        let another = vec![(
            "pending-upgrade",
            json!({ UPGRADE_LABEL: "v", OPERATION_LABEL: second }),
        )];
        assert_eq!(
            pending_by(&runner, another).await,
            HelmRunner::Foreign,
            "of another upgrade"
        );
    }

    #[test]
    fn a_release_is_unpacked_and_rubbish_is_told_as_such() {
        let json = r#"{"name":"istiod","config":{"global":{"hub":"h"}},"chart":{"metadata":{"name":"istiod","version":"1.30.2"}}}"#;
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(json.as_bytes()).expect("zip");
        let packed = STANDARD.encode(zip.finish().expect("zip"));
        let payload: Payload = unpack(packed.as_bytes()).expect("a release");
        assert_eq!(payload.chart.metadata.version, "1.30.2");
        assert_eq!(payload.config.expect("values")["global"]["hub"], "h");
        assert_eq!(
            unpack::<Payload>(b"%%%").err(),
            Some("it is not base64".into())
        );
        assert_eq!(
            unpack::<Payload>(b"aGFsbG8=").err(),
            Some("it is not gzip".into())
        );
    }
}
