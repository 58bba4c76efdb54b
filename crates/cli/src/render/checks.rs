//! What a detection found.

use meshlift_api::{CheckResult, CheckStatus, ClusterCheck, ClusterVerdict, Severity};
use meshlift_detect::check;
use meshlift_model::Detection;

use super::table::{Cell, Column, table};
use crate::terminal::{Terminal, Tone};

/// A table with two columns of sentences needs this much.
const ROOM_FOR_A_TABLE: u16 = 120;

/// The clusters, the checks and the summary.
pub(crate) fn detection(
    terminal: &Terminal,
    program: &str,
    found: &Detection,
    all: bool,
) -> String {
    let mut parts = vec![way(terminal, found)];
    if !found.clusters.is_empty() {
        parts.push(clusters(terminal, &found.clusters));
    }
    let shown: Vec<&CheckStatus> = found
        .checks
        .iter()
        .filter(|told| all || told.result != CheckResult::Passed)
        .collect();
    if !shown.is_empty() {
        parts.push(checks(terminal, shown));
    }
    parts.push(summary(terminal, program, found));
    parts.join("\n")
}

/// From where to where, and over what.
fn way(terminal: &Terminal, found: &Detection) -> String {
    let (Some(from), Some(target)) = (&found.from, &found.target) else {
        return String::new();
    };
    let versions = found.hops.iter().map(|hop| hop.version.as_str());
    let way: Vec<&str> = std::iter::once(from.version.as_str())
        .chain(versions)
        .collect();
    let text = if found.at_target {
        format!("The mesh is at {} already.\n", target.version)
    } else {
        format!("Istio {}\n", way.join(" -> "))
    };
    terminal.paint(Tone::Strong, &text)
}

fn clusters(terminal: &Terminal, clusters: &[ClusterCheck]) -> String {
    let columns = [
        Column::Fixed("CLUSTER"),
        Column::Fixed("KUBERNETES"),
        Column::Fixed("FITS"),
    ];
    let rows = clusters.iter().map(|cluster| {
        let (tone, text) = match cluster.verdict {
            ClusterVerdict::Supported => (Tone::Good, "yes"),
            ClusterVerdict::TooOld => (Tone::Bad, "too old"),
            ClusterVerdict::TooNew => (Tone::Bad, "too new"),
            ClusterVerdict::Unreachable => (Tone::Bad, "unreachable"),
            ClusterVerdict::Unknown => (Tone::Warn, "not known"),
        };
        vec![
            cluster.name.as_str().into(),
            Cell::maybe(cluster.kubernetes_version.as_deref()),
            Cell::toned(tone, text),
        ]
    });
    table(terminal, &columns, rows)
}

/// A table of checks: what stands in the way first.
pub(crate) fn checks<'a>(
    terminal: &Terminal,
    checks: impl IntoIterator<Item = &'a CheckStatus>,
) -> String {
    let mut checks: Vec<&CheckStatus> = checks.into_iter().collect();
    // Stable: within a weight the order of the registry stays.
    checks.sort_by_key(|told| {
        (
            told.result == CheckResult::Passed,
            !check::blocks(told),
            told.severity,
            told.result,
        )
    });
    match terminal.width {
        Some(width) if width < ROOM_FOR_A_TABLE => listed(terminal, &checks),
        _ => tabled(terminal, &checks),
    }
}

fn tabled(terminal: &Terminal, checks: &[&CheckStatus]) -> String {
    let several = checks.iter().any(|told| told.hop.is_some());
    // In a file a second long column would stand far to the right.
    let two = terminal.width.is_some();
    let mut columns = vec![
        Column::Fixed("CODE"),
        Column::Fixed("SEVERITY"),
        Column::Fixed("RESULT"),
    ];
    if several {
        columns.push(Column::Fixed("HOP"));
    }
    columns.push(Column::Text("MESSAGE"));
    if two {
        columns.push(Column::Text("FIX"));
    }
    let rows = checks.iter().map(|told| {
        let mut row = vec![
            told.code.as_str().into(),
            Cell::from(format!("{:?}", told.severity)),
            Cell::toned(tone(told), result(told)),
        ];
        if several {
            row.push(Cell::maybe(told.hop.as_deref()));
        }
        match (two, told.fix.as_str()) {
            (true, fix) => row.extend([message(told).into(), Cell::maybe(some(fix))]),
            (false, "") => row.push(message(told).into()),
            (false, fix) => row.push(format!("{}\nfix: {fix}", message(told)).into()),
        }
        row
    });
    table(terminal, &columns, rows)
}

/// One below the other, where columns would be of single words.
fn listed(terminal: &Terminal, checks: &[&CheckStatus]) -> String {
    let mut text = String::new();
    for told in checks {
        let code = terminal.paint(Tone::Strong, &told.code);
        let result = terminal.paint(tone(told), &result(told));
        let hop = told
            .hop
            .as_ref()
            .map_or(String::new(), |hop| format!(", hop to {hop}"));
        text += &format!("{code}  {:?}, {result}{hop}\n", told.severity);
        text += &terminal.wrap(2, &message(told));
        text.push('\n');
        if !told.fix.is_empty() {
            text += &terminal.wrap(2, &format!("fix: {}", told.fix));
            text.push('\n');
        }
    }
    text
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The message, with the objects that it does not name itself.
fn message(told: &CheckStatus) -> String {
    let named: Vec<&str> = told
        .objects
        .iter()
        .map(String::as_str)
        .filter(|object| !told.message.contains(object))
        .collect();
    if named.is_empty() {
        return told.message.clone();
    }
    let more = usize::try_from(told.objects_total)
        .unwrap_or(usize::MAX)
        .saturating_sub(told.objects.len());
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} ({}{more})", told.message, named.join(", "))
}

fn tone(told: &CheckStatus) -> Tone {
    match told.result {
        CheckResult::Passed => Tone::Good,
        CheckResult::Accepted => Tone::Warn,
        CheckResult::Failed | CheckResult::Unknown if check::blocks(told) => Tone::Bad,
        CheckResult::Failed | CheckResult::Unknown => match told.severity {
            Severity::Info => Tone::Plain,
            Severity::Blocking | Severity::Warning => Tone::Warn,
        },
    }
}

/// What a check came to: `Failed` is kept for what stands in the way, or a note reads like a defect.
fn result(told: &CheckStatus) -> String {
    if told.result == CheckResult::Failed && !check::blocks(told) {
        return "Found".to_owned();
    }
    format!("{:?}", told.result)
}

/// One line: whether an upgrade may start.
fn summary(terminal: &Terminal, program: &str, found: &Detection) -> String {
    if found.at_target {
        return "Nothing to do.\n".to_owned();
    }
    let passed = found.counts().passed;
    let (tone, verdict) = if found.is_only_unread() {
        (Tone::Bad, "Not known")
    } else if found.is_blocked() {
        (Tone::Bad, "Blocked")
    } else {
        (Tone::Good, "Ready to upgrade")
    };
    let verdict = terminal.paint(tone, verdict);
    let told = format!("{}, {passed} passed", found.summary());
    let hint = match found.blocking().next() {
        Some(first) => format!("; `{program} explain {}` says more", first.code),
        None => String::new(),
    };
    format!("{verdict}: {told}{hint}.\n")
}

#[cfg(test)]
mod tests {
    use meshlift_api::{ControlPlaneRef, Hop};

    use super::*;

    fn told(code: &str, severity: Severity, result: CheckResult, hop: Option<&str>) -> CheckStatus {
        let passed = result == CheckResult::Passed;
        CheckStatus {
            code: code.into(),
            severity,
            result,
            hop: hop.map(str::to_owned),
            objects: if passed {
                vec![]
            } else {
                vec!["Deployment shop/cart".into(), "Deployment shop/web".into()]
            },
            objects_total: if passed { 0 } else { 7 },
            message: format!(
                "what {code} found of the cluster, told in a sentence that is rather long"
            ),
            fix: if passed {
                String::new()
            } else {
                format!("do what mends {code}, with kubectl")
            },
        }
    }

    fn found(hops: &[&str]) -> Detection {
        let reference = |version: &str| {
            Some(ControlPlaneRef {
                version: version.into(),
                revision: None,
            })
        };
        let hop = (hops.len() > 1).then_some(hops[0]);
        Detection {
            from: reference("1.29.4"),
            target: reference(hops[hops.len() - 1]),
            hops: hops
                .iter()
                .map(|version| Hop {
                    version: (*version).into(),
                    revision: version.replace('.', "-"),
                })
                .collect(),
            clusters: vec![
                ClusterCheck {
                    name: "local".into(),
                    kubernetes_version: Some("1.33".into()),
                    verdict: ClusterVerdict::Supported,
                },
                ClusterCheck {
                    name: "east".into(),
                    kubernetes_version: None,
                    verdict: ClusterVerdict::Unreachable,
                },
            ],
            checks: vec![
                told("PASSED", Severity::Blocking, CheckResult::Passed, hop),
                told("GOOD-TO-KNOW", Severity::Info, CheckResult::Failed, None),
                told("ACCEPTED", Severity::Blocking, CheckResult::Accepted, None),
                told("WARNING", Severity::Warning, CheckResult::Failed, None),
                told("IN-THE-WAY", Severity::Blocking, CheckResult::Failed, hop),
                told("UNSEEN", Severity::Blocking, CheckResult::Unknown, None),
            ],
            ..Detection::default()
        }
    }

    #[test]
    fn what_stands_in_the_way_comes_first() {
        let text = detection(
            &Terminal::plain(),
            "meshlift",
            &found(&["1.30.2", "1.31.0"]),
            true,
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn on_a_narrow_terminal_checks_stand_below_each_other() {
        insta::assert_snapshot!(detection(
            &Terminal::wide(80),
            "meshlift",
            &found(&["1.30.2"]),
            false
        ));
    }

    #[test]
    fn on_a_wide_terminal_both_wrap() {
        insta::assert_snapshot!(detection(
            &Terminal::wide(140),
            "meshlift",
            &found(&["1.30.2"]),
            false
        ));
    }

    #[test]
    fn nothing_to_do_is_said() {
        let mut there = found(&["1.30.2"]);
        there.at_target = true;
        there.checks.clear();
        there.clusters.clear();
        let text = detection(&Terminal::plain(), "meshlift", &there, false);
        assert_eq!(text, "The mesh is at 1.30.2 already.\n\nNothing to do.\n");
    }
}
