//! Who leads: a leader that is killed, one that is stopped and goes on, clocks that differ, a Lease that is deleted. Times
//! are only bounded from below, where an operator must not act yet: how fast a takeover is, the machine decides.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use meshlift_api::Phase;
use meshlift_tests::bed::{Bed, OPERATOR_NAMESPACE};
use meshlift_tests::operator::{Operator, Settings};
use meshlift_tests::upgrades::{wait_phase, wait_status};
use serde_json::{Value, json};

use crate::fixture::{SOON, with_bed};

const LEASE: &str = "meshlift-operator";
/// What nobody may act before who finds a lease that another holds, less what rounding takes.
const HELD: Duration = Duration::from_secs(14);
const LONG: Duration = Duration::from_secs(90);

fn candidate(name: &str) -> Settings {
    Settings {
        elects: Some(name.to_owned()),
        ..Settings::default()
    }
}

/// With a user of its own, which the audit log tells from another's.
fn known(bed: &Bed, name: &str) -> Result<Settings> {
    Ok(Settings {
        kubeconfig: Some(bed.cluster.kubeconfig_for(name, &["system:masters"])?),
        ..candidate(name)
    })
}

fn leases(bed: &Bed) -> Api<Lease> {
    Api::namespaced(bed.client.clone(), OPERATOR_NAMESPACE)
}

/// Writes the lease as another machine would, whatever was there.
pub(crate) async fn hold_as(bed: &Bed, holder: &str, renewed: &str) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": LEASE },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed },
    });
    let person = PatchParams::apply("ghost").force();
    leases(bed)
        .patch(LEASE, &person, &Patch::Apply(lease))
        .await?;
    Ok(())
}

#[test]
fn api_of_two_operators_one_leads_and_the_other_takes_over() -> Result<()> {
    with_bed(async |bed| {
        let first = Operator::start_with(bed, known(bed, "first")?).await?;
        first.wait_leads(LONG).await?;
        let second = Operator::start_with(bed, known(bed, "second")?).await?;
        bed.create_upgrade("led", json!({ "targetVersion": "1.99.0" }))
            .await?;
        wait_phase(bed, "led", Phase::Detecting, SOON).await?;
        ensure!(second.metric("meshlift_leader").await? == Some(0.0));
        let idle = second.metric("meshlift_upgrade_phase{phase=\"Detecting\",upgrade=\"led\"}");
        ensure!(
            idle.await?.is_none(),
            "the one that does not lead reconciles"
        );

        // Killed: the lease must run out.
        let audit = bed.audit()?;
        let killed = Instant::now();
        first.kill()?;
        second.wait_leads(LONG).await?;
        println!(
            "failover after a kill: {:.1} s",
            killed.elapsed().as_secs_f32()
        );
        retarget(bed, "1.98.0").await?;
        let writes = audit.writes("second")?;
        let status = |write: &meshlift_tests::audit::Write| write.resource.ends_with("/status");
        ensure!(writes.iter().any(status), "it records nothing: {writes:?}");

        // Stopped: it gives the lease back, so that the next one need not wait for it to run out.
        let stopping = Instant::now();
        let status = second.stop().await?;
        ensure!(status.success(), "it stopped with {status}");
        let stopped = stopping.elapsed();
        ensure!(
            stopped < Duration::from_secs(20),
            "it took {stopped:?} to stop"
        );
        let lease = leases(bed).get(LEASE).await?.spec.context("no spec")?;
        ensure!(lease.holder_identity.as_deref() == Some(""), "{lease:?}");
        let third = Operator::start_with(bed, candidate("third")).await?;
        third.wait_leads(LONG).await?;
        bed.delete_upgrade("led").await
    })
}

/// It believes what it last knew. Between it and a write stands only the clock.
#[test]
fn api_a_leader_that_was_stopped_writes_nothing_when_it_goes_on() -> Result<()> {
    with_bed(async |bed| {
        let mut first = Operator::start_with(bed, known(bed, "frozen")?).await?;
        first.wait_leads(LONG).await?;
        bed.create_upgrade("led", json!({ "targetVersion": "1.99.0" }))
            .await?;
        // A request that was allowed and is frozen on its way to the socket arrives after the thaw; nothing on this side can
        // call it back. What this test counts is what begins after the thaw, so nothing may be on its way at the freeze.
        let before = bed.audit()?;
        wait_phase(bed, "led", Phase::Detecting, SOON).await?;
        before.quiet("frozen", Duration::from_secs(2)).await?;
        first.freeze()?;
        let second = Operator::start_with(bed, known(bed, "thaws")?).await?;
        second.wait_leads(LONG).await?;
        retarget(bed, "1.98.0").await?;
        let audit = bed.audit()?;
        // Much to do for whoever thinks it leads.
        retarget(bed, "1.97.0").await?;
        first.thaw()?;
        let ended = first.ended(LONG).await?;
        ensure!(
            !ended.success(),
            "it went as if it had been asked to: {ended}"
        );
        retarget(bed, "1.96.0").await?;
        let writes = audit.writes("frozen")?;
        let written: Vec<_> = writes.iter().filter(|write| write.code < 300).collect();
        ensure!(
            written.is_empty(),
            "written after the takeover: {written:?}"
        );
        bed.delete_upgrade("led").await
    })
}

/// Asks for another version, and waits until the leader has seen it.
async fn retarget(bed: &Bed, version: &str) -> Result<()> {
    let spec = json!({ "spec": { "targetVersion": version } });
    bed.patch_upgrade("led", spec).await?;
    wait_status(bed, "led", "the leader acts", SOON, |status| {
        status.message.contains(version)
    })
    .await?;
    Ok(())
}

/// What another machine wrote as a time says nothing: only that it still writes does.
#[test]
fn api_a_lease_runs_out_by_the_clock_of_who_looks_at_it() -> Result<()> {
    with_bed(async |bed| {
        hold_as(bed, "ghost", "2001-01-01T00:00:00.000000Z").await?;
        let began = Instant::now();
        let late = Operator::start_with(bed, candidate("late")).await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        hold_as(bed, "ghost", "2001-01-01T00:00:01.000000Z").await?;
        let renewed = Instant::now();
        late.wait_leads(LONG).await?;
        let (waited, since) = (began.elapsed(), renewed.elapsed());
        ensure!(
            since >= HELD,
            "it leads {since:?} after a renewal ({waited:?} in all)"
        );
        ensure!(late.stop().await?.success());

        hold_as(bed, "ghost", "2099-01-01T00:00:00.000000Z").await?;
        let early = Operator::start_with(bed, candidate("early")).await?;
        early.wait_leads(LONG).await?;
        Ok(())
    })
}

#[test]
fn api_a_lease_that_is_deleted_makes_no_second_leader() -> Result<()> {
    with_bed(async |bed| {
        let mut first = Operator::start_with(bed, candidate("owner")).await?;
        first.wait_leads(LONG).await?;
        let second = Operator::start_with(bed, candidate("waiter")).await?;
        leases(bed).delete(LEASE, &DeleteParams::default()).await?;
        let end = Instant::now() + Duration::from_secs(25);
        let mut led = 0;
        while Instant::now() < end {
            // One that has ended answers nothing.
            let leads = async |operator: &Operator| {
                operator.metric("meshlift_leader").await.ok().flatten() == Some(1.0)
            };
            let both = (leads(&first).await, leads(&second).await);
            ensure!(both != (true, true), "both lead");
            led += usize::from(both.0 || both.1);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        ensure!(led > 0, "nobody leads");
        let lease = leases(bed).get(LEASE).await?.spec.context("no spec")?;
        let holder = lease.holder_identity.unwrap_or_default();
        match first.check() {
            Ok(()) => ensure!(holder.starts_with("owner_"), "held by {holder}"),
            Err(_) => {
                ensure!(holder.starts_with("waiter_"), "held by {holder}");
                second.wait_leads(LONG).await?;
            }
        }
        let spec: Value = serde_json::to_value(leases(bed).get(LEASE).await?.spec)?;
        ensure!(spec["leaseDurationSeconds"] == 15, "{spec}");
        Ok(())
    })
}
