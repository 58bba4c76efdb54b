//! An OCI registry with charts: the distribution API, of which only listing tags and fetching an
//! archive are needed. Own requests, not a registry client: those that exist read answers of any
//! size and bring a second HTTP and TLS stack.

use std::collections::{BTreeMap, HashMap};

use meshlift_istio::version::Version;
use meshlift_model::Chart;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, LINK, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::archive::sha256_hex;
use super::challenge::Challenge;
use super::connection::{Connection, shown};
use super::credentials::{Credentials, header};
use super::index::LARGEST_ARCHIVE;
use super::versions::{ChartEntry, Charts, release};
use crate::Error;

/// Tags asked for at once; registries may give fewer.
const PAGE: usize = 1000;
/// The project's registry has thousands of tags of daily builds.
const PAGES: usize = 100;
const LARGEST_PAGE: usize = 4 << 20;
const LARGEST_MANIFEST: usize = 1 << 20;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a chart's archive.
/// Source: https://helm.sh/docs/topics/registries/
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// What was let in before, by chart: a token saves two requests at the next one.
pub(super) type Passes = HashMap<String, HeaderValue>;

/// A registry, for one look at it.
pub(super) struct Registry<'a> {
    pub(super) connection: &'a Connection,
    pub(super) credentials: Option<&'a Credentials>,
    pub(super) passes: &'a mut Passes,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The HTTP address of `oci://host/path`.
pub(super) fn address(oci: &Url) -> Result<Url, Error> {
    let rest = oci.as_str().strip_prefix("oci://").unwrap_or_default();
    // The registry of Docker Hub is not where its name is.
    let rest = match rest.strip_prefix("docker.io/") {
        Some(path) => format!("registry-1.docker.io/{path}"),
        None => rest.to_owned(),
    };
    let refuse = |_| Error::Unreadable(format!("{} is no address of a registry", shown(oci)));
    Url::parse(&format!("https://{rest}")).map_err(refuse)
}

impl Registry<'_> {
    /// The releases of both charts.
    pub(super) async fn charts(&mut self) -> Result<Charts, Error> {
        Ok(Charts {
            base: self.releases(Chart::Base).await?,
            istiod: self.releases(Chart::Istiod).await?,
        })
    }

    async fn releases(&mut self, chart: Chart) -> Result<BTreeMap<Version, ChartEntry>, Error> {
        let mut found = BTreeMap::new();
        let mut next = Some(self.url(chart, &format!("tags/list?n={PAGE}"))?);
        for _ in 0..PAGES {
            let Some(url) = next else {
                return Ok(found);
            };
            let response = self.get(chart, &url, "application/json").await?;
            next = self.next_page(&url, &response)?;
            let bytes = self.connection.small(response, LARGEST_PAGE).await?;
            let page: Tags = serde_json::from_slice(&bytes).map_err(|_| no_registry(&url))?;
            let tags = page.tags.unwrap_or_default();
            found.extend(tags.iter().filter_map(|tag| {
                let entry = ChartEntry {
                    urls: vec![self.reference(chart, tag)],
                    digest: None,
                };
                Some((release(tag)?, entry))
            }));
        }
        Err(Error::Unreadable(format!(
            "{} has more than {PAGES} pages of tags: let spec.charts.repository of the Mesh name one with fewer",
            self.reference(chart, "")
        )))
    }

    /// Downloads the archive of a chart.
    pub(super) async fn download(
        &mut self,
        chart: Chart,
        version: &Version,
    ) -> Result<Vec<u8>, Error> {
        let url = self.url(chart, &format!("manifests/{version}"))?;
        let response = self.get(chart, &url, MANIFEST).await?;
        let bytes = self.connection.small(response, LARGEST_MANIFEST).await?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|_| no_registry(&url))?;
        let layer = manifest.layers.iter().find(|l| l.media_type == CHART);
        let layer = layer.ok_or_else(|| {
            Error::Unreadable(format!(
                "{} is no Helm chart: correct spec.charts.repository of the Mesh",
                shown(&url)
            ))
        })?;
        let hex = layer.digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(no_registry(&url));
        }
        let url = self.url(chart, &format!("blobs/sha256:{hex}"))?;
        let response = self.get(chart, &url, "*/*").await?;
        let bytes = self.connection.small(response, LARGEST_ARCHIVE).await?;
        if !hex.eq_ignore_ascii_case(&sha256_hex(&bytes)) {
            return Err(Error::Unreadable(format!(
                "what came from {} is not what its manifest names (another digest): it was not used",
                shown(&url)
            )));
        }
        Ok(bytes)
    }

    /// One request; what the registry asks for to let us in is brought along.
    async fn get(
        &mut self,
        chart: Chart,
        url: &Url,
        accept: &'static str,
    ) -> Result<Response, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let pass = self.passes.get(chart.name());
        let response = self.connection.send(url, headers.clone(), pass).await?;
        // Where a redirect led to may not ask for our credentials.
        if response.status() != StatusCode::UNAUTHORIZED || !self.connection.is_home(response.url())
        {
            return self.connection.accepted(response, url);
        }
        self.passes.remove(chart.name());
        let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges = challenges.filter_map(|value| value.to_str().ok());
        let challenge = challenges.filter_map(Challenge::read).next();
        let Some(pass) = self.pass(challenge).await? else {
            return self.connection.accepted(response, url);
        };
        let response = self.connection.send(url, headers, Some(&pass)).await?;
        let response = self.connection.accepted(response, url)?;
        self.passes.insert(chart.name().to_owned(), pass);
        Ok(response)
    }

    async fn pass(&self, challenge: Option<Challenge>) -> Result<Option<HeaderValue>, Error> {
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => self.credentials.map(Credentials::basic).transpose(),
            Some(Challenge::Bearer(realm)) => {
                let response = self.connection.ask_token(&realm, self.credentials).await?;
                let bytes = self.connection.small(response, LARGEST_MANIFEST).await?;
                let token: Token =
                    serde_json::from_slice(&bytes).map_err(|_| no_registry(&realm))?;
                let token = token.token.or(token.access_token);
                let token = token.ok_or_else(|| no_registry(&realm))?;
                Ok(Some(header(&format!("Bearer {token}"))?))
            }
        }
    }

    /// `https://host/v2/<path>/<chart>/<rest>`.
    fn url(&self, chart: Chart, rest: &str) -> Result<Url, Error> {
        let home = self.connection.home();
        let path = home.path().trim_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        home.join(&format!("/v2/{path}{slash}{}/{rest}", chart.name()))
            .map_err(|_| no_registry(home))
    }

    fn reference(&self, chart: Chart, tag: &str) -> String {
        let home = shown(self.connection.home());
        let rest = home.split_once("://").map_or("", |(_, rest)| rest);
        let rest = rest.trim_end_matches('/');
        let colon = if tag.is_empty() { "" } else { ":" };
        format!("oci://{rest}/{}{colon}{tag}", chart.name())
    }

    /// The address in the header `Link: </v2/...>; rel="next"`.
    fn next_page(&self, url: &Url, response: &Response) -> Result<Option<Url>, Error> {
        let links = response.headers().get_all(LINK).iter();
        let links = links.filter_map(|value| value.to_str().ok());
        let next = links.flat_map(|line| line.split(',')).find_map(|link| {
            let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let is_next = parameters.replace(['"', ' '], "").contains("rel=next");
            is_next.then_some(address)
        });
        let next = next.and_then(|address| url.join(address).ok());
        match next {
            Some(next) if !self.connection.is_home(&next) => Err(no_registry(url)),
            next => Ok(next),
        }
    }
}

fn no_registry(url: &Url) -> Error {
    Error::Unreadable(format!(
        "{} does not answer as an OCI registry does: correct spec.charts.repository of the Mesh",
        shown(url)
    ))
}
