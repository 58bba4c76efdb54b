//! A Helm chart repository over HTTP: its `index.yaml` and the archives that it names.

use std::collections::BTreeMap;

use meshlift_istio::version::Version;
use reqwest::header::{
    ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::connection::{Connection, shown};
use super::credentials::Credentials;
use super::versions::{ChartEntry, Charts, release};
use crate::Error;

/// The public index is under 3 MB. Parsed, YAML takes eight to ten times its size, so that one of 30 MiB, as a repository that
/// joins many others serves it, would get the operator killed for its memory at every start.
const LARGEST_INDEX: usize = 8 << 20;
/// Istio's charts are some hundred kilobytes.
pub(super) const LARGEST_ARCHIVE: usize = 8 << 20;

/// What makes the next request conditional.
#[derive(Clone, Default)]
pub(super) struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

/// What the repository said.
pub(super) enum Answer {
    /// The index is the one that is known.
    Same,
    /// Another index.
    Changed(Charts, Validators),
}

#[derive(Deserialize)]
struct Index {
    entries: Entries,
}

/// Other charts are of no interest, and not kept.
#[derive(Deserialize)]
struct Entries {
    base: Option<Vec<Entry>>,
    istiod: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    version: String,
    #[serde(default)]
    urls: Vec<String>,
    digest: Option<String>,
}

/// Asks for the index, unless it is the one that is known.
pub(super) async fn ask(
    connection: &Connection,
    credentials: Option<&Credentials>,
    known: Option<&Validators>,
) -> Result<Answer, Error> {
    let url = below(connection.home(), "index.yaml")?;
    let mut headers = HeaderMap::new();
    let known = known.cloned().unwrap_or_default();
    let conditional = known.etag.is_some() || known.last_modified.is_some();
    if let Some(etag) = known.etag {
        headers.insert(IF_NONE_MATCH, etag);
    }
    if let Some(time) = known.last_modified {
        headers.insert(IF_MODIFIED_SINCE, time);
    }
    let authorization = credentials.map(Credentials::basic).transpose()?;
    let response = connection
        .send(&url, headers, authorization.as_ref())
        .await?;
    if conditional && response.status() == StatusCode::NOT_MODIFIED {
        return Ok(Answer::Same);
    }
    let response = connection.accepted(response, &url)?;
    let header = |name| response.headers().get(name).cloned();
    let validators = Validators {
        etag: header(ETAG),
        last_modified: header(LAST_MODIFIED),
    };
    let bytes = connection
        .body(response, LARGEST_INDEX)
        .await?
        .ok_or_else(|| too_large(&url))?;
    let home = connection.home().clone();
    // Megabytes of YAML: no work for a thread that serves others.
    let parsed = tokio::task::spawn_blocking(move || parse(&bytes, &home))
        .await
        .unwrap_or_else(|_| Err("reading it failed".to_owned()));
    let charts = parsed.map_err(|why| {
        Error::Unreadable(format!(
            "{} is no chart repository index: {why}; correct spec.charts.repository of the Mesh",
            shown(&url)
        ))
    })?;
    Ok(Answer::Changed(charts, validators))
}

fn too_large(url: &Url) -> Error {
    Error::Unreadable(format!(
        "{} is larger than {} MiB, the most that is read of an index: name a repository in spec.charts.repository of the Mesh that has fewer charts (only base and istiod are needed), or an OCI registry (oci://...), which has no index",
        shown(url),
        LARGEST_INDEX >> 20
    ))
}

/// Downloads an archive from the first of its addresses that gives it.
pub(super) async fn download(
    connection: &Connection,
    credentials: Option<&Credentials>,
    entry: &ChartEntry,
) -> Result<Vec<u8>, Error> {
    let authorization = credentials.map(Credentials::basic).transpose()?;
    let mut worst = Error::Unreadable(format!(
        "the index of {} gives no address for it that could be used",
        shown(connection.home())
    ));
    for url in entry.urls.iter().filter_map(|url| Url::parse(url).ok()) {
        // Over plain HTTP the digest of an index that came over TLS is what vouches for it.
        let trusted = connection.home().scheme() != "https" || entry.digest.is_some();
        if !(url.scheme() == "https" || url.scheme() == "http" && trusted) {
            continue;
        }
        let response = connection
            .send(&url, HeaderMap::new(), authorization.as_ref())
            .await
            .and_then(|response| connection.accepted(response, &url));
        let bytes = match response {
            Ok(response) => connection.small(response, LARGEST_ARCHIVE).await,
            Err(error) => Err(error),
        };
        match bytes {
            Ok(bytes) => return Ok(bytes),
            Err(error) => worst = error,
        }
    }
    Err(worst)
}

/// What is not one of our releases is passed over.
fn parse(bytes: &[u8], home: &Url) -> Result<Charts, String> {
    let index: Index = serde_yaml_ng::from_slice(bytes).map_err(|error| {
        // The parser quotes what it read, which may be anything.
        error
            .location()
            .map_or("it cannot be parsed".to_owned(), |at| {
                format!("it cannot be parsed at line {}", at.line())
            })
    })?;
    let chart = |name: &str, entries: Option<Vec<Entry>>| {
        let entries = entries.ok_or(format!("it has no chart {name}"))?;
        let releases = entries.into_iter().filter_map(|entry| {
            let version = release(&entry.version)?;
            Some((version, resolved(entry, home)))
        });
        Ok::<BTreeMap<Version, ChartEntry>, String>(releases.collect())
    };
    Ok(Charts {
        base: chart("base", index.entries.base)?,
        istiod: chart("istiod", index.entries.istiod)?,
    })
}

fn resolved(entry: Entry, home: &Url) -> ChartEntry {
    let digest = entry.digest.map(|digest| {
        let digest = digest.to_ascii_lowercase();
        digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned()
    });
    let urls = entry.urls.iter();
    let urls = urls.filter_map(|url| below(home, url).ok());
    ChartEntry {
        urls: urls.map(String::from).collect(),
        digest,
    }
}

/// An address in an index: absolute, or relative to the folder of the index.
fn below(home: &Url, place: &str) -> Result<Url, Error> {
    let mut folder = home.clone();
    if !folder.path().ends_with('/') {
        folder.set_path(&format!("{}/", home.path()));
    }
    folder.join(place).map_err(|error| {
        Error::Unreadable(format!(
            "{} has an address that is none: {error}",
            shown(home)
        ))
    })
}

#[cfg(test)]
mod tests {
    use meshlift_model::Chart;

    use super::super::ChartVersions;
    use super::*;

    fn read(index: &str) -> Result<ChartVersions, String> {
        let home = Url::parse("https://charts.local/istio").expect("an address");
        let charts = parse(index.as_bytes(), &home)?;
        Ok(ChartVersions::new(charts, jiff::Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn addresses_are_followed_as_they_are_given() {
        let index = "
entries:
  base: [{version: 1.31.0, urls: [base-1.31.0.tgz], digest: 'sha256:ABC'}]
  istiod:
  - {version: 1.31.0, urls: ['https://pub.local/samples/istiod.tgz', '/root.tgz', 'http://['], created: never}
  - {version: 1.31.0-rc.0, urls: [x]}
  - {version: junk}
  gateway: [{version: 7}]
";
        let known = read(index).expect("an index");
        let version = &known.versions[0];
        let base = known.entry(Chart::Base, version).expect("base");
        assert_eq!(base.urls, ["https://charts.local/istio/base-1.31.0.tgz"]);
        assert_eq!(base.digest.as_deref(), Some("abc"));
        let istiod = known.entry(Chart::Istiod, version).expect("istiod");
        assert_eq!(
            istiod.urls,
            [
                "https://pub.local/samples/istiod.tgz",
                "https://charts.local/root.tgz"
            ]
        );
        assert_eq!(known.versions.len(), 1);
    }

    #[test]
    fn rubbish_is_told_without_repeating_it() {
        let why = |text: &str| read(text).expect_err("no index");
        assert_eq!(
            why("<html>secret</html>"),
            "it cannot be parsed at line 1".to_owned()
        );
        assert_eq!(why("entries: {istiod: []}"), "it has no chart base");
    }
}
