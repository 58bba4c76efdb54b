//! The versions in a Helm chart repository, from its `index.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meshlift_planner::version::Version;
use meshlift_planner::view::Seen;
use serde::Deserialize;

use super::cached::Cached;
use super::seen;
use crate::Error;

/// The public index is under 3 MB; whatever is much larger is no index.
const LARGEST: usize = 32 << 20;
const REQUEST: Duration = Duration::from_secs(15);

/// Reads chart repositories.
pub struct CatalogClient {
    http: reqwest::Client,
    known: Cached<String, Vec<Version>>,
}

#[derive(Deserialize)]
struct Index {
    entries: BTreeMap<String, Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    version: String,
}

impl CatalogClient {
    /// A client with limits on time.
    pub fn new() -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::limited(3))
            .user_agent(concat!("meshlift/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Http(format!("no HTTP client: {error}")))?;
        Ok(Self {
            http,
            known: Cached::new(Duration::from_secs(30)),
        })
    }

    /// The versions that both charts, `base` and `istiod`, have.
    pub async fn versions(&self, repository: &str) -> Seen<Vec<Version>> {
        seen(
            self.known
                .get(&repository.to_owned(), self.fetch(repository))
                .await,
        )
    }

    async fn fetch(&self, repository: &str) -> Result<Vec<Version>, Error> {
        let url = format!("{}/index.yaml", repository.trim_end_matches('/'));
        let text = self.download(&url).await?;
        parse(&text)
            .map_err(|why| Error::Unreadable(format!("{url} is no chart repository index: {why}")))
    }

    async fn download(&self, url: &str) -> Result<String, Error> {
        let failed = |error: reqwest::Error| Error::Http(format!("{url}: {}", root_cause(&error)));
        let mut response = self.http.get(url).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(Error::Http(format!("{url} answers {}", response.status())));
        }
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&part);
            if bytes.len() > LARGEST {
                return Err(Error::Unreadable(format!(
                    "{url} is larger than {LARGEST} bytes"
                )));
            }
        }
        String::from_utf8(bytes).map_err(|_| Error::Unreadable(format!("{url} is not text")))
    }
}

/// The last cause says what happened ("connection refused"), without our address twice.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {REQUEST:?}");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What is no release version (development builds, other tags) is passed over.
fn parse(text: &str) -> Result<Vec<Version>, String> {
    let index: Index = serde_yaml_ng::from_str(text).map_err(|error| {
        // The parser quotes what it read, which may be anything.
        error
            .location()
            .map_or("it cannot be parsed".to_owned(), |at| {
                format!("it cannot be parsed at line {}", at.line())
            })
    })?;
    let versions = |chart: &str| -> Result<BTreeSet<Version>, String> {
        let entries = index
            .entries
            .get(chart)
            .ok_or(format!("it has no chart {chart}"))?;
        Ok(entries
            .iter()
            .filter_map(|entry| entry.version.parse().ok())
            .collect())
    };
    Ok(versions("base")?
        .intersection(&versions("istiod")?)
        .cloned()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_versions_that_both_charts_have_count() {
        let index = "entries:\n  base:\n  - {version: 1.31.0}\n  - {version: 1.30.2}\n  - {version: junk}\n  istiod:\n  - {version: 1.31.0, urls: [x]}\n  gateway: []\n";
        let versions = parse(index).expect("an index");
        assert_eq!(
            versions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["1.31.0"]
        );
    }

    #[test]
    fn rubbish_is_told_without_repeating_it() {
        assert_eq!(
            parse("<html>secret</html>"),
            Err("it cannot be parsed at line 1".into())
        );
        assert_eq!(
            parse("entries: {istiod: []}"),
            Err("it has no chart base".into())
        );
    }
}
