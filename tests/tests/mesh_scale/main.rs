//! Five hundred workloads on simulated nodes, injected by the real istiod, and some of them fail on
//! purpose once they are moved. Root only; said loudly where it is not.

mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase, Predicate, conditions};
use meshlift_testbed::progress;
use meshlift_tests::audit::Audit;
use meshlift_tests::bed::{Bed, OPERATOR_USER};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{ensure_condition, shown, wait_phase};
use meshlift_tests::wait::SOON;
use serde_json::json;

use crate::fixture::{Fate, Member, members, meshlift_status, ready_revisions, with_crowd};

const NAME: &str = "crowd";
/// How long one workload may take to be ready.
const PATIENCE: &str = "40s";
/// How often one that is not ready in time is restarted once more.
const RETRIES: usize = 1;
/// Within it the upgrade ends, on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn mesh_500_workloads_move_and_every_stuck_one_is_named() -> Result<()> {
    with_crowd("mesh_scale", async |bed| {
        let members = members();
        let operator = Operator::start(&bed).await?;
        let audit = bed.audit()?;
        let spec = json!({
            "targetVersion": "1.31",
            "rollback": "Never",
            "dataPlane": { "restart": {
                "maxConcurrent": 100,
                "maxConcurrentPerNamespace": 50,
                "timeout": PATIENCE,
                "retries": RETRIES,
                "maxFailures": 50,
            }},
            "healthCheck": { "soak": "5s" },
            "retire": { "after": "0s" },
        });
        bed.create_upgrade(NAME, spec).await?;
        let told = async {
            // What a detection holds back does not begin later.
            wait_phase(&bed, NAME, Phase::Upgrading, SOON).await?;
            let status = wait_phase(&bed, NAME, Phase::Done, LIMIT).await?;
            progress::line(&status.message);
            ends_with_the_sound_ones_moved(&status, &members)?;
            every_stuck_one_is_named(&bed, &status, &members).await?;
            each_serves(&bed, &members).await?;
            restarted_no_more_than_asked(&audit, &members)
        };
        told.await.with_context(|| operator.log_tail())
    })
}

fn ends_with_the_sound_ones_moved(status: &MeshUpgradeStatus, members: &[Member]) -> Result<()> {
    ensure!(
        status.outcome == Some(Outcome::Upgraded),
        "{}",
        shown(status)
    );
    let stuck = members.iter().filter(|m| m.fate.is_stuck()).count();
    let counts = status.workloads.context("no counts")?;
    let told = [
        counts.total,
        counts.moved,
        counts.blocked,
        counts.restarting,
        counts.pending,
        counts.failed,
    ]
    .map(|n| n as usize);
    let all = members.len();
    ensure!(told == [all, all - stuck, stuck, 0, 0, 0], "{counts:?}");
    ensure_condition(
        status,
        conditions::DATA_PLANE_UPGRADED,
        ("True", "AllButBlockedMoved"),
    )?;
    // Those that are stuck still run on it.
    ensure_condition(status, conditions::OLD_REVISION_RETIRED, ("False", "InUse"))
}

/// By name, with what keeps its pod from being ready; in the status, and by the command line.
async fn every_stuck_one_is_named(
    bed: &Bed,
    status: &MeshUpgradeStatus,
    members: &[Member],
) -> Result<()> {
    let text = meshlift_status(bed, NAME).await?;
    let named: BTreeMap<&str, _> = status
        .blocked
        .iter()
        .map(|blocked| (blocked.reference.as_str(), blocked))
        .collect();
    let mut expected = BTreeSet::new();
    for member in members.iter().filter(|member| member.fate.is_stuck()) {
        let reference = format!("apps/v1 Deployment {}", member.key);
        let blocked = named.get(reference.as_str());
        let blocked = blocked.with_context(|| format!("{reference} is not named: {named:?}"))?;
        ensure!(blocked.predicate == Predicate::RestartFailed, "{blocked:?}");
        let why = member.fate.words();
        ensure!(
            blocked.message.contains(why),
            "{why:?} is missing in: {}",
            blocked.message
        );
        ensure!(
            text.contains(&member.key.to_string()),
            "meshlift status does not name {}:\n{text}",
            member.key
        );
        expected.insert(reference);
    }
    let more: Vec<_> = named.keys().filter(|r| !expected.contains(**r)).collect();
    ensure!(more.is_empty(), "named, but not stuck: {more:?}");
    Ok(())
}

/// Each has one pod that is ready: a sound one on the new sidecar, a stuck one on the old one.
async fn each_serves(bed: &Bed, members: &[Member]) -> Result<()> {
    let ready = ready_revisions(bed).await?;
    for Member { key, fate } in members {
        let revision = if fate.is_stuck() { "default" } else { "1-31-0" };
        let found = ready.get(key);
        ensure!(
            found.is_some_and(|found| *found == [revision]),
            "{key} ({fate:?}) has ready pods of {found:?}"
        );
    }
    Ok(())
}

/// Once each, and a stuck one as often again as retries are allowed.
fn restarted_no_more_than_asked(audit: &Audit, members: &[Member]) -> Result<()> {
    let mut patches = BTreeMap::<(String, String), usize>::new();
    for write in audit.writes(OPERATOR_USER)? {
        if write.verb == "patch" && write.resource == "apps/deployments" && write.code == 200 {
            *patches.entry((write.namespace, write.name)).or_default() += 1;
        }
    }
    for Member { key, fate } in members {
        let wanted = 1 + if fate.is_stuck() { RETRIES } else { 0 };
        let found = patches.get(&(key.namespace.clone(), key.name.clone()));
        ensure!(
            found == Some(&wanted),
            "{key} ({fate:?}) was patched {found:?} times, not {wanted}"
        );
    }
    // What pulls slowly is ready late, and in time.
    let late = members.iter().filter(|m| m.fate == Fate::PullsSlowly);
    ensure!(late.count() > 0, "nothing pulls slowly");
    Ok(())
}
