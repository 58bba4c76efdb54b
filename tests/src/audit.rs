//! The audit log of the API server: who wrote what.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meshlift_testbed::Cluster;
use serde_json::Value;

/// What the API server wrote down from some moment on.
pub struct Audit {
    log: PathBuf,
    from: u64,
}

/// A request that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch`, `delete`, ...
    pub verb: String,
    /// `group/resource`, with the subresource if there is one.
    pub resource: String,
    /// Namespace; empty for what has none.
    pub namespace: String,
    /// Name; empty for what the server names.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u64,
}

impl Audit {
    /// From now on.
    pub fn from_now(cluster: &Cluster) -> Result<Self> {
        let log = cluster.audit_log().to_owned();
        let from = std::fs::metadata(&log).context("the audit log")?.len();
        Ok(Self { log, from })
    }

    /// Everything that `user` wrote, refused or not; dry runs are no writes.
    pub fn writes(&self, user: &str) -> Result<Vec<Write>> {
        let events = self.events(user)?;
        Ok(events
            .iter()
            .filter_map(|event| write(event, user))
            .collect())
    }

    /// Everything that `user` read, as verb and `group/resource`.
    pub fn reads(&self, user: &str) -> Result<Vec<(String, String)>> {
        let events = self.events(user)?;
        Ok(events
            .iter()
            .filter_map(|event| read(event, user))
            .collect())
    }

    /// Waits until `user` has written nothing for so long.
    ///
    /// # Errors
    /// If it still writes after a minute.
    pub async fn quiet(&self, user: &str, rest: Duration) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        let (mut count, mut since) = (self.writes(user)?.len(), Instant::now());
        while since.elapsed() < rest {
            ensure!(
                Instant::now() < until,
                "{user} still writes: {:?}",
                self.writes(user)?.last()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.writes(user)?.len();
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    fn events(&self, user: &str) -> Result<Vec<Value>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let needle = format!("\"username\":\"{user}\"");
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .filter(|line| line.contains(&needle))
            .map(|line| serde_json::from_str(line).context("a line of the audit log"))
            .collect()
    }

    /// What `user` wrote to the mesh: everything but MeshUpgrades and Meshes themselves, events, leases,
    /// and what lies in the operator's own namespace.
    pub fn mesh_writes(&self, user: &str) -> Result<Vec<Write>> {
        let own = |write: &Write| {
            let group = write.resource.split('/').next().unwrap_or_default();
            ["meshlift.io", "events.k8s.io"].contains(&group)
                || write.resource == "/events"
                || write.namespace == crate::bed::OPERATOR_NAMESPACE
        };
        let all = self.writes(user)?;
        Ok(all.into_iter().filter(|write| !own(write)).collect())
    }
}

fn write(event: &Value, user: &str) -> Option<Write> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verb = text(&event["verb"]);
    let reads = ["get", "list", "watch"].contains(&verb.as_str());
    let dry = text(&event["requestURI"]).contains("dryRun=");
    if event["user"]["username"] != user || reads || dry || event["objectRef"].is_null() {
        return None;
    }
    let object = &event["objectRef"];
    // Who we are and what we may do is asked by creating what is never stored.
    let questions = ["authentication.k8s.io", "authorization.k8s.io"];
    if questions.contains(&text(&object["apiGroup"]).as_str()) {
        return None;
    }
    let subresource = match text(&object["subresource"]) {
        none if none.is_empty() => none,
        some => format!("/{some}"),
    };
    Some(Write {
        verb,
        resource: format!(
            "{}/{}{subresource}",
            text(&object["apiGroup"]),
            text(&object["resource"])
        ),
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    })
}

fn read(event: &Value, user: &str) -> Option<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verb = text(&event["verb"]);
    let reads = ["get", "list"].contains(&verb.as_str());
    let object = &event["objectRef"];
    (reads && event["user"]["username"] == user && !object.is_null()).then(|| {
        let (group, resource) = (text(&object["apiGroup"]), text(&object["resource"]));
        (verb, format!("{group}/{resource}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_dry_runs_and_others_are_no_writes_of_ours() {
        let event = json!({
            "verb": "patch", "user": {"username": "us"}, "requestURI": "/apis/apps/v1/x",
            "objectRef": {"apiGroup": "apps", "resource": "deployments", "subresource": "scale", "namespace": "n", "name": "d"},
            "responseStatus": {"code": 200},
        });
        let expected = Write {
            verb: "patch".into(),
            resource: "apps/deployments/scale".into(),
            namespace: "n".into(),
            name: "d".into(),
            code: 200,
        };
        assert_eq!(write(&event, "us"), Some(expected));
        let spoiled = [
            ("verb", json!("list")),
            ("requestURI", json!("/x?dryRun=All")),
        ];
        for (field, value) in spoiled {
            let mut other = event.clone();
            other[field] = value;
            assert_eq!(write(&other, "us"), None, "{field}");
        }
        let mut question = event.clone();
        question["objectRef"] =
            json!({"apiGroup": "authentication.k8s.io", "resource": "selfsubjectreviews"});
        assert_eq!(write(&question, "us"), None);
        assert_eq!(write(&event, "them"), None);
    }
}
