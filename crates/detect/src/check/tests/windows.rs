//! Maintenance windows.

use meshlift_api::Window;

use super::table::{Row, fine, wrong};

fn window(start: &str, time_zone: &str) -> Window {
    Window {
        days: Vec::new(),
        start: start.into(),
        end: "04:00".into(),
        time_zone: time_zone.into(),
    }
}

pub(super) fn rows() -> Vec<Row> {
    const CODE: &str = "WINDOW-INVALID";
    vec![
        wrong(
            CODE,
            &["spec.windows[1]"],
            "Mars/Olympus_Mons, which the IANA",
            |u, _| {
                u.spec.windows = vec![window("22:00", "UTC"), window("22:00", "Mars/Olympus_Mons")];
            },
        ),
        wrong(
            CODE,
            &["spec.windows[0]"],
            "ends at 04:00, so it is never open",
            |u, _| {
                u.spec.windows = vec![window("04:00", "UTC")];
            },
        ),
        fine(CODE, |u, _| {
            u.spec.windows = vec![window("22:00", "UTC"), window("01:30", "Asia/Kathmandu")];
        }),
    ]
}
