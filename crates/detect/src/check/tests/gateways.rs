//! Gateways that istiod renders.

use meshlift_api::GatewayOrder;
use meshlift_model::example::{planes, releases, version};
use meshlift_model::view::{Gateway, Seen};

use super::table::{Row, fine, unknown, wrong};
use super::why;

pub(super) fn rows() -> Vec<Row> {
    vec![
        wrong(
            "GATEWAY-OUTAGE",
            FRONT,
            "loses all requests once",
            |_, v| {
                v.gateways = Seen::Present(vec![front(None)]);
            },
        ),
        unknown("GATEWAY-OUTAGE", |_, v| v.gateways = why()),
        // Of another control plane, left alone, or of an istiod that does it well.
        fine("GATEWAY-OUTAGE", |_, v| {
            v.gateways = Seen::Present(vec![front(Some("1-29-0"))]);
        }),
        fine("GATEWAY-OUTAGE", |u, v| {
            v.gateways = Seen::Present(vec![front(None)]);
            u.spec.gateways.order = GatewayOrder::None;
        }),
        fine("GATEWAY-OUTAGE", |u, v| {
            v.gateways = Seen::Present(vec![front(None)]);
            u.spec.target_version = "1.32.0".into();
            planes(v)[0].version = Some(version("1.31.0"));
            for release in releases(v) {
                release.version = Some(version("1.31.0"));
            }
        }),
    ]
}

const FRONT: &[&str] = &["Gateway shop/front"];

fn front(label: Option<&str>) -> Gateway {
    Gateway {
        namespace: "shop".into(),
        name: "front".into(),
        label: label.map(str::to_owned),
        ..Gateway::default()
    }
}
