//! What the demo showed, and whether that is what it should show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Result, bail};
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase};

use super::versions::{self, Versions};
use crate::istio;
use crate::load::Collected;
use crate::shop::SIDECARS;
use crate::versions::ISTIO_TO;

/// Everything that is worth saying at the end.
pub(super) struct Summary {
    pub(super) before: BTreeMap<String, Versions>,
    pub(super) after: BTreeMap<String, Versions>,
    /// Custom values that the upgrade did not carry over.
    pub(super) lost_values: Vec<String>,
    pub(super) status: MeshUpgradeStatus,
    pub(super) steps: Vec<(String, Duration)>,
    pub(super) stages: Vec<(String, Duration)>,
    pub(super) seen: Collected,
}

impl Summary {
    /// Success only if the mesh is at the new version, with its values, and no request was lost.
    pub(super) fn verdict(&self) -> Result<()> {
        let faults = self.faults();
        if !faults.is_empty() {
            bail!("{}", faults.join("; "));
        }
        Ok(())
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if (self.status.phase, self.status.outcome) != (Some(Phase::Done), Some(Outcome::Upgraded))
        {
            faults.push(format!(
                "the upgrade did not succeed: {}",
                self.status.message
            ));
        }
        if !versions::all_at(&self.after, ISTIO_TO) {
            faults.push(format!("not everything is at {ISTIO_TO}"));
        }
        if !self.lost_values.is_empty() {
            faults.push(format!(
                "custom values were lost: {}",
                self.lost_values.join(", ")
            ));
        }
        for way in [SIDECARS, istio::INGRESS] {
            if self.seen.ways.get(way).is_none_or(|totals| totals.ok == 0) {
                faults.push(format!("no request through {way} was answered"));
            }
        }
        if self.seen.totals.lost() > 0 {
            faults.push(format!("{} requests were lost", self.seen.totals.lost()));
        }
        if !self.seen.is_complete() {
            faults.push(format!(
                "what became of {} requests is not known (clients that never said that they ended: {:?})",
                self.seen.totals.in_flight(),
                self.seen.running
            ));
        }
        faults
    }

    fn requests(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let totals = &self.seen.totals;
        let millis = |share| {
            totals
                .latency
                .quantile(share)
                .map_or(0.0, |l| l.as_secs_f64() * 1e3)
        };
        writeln!(
            f,
            "\nREQUESTS   sent {}, lost {}",
            totals.sent,
            totals.lost()
        )?;
        writeln!(
            f,
            "  latency p50 {:.1} ms, p99 {:.1} ms",
            millis(0.5),
            millis(0.99)
        )?;
        writeln!(
            f,
            "  {} clients, each restart is a new one",
            self.seen.instances
        )?;
        for (way, totals) in &self.seen.ways {
            writeln!(
                f,
                "  through {way:<24} {:>6}, lost {}",
                totals.sent,
                totals.lost()
            )?;
        }
        for (kind, count) in &totals.failed {
            writeln!(f, "  {count} lost by {kind}")?;
        }
        for sample in &totals.samples {
            writeln!(f, "    {sample}")?;
        }
        Ok(())
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let namespaces: BTreeSet<&String> = self.before.keys().chain(self.after.keys()).collect();
        writeln!(f, "\n{:<14} {:<34} AFTER", "NAMESPACE", "BEFORE")?;
        for namespace in namespaces {
            let before = versions::text(self.before.get(namespace));
            let after = versions::text(self.after.get(namespace));
            writeln!(f, "{namespace:<14} {before:<34} {after}")?;
        }
        self.requests(f)?;
        times(f, "STAGES", &self.stages)?;
        times(f, "THE UPGRADE", &self.steps)?;
        match self.faults().as_slice() {
            [] => writeln!(f, "\nThe mesh is at {ISTIO_TO}, and no request was lost."),
            faults => writeln!(f, "\nFAILED: {}", faults.join("; ")),
        }
    }
}

fn times(f: &mut Formatter<'_>, title: &str, times: &[(String, Duration)]) -> fmt::Result {
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    writeln!(f, "\n{title:<44} {:>7.1} s", total.as_secs_f32())?;
    for (what, time) in times.iter().filter(|(_, time)| time.as_millis() >= 50) {
        writeln!(f, "  {what:<42} {:>7.1} s", time.as_secs_f32())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::load::Totals;

    fn good() -> Summary {
        let answered = Totals {
            sent: 5,
            ok: 5,
            ..Totals::default()
        };
        let ways = [SIDECARS, istio::INGRESS].map(|way| (way.to_owned(), answered.clone()));
        let after = Versions::from([(format!("sidecar {ISTIO_TO} (1-31-0)"), 2)]);
        Summary {
            before: BTreeMap::new(),
            after: BTreeMap::from([("shop".to_owned(), after)]),
            lost_values: Vec::new(),
            status: MeshUpgradeStatus {
                phase: Some(Phase::Done),
                outcome: Some(Outcome::Upgraded),
                ..MeshUpgradeStatus::default()
            },
            steps: Vec::new(),
            stages: Vec::new(),
            seen: Collected {
                totals: answered,
                ways: BTreeMap::from(ways),
                ..Collected::default()
            },
        }
    }

    #[test]
    fn only_a_whole_success_is_a_success() {
        assert!(good().verdict().is_ok(), "{:?}", good().faults());
        let worse: [fn(&mut Summary); 8] = [
            |s| s.status.phase = Some(Phase::Failed),
            |s| s.status.outcome = None,
            |s| s.after = BTreeMap::new(),
            |s| s.lost_values = vec!["/global/hub".to_owned()],
            |s| {
                s.seen
                    .totals
                    .fail(Timestamp::UNIX_EPOCH, "reset".to_owned(), "")
            },
            |s| s.seen.totals.sent += 1,
            |s| drop(s.seen.ways.remove(istio::INGRESS)),
            |s| s.seen.running = vec!["visitors-1".to_owned()],
        ];
        for (index, spoil) in worse.into_iter().enumerate() {
            let mut summary = good();
            spoil(&mut summary);
            assert!(summary.verdict().is_err(), "spoiled as in {index}");
        }
    }
}
