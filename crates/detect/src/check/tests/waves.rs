//! Waves and approvals with slips of the pen.

use meshlift_api::{Approval, Wave};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::UpdateStrategy;
use serde_json::{Value, json};

use super::table::{Row, fine, unknown, wrong};
use super::{present, why};

fn wave(upgrade: &mut Upgrade, name: &str, namespaces: Value) {
    let wave = Wave {
        name: name.into(),
        namespaces: serde_json::from_value(namespaces).expect("a selector"),
        ..Wave::default()
    };
    upgrade.spec.data_plane.waves.push(wave);
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        wrong(
            "WAVE-EMPTY",
            &["canary"],
            "wave canary has no namespace of the mesh",
            |upgrade, _| wave(upgrade, "canary", json!({})),
        ),
        wrong(
            "WAVE-EMPTY",
            &["second"],
            "the first wave that fits takes them",
            |upgrade, _| {
                wave(upgrade, "first", json!({ "names": ["shop"] }));
                wave(upgrade, "second", json!({ "names": ["shop"] }));
            },
        ),
        unknown("WAVE-EMPTY", |upgrade, view| {
            wave(upgrade, "canary", json!({ "names": ["shop"] }));
            view.workloads = why();
        }),
        fine("WAVE-EMPTY", |upgrade, _| {
            wave(upgrade, "canary", json!({ "names": ["shop"] }));
            wave(upgrade, "others", json!({ "percent": 100 }));
        }),
        wrong(
            "WAVE-UNPROVED",
            &["canary"],
            "none of its workloads can be moved",
            |upgrade, view| {
                wave(upgrade, "canary", json!({ "names": ["shop"] }));
                for workload in present(&mut view.workloads) {
                    workload.strategy = UpdateStrategy::OnDelete;
                }
            },
        ),
        fine("WAVE-UNPROVED", |upgrade, _| {
            wave(upgrade, "canary", json!({ "names": ["shop"] }));
        }),
        wrong(
            "WAVE-NAMESPACE",
            &["canary/shpo"],
            "no namespace of the mesh that moves",
            |upgrade, _| wave(upgrade, "canary", json!({ "names": ["shop", "shpo"] })),
        ),
        wrong(
            "WAVE-NAMESPACE",
            &["second/shop"],
            "names namespace shop, which wave first takes",
            |upgrade, _| {
                wave(upgrade, "first", json!({ "percent": 50 }));
                wave(upgrade, "second", json!({ "names": ["shop"] }));
            },
        ),
        unknown("WAVE-NAMESPACE", |upgrade, view| {
            wave(upgrade, "canary", json!({ "names": ["shop"] }));
            view.workloads = why();
        }),
        wrong(
            "APPROVES-NOTHING",
            &["cnary"],
            "spec.approvals names cnary, which is the name of no wave",
            |upgrade, _| upgrade.spec.approvals = vec!["cnary".into()],
        ),
        wrong(
            "APPROVES-NOTHING",
            &["canary"],
            "a wave that begins by itself",
            |upgrade, _| {
                wave(upgrade, "canary", json!({ "names": ["shop"] }));
                upgrade.spec.approvals = vec!["canary".into()];
            },
        ),
        fine("APPROVES-NOTHING", |upgrade, _| {
            wave(upgrade, "canary", json!({ "names": ["shop"] }));
            upgrade.spec.data_plane.waves[0].approval = Approval::Required;
            upgrade.spec.approvals = vec!["canary".into()];
        }),
    ]
}
