//! `explain`: what a check or a risk is about.

use anyhow::{Result, bail};
use meshlift_detect::check::{self, CHECKS, Check};
use meshlift_istio::knowledge::Knowledge;
use meshlift_istio::risk::Risk;
use serde_json::{Value, json};

use super::{Context, print};
use crate::args::ExplainArgs;
use crate::exit::Exit;
use crate::output::{encode, list};
use crate::render::table::{Cell, Column, table};
use crate::terminal::{Terminal, Tone};

/// How like a code must be to what was typed.
const NEAR: f64 = 0.7;

/// A check or a risk.
enum Entry<'a> {
    Check(&'static Check),
    Risk(&'a Risk),
}

/// Prints one, or the table of all.
pub(super) fn explain(context: &Context<'_>, args: &ExplainArgs) -> Result<Exit> {
    let knowledge = Knowledge::embedded();
    let all = entries(&knowledge);
    let text = match &args.code {
        None => match args.form.output {
            Some(form) => {
                let all: Vec<Value> = all.iter().map(Entry::value).collect();
                encode(form, &list(&all)?)?
            }
            None => overview(context.terminal, &all),
        },
        Some(code) => {
            let named = all
                .iter()
                .find(|entry| entry.code().eq_ignore_ascii_case(code));
            let Some(entry) = named else {
                bail!("{}", unknown(context.program(), code));
            };
            match args.form.output {
                Some(form) => encode(form, &entry.value())?,
                None => entry.text(context.terminal),
            }
        }
    };
    print(&text)?;
    Ok(Exit::Fine)
}

fn entries(knowledge: &Knowledge) -> Vec<Entry<'_>> {
    let risks = knowledge.releases().flat_map(|release| &release.risks);
    let checks = CHECKS.iter().copied().map(Entry::Check);
    checks.chain(risks.map(Entry::Risk)).collect()
}

/// Whether what a check or a risk found may be accepted; nothing where there is none of that code.
pub(super) fn acceptable(code: &str) -> Option<bool> {
    match check::find(code) {
        Some(check) => Some(check.acceptable),
        None => Knowledge::embedded().risk(code).map(|_| true),
    }
}

/// The sentence for a code that there is not, with those that are like it.
pub(super) fn unknown(program: &str, code: &str) -> String {
    let knowledge = Knowledge::embedded();
    let typed = code.to_ascii_uppercase();
    let mut near: Vec<(f64, String)> = entries(&knowledge)
        .iter()
        .map(|entry| {
            (
                strsim::jaro_winkler(&typed, entry.code()),
                entry.code().to_owned(),
            )
        })
        .filter(|(likeness, _)| *likeness >= NEAR)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<String> = near.into_iter().take(3).map(|(_, code)| code).collect();
    if near.is_empty() {
        format!("there is no check or risk {code}: `{program} explain` lists them")
    } else {
        format!(
            "there is no check or risk {code}: did you mean {}? `{program} explain` lists them",
            near.join(", ")
        )
    }
}

fn overview(terminal: &Terminal, all: &[Entry<'_>]) -> String {
    let columns = [
        Column::Fixed("CODE"),
        Column::Fixed("SEVERITY"),
        Column::Fixed("ACCEPTABLE"),
        Column::Text("TITLE"),
    ];
    let yes = |acceptable: bool| Cell::from(if acceptable { "yes" } else { "no" });
    let rows = all.iter().map(|entry| match entry {
        Entry::Check(check) => vec![
            check.code.into(),
            format!("{:?}", check.severity).into(),
            yes(check.acceptable),
            check.title.into(),
        ],
        Entry::Risk(risk) => vec![
            risk.code.as_str().into(),
            format!("Risk of {}", risk.minor).into(),
            yes(true),
            risk.title.as_str().into(),
        ],
    });
    table(terminal, &columns, rows)
}

impl Entry<'_> {
    fn code(&self) -> &str {
        match self {
            Self::Check(check) => check.code,
            Self::Risk(risk) => &risk.code,
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Check(check) => json!({
                "code": check.code, "kind": "Check", "severity": check.severity, "acceptable": check.acceptable,
                "title": check.title, "explanation": check.explanation, "fix": check.fix, "source": check.source,
            }),
            Self::Risk(risk) => json!({
                "code": risk.code, "kind": "Risk", "release": risk.minor.to_string(), "acceptable": true,
                "title": risk.title, "explanation": risk.message, "fix": risk.fix, "source": risk.url,
            }),
        }
    }

    fn text(&self, terminal: &Terminal) -> String {
        let (kind, title, explanation, fix, source, acceptable) = match self {
            Self::Check(check) => (
                format!("Check, {:?}", check.severity).to_lowercase(),
                check.title,
                check.explanation,
                check.fix,
                check.source,
                check.acceptable,
            ),
            Self::Risk(risk) => (
                format!("risk of a step to Istio {}", risk.minor),
                risk.title.as_str(),
                risk.message.as_str(),
                risk.fix.as_str(),
                risk.url.as_str(),
                true,
            ),
        };
        let accept = if acceptable {
            format!(
                "Can be accepted: --accept {0}, or spec.acceptRisks: [{0}].",
                self.code()
            )
        } else {
            "Cannot be accepted: it must be mended.".to_owned()
        };
        let head = terminal.paint(Tone::Strong, self.code());
        let part = |title: &str, text: &str| {
            format!(
                "{}\n{}",
                terminal.paint(Tone::Strong, title),
                terminal.wrap(2, text)
            )
        };
        [
            format!("{head} ({kind})\n{}", terminal.wrap(2, title)),
            part("Why", explanation),
            part("What to do", &format!("{fix}\n{accept}")),
            part("Source", source),
        ]
        .join("\n\n")
            + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_is_nearly_right_is_found() {
        let said = unknown("meshlift", "k8s-too-odl");
        assert!(said.contains("did you mean K8S-TOO-OLD"), "{said}");
        let said = unknown("meshlift", "xyzzy");
        assert!(!said.contains("did you mean"), "{said}");
    }

    #[test]
    fn every_code_is_explained_and_no_code_is_there_twice() {
        let knowledge = Knowledge::embedded();
        let all = entries(&knowledge);
        let mut codes: Vec<&str> = all.iter().map(Entry::code).collect();
        codes.sort_unstable();
        let total = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), total);
        for entry in &all {
            let text = entry.text(&Terminal::plain());
            assert!(!text.contains("\n  \n"), "a part is empty: {text}");
        }
    }

    #[test]
    fn an_explanation_reads_well() {
        let entry = Entry::Check(check::find("K8S-TOO-OLD").expect("there is such a check"));
        insta::assert_snapshot!(entry.text(&Terminal::wide(80)));
    }
}
