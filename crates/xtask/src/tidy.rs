//! `cargo xtask tidy`: checks the house rules that neither the compiler nor clippy knows.
//!
//! A rule is a function from the sources to its violations. Where the code does not follow a rule yet, `exempt.rs` lists
//! the paths, and an entry that is no longer needed is a violation too, so the list can only shrink.

mod bools;
mod circles;
mod closures;
mod crates;
mod exempt;
mod length;
mod modules;
mod source;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

use self::source::Sources;

/// The house rules. Each has its data at the top of its own file.
const RULES: &[Rule] = &[
    Rule {
        name: "crate-direction",
        check: crates::check,
    },
    Rule {
        name: "module-circle",
        check: circles::check,
    },
    Rule {
        name: "length",
        check: length::check,
    },
    Rule {
        name: "mod-rs",
        check: modules::check,
    },
    Rule {
        name: "bool-match",
        check: bools::check,
    },
    Rule {
        name: "bound-closure",
        check: closures::check,
    },
    Rule {
        name: "words",
        check: words::check,
    },
];

struct Rule {
    name: &'static str,
    check: fn(&Sources) -> Vec<Finding>,
}

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    /// What to do about it.
    advice: String,
}

impl Finding {
    fn new(path: &str, line: usize, advice: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            advice: advice.into(),
        }
    }
}

/// A finding and the rule that it breaks, as it is printed.
struct Violation {
    rule: &'static str,
    finding: Finding,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { path, line, advice } = &self.finding;
        write!(f, "{path}:{line}: {}: {advice}", self.rule)
    }
}

/// Prints every violation under `root`; the exit code is 1 if there is one.
pub(crate) fn run(root: &Path, all: bool) -> Result<ExitCode> {
    let mut found = check_in_parallel(root)?;
    let mut violations = Vec::new();
    for rule in RULES {
        let mut findings = found.remove(rule.name).unwrap_or_default();
        if !all {
            findings = exempt::apply(rule.name, exempt::paths(rule.name), findings);
        }
        findings.sort();
        violations.extend(findings.into_iter().map(|finding| Violation {
            rule: rule.name,
            finding,
        }));
    }
    for violation in &violations {
        println!("{violation}");
    }
    Ok(if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What each rule found.
type Found = BTreeMap<&'static str, Vec<Finding>>;

/// Parsing takes nearly all of the time in a debug build, so every core takes the next crate until none is left. A
/// syntax tree cannot leave its thread, the findings can.
fn check_in_parallel(root: &Path) -> Result<Found> {
    let parts = source::parts(root)?;
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut found = Found::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| check_parts(root, &parts, &next)))
            .collect();
        for worker in threads {
            let of_worker = worker.join().expect("a rule must not panic")?;
            for (rule, findings) in of_worker {
                found.entry(rule).or_default().extend(findings);
            }
        }
        Ok(found)
    })
}

fn check_parts(root: &Path, parts: &[Vec<PathBuf>], next: &AtomicUsize) -> Result<Found> {
    let mut found = Found::new();
    while let Some(paths) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
        let sources = Sources::read(root, paths)?;
        for rule in RULES {
            let findings = found.entry(rule.name).or_default();
            findings.extend((rule.check)(&sources));
        }
    }
    Ok(found)
}
