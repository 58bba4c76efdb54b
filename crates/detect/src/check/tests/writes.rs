//! Writes that the API server would refuse.

use meshlift_model::view::{MeshView, RefusedTrial, Seen, Trial};

use super::table::{Row, fine, unknown, wrong};

fn refuse(view: &mut MeshView, tried: usize) {
    view.environment.trial = Seen::Present(Trial {
        tried,
        refused: vec![RefusedTrial {
            object: "Deployment shop/cart".into(),
            why: "ValidatingAdmissionPolicy change-freeze: the namespace is frozen".into(),
        }],
        unknown: None,
    });
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        wrong(
            "WRITE-REFUSED",
            &["Deployment shop/cart"],
            "Deployment shop/cart (ValidatingAdmissionPolicy change-freeze: the namespace is frozen) would be refused",
            |_, view| refuse(view, 3),
        ),
        wrong(
            "WRITES-REFUSED",
            &["Deployment shop/cart"],
            "are all that the upgrade writes",
            |_, view| refuse(view, 1),
        ),
        fine("WRITE-REFUSED", |_, view| refuse(view, 1)),
        fine("WRITES-REFUSED", |_, view| refuse(view, 2)),
        unknown("WRITE-REFUSED", |_, view| {
            view.environment.trial = Seen::Unreadable("on fire".into());
        }),
        unknown("WRITE-REFUSED", |_, view| {
            view.environment.trial = Seen::Present(Trial {
                unknown: Some("RBAC: the token is on fire".into()),
                ..Trial::default()
            });
        }),
    ]
}
