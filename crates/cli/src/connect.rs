//! The cluster and the person, as kubectl finds them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::args::Global;
use crate::failure::{self, innermost};

/// Clients of one cluster.
#[derive(Clone)]
pub(crate) struct Connection {
    /// For requests: each has an end.
    pub(crate) requests: Client,
    /// For watches, which have none.
    pub(crate) watches: Client,
    /// Address of the API server, for messages.
    pub(crate) server: String,
}

impl Connection {
    /// Asks the API server for its version, under `--request-timeout`: watches wait for a server that is away, and a
    /// person should learn of it at once.
    pub(crate) async fn answers(&self, doing: &str) -> Result<()> {
        match self.requests.apiserver_version().await {
            // Whoever may not ask for the version may be allowed to ask for what matters.
            Ok(_) | Err(kube::Error::Api(_)) => Ok(()),
            Err(error) => Err(failure::request(doing, &self.server, error)),
        }
    }
}

/// Connects to the cluster that the flags name, else the kubeconfig's, else the one this runs in.
pub(crate) async fn connect(global: &Global) -> Result<Connection> {
    let options = KubeConfigOptions {
        context: global.context.clone(),
        cluster: global.cluster.clone(),
        user: global.user.clone(),
    };
    let mut config = match kubeconfig(global.kubeconfig.as_deref())? {
        Some(kubeconfig) => {
            let contexts = names(&kubeconfig);
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| unusable(error, &contexts))?
        }
        None => Config::incluster().map_err(|_| {
            anyhow!(
                "there is no kubeconfig: name one with --kubeconfig or in KUBECONFIG, or put it at ~/.kube/config"
            )
        })?,
    };
    if let Some(user) = &global.as_user {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups =
            (!global.as_groups.is_empty()).then(|| global.as_groups.clone());
    }
    let server = config.cluster_url.to_string();
    let exec = config.auth_info.exec.as_ref();
    let login = exec.and_then(|exec| exec.command.clone());
    let made =
        |made: kube::Result<Client>| made.map_err(|error| no_client(&error, login.as_deref()));
    let watches = made(Client::try_from(config.clone()))?;
    let limit = Duration::from(global.request_timeout);
    if !limit.is_zero() {
        config.read_timeout = Some(limit);
        config.write_timeout = Some(limit);
        config.connect_timeout = Some(limit.min(Duration::from_secs(10)));
        config.reset_reader_on_write = true;
    }
    let requests = made(Client::try_from(config))?;
    Ok(Connection {
        requests,
        watches,
        server: server.trim_end_matches('/').to_owned(),
    })
}

/// The kubeconfig that kubectl would read, or nothing where there is none.
pub(crate) fn kubeconfig(flag: Option<&Path>) -> Result<Option<Kubeconfig>> {
    if let Some(path) = flag {
        return read(path).map(Some);
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> = std::env::split_paths(&listed)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if !listed.is_empty() {
        return merged(&listed).map(Some);
    }
    let home = std::env::home_dir().map(|home| home.join(".kube/config"));
    match home.filter(|path| path.exists()) {
        Some(path) => read(&path).map(Some),
        None => Ok(None),
    }
}

/// Files of a list that are not there are passed over, as kubectl does, if one is.
fn merged(paths: &[PathBuf]) -> Result<Kubeconfig> {
    let mut there = paths.iter().filter(|path| path.exists()).peekable();
    if there.peek().is_none() {
        let named: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(anyhow!(
            "KUBECONFIG names {}, and there is no such file: correct it, or name a file with --kubeconfig",
            named.join(" and ")
        ));
    }
    there.try_fold(Kubeconfig::default(), |all, path| {
        let next = read(path)?;
        all.merge(next)
            .with_context(|| format!("kubeconfig {} does not go with the others", path.display()))
    })
}

fn read(path: &Path) -> Result<Kubeconfig> {
    let shown = path.display();
    Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::ReadConfig(error, _) => {
            anyhow!("kubeconfig {shown} cannot be read: {error}")
        }
        KubeconfigError::Parse(error) => {
            anyhow!("kubeconfig {shown} is no kubeconfig: {error}")
        }
        error => anyhow!(error).context(format!("kubeconfig {shown}")),
    })
}

fn names(kubeconfig: &Kubeconfig) -> String {
    let all: Vec<&str> = kubeconfig
        .contexts
        .iter()
        .map(|named| named.name.as_str())
        .collect();
    if all.is_empty() {
        "it has none".to_owned()
    } else {
        format!("it has {}", all.join(", "))
    }
}

/// A client runs the login program, if there is one, when it is made.
fn no_client(error: &kube::Error, login: Option<&str>) -> anyhow::Error {
    let why = innermost(error);
    match login {
        Some(login) => anyhow!(
            "the login program of the kubeconfig, {login}, brought no credentials: {why}; see that it is installed and runs, or choose another --context or --user"
        ),
        None => anyhow!("the kubeconfig names credentials that cannot be used: {why}"),
    }
}

fn unusable(error: KubeconfigError, contexts: &str) -> anyhow::Error {
    match error {
        KubeconfigError::CurrentContextNotSet => {
            anyhow!("the kubeconfig has no current context: choose one with --context ({contexts})")
        }
        KubeconfigError::LoadContext(name) => anyhow!(
            "the kubeconfig has no context {name}: choose another with --context ({contexts})"
        ),
        KubeconfigError::LoadClusterOfContext(name) => anyhow!(
            "the kubeconfig has no cluster {name}: correct the context, or choose another with --cluster"
        ),
        error => anyhow!(error).context("the kubeconfig cannot be used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a scratch file");
        path
    }

    const EAST: &str = "
current-context: east
contexts: [{ name: east, context: { cluster: east, user: me } }]
clusters: [{ name: east, cluster: { server: 'http://127.0.0.1:1' } }]
users: [{ name: me, user: {} }]
";
    const WEST: &str = "
current-context: west
contexts: [{ name: west, context: { cluster: west } }]
clusters: [{ name: west, cluster: { server: 'http://127.0.0.1:2' } }]
";

    #[test]
    fn several_files_are_one_and_the_first_has_the_first_word() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let files = [
            folder.path().join("missing"),
            write(folder.path(), "east", EAST),
            write(folder.path(), "west", WEST),
        ];
        let all = merged(&files).expect("two of them are there");
        assert_eq!(names(&all), "it has east, west");
        assert_eq!(all.current_context.as_deref(), Some("east"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let missing = folder.path().join("missing");
        let said = |error: anyhow::Error| format!("{error:#}");
        let error = merged(std::slice::from_ref(&missing)).expect_err("it is not there");
        assert!(said(error).contains("there is no such file: correct it"));
        let error = read(&missing).expect_err("it is not there");
        assert!(said(error).contains("missing cannot be read: No such file"));
        let rubbish = write(folder.path(), "rubbish", "contexts: 7");
        let error = read(&rubbish).expect_err("it is no kubeconfig");
        assert!(said(error).contains("rubbish is no kubeconfig"));
    }

    #[tokio::test]
    async fn an_unknown_context_is_told_with_those_there_are() {
        let options = KubeConfigOptions {
            context: Some("north".into()),
            ..Default::default()
        };
        let kubeconfig = Kubeconfig::from_yaml(EAST).expect("a kubeconfig");
        let contexts = names(&kubeconfig);
        let error = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .expect_err("there is no such context");
        assert_eq!(
            unusable(error, &contexts).to_string(),
            "the kubeconfig has no context north: choose another with --context (it has east)"
        );
    }
}
