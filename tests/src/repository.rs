//! A chart repository that offers what a test wants.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A chart repository that has an index and no charts; it ends when this is dropped.
pub struct Index {
    url: String,
    answer: Arc<Mutex<String>>,
    server: JoinHandle<()>,
}

impl Index {
    /// Serves an index with these versions of both charts.
    pub async fn serve(versions: &[&str]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let answer = Arc::new(Mutex::new(index(versions)));
        let told = Arc::clone(&answer);
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A client that goes away early has what it wanted.
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Self {
            url,
            answer,
            server,
        })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Offers these versions from now on.
    pub fn offer(&self, versions: &[&str]) {
        self.say(index(versions));
    }

    /// Answers 503 from now on.
    pub fn go_away(&self) {
        self.say(http("503 Service Unavailable", "away on purpose"));
    }

    fn say(&self, answer: String) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

fn index(versions: &[&str]) -> String {
    let entries: Vec<_> = versions
        .iter()
        .map(|version| json!({ "version": version, "urls": [] }))
        .collect();
    let index = json!({ "apiVersion": "v1", "entries": { "base": entries, "istiod": entries } });
    http("200 OK", &index.to_string())
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

impl Drop for Index {
    fn drop(&mut self) {
        self.server.abort();
    }
}
