//! The log of an upgrade: what was decided and why, in a ConfigMap beside the record, one line of JSON each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::{CONTENT, FIELD_MANAGER, MANAGED_BY, UPGRADE};
use meshlift_api::{Phase, Step};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Key of the lines in the ConfigMap.
pub const KEY: &str = "log.jsonl";
/// Value of the label of such a ConfigMap.
pub const LOG: &str = "log";
/// So many lines are kept: of more, the first and the last.
const LINES: usize = 2000;
/// And so many bytes: a ConfigMap holds at most 1 MiB.
const BYTES: usize = 700 << 10;
/// So many lines of the beginning are always kept.
const HEAD: usize = 200;

/// One line: a decision that did something, entered a phase or step, failed, or newly waits for something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its number, from 1, over all runs of the object.
    pub n: u64,
    /// When, in whole seconds.
    pub time: Timestamp,
    /// Phase after the decision.
    pub phase: Phase,
    /// Step after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// What the status said.
    pub what: String,
    /// What was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub did: Vec<String>,
    /// What it waits for, as a fixed word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Why what was tried failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many lines before this one were dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The log of one MeshUpgrade, all its runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    lines: Vec<Line>,
    bytes: usize,
}

impl Log {
    /// Its lines, oldest first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Adds a line, which gets the next number. Of too many, the oldest of the middle go.
    pub fn push(&mut self, mut line: Line) {
        line.n = self.lines.last().map_or(1, |last| last.n + 1);
        self.bytes += length(&line);
        self.lines.push(line);
        while (self.lines.len() > LINES || self.bytes > BYTES) && self.lines.len() > HEAD + 1 {
            let gone = self.lines.remove(HEAD);
            let next = &mut self.lines[HEAD];
            let before = length(next);
            next.dropped += gone.dropped + 1;
            self.bytes = self.bytes + length(next) - before - length(&gone);
        }
    }

    /// The lines as they are kept.
    pub fn text(&self) -> String {
        self.lines.iter().map(text).collect()
    }

    /// Reads what [`Log::text`] wrote; a line that is none (someone edited it) is passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines();
        let lines: Vec<Line> = lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let bytes = lines.iter().map(length).sum();
        Self { lines, bytes }
    }

    /// Of a ConfigMap.
    pub fn of(map: &ConfigMap) -> Self {
        let text = map.data.as_ref().and_then(|data| data.get(KEY));
        Self::parse(text.map_or("", String::as_str))
    }
}

fn text(line: &Line) -> String {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

fn length(line: &Line) -> usize {
    text(line).len()
}

/// Reads a log as it was written last, with the resource version to write it again. None where there is none yet.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<(Log, String)>> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found.map_err(Error::kube("reading the log"))?;
    Ok(found.map(|map| (Log::of(&map), map.resource_version().unwrap_or_default())))
}

/// Writes a log over what was read, or makes it where nothing was: a conflict if someone else did meanwhile. The
/// resource version to write it again.
pub async fn write(
    client: &Client,
    namespace: &str,
    name: &str,
    upgrade: &str,
    (log, over): (&Log, Option<&str>),
) -> Result<String> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(
                [(MANAGED_BY, FIELD_MANAGER), (CONTENT, LOG)]
                    .map(owned)
                    .into(),
            ),
            annotations: Some([owned((UPGRADE, upgrade))].into()),
            resource_version: over.map(str::to_owned),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), log.text())])),
        ..ConfigMap::default()
    };
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let written = match over {
        Some(_) => api.replace(name, &params, &map).await,
        None => api.create(&params, &map).await,
    };
    let written = written.map_err(Error::kube("writing the log"))?;
    Ok(written.resource_version().unwrap_or_default())
}

/// Name of the newest log of a MeshUpgrade: one of the same name may have been deleted and made anew.
pub async fn find(
    client: &Client,
    namespace: &str,
    upgrade: &str,
) -> Result<Option<String>, kube::Error> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let logs = ListParams::default().labels(&format!("{CONTENT}={LOG}"));
    let all = api.list_metadata(&logs).await?.items;
    let ours = all.into_iter().filter(|map| {
        let of = map.annotations().get(UPGRADE);
        of.is_some_and(|of| of == upgrade)
    });
    let newest = ours.max_by_key(|map| map.creation_timestamp().map(|time| time.0));
    Ok(newest.map(|map| map.name_any()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: &str) -> Line {
        Line {
            n: 0,
            time: Timestamp::UNIX_EPOCH,
            phase: Phase::Upgrading,
            step: Some(Step::RestartingWorkloads),
            what: what.into(),
            did: Vec::new(),
            waits: None,
            error: None,
            dropped: 0,
        }
    }

    #[test]
    fn a_log_reads_back_as_it_was_written() {
        let mut log = Log::default();
        log.push(line("first"));
        log.push(Line {
            did: vec!["restarting x".into()],
            waits: Some("Workloads".into()),
            error: Some("no".into()),
            ..line("second")
        });
        let text = log.text();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(Log::parse(&text), log);
        assert_eq!(Log::parse(&format!("rubbish\n{text}")), log);
        let numbers: Vec<u64> = log.lines().iter().map(|line| line.n).collect();
        assert_eq!(numbers, [1, 2]);
    }

    #[test]
    fn of_too_many_lines_the_oldest_of_the_middle_go_and_it_is_said() {
        let mut log = Log::default();
        for number in 0..LINES + 50 {
            log.push(line(&number.to_string()));
        }
        assert_eq!(log.lines().len(), LINES);
        assert_eq!(log.lines()[HEAD - 1].what, (HEAD - 1).to_string());
        let after = &log.lines()[HEAD];
        assert_eq!((after.n, after.dropped), (HEAD as u64 + 51, 50));
        assert_eq!(
            log.lines().last().map(|line| line.n),
            Some(LINES as u64 + 50)
        );
        let read = Log::parse(&log.text());
        assert_eq!(read, log);
    }

    #[test]
    fn long_lines_are_fewer() {
        let mut log = Log::default();
        let long = "x".repeat(2000);
        for _ in 0..600 {
            log.push(line(&long));
        }
        assert!(log.text().len() <= BYTES, "{}", log.text().len());
        assert!(log.lines().len() > HEAD);
        assert_eq!(log.lines().last().map(|line| line.n), Some(600));
    }
}
