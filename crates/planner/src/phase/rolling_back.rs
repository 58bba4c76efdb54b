//! The way back: the default revision, labels and tags as they were recorded, then the workloads that had moved;
//! and when all is well on the old control plane, the new one goes.

use jiff::Timestamp;

use super::blind;
use super::data_plane::{Drive, unseen};
use super::upgrading::same_step;
use crate::decision::Decision;
use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::MeshView;

pub(super) fn decide(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Decision {
    let Some(drive) = Drive::look(now, upgrade, view, record) else {
        let (what, why) = unseen(view);
        return blind(now, same_step(upgrade), what, why);
    };
    let report = drive.report();
    drive
        .moves(&report)
        .or_else(|| drive.restarts(report.clone()))
        .unwrap_or_else(|| blind(now, report, "the way back", "it is not built yet"))
}
