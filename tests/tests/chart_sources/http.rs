//! Repositories over HTTP.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshlift_model::Chart;
use meshlift_testbed::charts::{ChartServer, Mode, Request, ServerOptions, Validator};
use meshlift_testbed::tls::Authority;
use serde_json::json;

use crate::fixture::{
    client, client_for, login, offered, packed, present, says, source, trusting, unreadable,
    with_login, with_secret,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn write_index(directory: &Path, versions: &[&str]) -> Result<()> {
    let entries = |chart: &str| -> Vec<_> {
        let entry = |version: &&str| json!({ "version": version, "urls": [format!("{chart}-{version}.tgz")] });
        versions.iter().map(entry).collect()
    };
    let charts =
        json!({ "base": entries("base"), "istiod": entries("istiod"), "cni": [{ "version": {} }] });
    let index = json!({ "apiVersion": "v1", "entries": charts });
    Ok(fs::write(directory.join("index.yaml"), index.to_string())?)
}

fn statuses(server: &ChartServer) -> Vec<u16> {
    server
        .take_requests()
        .iter()
        .map(|request| request.status)
        .collect()
}

fn serve(directory: &Path, options: ServerOptions) -> Result<ChartServer> {
    ChartServer::serve(directory, options)
}

#[tokio::test]
async fn an_index_that_has_not_changed_is_not_sent_again() -> Result<()> {
    for validator in [Validator::ETag, Validator::LastModified] {
        let directory = tempfile::tempdir()?;
        write_index(directory.path(), &["1.31.0", "1.30.2"])?;
        let options = ServerOptions {
            validator,
            ..ServerOptions::default()
        };
        let server = serve(directory.path(), options)?;
        let (charts, client) = (source(server.url()), client(None));
        let first = present(client.versions(&charts).await)?;
        assert_eq!(offered(&first), ["1.30.2", "1.31.0"]);
        // Asked again too soon, and by somebody who is content with an old answer.
        present(client.versions(&charts).await)?;
        present(client.versions_at_most(&charts, DAY).await)?;
        assert_eq!(statuses(&server), [200]);

        client.forget(&charts);
        let second = present(client.versions_at_most(&charts, DAY).await)?;
        assert_eq!(statuses(&server), [304], "{validator:?}");
        ensure!(offered(&second) == offered(&first) && second.read_at > first.read_at);
        client.versions_at_most(&charts, Duration::ZERO).await;
        assert_eq!(statuses(&server), [304]);

        let later = std::time::SystemTime::now() + Duration::from_secs(5);
        write_index(directory.path(), &["1.31.0", "1.30.2", "1.31.1"])?;
        fs::File::open(directory.path().join("index.yaml"))?.set_modified(later)?;
        client.forget(&charts);
        let third = present(client.versions(&charts).await)?;
        assert_eq!(offered(&third), ["1.30.2", "1.31.0", "1.31.1"]);
        assert_eq!(statuses(&server), [200]);
    }
    Ok(())
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_request() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_index(directory.path(), &["1.31.0"])?;
    let server = serve(directory.path(), ServerOptions::default())?;
    server.set_mode(Mode::Slow(Duration::from_millis(200)));
    let (charts, client) = (source(server.url()), client(None));
    let asks = (0..20).map(|_| client.versions(&charts));
    for seen in futures::future::join_all(asks).await {
        assert_eq!(offered(&*present(seen)?), ["1.31.0"]);
    }
    assert_eq!(statuses(&server), [200]);
    Ok(())
}

#[tokio::test]
async fn only_releases_that_both_charts_have_are_offered_and_flavours_are_releases() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let junk = [
        "1.32.0-rc.0",
        "1.32.0-alpha.3",
        "1.32-alpha.0f1e2d",
        "nightly",
        "1.32.0-dev",
    ];
    let releases = ["1.31.0", "1.30.2-mspider", "1.9.10", "1.30.2"];
    write_index(directory.path(), &[&junk[..], &releases[..]].concat())?;
    let server = serve(directory.path(), ServerOptions::default())?;
    let known = present(client(None).versions(&source(server.url())).await)?;
    assert_eq!(
        offered(&known),
        ["1.9.10", "1.30.2", "1.30.2-mspider", "1.31.0"]
    );
    let version = "1.30.2-mspider".parse()?;
    let entry = known.entry(Chart::Istiod, &version).context("its entry")?;
    assert_eq!(
        entry.urls,
        [format!("{}/istiod-1.30.2-mspider.tgz", server.url())]
    );
    Ok(())
}

#[tokio::test]
async fn what_is_known_is_kept_while_the_repository_is_away() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_index(directory.path(), &["1.31.0"])?;
    let server = serve(directory.path(), ServerOptions::default())?;
    let (charts, client) = (source(format!("{}/", server.url())), client(None));
    let good = present(client.versions(&charts).await)?;
    assert_eq!(good.stale, None);
    for (mode, words) in [
        (Mode::Down(503), "answers 503"),
        (
            Mode::Rubbish,
            "is no chart repository index: it cannot be parsed at line",
        ),
    ] {
        server.set_mode(mode);
        client.forget(&charts);
        let kept = present(client.versions(&charts).await)?;
        ensure!(offered(&kept) == offered(&good) && kept.read_at == good.read_at);
        says(
            kept.stale.as_deref().unwrap_or_default(),
            &[&server.url(), words],
        )?;
    }
    // It is not asked again at once, however often somebody looks.
    statuses(&server);
    client.versions_at_most(&charts, DAY).await;
    assert_eq!(statuses(&server), [0_u16; 0]);
    server.set_mode(Mode::Ok);
    client.forget(&charts);
    let back = present(client.versions(&charts).await)?;
    ensure!(back.stale.is_none() && back.read_at > good.read_at);
    assert_eq!(statuses(&server), [304]);

    let gone = server.url();
    drop(server);
    client.forget(&charts);
    let kept = present(client.versions(&charts).await)?;
    assert_eq!(offered(&kept), ["1.31.0"]);
    says(kept.stale.as_deref().unwrap_or_default(), &[&gone])
}

#[tokio::test]
async fn a_repository_that_was_never_read_says_what_to_do() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let server = serve(directory.path(), ServerOptions::default())?;
    let charts = source(server.url());
    let nowhere = source("http://127.0.0.1:1/charts");
    let empty = source("https:///");
    let look = async |charts| client(None).versions(charts).await;
    unreadable(
        &look(&charts).await,
        &["answers 404", "correct spec.charts.repository"],
    )?;
    fs::write(directory.path().join("index.yaml"), vec![b' '; 9 << 20])?;
    unreadable(
        &look(&charts).await,
        &[
            "index.yaml is larger than 8 MiB",
            "spec.charts.repository of the Mesh",
            "only base and istiod are needed",
        ],
    )?;
    fs::write(directory.path().join("index.yaml"), "entries: {base: []}")?;
    unreadable(&look(&charts).await, &["it has no chart istiod"])?;
    server.set_mode(Mode::Rubbish);
    unreadable(&look(&charts).await, &["is no chart repository index"])?;
    // Nobody listens on port 1.
    unreadable(
        &look(&nowhere).await,
        &["127.0.0.1:1/charts/index.yaml", "refused"],
    )?;
    unreadable(
        &look(&empty).await,
        &["is no address of a chart repository"],
    )?;
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_trusted_by_the_bundle_and_nothing_else() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_index(directory.path(), &["1.31.0"])?;
    let authority = Authority::new()?;
    let options = ServerOptions {
        tls: Some(authority.identity()?),
        ..ServerOptions::default()
    };
    let server = serve(directory.path(), options)?;
    let charts = source(server.url());
    let look = async |charts| client(None).versions(charts).await;
    unreadable(
        &look(&charts).await,
        &[
            "certificate",
            "put the certificate of the authority",
            "spec.charts.caBundle",
        ],
    )?;
    let wrong = trusting(&charts, Authority::new()?.pem());
    unreadable(
        &look(&wrong).await,
        &["signed by none of the authorities in spec.charts.caBundle"],
    )?;
    let empty = trusting(&charts, "no PEM");
    unreadable(
        &look(&empty).await,
        &["spec.charts.caBundle", "has no certificate in PEM"],
    )?;
    let bundle = format!("{}{}", Authority::new()?.pem(), authority.pem());
    let known = present(look(&trusting(&charts, &bundle)).await)?;
    assert_eq!(offered(&known), ["1.31.0"]);
    Ok(())
}

#[tokio::test]
async fn credentials_are_asked_for_by_name_and_read_from_the_secret() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_index(directory.path(), &["1.31.0"])?;
    let options = ServerOptions {
        login: Some(login()),
        ..ServerOptions::default()
    };
    let server = serve(directory.path(), options)?;
    let charts = source(server.url());
    let none = client(None).versions(&charts).await;
    unreadable(
        &none,
        &["answers 401", "name a Secret", "spec.charts.secretRef"],
    )?;
    let charts = with_secret(&charts);
    let missing = client(None).versions(&charts).await;
    unreadable(&missing, &["there is no Secret charts-login", "create it"])?;
    let useless = client(Some(json!({}))).versions(&charts).await;
    unreadable(
        &useless,
        &[
            "Secret charts-login",
            "neither the keys username and password",
        ],
    )?;
    let mut wrong = login();
    wrong.password.push('x');
    let unbound = client(Some(with_login(&login()))).versions(&charts).await;
    let host = server.address().to_string();
    let annotate = format!(
        "`kubectl -n meshlift-system annotate secret charts-login meshlift.io/registry={host} --overwrite`"
    );
    unreadable(&unbound, &["Secret charts-login", &annotate])?;
    let elsewhere = client_for(
        &source("https://charts.example/istio"),
        with_login(&login()),
    );
    let elsewhere = elsewhere.versions(&charts).await;
    unreadable(&elsewhere, &["is for charts.example", &annotate])?;
    assert!(
        server.take_requests().iter().all(|r| !r.with_credentials),
        "the password was sent to a host that its Secret does not name"
    );
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
    let bound = client_for(&charts, with_login(&login()));
    let known = present(bound.versions(&charts).await)?;
    assert_eq!(offered(&known), ["1.31.0"]);
    let open = with_secret(&source("http://charts.example/istio"));
    let plain = client(Some(with_login(&login()))).versions(&open).await;
    unreadable(
        &plain,
        &["are not sent to http://charts.example/istio", "use https"],
    )
}

#[tokio::test]
async fn credentials_follow_neither_a_redirect_nor_an_address_in_the_index() -> Result<()> {
    let (_, packed) = packed().await?;
    // Another port is another place; it has the archives, and an index too.
    let other = serve(&packed, ServerOptions::default())?;
    let directory = tempfile::tempdir()?;
    let entry = |chart: &str| json!([{ "version": "1.31.0", "urls": [format!("{}/{chart}-1.31.0.tgz", other.url())] }]);
    let index = json!({ "entries": { "base": entry("base"), "istiod": entry("istiod") } });
    fs::write(directory.path().join("index.yaml"), index.to_string())?;
    let options = ServerOptions {
        login: Some(login()),
        ..ServerOptions::default()
    };
    let server = serve(directory.path(), options)?;
    let charts = with_secret(&source(server.url()));
    let client = client_for(&charts, with_login(&login()));
    let archive = client
        .download(&charts, Chart::Istiod, &"1.31.0".parse()?)
        .await?;
    assert_eq!((archive.chart, archive.digest.len()), (Chart::Istiod, 64));
    let request = |path: &str, with_credentials| Request {
        path: path.to_owned(),
        status: 200,
        with_credentials,
    };
    assert_eq!(
        other.take_requests(),
        [request("/istiod-1.31.0.tgz", false)]
    );
    assert_eq!(server.take_requests(), [request("/index.yaml", true)]);

    server.set_mode(Mode::Moved(other.address()));
    client.forget(&charts);
    let known = present(client.versions(&charts).await)?;
    assert_eq!(
        (offered(&known), &known.stale),
        (vec!["1.30.2".to_owned(), "1.31.0".to_owned()], &None)
    );
    assert_eq!(other.take_requests(), [request("/index.yaml", false)]);
    Ok(())
}

#[tokio::test]
async fn a_redirect_never_leads_out_of_tls() -> Result<()> {
    let directory = tempfile::tempdir()?;
    write_index(directory.path(), &["1.31.0"])?;
    let authority = Authority::new()?;
    let options = ServerOptions {
        tls: Some(authority.identity()?),
        ..ServerOptions::default()
    };
    let server = serve(directory.path(), options)?;
    let open = serve(directory.path(), ServerOptions::default())?;
    server.set_mode(Mode::Moved(open.address()));
    let charts = trusting(&source(server.url()), authority.pem());
    let seen = client(None).versions(&charts).await;
    unreadable(&seen, &["redirects from https to an address that is not"])?;
    assert_eq!(open.take_requests(), []);
    Ok(())
}

#[tokio::test]
async fn an_archive_that_is_not_what_it_should_be_is_not_used() -> Result<()> {
    let (_, packed) = packed().await?;
    let directory = tempfile::tempdir()?;
    for file in fs::read_dir(&packed)? {
        let file = file?;
        fs::copy(file.path(), directory.path().join(file.file_name()))?;
    }
    let server = Arc::new(serve(directory.path(), ServerOptions::default())?);
    let charts = source(server.url());
    let version = "1.31.0".parse()?;
    let load = async || {
        client(None)
            .download(&charts, Chart::Istiod, &version)
            .await
    };
    load().await?;
    // Changed on the way, against the digest of the index.
    let archive = directory.path().join("istiod-1.31.0.tgz");
    fs::copy(directory.path().join("istiod-1.30.2.tgz"), &archive)?;
    says(
        &load().await.err().context("another digest")?.to_string(),
        &["istiod 1.31.0", "another digest"],
    )?;
    // Without a digest the archive itself says what it is.
    write_index(directory.path(), &["1.31.0"])?;
    says(
        &load().await.err().context("another version")?.to_string(),
        &["not used", "another chart or version than istiod 1.31.0"],
    )?;
    fs::write(&archive, "<html>")?;
    says(
        &load().await.err().context("no archive")?.to_string(),
        &["it is no chart archive"],
    )?;
    fs::write(&archive, vec![0; 9 << 20])?;
    says(
        &load().await.err().context("too large")?.to_string(),
        &["larger than 8 MiB"],
    )?;
    fs::remove_file(&archive)?;
    says(
        &load().await.err().context("not there")?.to_string(),
        &["istiod-1.31.0.tgz answers 404"],
    )?;
    let unknown = client(None)
        .download(&charts, Chart::Istiod, &"1.99.0".parse()?)
        .await;
    says(
        &unknown.err().context("not offered")?.to_string(),
        &["has no chart istiod 1.99.0"],
    )
}

#[tokio::test]
async fn a_chart_that_was_used_lately_needs_no_repository() -> Result<()> {
    let (_, packed) = packed().await?;
    let server = serve(&packed, ServerOptions::default())?;
    let (charts, client) = (source(server.url()), client(None));
    let version = "1.31.0".parse()?;
    let first = client.download(&charts, Chart::Base, &version).await?;
    drop(server);
    assert_eq!(
        client.download(&charts, Chart::Base, &version).await?,
        first
    );
    Ok(())
}
