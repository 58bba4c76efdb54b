//! A wire between the operator and the API server that counts what goes over it, TLS and all.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::Kubeconfig;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Less than this in a second is the lease and nothing else.
const QUIET: u64 = 20_000;

/// Bytes that went over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Bytes {
    pub(super) to_server: u64,
    pub(super) from_server: u64,
}

impl Bytes {
    /// What came on top of `before`.
    pub(super) fn since(self, before: Bytes) -> Bytes {
        Bytes {
            to_server: self.to_server - before.to_server,
            from_server: self.from_server - before.from_server,
        }
    }
}

#[derive(Default)]
struct Counters {
    to_server: AtomicU64,
    from_server: AtomicU64,
}

/// The wire; it is cut when this is dropped.
pub(super) struct Wire {
    kubeconfig: PathBuf,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Lays a wire to the server of a kubeconfig.
    pub(super) async fn lay(kubeconfig: &Path) -> Result<Self> {
        let config = Kubeconfig::read_from(kubeconfig)?;
        let cluster = config.clusters.first().and_then(|c| c.cluster.as_ref());
        let server = cluster.and_then(|cluster| cluster.server.clone());
        let server = server.context("a kubeconfig without a server")?;
        let target: SocketAddr = server
            .trim_start_matches("https://")
            .parse()
            .with_context(|| format!("{server} is no https address"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let here = format!("https://{}", listener.local_addr()?);
        let wired = kubeconfig.with_extension("wired");
        fs::write(
            &wired,
            fs::read_to_string(kubeconfig)?.replace(&server, &here),
        )?;
        let counters = Arc::<Counters>::default();
        let task = tokio::spawn(serve(listener, target, Arc::clone(&counters)));
        Ok(Self {
            kubeconfig: wired,
            counters,
            task,
        })
    }

    /// The kubeconfig that goes over the wire.
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What went over it so far.
    pub(super) fn bytes(&self) -> Bytes {
        Bytes {
            to_server: self.counters.to_server.load(Ordering::Relaxed),
            from_server: self.counters.from_server.load(Ordering::Relaxed),
        }
    }

    /// Waits until next to nothing goes over it.
    pub(super) async fn quiet(&self, limit: Duration) -> Result<()> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            let before = self.bytes();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let passed = self.bytes().since(before);
            if passed.from_server + passed.to_server < QUIET {
                return Ok(());
            }
            if tokio::time::Instant::now() > end {
                bail!("still {passed:?} in a second after {limit:?}");
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, counters: Arc<Counters>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let counters = Arc::clone(&counters);
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            // One side that closes ends both, as it does without the wire.
            tokio::select! {
                () = pass(near_in, far_out, &counters.to_server) => {}
                () = pass(far_in, near_out, &counters.from_server) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    counter: &AtomicU64,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        counter.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ways_are_counted() -> Result<()> {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = format!("https://{}", echo.local_addr()?);
        let answers = tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await?;
            let mut question = [0; 3];
            stream.read_exact(&mut question).await?;
            stream.write_all(b"answer").await
        });
        let directory = tempfile::tempdir()?;
        let kubeconfig = directory.path().join("a.kubeconfig");
        fs::write(
            &kubeconfig,
            format!("clusters: [{{name: a, cluster: {{server: '{server}'}}}}]"),
        )?;
        let wire = Wire::lay(&kubeconfig).await?;
        let wired = fs::read_to_string(wire.kubeconfig())?;
        let at = wired
            .split("https://")
            .nth(1)
            .and_then(|rest| rest.split('\'').next());
        let mut stream = TcpStream::connect(at.context("no address")?).await?;
        stream.write_all(b"ask").await?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await?;
        answers.await??;
        assert_eq!(&answer, b"answer");
        let expected = Bytes {
            to_server: 3,
            from_server: 6,
        };
        assert_eq!(wire.bytes(), expected);
        Ok(())
    }
}
