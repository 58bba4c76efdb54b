//! What must be the same however often the operator crashed: the end, and the writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::transcript::end;
use crate::world::World;

/// The state of the world without what depends on when things happened.
#[derive(Debug, PartialEq)]
pub struct Digest {
    pub state: String,
    pub writes: BTreeMap<String, u32>,
}

impl Digest {
    pub fn of(world: &World) -> Self {
        Self {
            state: state(world),
            writes: world.writes.clone(),
        }
    }
}

fn state(world: &World) -> String {
    let mut text = String::new();
    let mut line = |value: String| writeln!(text, "{value}").expect("a string");
    if let Some(object) = &world.object {
        let mut status = object.status.clone();
        // They stand in the order in which they were first written.
        let conditions = &mut status.conditions;
        conditions.sort_unstable_by(|one, other| one.type_.cmp(&other.type_));
        line(timeless(&without_notes(&end(&status))));
        line(format!("held {}", object.held));
    }
    line(format!("mesh {:?}", world.mesh));
    line(format!("validator {:?}", world.validator));
    for namespace in &world.namespaces {
        let (name, labels, moved) = (&namespace.name, &namespace.labels, &namespace.moved_to);
        line(format!("{name} {labels:?} {moved:?}"));
    }
    for tag in &world.tags {
        line(format!(
            "tag {} {} {:?}",
            tag.name, tag.revision, tag.moved_to
        ));
    }
    for gateway in &world.gateways {
        let (name, label, moved) = (&gateway.name, &gateway.label, &gateway.moved_to);
        line(format!("gateway {name} {label:?} {moved:?}"));
    }
    for istiod in &world.istiods {
        let plane = &istiod.plane;
        line(format!(
            "{} {:?} {}",
            plane.name, plane.version, plane.ready
        ));
    }
    for release in &world.helm.releases {
        let newest = release.revisions.last().expect("a revision");
        let (version, values) = (&newest.version, &newest.values);
        line(format!("{} {version} {values:?}", release.name));
    }
    for app in &world.apps {
        let mut pods: Vec<_> = app
            .pods
            .iter()
            .map(|m| (m.pod.revision.as_deref(), m.sidecar, m.pod.ready))
            .collect();
        pods.sort_unstable();
        let rollouts = app.template;
        let template = (&app.template_labels, &app.template_revision_before);
        let (key, mark) = (&app.key, &app.mark);
        line(format!("{key} {mark:?} {template:?} {rollouts} {pods:?}"));
    }
    text
}

/// A status without what its detection had to note: that of a watch that lagged may note more.
fn without_notes(text: &str) -> String {
    let passed = "Detected: True ChecksPassed";
    text.lines()
        .map(|line| match line.split_once(passed) {
            Some((margin, _)) => format!("{margin}{passed}\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

/// Text without points in time and without the numbers of pods.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n']) {
        let date = word.starts_with("2026-") || (word.len() > 8 && word.as_bytes()[2] == b':');
        let mut digits = String::new();
        for c in word.chars().chain([' ']) {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            if date || digits.len() > 2 {
                out.push('#')
            } else {
                out.push_str(&digits)
            }
            digits.clear();
            out.push(c);
        }
        out.pop();
    }
    out
}
