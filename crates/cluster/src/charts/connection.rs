//! Requests to a chart repository, with limits on time and size, and credentials for it alone.

use std::time::Duration;

use meshlift_api::ChartSource;
use meshlift_detect::check::is_loopback;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode, Url};

use super::credentials::Credentials;
use crate::Error;

/// Limit of one request with its answer.
const REQUEST: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
/// Pages follow each other sooner; later the other side may be closing the connection already.
const IDLE: Duration = Duration::from_secs(5);
const REDIRECTS: usize = 3;

/// How a repository is spoken to.
pub(super) struct Connection {
    http: Client,
    /// The repository: credentials go nowhere else.
    home: Url,
    has_bundle: bool,
    secret: Option<String>,
}

impl Connection {
    /// A connection to the repository at `home`.
    pub(super) fn new(source: &ChartSource, home: Url) -> Result<Self, Error> {
        let mut builder = Client::builder()
            .timeout(REQUEST)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .redirect(Policy::custom(follow))
            .user_agent(concat!("meshlift/", env!("CARGO_PKG_VERSION")));
        if let Some(bundle) = &source.ca_bundle {
            for certificate in certificates(bundle)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let secret = source.secret_ref.as_ref().map(|secret| secret.name.clone());
        Ok(Self {
            http: builder
                .build()
                .map_err(|error| Error::Http(format!("no HTTP client: {error}")))?,
            home,
            has_bundle: source.ca_bundle.is_some(),
            secret,
        })
    }

    pub(super) fn home(&self) -> &Url {
        &self.home
    }

    /// Whether an address is the repository's own: scheme, host and port.
    pub(super) fn is_home(&self, url: &Url) -> bool {
        self.home.origin() == url.origin()
    }

    /// One request, whatever is answered. Credentials are left out if it goes elsewhere.
    pub(super) async fn send(
        &self,
        url: &Url,
        headers: HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let mut request = self.http.get(url.clone()).headers(headers);
        if let Some(value) = authorization.filter(|_| self.is_home(url)) {
            request = request.header(reqwest::header::AUTHORIZATION, value);
        }
        request
            .send()
            .await
            .map_err(|error| self.failed(url, &error))
    }

    /// Asks for a token, where the repository said that there are some.
    pub(super) async fn ask_token(
        &self,
        realm: &Url,
        credentials: Option<&Credentials>,
    ) -> Result<Response, Error> {
        if realm.scheme() != "https" && !is_this_machine(realm) {
            return Err(Error::Http(format!(
                "{} sends for a token to {}, which is not https: nothing was sent there",
                shown(&self.home),
                shown(realm)
            )));
        }
        let mut request = self.http.get(realm.clone());
        if let Some(credentials) = credentials {
            request = request.header(reqwest::header::AUTHORIZATION, credentials.basic()?);
        }
        let answer = request.send().await;
        self.accepted(answer.map_err(|error| self.failed(realm, &error))?, realm)
    }

    /// The answer, unless it is a refusal: then what to do about it.
    pub(super) fn accepted(&self, response: Response, url: &Url) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let advice = match (status, &self.secret) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(name)) => format!(
                ": it does not take the credentials in Secret {name}, which spec.charts.secretRef of the Mesh names: correct them, or the address"
            ),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => ": name a Secret with the credentials in spec.charts.secretRef of the Mesh (keys username and password, or .dockerconfigjson), or correct the address".to_owned(),
            (StatusCode::NOT_FOUND, _) => {
                ": correct spec.charts.repository of the Mesh".to_owned()
            }
            _ => String::new(),
        };
        Err(Error::Http(format!(
            "{} answers {status}{advice}",
            shown(url)
        )))
    }

    /// The whole body; none if it is larger than `most` bytes.
    pub(super) async fn body(
        &self,
        mut response: Response,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let url = response.url().clone();
        let mut bytes = Vec::new();
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| self.failed(&url, &error))?
        {
            if bytes.len() + part.len() > most {
                return Ok(None);
            }
            bytes.extend_from_slice(&part);
        }
        Ok(Some(bytes))
    }

    /// The whole body of what is never larger than `most` bytes.
    pub(super) async fn small(&self, response: Response, most: usize) -> Result<Vec<u8>, Error> {
        let url = response.url().clone();
        self.body(response, most).await?.ok_or_else(|| {
            Error::Unreadable(format!(
                "{} is larger than {} MiB, which is more than it can be: correct spec.charts.repository of the Mesh",
                shown(&url),
                most >> 20
            ))
        })
    }

    fn failed(&self, url: &Url, error: &reqwest::Error) -> Error {
        let cause = root_cause(error);
        let advice = match (cause.contains("certificate"), self.has_bundle) {
            (true, false) => {
                ": put the certificate of the authority that signed it in spec.charts.caBundle of the Mesh"
            }
            (true, true) => {
                ": it is signed by none of the authorities in spec.charts.caBundle of the Mesh: correct that"
            }
            (false, _) => "",
        };
        Error::Http(format!("{}: {cause}{advice}", shown(url)))
    }
}

/// A redirect never leads from `https` to where everybody can listen. Credentials do not follow to
/// another host: the HTTP client drops them.
fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().last();
    let secure = from.is_some_and(|url| url.scheme() == "https");
    if secure && attempt.url().scheme() != "https" {
        return attempt.error("it redirects from https to an address that is not");
    }
    if attempt.previous().len() > REDIRECTS {
        attempt.error("it redirects too often")
    } else {
        attempt.follow()
    }
}

fn certificates(bundle: &str) -> Result<Vec<Certificate>, Error> {
    let read = Certificate::from_pem_bundle(bundle.as_bytes()).unwrap_or_default();
    if read.is_empty() {
        Err(Error::Unreadable(
            "spec.charts.caBundle of the Mesh has no certificate in PEM: put one in, or remove it"
                .to_owned(),
        ))
    } else {
        Ok(read)
    }
}

/// An address without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for addresses that have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Whether an address is on this very machine, the only place where a registry may speak plain HTTP
/// and where credentials may go without TLS.
pub(super) fn is_this_machine(url: &Url) -> bool {
    is_loopback(url.host_str().unwrap_or_default())
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
