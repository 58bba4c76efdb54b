//! The data plane forward and back on one mesh under load: through sidecars, an injected gateway and one that istiod
//! manages.

use anyhow::{Context, Result};
use meshlift_tests::operator::Operator;

use crate::fixture::{ensure_none_lost, ensure_nothing_lost, with_mesh};
use crate::street::Street;
use crate::{rollback, waves};

#[test]
fn mesh_moves_in_waves_and_back_and_loses_nothing() -> Result<()> {
    with_mesh("mesh_data_plane", async |bed| {
        let load = Street::default().open(&bed).await?;
        let operator = Operator::start(&bed).await?;
        let operator = rollback::goes_back_in_the_second_wave(&bed, operator)
            .await
            .context("there and back")?;
        ensure_none_lost(&load.totals()).context("there and back")?;
        waves::go_in_order_and_wait_for_a_person(&bed, operator)
            .await
            .context("in waves")?;
        ensure_nothing_lost(load).await
    })
}
