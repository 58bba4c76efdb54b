//! Where charts come from.

use super::mesh;
use super::table::{Row, fine, wrong};

pub(super) fn rows() -> Vec<Row> {
    vec![
        wrong(
            "CHARTS-RETIRED",
            &[],
            "oci://gcr.io/istio-release/charts has nothing after 1.30",
            |_, view| mesh(view).charts.repository = "oci://gcr.io/istio-release/charts".into(),
        ),
        wrong(
            "CHARTS-PLAIN-HTTP",
            &[],
            "http://charts.local/istio is read over plain HTTP",
            |_, view| mesh(view).charts.repository = "http://charts.local/istio".into(),
        ),
        fine("CHARTS-PLAIN-HTTP", |_, view| {
            mesh(view).charts.repository = "http://127.0.0.1:8080/istio".into();
        }),
        fine("CHARTS-RETIRED", |_, view| {
            mesh(view).charts.repository = "oci://ghcr.io/istio/release/charts".into();
        }),
    ]
}
