//! The data plane forward and back on one mesh under load: through sidecars, an injected gateway and one that istiod
//! manages.

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use meshlift_api::WaveStatus;
use meshlift_tests::operator::Operator;

use crate::fixture::{ensure_none_lost, with_mesh};
use crate::street::{Street, ensure_lost_but_at_the_door};
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
        let gateways = waves::go_in_order_and_wait_for_a_person(&bed, operator, &load)
            .await
            .context("in waves")?;
        let lost = ensure_lost_but_at_the_door(load).await?;
        ensure!(
            lost.is_none_or(|lost| moved_within(&gateways, lost)),
            "lost at the door, and not as it moved: {lost:?}, {gateways:?}"
        );
        Ok(())
    })
}

/// Whether this is within the time of a wave, which is told in whole seconds.
fn moved_within(wave: &WaveStatus, (first, last): (Timestamp, Timestamp)) -> bool {
    let second = SignedDuration::from_secs(1);
    let began = wave.started_at.as_ref().is_some_and(|at| at.0 <= first);
    let ended = wave.finished_at.as_ref();
    began && ended.is_some_and(|at| last.duration_since(at.0) <= second)
}
