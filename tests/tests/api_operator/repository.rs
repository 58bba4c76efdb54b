//! Chart repositories that fail.

use std::time::Duration;

use anyhow::Result;
use meshlift_testbed::charts::Mode;
use meshlift_tests::operator::Operator;
use serde_json::json;

use crate::fixture::{ends_blocked, with_bed};

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
