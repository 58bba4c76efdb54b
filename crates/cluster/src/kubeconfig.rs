//! Kubeconfigs out of Secrets: only what names a server and proves who we are by bytes in the file
//! itself. Whoever may write such a Secret must not be able to make this operator run a program,
//! read a file or trust just anybody, so the fields that are read are listed here, every other one
//! is refused, and the client's own loader never sees the file.
//!
//! No error repeats anything that was in the file: it may be a secret in the wrong place.

mod fields;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use secrecy::SecretString;
use serde_yaml_ng::{Mapping, Value};

use self::fields::{CLUSTER, CONTEXT, TOP, USER, allowed};

/// A kubeconfig larger than this is none.
pub const LARGEST: usize = 256 << 10;
/// No cluster of a mesh is farther away than this.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(5);

/// Why a kubeconfig is not used, and what to do. Never holds a part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// Larger than [`LARGEST`].
    #[error("the kubeconfig is larger than {} KiB: keep only the one context that is needed", LARGEST >> 10)]
    TooLarge,
    /// No YAML, or several documents.
    #[error("the kubeconfig is not one YAML or JSON document: write it again, with one document")]
    NotOneDocument,
    /// A field holds something of another type.
    #[error("the kubeconfig's {field} is not {expected}: mend it")]
    Shape {
        /// Where.
        field: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A field that is dangerous, or not known.
    #[error("the kubeconfig's {field} is refused, because {why}: {fix}")]
    Refused {
        /// Which.
        field: String,
        /// Why.
        why: &'static str,
        /// What to do instead.
        fix: &'static str,
    },
    /// Something that is needed is not there.
    #[error("the kubeconfig has no {field}: {fix}")]
    Missing {
        /// What.
        field: String,
        /// What to do.
        fix: &'static str,
    },
}

type Result<T> = std::result::Result<T, KubeconfigError>;

/// A kubeconfig that holds nothing but a server, what proves it to us, and what proves us to it.
#[derive(Clone)]
pub struct Kubeconfig {
    server: http::Uri,
    authorities: Vec<Vec<u8>>,
    server_name: Option<String>,
    namespace: Option<String>,
    proof: Proof,
}

/// How we prove who we are.
#[derive(Clone)]
enum Proof {
    Token(SecretString),
    /// Certificate and key, each PEM in base64, as the file has them.
    Certificate(String, SecretString),
}

impl Kubeconfig {
    /// Reads a kubeconfig. What is refused is refused with a sentence that names the field.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LARGEST {
            return Err(KubeconfigError::TooLarge);
        }
        // The parser's own errors quote what they stumbled over.
        let document: Value =
            serde_yaml_ng::from_slice(bytes).map_err(|_| KubeconfigError::NotOneDocument)?;
        let top = mapping(&document, "content")?;
        allowed(top, "", TOP)?;
        if text(top, "", "kind")?.is_some_and(|kind| kind != "Config") {
            return Err(shape("kind", "Config"));
        }
        let context = chosen_context(top)?;
        allowed(context, "contexts[].context", CONTEXT)?;
        let (cluster, user) = (
            referred(top, context, "clusters", "cluster")?,
            referred(top, context, "users", "user")?,
        );
        allowed(cluster, "clusters[].cluster", CLUSTER)?;
        allowed(user, "users[].user", USER)?;
        Ok(Self {
            server: server(cluster)?,
            authorities: authorities(cluster)?,
            server_name: text(cluster, "clusters[].cluster", "tls-server-name")?.map(str::to_owned),
            namespace: text(context, "contexts[].context", "namespace")?.map(str::to_owned),
            proof: proof(user)?,
        })
    }

    /// The API server's address: no secret is in it.
    pub fn server(&self) -> &http::Uri {
        &self.server
    }

    /// What a client is made of. It reads no file and no environment, gives up soon, and tries once.
    pub fn config(self) -> kube::Config {
        let mut config = kube::Config::new(self.server);
        config.root_cert = Some(self.authorities);
        config.tls_server_name = self.server_name;
        if let Some(namespace) = self.namespace {
            config.default_namespace = namespace;
        }
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(ANSWER);
        config.write_timeout = Some(ANSWER);
        config.default_retry = false;
        config.auth_info = match self.proof {
            Proof::Token(token) => AuthInfo {
                token: Some(token),
                ..AuthInfo::default()
            },
            Proof::Certificate(certificate, key) => AuthInfo {
                client_certificate_data: Some(certificate),
                client_key_data: Some(key),
                ..AuthInfo::default()
            },
        };
        config
    }
}

/// The current context, or the only one there is.
fn chosen_context(top: &Mapping) -> Result<&Mapping> {
    const FIX: &str = "set current-context to the name of one of its contexts";
    let found = match text(top, "", "current-context")? {
        Some(name) => named(top, "contexts", name)?,
        None => {
            let all = list(top, "contexts")?;
            match all {
                [only] => Some(mapping(only, "contexts[]")?),
                _ => None,
            }
        }
    };
    let entry = found.ok_or_else(|| missing("current context", FIX))?;
    inner(entry, "contexts", "context")
}

/// What a context refers to by name.
fn referred<'a>(
    top: &'a Mapping,
    context: &Mapping,
    list: &'static str,
    key: &'static str,
) -> Result<&'a Mapping> {
    let fix = "write it, with the cluster and the user that the current context names";
    let name = text(context, "contexts[].context", key)?
        .ok_or_else(|| missing(format!("contexts[].context.{key}"), fix))?;
    let entry = named(top, list, name)?
        .ok_or_else(|| missing(format!("entry in {list} of that name"), fix))?;
    inner(entry, list, key)
}

/// The entry of a list that has this name; of two, the first, as kubectl does.
fn named<'a>(top: &'a Mapping, key: &'static str, name: &str) -> Result<Option<&'a Mapping>> {
    for entry in list(top, key)? {
        let entry = mapping(entry, &format!("{key}[]"))?;
        if text(entry, &format!("{key}[]"), "name")? == Some(name) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn inner<'a>(entry: &'a Mapping, list: &'static str, key: &'static str) -> Result<&'a Mapping> {
    let field = format!("{list}[].{key}");
    match entry.get(key) {
        Some(value) => mapping(value, &field),
        None => Err(missing(
            field,
            "write it again, with kubectl config view --minify --flatten --raw",
        )),
    }
}

fn server(cluster: &Mapping) -> Result<http::Uri> {
    const FIELD: &str = "clusters[].cluster.server";
    let refuse = |why, fix| KubeconfigError::Refused {
        field: FIELD.to_owned(),
        why,
        fix,
    };
    let address = text(cluster, "clusters[].cluster", "server")?
        .ok_or_else(|| missing(FIELD, "write the address of the API server, https://..."))?;
    let uri: http::Uri = address
        .parse()
        .map_err(|_| shape(FIELD, "an address like https://east.example.com:6443"))?;
    if uri.scheme_str() != Some("https") {
        return Err(refuse(
            "anybody on the way could read the token and answer instead",
            "write an address that begins with https://",
        ));
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    if authority.is_none_or(|authority| authority.contains('@')) || uri.query().is_some() {
        return Err(refuse(
            "an address must hold no password and no query",
            "write host, port and path only",
        ));
    }
    Ok(uri)
}

fn authorities(cluster: &Mapping) -> Result<Vec<Vec<u8>>> {
    const KEY: &str = "certificate-authority-data";
    const FIELD: &str = "clusters[].cluster.certificate-authority-data";
    let data = text(cluster, "clusters[].cluster", KEY)?.ok_or_else(|| {
        missing(FIELD, "write the certificate authority of the API server there (kubectl config view --minify --flatten --raw)")
    })?;
    let found: Vec<Vec<u8>> = pem_blocks(data, FIELD)?
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(pem::Pem::into_contents)
        .collect();
    if found.is_empty() {
        Err(shape(FIELD, "a certificate: PEM, in base64"))
    } else {
        Ok(found)
    }
}

fn proof(user: &Mapping) -> Result<Proof> {
    const PLACE: &str = "users[].user";
    let token = text(user, PLACE, "token")?;
    let certificate = text(user, PLACE, "client-certificate-data")?;
    let key = text(user, PLACE, "client-key-data")?;
    match (token, certificate, key) {
        (Some(token), None, None) => {
            // Spaces and line ends would be told by the HTTP library only when it is used.
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(shape(
                    "users[].user.token",
                    "a token: it has spaces, line ends or other characters that none has",
                ));
            }
            Ok(Proof::Token(token.to_owned().into()))
        }
        (None, Some(certificate), Some(key)) => {
            has_block(
                certificate,
                "users[].user.client-certificate-data",
                "CERTIFICATE",
                "a certificate: PEM, in base64",
            )?;
            has_block(
                key,
                "users[].user.client-key-data",
                "PRIVATE KEY",
                "a private key: PEM, in base64",
            )?;
            Ok(Proof::Certificate(
                certificate.to_owned(),
                key.to_owned().into(),
            ))
        }
        (None, None, None) => Err(missing(
            "way to sign in",
            "give the user a token, or client-certificate-data with client-key-data",
        )),
        (None, ..) => Err(missing(
            "pair of client-certificate-data and client-key-data",
            "one is of no use without the other: write both",
        )),
        (Some(_), ..) => Err(KubeconfigError::Refused {
            field: PLACE.to_owned(),
            why: "it holds more than one way to sign in",
            fix: "keep either the token or the client certificate and its key",
        }),
    }
}

fn has_block(data: &str, field: &'static str, tag: &str, expected: &'static str) -> Result<()> {
    let found = pem_blocks(data, field)?;
    let there = found.iter().any(|block| block.tag().ends_with(tag));
    there.then_some(()).ok_or_else(|| shape(field, expected))
}

fn pem_blocks(data: &str, field: &'static str) -> Result<Vec<pem::Pem>> {
    let bytes = STANDARD
        .decode(data)
        .map_err(|_| shape(field, "base64 on one line"))?;
    pem::parse_many(bytes).map_err(|_| shape(field, "PEM in base64"))
}

/// A text; `null` and an empty one are as if not there, as for kubectl.
fn text<'a>(of: &'a Mapping, place: &str, key: &str) -> Result<Option<&'a str>> {
    match of.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok((!text.is_empty()).then_some(text.as_str())),
        Some(_) => Err(shape(fields::path(place, key), "a text")),
    }
}

fn list<'a>(top: &'a Mapping, key: &'static str) -> Result<&'a [Value]> {
    match top.get(key) {
        Some(Value::Sequence(list)) => Ok(list),
        None | Some(Value::Null) => Ok(&[]),
        Some(_) => Err(shape(key, "a list")),
    }
}

fn mapping<'a>(value: &'a Value, field: &str) -> Result<&'a Mapping> {
    match value {
        Value::Mapping(mapping) => Ok(mapping),
        _ => Err(shape(field, "a mapping of names to values")),
    }
}

fn shape(field: impl Into<String>, expected: &'static str) -> KubeconfigError {
    KubeconfigError::Shape {
        field: field.into(),
        expected,
    }
}

fn missing(field: impl Into<String>, fix: &'static str) -> KubeconfigError {
    KubeconfigError::Missing {
        field: field.into(),
        fix,
    }
}

#[cfg(test)]
mod tests;
