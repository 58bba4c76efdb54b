//! OCI registries: the distribution project's, with charts as Helm pushes them.

use anyhow::{Context, Result, ensure};
use meshlift_model::Chart;
use meshlift_testbed::charts::Login;
use meshlift_testbed::registry::{Access, JUNK, MISLABELLED, Registry, RegistryOptions, login};
use meshlift_testbed::tls::Authority;
use serde_json::json;

use crate::fixture::{
    client, client_for, offered, present, says, source, trusting, unreadable, with_docker_config,
    with_login, with_secret,
};

const OFFERED: [&str; 3] = ["1.30.2", "1.31.0", MISLABELLED];

async fn open() -> Result<Registry> {
    Registry::start(RegistryOptions::default()).await
}

async fn locked(access: Access) -> Result<(Registry, Authority)> {
    let authority = Authority::new()?;
    let options = RegistryOptions {
        tls: Some(authority.identity()?),
        access,
    };
    Ok((Registry::start(options).await?, authority))
}

#[tokio::test]
async fn releases_are_found_among_pages_of_junk() -> Result<()> {
    let registry = open().await?;
    let (charts, client) = (source(registry.charts()), client(None));
    let known = present(client.versions(&charts).await)?;
    assert_eq!(offered(&known), OFFERED);
    ensure!(JUNK.len() > 3 && known.stale.is_none());
    let version = "1.31.0".parse()?;
    let entry = known.entry(Chart::Base, &version).context("its entry")?;
    assert_eq!(entry.urls, [format!("{}/base:1.31.0", registry.charts())]);
    let archive = client.download(&charts, Chart::Istiod, &version).await?;
    assert_eq!(archive.chart, Chart::Istiod);
    // A tag is no proof of what it names.
    let mislabelled = client
        .download(&charts, Chart::Istiod, &MISLABELLED.parse()?)
        .await;
    let why = mislabelled.err().context("it was taken")?.to_string();
    says(
        &why,
        &[
            "not used",
            "another chart or version than istiod 1.31.0-vendor",
        ],
    )?;
    let unknown = client
        .download(&charts, Chart::Istiod, &"1.99.0".parse()?)
        .await;
    says(
        &unknown.err().context("it is not there")?.to_string(),
        &["manifests/1.99.0 answers 404"],
    )
}

#[tokio::test]
async fn what_is_known_is_kept_while_the_registry_is_away() -> Result<()> {
    let registry = open().await?;
    let (charts, client) = (source(registry.charts()), client(None));
    let good = present(client.versions(&charts).await)?;
    registry.stop();
    client.forget(&charts);
    let kept = present(client.versions(&charts).await)?;
    ensure!(offered(&kept) == OFFERED && kept.read_at == good.read_at);
    let why = kept.stale.as_deref().unwrap_or_default();
    says(
        why,
        &[
            &registry.address().to_string(),
            "istio/charts/base/tags/list",
        ],
    )?;
    let never = crate::fixture::client(None).versions(&charts).await;
    unreadable(&never, &[&registry.address().to_string(), "refused"])
}

#[tokio::test]
async fn a_registry_without_such_charts_says_what_to_correct() -> Result<()> {
    let registry = open().await?;
    let elsewhere = source(format!("oci://{}/elsewhere", registry.address()));
    let seen = client(None).versions(&elsewhere).await;
    unreadable(
        &seen,
        &[
            "elsewhere/base/tags/list",
            "answers 404",
            "correct spec.charts.repository",
        ],
    )
}

#[tokio::test]
async fn a_certificate_is_trusted_by_the_bundle_and_nothing_else() -> Result<()> {
    let (registry, authority) = locked(Access::Everybody).await?;
    let charts = source(registry.charts());
    let wrong = trusting(&charts, Authority::new()?.pem());
    let seen = client(None).versions(&wrong).await;
    unreadable(
        &seen,
        &[
            "certificate",
            "signed by none of the authorities in spec.charts.caBundle",
        ],
    )?;
    let right = trusting(&charts, authority.pem());
    let known = present(client(None).versions(&right).await)?;
    assert_eq!(offered(&known), OFFERED);
    Ok(())
}

#[tokio::test]
async fn a_password_is_asked_for_by_name_and_taken_in_both_forms() -> Result<()> {
    let (registry, authority) = locked(Access::Password).await?;
    let charts = trusting(&source(registry.charts()), authority.pem());
    let none = client(None).versions(&charts).await;
    unreadable(
        &none,
        &["answers 401", "name a Secret", "spec.charts.secretRef"],
    )?;
    let charts = with_secret(&charts);
    let wrong = Login {
        password: "guess".to_owned(),
        ..login()
    };
    let refused = client_for(&charts, with_login(&wrong));
    let refused = refused.versions(&charts).await;
    unreadable(
        &refused,
        &[
            "answers 401",
            "Secret charts-login",
            "spec.charts.secretRef",
        ],
    )?;
    let host = registry.address().to_string();
    let foreign = client(Some(with_docker_config("ghcr.io", &login())));
    unreadable(
        &foreign.versions(&charts).await,
        &["Secret charts-login", "no user and password for", &host],
    )?;
    for secret in [with_login(&login()), with_docker_config(&host, &login())] {
        let client = client_for(&charts, secret);
        assert_eq!(offered(&*present(client.versions(&charts).await)?), OFFERED);
        client
            .download(&charts, Chart::Base, &"1.30.2".parse()?)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_fetched_once_for_each_chart() -> Result<()> {
    let (registry, authority) = locked(Access::Token).await?;
    let charts = trusting(&source(registry.charts()), authority.pem());
    let client = client(None);
    assert_eq!(offered(&*present(client.versions(&charts).await)?), OFFERED);
    assert_eq!(registry.tokens_given(), 2);
    client.forget(&charts);
    assert_eq!(present(client.versions(&charts).await)?.stale, None);
    assert_eq!(registry.tokens_given(), 2);
    client
        .download(&charts, Chart::Istiod, &"1.31.0".parse()?)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_token_that_has_a_price_is_fetched_with_the_password() -> Result<()> {
    let (registry, authority) = locked(Access::TokenForPassword).await?;
    let charts = trusting(&source(registry.charts()), authority.pem());
    let none = client(None).versions(&charts).await;
    unreadable(
        &none,
        &[
            "/token answers 401",
            "name a Secret",
            "spec.charts.secretRef",
        ],
    )?;
    let charts = with_secret(&charts);
    let client = client_for(&charts, with_login(&login()));
    let known = client.versions(&charts).await;
    assert_eq!(offered(&*present(known)?), OFFERED);
    Ok(())
}

#[tokio::test]
async fn what_is_no_registry_is_told() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let server =
        meshlift_testbed::charts::ChartServer::serve(directory.path(), Default::default())?;
    server.set_mode(meshlift_testbed::charts::Mode::Rubbish);
    let charts = source(format!("oci://{}/x", server.address()));
    let seen = client(Some(json!({}))).versions(&charts).await;
    unreadable(
        &seen,
        &[
            "does not answer as an OCI registry does",
            "correct spec.charts.repository",
        ],
    )
}
