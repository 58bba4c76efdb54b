//! Leader election by a Lease: only the holder acts. Who loses it stops at once.

use std::time::Duration;

use anyhow::Context;
use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Name of the Lease.
const LEASE: &str = "meshlift-operator";
/// How long a lease holds without renewal, in seconds: failover takes at most this long.
const DURATION: u64 = 15;
/// It is renewed this many seconds before it runs out.
const GRACE: u64 = 5;
/// How long giving it back may take at the end.
const RELEASE: Duration = Duration::from_secs(5);

/// A place in the election.
pub(crate) struct Candidate {
    leading: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<kube_lease_manager::LeaseManager>>,
}

impl Candidate {
    /// Stands for election.
    pub(crate) async fn stand(
        client: Client,
        namespace: &str,
        identity: Option<String>,
    ) -> anyhow::Result<Self> {
        let builder = LeaseManagerBuilder::new(client, LEASE)
            .with_namespace(namespace)
            .with_duration(DURATION)
            .with_grace(GRACE);
        let builder = match identity {
            Some(identity) => builder.with_identity(identity),
            None => builder,
        };
        let manager = builder
            .build()
            .await
            .with_context(|| format!("Lease {namespace}/{LEASE}"))?;
        let (leading, task) = manager.watch().await;
        Ok(Self { leading, task })
    }

    /// Waits until elected.
    pub(crate) async fn elected(&mut self) -> anyhow::Result<()> {
        self.leading
            .wait_for(|leading| *leading)
            .await
            .context("the leader election ended")?;
        Ok(())
    }

    /// Waits until the lease is lost.
    pub(crate) async fn deposed(&mut self) {
        // An ended election is a lost lease too.
        let _ = self.leading.wait_for(|leading| !*leading).await;
    }

    /// Gives the lease back, so that the next leader need not wait for it to run out.
    pub(crate) async fn step_down(self) {
        drop(self.leading);
        match tokio::time::timeout(RELEASE, self.task).await {
            Ok(Ok(Ok(manager))) => {
                if let Err(error) = manager.release().await {
                    tracing::warn!(%error, "the lease was not given back and runs out by itself");
                }
            }
            _ => tracing::warn!("the lease was not given back and runs out by itself"),
        }
    }
}
