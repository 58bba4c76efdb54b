//! Backups, and how a cluster differs from one.

use std::collections::BTreeMap;

use meshlift_cluster::backup::{
    BackedUpCrd, BackedUpRelease, Change, Comparison, Contents, Header, Index, Left, Listed,
};
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::table::{Cell, Column, table};
use crate::terminal::{Terminal, Tone};

/// So many objects that are newer than a backup are named.
const NAMED: usize = 10;

/// What a person types to bring back what is not written.
pub(crate) struct Commands<'a> {
    /// As what this program was called.
    pub(crate) program: &'a str,
    /// The backup, as it was named.
    pub(crate) source: &'a str,
    /// The chart repository.
    pub(crate) repository: &'a str,
}

/// What a program reads of a backup: what is in it, but no content.
#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    #[serde(flatten)]
    header: &'a Header,
    counts: &'a BTreeMap<String, u64>,
    crds: &'a [BackedUpCrd],
    releases: Vec<ReleaseSummary<'a>>,
}

#[derive(Serialize)]
struct ReleaseSummary<'a> {
    name: &'a str,
    namespace: &'a str,
    chart: &'a str,
    version: Option<&'a str>,
}

/// Without values and objects.
pub(crate) fn summary(contents: &Contents) -> Summary<'_> {
    Summary {
        header: &contents.header,
        counts: &contents.counts,
        crds: &contents.crds,
        releases: contents.releases.iter().map(brief).collect(),
    }
}

fn brief(release: &BackedUpRelease) -> ReleaseSummary<'_> {
    ReleaseSummary {
        name: &release.name,
        namespace: &release.namespace,
        chart: &release.chart,
        version: release.version.as_deref(),
    }
}

/// One line on a backup that was just written.
pub(crate) fn counted(index: &Index) -> String {
    let objects: u64 = index.counts.values().sum();
    format!(
        "{objects} entries, {} ({} unpacked)",
        size(index.bytes),
        size(index.plain_bytes)
    )
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The backups there are.
pub(crate) fn list(terminal: &Terminal, all: &[Listed]) -> String {
    let columns = [
        Column::Fixed("NAME"),
        Column::Fixed("MESH"),
        Column::Fixed("UPGRADE"),
        Column::Fixed("VERSIONS"),
        Column::Fixed("TAKEN"),
        Column::Number("ENTRIES"),
        Column::Number("SIZE"),
    ];
    let rows = all.iter().map(|backup| {
        vec![
            backup.name.clone().into(),
            backup.mesh.clone().into(),
            backup.upgrade.clone().into(),
            backup.way.clone().into(),
            Cell::maybe(backup.taken_at.map(|at| at.to_string())),
            backup.objects.to_string().into(),
            size(backup.bytes).into(),
        ]
    });
    table(terminal, &columns, rows)
}

/// What is in a backup.
pub(crate) fn show(terminal: &Terminal, contents: &Contents) -> String {
    let rows = contents.counts.iter();
    let rows = rows.map(|(kind, count)| vec![kind.clone().into(), count.to_string().into()]);
    let columns = [Column::Fixed("KIND"), Column::Number("COUNT")];
    let counts = table(terminal, &columns, rows);
    let releases = contents.releases.iter().map(|release| {
        vec![
            format!("{}/{}", release.namespace, release.name).into(),
            release.chart.clone().into(),
            Cell::maybe(release.version.clone()),
        ]
    });
    let columns = [
        Column::Fixed("HELM RELEASE"),
        Column::Fixed("CHART"),
        Column::Fixed("VERSION"),
    ];
    let releases = table(terminal, &columns, releases);
    let crds = contents.crds.iter().map(|crd| {
        let words = |all: &[String]| all.join(", ");
        vec![
            crd.name.clone().into(),
            words(&crd.served).into(),
            words(&crd.stored).into(),
        ]
    });
    let columns = [
        Column::Fixed("CRD"),
        Column::Fixed("SERVED"),
        Column::Fixed("STORED"),
    ];
    let crds = table(terminal, &columns, crds);
    format!(
        "{}\n\n{counts}\n{releases}\n{crds}",
        heading(&contents.header)
    )
}

fn heading(header: &Header) -> String {
    let versions = [&header.from, &header.to].into_iter().flatten();
    let versions: Vec<&str> = versions.map(|plane| plane.version.as_str()).collect();
    let versions = if versions.is_empty() {
        String::new()
    } else {
        format!(", {}", versions.join(" to "))
    };
    let by = match &header.upgrade {
        Some(upgrade) => format!(" by MeshUpgrade {upgrade}"),
        None => String::new(),
    };
    format!(
        "Backup {} of mesh {}{versions}: taken {}{by} with Meshlift {}",
        header.name, header.mesh, header.taken_at, header.meshlift
    )
}

/// How a cluster differs from a backup, object by object.
pub(crate) fn comparison(
    terminal: &Terminal,
    backup: &Contents,
    compared: &Comparison,
    commands: &Commands<'_>,
) -> String {
    let mut text = heading(&backup.header) + "\n";
    for change in &compared.changes {
        text += &changed(terminal, change);
    }
    if !compared.left.is_empty() {
        text += "\nDiffers, and is not written:\n";
        for left in &compared.left {
            text += &left_alone(terminal, left, commands);
        }
    }
    if !compared.newer.is_empty() {
        text += &newer(compared);
    }
    text += &format!(
        "\n{} to bring back, {} as they were\n",
        compared.changes.len(),
        compared.same
    );
    text
}

fn changed(terminal: &Terminal, change: &Change) -> String {
    let Some(found) = &change.found else {
        return terminal.paint(Tone::Good, &format!("+ {}", change.id)) + "\n";
    };
    let mut text = terminal.paint(Tone::Warn, &format!("~ {}", change.id)) + "\n";
    let (is, was) = (yaml(found), yaml(&change.wanted));
    for line in TextDiff::from_lines(&is, &was).iter_all_changes() {
        let (sign, tone) = match line.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => ('-', Tone::Bad),
            ChangeTag::Insert => ('+', Tone::Good),
        };
        let line = format!("    {sign} {}", line.value().trim_end());
        text += &(terminal.paint(tone, &line) + "\n");
    }
    text
}

fn yaml(value: &Value) -> String {
    serde_yaml_ng::to_string(value).unwrap_or_default()
}

fn left_alone(terminal: &Terminal, left: &Left, commands: &Commands<'_>) -> String {
    let line = format!("  {}: {}", left.what, left.why);
    let mut text = terminal.paint(Tone::Warn, &line) + "\n";
    let Some(release) = &left.release else {
        return text;
    };
    let (name, namespace) = (&release.name, &release.namespace);
    let file = format!("{name}.values.yaml");
    let version = release.version.as_deref().unwrap_or("VERSION");
    let chart = match commands.repository.strip_prefix("oci://") {
        Some(rest) => format!("oci://{}/{}", rest.trim_end_matches('/'), release.chart),
        None => format!("{} --repo {}", release.chart, commands.repository),
    };
    text += &format!(
        "    (umask 077; {} backup values {} {name} > {file})\n    helm upgrade --install {name} {chart} --version {version} -n {namespace} --reset-values --values {file}\n",
        commands.program, commands.source
    );
    text
}

fn newer(compared: &Comparison) -> String {
    let all = &compared.newer;
    let named: Vec<String> = all.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!(
        "\nNot in the backup, and left alone: {}{more}\n",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use meshlift_cluster::backup::FORMAT;

    use super::*;

    fn release() -> BackedUpRelease {
        BackedUpRelease {
            name: "istiod".into(),
            namespace: "istio-system".into(),
            chart: "istiod".into(),
            version: Some("1.30.2".into()),
            values: serde_json::Map::from_iter([("password".into(), "hunter2".into())]),
        }
    }

    fn contents() -> Contents {
        let plane = |version: &str| meshlift_api::ControlPlaneRef {
            version: version.into(),
            revision: None,
        };
        Contents {
            header: Header {
                format: FORMAT,
                name: "meshlift-backup-to-1-31-0b5e-1".into(),
                mesh: "default".into(),
                upgrade: Some("to-1-31".into()),
                from: Some(plane("1.30.2")),
                to: Some(plane("1.31.0")),
                taken_at: "2026-11-02T02:00:00Z".parse().expect("a time"),
                meshlift: "0.1.0".into(),
            },
            crds: vec![BackedUpCrd {
                name: "sidecars.networking.istio.io".into(),
                served: vec!["v1".into(), "v1beta1".into()],
                stored: vec!["v1".into()],
            }],
            releases: vec![release()],
            namespaces: Vec::new(),
            objects: Vec::new(),
            counts: [("networking.istio.io/v1 Sidecar".to_owned(), 12)].into(),
        }
    }

    #[test]
    fn a_backup_is_shown_without_its_content() {
        let text = show(&Terminal::plain(), &contents());
        insta::assert_snapshot!(text);
        let json = serde_json::to_string(&summary(&contents())).expect("JSON");
        assert!(!json.contains("hunter2") && !text.contains("hunter2"));
    }

    #[test]
    fn a_release_comes_with_the_commands_that_bring_it_back() {
        let left = Left {
            what: "Helm release istio-system/istiod".into(),
            why: "it is at 1.31.0, and was at 1.30.2".into(),
            release: Some(release()),
        };
        let compared = Comparison {
            left: vec![left],
            same: 3,
            ..Comparison::default()
        };
        let commands = |repository| Commands {
            program: "meshlift",
            source: "to-1-31",
            repository,
        };
        let text = |repository| {
            comparison(
                &Terminal::plain(),
                &contents(),
                &compared,
                &commands(repository),
            )
        };
        insta::assert_snapshot!(text("https://charts.example.org"));
        let oci = text("oci://registry.example.org/charts");
        assert!(
            oci.contains("--install istiod oci://registry.example.org/charts/istiod --version"),
            "{oci}"
        );
    }
}
