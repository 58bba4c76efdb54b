//! The cluster that the tests share, one at a time.

use std::future::Future;
use std::sync::LazyLock;

use anyhow::Result;
use kube::ResourceExt;
use meshlift_testbed::Options;
use meshlift_testbed::charts::Mode;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::Bed;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

pub(crate) use meshlift_tests::blocked::{ends_blocked, ensure_untouched};
pub(crate) use meshlift_tests::istio::{install as install_istio, make_ready};
pub(crate) use meshlift_tests::wait::SOON;

/// One runtime for all tests: a client belongs to the runtime that made it.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("a runtime needs only threads"));
static BED: OnceCell<Bed> = OnceCell::const_new();
/// Two operators on one cluster would meddle with each other.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Runs one test on the shared cluster, on which Istio is installed and not ready.
pub(crate) fn with_bed<F: Future<Output = Result<()>>>(
    test: impl FnOnce(&'static Bed) -> F,
) -> Result<()> {
    RUNTIME.block_on(async {
        let _alone = ALONE.lock().await;
        let start = async {
            let bed = Bed::up(Options::api("operator")).await?;
            install_istio(&bed, ISTIO_FROM).await?;
            anyhow::Ok(bed)
        };
        let bed = BED.get_or_try_init(|| start).await?;
        clear(bed).await?;
        test(bed).await
    })
}

/// Removes what a test that failed left: the next one is not to fail with it.
async fn clear(bed: &Bed) -> Result<()> {
    bed.cluster.charts().set_mode(Mode::Ok);
    for upgrade in bed.upgrades().list(&Default::default()).await? {
        let name = upgrade.name_any();
        let free = json!({ "metadata": { "finalizers": null } });
        bed.patch_upgrade(&name, free).await?;
        bed.delete_upgrade(&name).await?;
    }
    for mesh in bed.meshes().list(&Default::default()).await? {
        bed.meshes()
            .delete(&mesh.name_any(), &Default::default())
            .await?;
    }
    Ok(())
}

/// Runs one test on a cluster of its own, without Istio.
pub(crate) fn with_own_bed<F: Future<Output = Result<()>>>(
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    RUNTIME.block_on(async { test(Bed::up(Options::api("operator-own")).await?).await })
}
