//! `catalog`: what is known of Istio releases.

use anyhow::{Result, bail};
use kube::Api;
use meshlift_api::{RELEASE_CATALOG, ReleaseCatalog};
use meshlift_istio::knowledge::{Knowledge, MinorRelease};
use serde_json::{Value, json};

use super::{Context, print};
use crate::args::CatalogArgs;
use crate::exit::Exit;
use crate::output::{encode, list};
use crate::render::table::{Cell, Column, table};
use crate::terminal::{Terminal, Tone};

/// Prints the table, or one minor in full; what the cluster's ReleaseCatalog says counts.
pub(super) async fn catalog(context: &Context<'_>, args: &CatalogArgs) -> Result<Exit> {
    let knowledge = knowledge(context).await;
    if let Some(problem) = &knowledge.problem {
        let text = format!("warning: the cluster's ReleaseCatalog is not heeded: {problem}");
        eprintln!("{}", context.terminal.paint(Tone::Warn, &text));
    }
    let all: Vec<&MinorRelease> = knowledge.releases().rev().collect();
    let text = match (&args.minor, args.form.output) {
        (None, None) => overview(context.terminal, &all),
        (None, Some(form)) => {
            let all: Vec<Value> = all.iter().map(|release| value(release)).collect();
            encode(form, &list(&all)?)?
        }
        (Some(minor), output) => {
            let found = all
                .iter()
                .find(|release| release.minor.to_string() == *minor);
            let Some(release) = found else {
                let known: Vec<String> = all.iter().map(|r| r.minor.to_string()).collect();
                bail!(
                    "nothing is known of Istio {minor}: write a minor as 1.31 (known are {})",
                    known.join(", ")
                );
            };
            match output {
                Some(form) => encode(form, &value(release))?,
                None => in_full(context.terminal, release),
            }
        }
    };
    print(&text)?;
    Ok(Exit::Fine)
}

/// What is built in, corrected by the cluster; without a cluster, what is built in.
async fn knowledge(context: &Context<'_>) -> Knowledge {
    let Ok(connection) = context.connect().await else {
        return Knowledge::embedded();
    };
    let api = Api::<ReleaseCatalog>::all(connection.requests);
    match api.get_opt(RELEASE_CATALOG).await {
        Ok(Some(catalog)) => Knowledge::with(&catalog.spec)
            .unwrap_or_else(|error| Knowledge::despite(error.to_string())),
        Ok(None) | Err(_) => Knowledge::embedded(),
    }
}

fn overview(terminal: &Terminal, all: &[&MinorRelease]) -> String {
    let columns = [
        Column::Fixed("ISTIO"),
        Column::Fixed("RELEASED"),
        Column::Fixed("END-OF-LIFE"),
        Column::Fixed("KUBERNETES"),
        Column::Fixed("ALSO-TESTED"),
        Column::Number("RISKS"),
    ];
    let rows = all.iter().map(|release| {
        vec![
            release.minor.to_string().into(),
            Cell::maybe(release.released.map(|day| day.to_string())),
            Cell::maybe(release.end_of_life.map(|end| end.to_string())),
            release.kubernetes.to_string().into(),
            Cell::maybe(release.tested.map(|range| range.to_string())),
            release.risks.len().to_string().into(),
        ]
    });
    let table = table(terminal, &columns, rows);
    format!("{table}\n~ is expected and not announced yet.\n")
}

fn in_full(terminal: &Terminal, release: &MinorRelease) -> String {
    let day = release.released.map(|day| day.to_string());
    let end = release.end_of_life.map(|end| end.to_string());
    let tested = release.tested.map(|range| range.to_string());
    let refuses = release.minimum_kubernetes.map(|low| format!("{low}"));
    let from = release.minimum_from.iter().map(ToString::to_string);
    let compatible = release.compatibility_versions.iter().flatten();
    let gateway = release.gateway_api.iter();
    let rows = [
        ("released", words_or_dash(day.into_iter().collect())),
        ("end of life", words_or_dash(end.into_iter().collect())),
        ("Kubernetes", release.kubernetes.to_string()),
        ("also tested", words_or_dash(tested.into_iter().collect())),
        (
            "istioctl refuses below",
            words_or_dash(refuses.into_iter().collect()),
        ),
        ("lowest patch to come from", words_or_dash(from.collect())),
        (
            "compatibilityVersion",
            words_or_dash(compatible.map(ToString::to_string).collect()),
        ),
        (
            "Gateway API",
            words_or_dash(
                gateway
                    .map(|min| format!("{} {}", min.crd, min.minimum))
                    .collect(),
            ),
        ),
        (
            "image hub",
            words_or_dash(release.hub.iter().cloned().collect()),
        ),
    ];
    let title = format!("Istio {}", release.minor);
    let mut text = terminal.paint(Tone::Strong, &title) + "\n";
    for (name, value) in rows {
        text += &format!("  {name:<27}{value}\n");
    }
    if !release.risks.is_empty() {
        let title = format!("\nRisks of a step to {}", release.minor);
        text += &terminal.paint(Tone::Strong, &title);
        text.push('\n');
        let columns = [
            Column::Fixed("CODE"),
            Column::Text("TITLE"),
            Column::Text("FIX"),
        ];
        let rows = release.risks.iter().map(|risk| {
            vec![
                risk.code.as_str().into(),
                risk.title.as_str().into(),
                risk.fix.as_str().into(),
            ]
        });
        text += &table(terminal, &columns, rows);
    }
    text
}

fn words_or_dash(words: Vec<String>) -> String {
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}

fn value(release: &MinorRelease) -> Value {
    let risks = release.risks.iter().map(|risk| {
        json!({ "code": risk.code, "title": risk.title, "message": risk.message, "fix": risk.fix, "url": risk.url })
    });
    json!({
        "minor": release.minor.to_string(),
        "released": release.released.map(|day| day.to_string()),
        "endOfLife": release.end_of_life.map(|end| end.date.to_string()),
        "endOfLifeExpected": release.end_of_life.map(|end| end.expected),
        "kubernetes": release.kubernetes.to_string(),
        "tested": release.tested.map(|range| range.to_string()),
        "minimumFrom": release.minimum_from.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "risks": risks.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_in_full_names_its_risks() {
        let knowledge = Knowledge::embedded();
        let with_risks = knowledge
            .releases()
            .rfind(|release| !release.risks.is_empty());
        let release = with_risks.expect("releases have risks");
        let text = in_full(&Terminal::plain(), release);
        for risk in &release.risks {
            assert!(text.contains(&risk.code), "{text}");
        }
        assert!(text.contains(&release.kubernetes.to_string()), "{text}");
    }

    #[test]
    fn the_newest_release_comes_first() {
        let knowledge = Knowledge::embedded();
        let all: Vec<_> = knowledge.releases().rev().take(2).collect();
        let text = overview(&Terminal::plain(), &all);
        let newest = text.find(&all[0].minor.to_string());
        assert!(newest < text.find(&all[1].minor.to_string()), "{text}");
    }
}
