//! Chart repositories: one that offers what a test wants, and those that fail.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use meshlift_testbed::charts::Mode;
use meshlift_tests::operator::Operator;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fixture::{ends_blocked, with_bed};

/// A chart repository that has an index and no charts; it ends when this is dropped.
pub(crate) struct Index {
    url: String,
    server: JoinHandle<()>,
}

impl Index {
    /// Serves an index with these versions of both charts.
    pub(crate) async fn serve(versions: &[&str]) -> Result<Self> {
        let entries: Vec<_> = versions
            .iter()
            .map(|version| json!({ "version": version, "urls": [] }))
            .collect();
        let index =
            json!({ "apiVersion": "v1", "entries": { "base": entries, "istiod": entries } });
        let body = index.to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A client that goes away early has what it wanted.
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Self { url, server })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[test]
fn api_a_repository_that_fails_is_told_with_its_address() -> Result<()> {
    with_bed(async |bed| {
        let url = bed.cluster.charts_url_host()?;
        bed.create_mesh("charts", json!({ "charts": { "repository": url } }))
            .await?;
        let upgrade = || json!({ "mesh": "charts", "targetVersion": "1.31" });
        for (mode, words) in [
            (Mode::Down(503), "answers 503"),
            (Mode::Rubbish, "is no chart repository index"),
            (Mode::Slow(Duration::from_secs(60)), "no answer within"),
        ] {
            bed.cluster.charts().set_mode(mode);
            // What it knew of the repository would outlive the change.
            let _operator = Operator::start(bed).await?;
            let blocked = ends_blocked(bed, upgrade(), "Unreadable", &[&url, words]).await;
            bed.cluster.charts().set_mode(Mode::Ok);
            blocked?;
        }
        bed.meshes().delete("charts", &Default::default()).await?;

        // Nobody listens on port 1.
        let nowhere = "http://127.0.0.1:1/charts";
        bed.create_mesh("charts", json!({ "charts": { "repository": nowhere } }))
            .await?;
        let _operator = Operator::start(bed).await?;
        ends_blocked(bed, upgrade(), "Unreadable", &[nowhere, "refused"]).await?;
        bed.meshes().delete("charts", &Default::default()).await?;
        Ok(())
    })
}
