//! Backups in Secrets of the operator's namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::{CONTENT, FIELD_MANAGER, MANAGED_BY, UPGRADE};

use super::format::{Contents, Index, read, sum};
use super::take::ChunkSink;
use crate::error::is_not_found;
use crate::{Error, Result};

/// Key of the index, in the first Secret.
const INDEX: &str = "index.json";
/// Key of a chunk.
const DATA: &str = "data";
/// Value of the label of the Secret with the index.
pub(super) const WHOLE: &str = "backup";
/// Value of the label of the others.
pub(super) const PART: &str = "backup-chunk";
/// Annotations of the Secret with the index: what a list of backups says of it.
pub(super) const TAKEN_AT: &str = "meshlift.io/taken-at";
pub(crate) const MESH: &str = "meshlift.io/mesh";
const WAY: &str = "meshlift.io/way";
const ENTRIES: &str = "meshlift.io/objects";
const BYTES: &str = "meshlift.io/bytes";

/// Writes a backup into Secrets. The first chunk is kept until the last is written, and goes with the index.
pub struct SecretSink {
    api: Api<Secret>,
    name: String,
    upgrade: String,
    first: Option<Vec<u8>>,
    chunks: usize,
}

impl SecretSink {
    /// Into the Secrets of this name in a namespace, for this MeshUpgrade.
    pub fn new(client: Client, namespace: &str, name: &str, upgrade: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            upgrade: upgrade.to_owned(),
            first: None,
            chunks: 0,
        }
    }

    fn secret(&self, number: usize, content: &str, data: BTreeMap<String, Vec<u8>>) -> Secret {
        let labels = [(MANAGED_BY, FIELD_MANAGER), (CONTENT, content)];
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let data = data
            .into_iter()
            .map(|(key, bytes)| (key, ByteString(bytes)));
        Secret {
            metadata: ObjectMeta {
                name: Some(format!("{}-{number}", self.name)),
                labels: Some(labels.map(owned).into()),
                annotations: Some([owned((UPGRADE, &self.upgrade))].into()),
                ..ObjectMeta::default()
            },
            data: Some(data.collect()),
            ..Secret::default()
        }
    }

    /// Makes a Secret, or replaces that of a backup that was cut off.
    async fn put(&self, mut secret: Secret) -> Result<()> {
        let what = "writing the backup";
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self.api.create(&params, &secret).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => return other.map(drop).map_err(Error::kube(what)),
        }
        let name = secret.name_any();
        let existing = self
            .api
            .get_metadata(&name)
            .await
            .map_err(Error::kube(what))?;
        secret.metadata.resource_version = existing.metadata.resource_version;
        let replaced = self.api.replace(&name, &params, &secret).await;
        replaced.map(drop).map_err(Error::kube(what))
    }
}

impl ChunkSink for SecretSink {
    async fn chunk(&mut self, bytes: Vec<u8>) -> Result<()> {
        let number = self.chunks;
        self.chunks += 1;
        if number == 0 {
            self.first = Some(bytes);
            return Ok(());
        }
        let data = BTreeMap::from([(DATA.to_owned(), bytes)]);
        self.put(self.secret(number, PART, data)).await
    }

    async fn index(&mut self, index: &Index) -> Result<()> {
        let first = self.first.take().unwrap_or_default();
        let json = serde_json::to_vec(index)
            .map_err(|error| Error::Unreadable(format!("writing the index: {error}")))?;
        let data = BTreeMap::from([(DATA.to_owned(), first), (INDEX.to_owned(), json)]);
        let mut secret = self.secret(0, WHOLE, data);
        let told = [
            (TAKEN_AT, index.header.taken_at.to_string()),
            (MESH, index.header.mesh.clone()),
            (WAY, way(index)),
            (ENTRIES, index.counts.values().sum::<u64>().to_string()),
            (BYTES, index.bytes.to_string()),
        ];
        let told = told.map(|(key, value)| (key.to_owned(), value));
        secret.annotations_mut().extend(told);
        self.put(secret).await
    }
}

fn way(index: &Index) -> String {
    let versions = [&index.header.from, &index.header.to];
    let versions = versions.into_iter().flatten();
    let versions: Vec<&str> = versions.map(|plane| plane.version.as_str()).collect();
    versions.join(" to ")
}

/// Whether a whole backup of this name is there.
pub async fn exists(client: &Client, namespace: &str, name: &str) -> Result<bool> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    match api.get_metadata(&format!("{name}-0")).await {
        Ok(secret) => Ok(secret.labels().get(CONTENT).is_some_and(|is| is == WHOLE)),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(Error::kube("looking for the backup")(error)),
    }
}

/// A backup, as a list tells of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Name.
    pub name: String,
    /// The mesh.
    pub mesh: String,
    /// The MeshUpgrade that took it.
    pub upgrade: String,
    /// Whence and whereto: `1.30.2 to 1.31.0`.
    pub way: String,
    /// When it was taken.
    pub taken_at: Option<Timestamp>,
    /// How much there is in it.
    pub objects: u64,
    /// Bytes of its chunks.
    pub bytes: u64,
}

/// The whole backups in a namespace, newest first; none of their content is read.
pub async fn list(client: &Client, namespace: &str) -> Result<Vec<Listed>, kube::Error> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&format!("{CONTENT}={WHOLE}"));
    let mut all: Vec<Listed> = api
        .list_metadata(&ours)
        .await?
        .items
        .iter()
        .map(|secret| {
            let told = |key: &str| secret.annotations().get(key).cloned().unwrap_or_default();
            let name = secret.name_any();
            Listed {
                name: name.strip_suffix("-0").unwrap_or(&name).to_owned(),
                mesh: told(MESH),
                upgrade: told(UPGRADE),
                way: told(WAY),
                taken_at: told(TAKEN_AT).parse().ok(),
                objects: told(ENTRIES).parse().unwrap_or_default(),
                bytes: told(BYTES).parse().unwrap_or_default(),
            }
        })
        .collect();
    all.sort_by(|a, b| b.taken_at.cmp(&a.taken_at).then(a.name.cmp(&b.name)));
    Ok(all)
}

/// Reads a backup: its index, its stream as it is, and what it holds. None where there is none of this name.
pub async fn load(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<(Index, Vec<u8>, Contents)>> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let what = |number: usize| format!("reading Secret {namespace}/{name}-{number}");
    let first = api.get_opt(&format!("{name}-0")).await;
    let Some(mut first) = first.map_err(Error::kube(what(0)))? else {
        return Ok(None);
    };
    let index = taken(&mut first, INDEX)
        .ok_or_else(|| Error::Unreadable(format!("{}: it has no key {INDEX}", what(0))))?;
    let index: Index = serde_json::from_slice(&index)
        .map_err(|_| Error::Unreadable(format!("{}: {INDEX} is no index of a backup", what(0))))?;
    let mut stream = Vec::new();
    for (number, told) in index.chunks.iter().enumerate() {
        let mut secret = match number {
            0 => std::mem::take(&mut first),
            _ => {
                let found = api.get(&format!("{name}-{number}")).await;
                found.map_err(Error::kube(what(number)))?
            }
        };
        let chunk = taken(&mut secret, DATA).unwrap_or_default();
        if sum(&chunk) != told.sha256 {
            return Err(Error::Unreadable(format!(
                "{}: its content is not what was written (SHA-256)",
                what(number)
            )));
        }
        stream.extend(chunk);
    }
    let contents = read(stream.as_slice())?;
    Ok(Some((index, stream, contents)))
}

fn taken(secret: &mut Secret, key: &str) -> Option<Vec<u8>> {
    Some(secret.data.as_mut()?.remove(key)?.0)
}
