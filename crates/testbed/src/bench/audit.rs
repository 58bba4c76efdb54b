//! What one user asked of the API server, from its audit log.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) at: Timestamp,
    pub(super) verb: String,
    /// `resource`, `resource/subresource`, or the path of what is no resource.
    pub(super) target: String,
    pub(super) dry_run: bool,
    /// Sent by the Helm that the operator runs.
    pub(super) helm: bool,
}

impl Request {
    pub(super) fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch") && !self.dry_run
    }

    fn kind(&self) -> String {
        let by = if self.helm { " (Helm)" } else { "" };
        let dry = if self.dry_run { ", dry run" } else { "" };
        format!("{} {}{dry}{by}", self.verb, self.target)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "auditID")]
    id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
}

/// The requests of `user`, in order. The log may have been rotated.
pub(super) fn requests(log: &Path, user: &str) -> Result<Vec<Request>> {
    let directory = log.parent().context("the audit log has no directory")?;
    let stem = log.file_stem().context("the audit log has no name")?;
    let stem = stem.to_string_lossy().into_owned();
    let mut all = Vec::new();
    let mut known = HashSet::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&stem) && name.ends_with(".log") {
            let file = File::open(&path)?;
            read(BufReader::new(file), user, &mut known, &mut all)
                .with_context(|| format!("reading {}", path.display()))?;
        }
    }
    all.sort_by_key(|request| request.at);
    Ok(all)
}

/// A watch is recorded when it starts and when it ends; it is one request.
fn read(
    log: impl BufRead,
    user: &str,
    known: &mut HashSet<String>,
    all: &mut Vec<Request>,
) -> Result<()> {
    for line in log.lines() {
        let line = line?;
        if !line.contains(user) {
            continue;
        }
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Entry>(&line) else {
            continue;
        };
        if entry.user.username == user && known.insert(entry.id.clone()) {
            all.push(request(entry));
        }
    }
    Ok(())
}

fn request(entry: Entry) -> Request {
    let (path, query) = entry.uri.split_once('?').unwrap_or((&entry.uri, ""));
    let target = match &entry.object_ref {
        Some(object) if object.subresource.is_empty() => object.resource.clone(),
        Some(object) => format!("{}/{}", object.resource, object.subresource),
        None => path.to_owned(),
    };
    Request {
        at: entry.request_received_timestamp,
        target,
        dry_run: query.contains("dryRun=All"),
        helm: entry.user_agent.starts_with("Helm"),
        verb: entry.verb,
    }
}

/// The requests of a time, by kind.
pub(super) fn by_kind<'a>(requests: impl Iterator<Item = &'a Request>) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for request in requests {
        *kinds.entry(request.kind()).or_default() += 1;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_one_request_and_others_users_do_not_count() -> Result<()> {
        let line = |id: &str, user: &str, verb: &str, uri: &str, resource: &str| {
            serde_json::json!({
                "auditID": id, "verb": verb, "requestURI": uri,
                "user": {"username": user, "groups": ["me"]},
                "userAgent": "Helm/4.3", "stage": "ResponseStarted",
                "objectRef": {"resource": resource},
                "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
            })
            .to_string()
        };
        let log = [
            line("1", "me", "watch", "/api/v1/pods?watch=true", "pods"),
            line("1", "me", "watch", "/api/v1/pods?watch=true", "pods"),
            line("2", "you", "patch", "/api/v1/pods/me", "pods"),
            line("3", "me", "create", "/api/v1/pods?dryRun=All", "pods"),
            line("4", "me", "patch", "/api/v1/pods/p", "pods"),
            "{\"auditID\": \"5\", \"me".to_owned(),
        ]
        .join("\n");
        let (mut known, mut all) = (HashSet::new(), Vec::new());
        read(log.as_bytes(), "me", &mut known, &mut all)?;
        let kinds = by_kind(all.iter());
        let expected = [
            "create pods, dry run (Helm)",
            "patch pods (Helm)",
            "watch pods (Helm)",
        ];
        assert_eq!(kinds.keys().collect::<Vec<_>>(), expected);
        assert_eq!(kinds.values().sum::<usize>(), 3);
        assert_eq!(all.iter().filter(|r| r.is_write()).count(), 1);
        Ok(())
    }
}
