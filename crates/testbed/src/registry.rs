//! A real OCI registry on loopback (the distribution project's) with Istio's charts in it, and the junk
//! that registries collect. It ends with the process that owns it.

mod storage;
mod tokens;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::tokens::Tokens;
use crate::charts::Login;
use crate::cluster::process::Processes;
use crate::free_address::free_address;
use crate::tls::Identity;
use crate::tools::Tools;

/// Where the charts are in it.
const PATH: &str = "istio/charts";
/// Tags in one answer, so that a repository with junk has several pages.
const PAGE: u32 = 40;
const START: Duration = Duration::from_secs(30);

/// Tags of both charts that are no release: what else there is in registries. The versions among them
/// hold a chart of another version.
pub const JUNK: &[&str] = &[
    "latest",
    "1.32.0-alpha.1",
    "1.32.0-rc.0",
    "sha256-7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730.sig",
];
/// A tag of both charts that looks like a release of another flavour, and holds the upstream chart.
pub const MISLABELLED: &str = "1.31.0-vendor";

/// Who may read.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Everybody.
    #[default]
    Everybody,
    /// Who sends [`login`] with every request.
    Password,
    /// Who has a token, which everybody gets who asks for it.
    Token,
    /// Who has a token, which is given for [`login`].
    TokenForPassword,
}

/// How a registry is served.
#[derive(Clone, Default)]
pub struct RegistryOptions {
    /// Over TLS, with this certificate.
    pub tls: Option<Identity>,
    /// Who may read.
    pub access: Access,
}

/// The only user that a registry knows.
pub fn login() -> Login {
    Login {
        username: "reader".to_owned(),
        password: "let-me-in".to_owned(),
    }
}

/// The line of [`login`] in a file as `htpasswd -B` makes it.
const HTPASSWD: &str = "reader:$2a$04$3kHRxeDVkh3Xvjmo1aX/vuwkHtVTlYCXP01RvspYA0Eyr9MGAabyK\n";

/// A running registry. It ends when this is dropped, or when this process ends in any way.
pub struct Registry {
    address: SocketAddr,
    tokens: Option<Tokens>,
    // The order of the fields is the order in which things end.
    processes: Processes,
    _scratch: tempfile::TempDir,
}

impl Registry {
    /// Builds what is missing, starts a registry with charts and waits until it answers.
    pub async fn start(options: RegistryOptions) -> Result<Self> {
        let make = || {
            let tools = Tools::for_charts()?;
            let storage = storage::with_charts(&tools)?;
            anyhow::Ok((tools, storage))
        };
        let (tools, storage) = tokio::task::spawn_blocking(make).await??;
        Self::over(tools.program("registry")?, &storage, true, options).await
    }

    async fn over(
        program: &Path,
        storage: &Path,
        read_only: bool,
        options: RegistryOptions,
    ) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("meshlift-registry-")
            .tempdir()?;
        let directory = scratch.path();
        let address = free_address()?;
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "warn" },
            "storage": {
                "filesystem": { "rootdirectory": storage },
                "maintenance": { "readonly": { "enabled": read_only } },
            },
            "http": { "addr": address.to_string() },
            "tags": { "maxtags": PAGE },
        });
        if let Some(identity) = &options.tls {
            let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
            fs::write(&certificate, &identity.certificate)?;
            fs::write(&key, &identity.key)?;
            config["http"]["tls"] = json!({ "certificate": certificate, "key": key });
        }
        let (auth, tokens) = auth(&options, directory)?;
        if let Some(auth) = auth {
            config["auth"] = auth;
        }
        let file = directory.join("config.yml");
        fs::write(&file, serde_yaml_ng::to_string(&config)?)?;
        let processes = Processes::new(directory.join("logs"))?;
        // It would look for a collector of traces.
        let quiet = ["env", "OTEL_TRACES_EXPORTER=none"].map(str::to_owned);
        let serve = [program.display().to_string(), "serve".into()];
        let file = file.display().to_string();
        let command = [&quiet[..], &serve[..], &[file]].concat();
        processes.spawn("registry", &command)?;
        let answers = async || {
            TcpStream::connect(address).with_context(|| format!("no registry at {address}"))?;
            Ok(())
        };
        processes.wait_until("the registry", START, answers).await?;
        Ok(Self {
            address,
            tokens,
            processes,
            _scratch: scratch,
        })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The repository of its charts: `oci://127.0.0.1:port/istio/charts`.
    pub fn charts(&self) -> String {
        format!("oci://{}/{PATH}", self.address)
    }

    /// How many tokens were given.
    pub fn tokens_given(&self) -> usize {
        self.tokens.as_ref().map_or(0, Tokens::given)
    }

    /// Ends it; whoever asks from now on is refused.
    pub fn stop(&self) {
        self.processes.kill_all();
    }
}

/// The configuration of who may read, and who gives tokens.
fn auth(options: &RegistryOptions, directory: &Path) -> Result<(Option<Value>, Option<Tokens>)> {
    let login = match options.access {
        Access::Everybody => return Ok((None, None)),
        Access::Password => {
            let file = directory.join("htpasswd");
            fs::write(&file, HTPASSWD)?;
            let auth = json!({ "htpasswd": { "realm": "charts", "path": file } });
            return Ok((Some(auth), None));
        }
        Access::Token => None,
        Access::TokenForPassword => Some(login()),
    };
    let tokens = Tokens::serve(login, options.tls.clone())?;
    let file = directory.join("jwks.json");
    fs::write(&file, tokens.keys().to_string())?;
    let auth = json!({ "token": {
        "realm": tokens.url(),
        "service": tokens::SERVICE,
        "issuer": tokens::ISSUER,
        "jwks": file,
    } });
    Ok((Some(auth), Some(tokens)))
}
