//! A chart repository that offers what a test wants.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A chart repository that has an index and no charts; it ends when this is dropped.
pub struct Index {
    url: String,
    server: JoinHandle<()>,
}

impl Index {
    /// Serves an index with these versions of both charts.
    pub async fn serve(versions: &[&str]) -> Result<Self> {
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

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.server.abort();
    }
}
