//! How long backups, records and logs are kept: they hold values with secrets and would pile up for ever. The newest of
//! each mesh stay, and whatever belongs to an upgrade that has not ended, which may yet need it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::{CONTENT, UPGRADE};

use super::secrets::{MESH, PART, TAKEN_AT, WHOLE};
use crate::error::is_not_found;
use crate::{Error, Result};

/// Value of the label of a Secret with the record of an upgrade.
pub(crate) const RECORD: &str = "record";
/// Chunks without an index that are older were left by a backup that was cut off: none takes so long.
const CUT_OFF: SignedDuration = SignedDuration::from_hours(24);

/// What is kept.
#[derive(Clone, Debug)]
pub struct Retention<'a> {
    /// The mesh whose backups and records are counted.
    pub mesh: &'a str,
    /// How many of each; none is removed where it is 0.
    pub keep: usize,
    /// Names of the MeshUpgrades that have not ended.
    pub running: &'a BTreeSet<String>,
    /// Names of the records that a MeshUpgrade names, ended or not.
    pub named: &'a BTreeSet<String>,
}

/// Something that is kept for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    name: String,
    mesh: String,
    upgrade: String,
    at: Timestamp,
}

impl Kept {
    fn of(secret: &PartialObjectMeta<Secret>) -> Self {
        let told = |key: &str| secret.annotations().get(key).cloned().unwrap_or_default();
        let created = secret.creation_timestamp().map(|at| at.0);
        Self {
            name: secret.name_any(),
            mesh: told(MESH),
            upgrade: told(UPGRADE),
            at: told(TAKEN_AT)
                .parse()
                .ok()
                .or(created)
                .unwrap_or(Timestamp::MAX),
        }
    }
}

impl Retention<'_> {
    /// The names of those that are too many, oldest last.
    fn surplus(&self, mut all: Vec<Kept>) -> Vec<String> {
        if self.keep == 0 {
            return Vec::new();
        }
        all.retain(|kept| kept.mesh == self.mesh);
        all.sort_by(|a, b| b.at.cmp(&a.at).then(a.name.cmp(&b.name)));
        let old = all.into_iter().skip(self.keep);
        old.filter(|kept| !self.running.contains(&kept.upgrade))
            .filter(|kept| !self.named.contains(&kept.name))
            .map(|kept| kept.name)
            .collect()
    }

    /// Removes what is too much, and says how many backups and records that were.
    pub async fn apply(&self, client: &Client, namespace: &str) -> Result<(usize, usize)> {
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let selector = format!("{CONTENT} in ({WHOLE},{PART},{RECORD})");
        let listed = secrets
            .list_metadata(&ListParams::default().labels(&selector))
            .await
            .map_err(Error::kube("looking for old backups"))?;
        let mut by_content: BTreeMap<&str, Vec<&PartialObjectMeta<Secret>>> = BTreeMap::new();
        for secret in &listed.items {
            let content = secret.labels().get(CONTENT).map_or("", String::as_str);
            by_content.entry(content).or_default().push(secret);
        }
        let of = |content: &str| {
            let all = by_content.get(content).into_iter().flatten();
            all.map(|secret| Kept::of(secret)).collect::<Vec<_>>()
        };
        let backups = self.surplus(of(WHOLE));
        for index in &backups {
            // Without its index it is no backup any more, whatever becomes of this process.
            remove(&secrets, index).await?;
        }
        let gone: BTreeSet<&String> = backups.iter().collect();
        let whole: BTreeSet<String> = of(WHOLE)
            .into_iter()
            .map(|kept| kept.name)
            .filter(|name| !gone.contains(name))
            .collect();
        for chunk in left_over(of(PART), &whole, &gone, Timestamp::now()) {
            remove(&secrets, &chunk).await?;
        }
        let records = self.surplus(of(RECORD));
        let logs = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        for record in &records {
            remove(&secrets, record).await?;
            if let Some(run) = record.strip_prefix("upgrade-") {
                remove(&logs, &format!("meshlift-log-{run}")).await?;
            }
        }
        Ok((backups.len(), records.len()))
    }
}

/// The chunks whose index is gone, or never came.
fn left_over(
    chunks: Vec<Kept>,
    whole: &BTreeSet<String>,
    gone: &BTreeSet<&String>,
    now: Timestamp,
) -> Vec<String> {
    let index = |chunk: &str| {
        let (backup, _) = chunk.rsplit_once('-')?;
        Some(format!("{backup}-0"))
    };
    chunks
        .into_iter()
        .filter(|chunk| {
            let Some(index) = index(&chunk.name) else {
                return false;
            };
            let old = now.duration_since(chunk.at) > CUT_OFF;
            gone.contains(&index) || (old && !whole.contains(&index))
        })
        .map(|chunk| chunk.name)
        .collect()
}

async fn remove<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match api.delete(name, &DeleteParams::default()).await {
        Err(error) if !is_not_found(&error) => Err(Error::kube("removing an old backup")(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, mesh: &str, upgrade: &str, at: i64) -> Kept {
        Kept {
            name: name.into(),
            mesh: mesh.into(),
            upgrade: upgrade.into(),
            at: Timestamp::from_second(at).expect("a time"),
        }
    }

    #[test]
    fn the_newest_of_a_mesh_stay_and_what_still_runs() {
        let running = BTreeSet::from(["runs".to_owned()]);
        let named = BTreeSet::from(["record-of-an-object".to_owned()]);
        let retention = |keep| Retention {
            mesh: "prod",
            keep,
            running: &running,
            named: &named,
        };
        let all = || {
            vec![
                kept("oldest", "prod", "a", 1),
                kept("of-a-run", "prod", "runs", 2),
                kept("record-of-an-object", "prod", "b", 3),
                kept("new", "prod", "c", 4),
                kept("newest", "prod", "d", 5),
                kept("elsewhere", "test", "e", 0),
            ]
        };
        assert_eq!(retention(2).surplus(all()), ["oldest"]);
        assert_eq!(retention(1).surplus(all()), ["new", "oldest"]);
        assert!(retention(10).surplus(all()).is_empty());
        assert!(retention(0).surplus(all()).is_empty(), "all are kept");
    }

    #[test]
    fn chunks_go_with_their_index_and_those_under_way_stay() {
        let now = Timestamp::from_second(200_000).expect("a time");
        let chunks = vec![
            kept("whole-1", "", "", 1),
            kept("gone-1", "", "", 199_999),
            kept("cut-off-1", "", "", 1),
            kept("under-way-1", "", "", 199_999),
        ];
        let whole = BTreeSet::from(["whole-0".to_owned()]);
        let removed = "gone-0".to_owned();
        let gone = BTreeSet::from([&removed]);
        let left = left_over(chunks, &whole, &gone, now);
        assert_eq!(left, ["gone-1", "cut-off-1"]);
    }
}
