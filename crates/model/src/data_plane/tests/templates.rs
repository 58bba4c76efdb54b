//! Pod templates that ask for a revision, or for injection, themselves.

use super::*;
use crate::decision::TemplateRevision;
use crate::record::Record;

const NO_NAMESPACE_LABEL: Spoil = |_, view| namespace(view).labels.clear();

fn asking(view: &mut MeshView, template: &[(&str, &str)]) {
    namespace(view).labels.clear();
    cart(view).template_labels = labels(template);
}

fn written(label: Option<&str>, before: Option<&str>) -> Placement {
    written_for(TARGET, label, before)
}

fn written_for(to: &str, label: Option<&str>, before: Option<&str>) -> Placement {
    Placement::Stale(Turn::Restart {
        mark: to.into(),
        template: Some(TemplateRevision {
            label: label.map(str::to_owned),
            before: before.map(str::to_owned),
        }),
    })
}

#[test]
fn a_template_gets_the_label_of_the_target_and_the_old_one_is_remembered() {
    let placement = placement_of(|_, view| asking(view, &[("sidecar.istio.io/inject", "true")]));
    assert_eq!(placement, written(Some(TARGET), Some("")));
    let placement = placement_of(|_, view| asking(view, &[("istio.io/rev", "default")]));
    assert_eq!(placement, written(Some(TARGET), Some("default")));
    // Of the upgrade before; what is brought back is what this one found.
    let placement = placement_of(|_, view| {
        asking(view, &[("istio.io/rev", "default")]);
        cart(view).template_revision_before = Some("1-29-8".into());
    });
    assert_eq!(placement, written(Some(TARGET), Some("default")));
    // It asks for the target already.
    let placement = placement_of(|_, view| asking(view, &[("istio.io/rev", TARGET)]));
    assert_eq!(placement, restart(TARGET));
}

#[test]
fn a_tag_in_a_template_is_moved_as_a_tag() {
    let tagged = |revision: &str| {
        let (upgrade, mut view) = stale();
        asking(&mut view, &[("istio.io/rev", "prod")]);
        view.tags_mut().push(Tag {
            name: "prod".into(),
            revision: revision.into(),
            ..Tag::default()
        });
        let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
        judged.placements[0].1.clone()
    };
    // Its tag comes first, in the wave that it is of; asked without waves, it would restart.
    assert_eq!(tagged("default"), restart(TARGET));
    assert_eq!(tagged(TARGET), restart(TARGET));
}

#[test]
fn a_label_that_is_not_ours_to_write_is_named_with_the_change() {
    blocked_by(Predicate::PodLabel, "istio.io/rev=1-31-0", |_, view| {
        asking(view, &[("istio.io/rev", "default")]);
        cart(view).template_revision_owner = Some("argocd-controller".into());
    });
    // It would go through all its steps.
    blocked_by(
        Predicate::PodLabel,
        "rollout.argoproj.io shop/cart",
        |_, view| {
            asking(view, &[("istio.io/rev", "default")]);
            cart(view).key.kind = WorkloadKind::Rollout;
        },
    );
    // A person's own kubectl is nobody who puts it back.
    let placement = placement_of(|_, view| {
        asking(view, &[("istio.io/rev", "default")]);
        cart(view).template_revision_owner = Some("kubectl-edit".into());
    });
    assert_eq!(placement, written(Some(TARGET), Some("default")));
}

#[test]
fn a_label_or_a_mark_that_was_taken_back_is_not_fought_over() {
    blocked_by(
        Predicate::RestartPutBack,
        "meshlift.io/revision=1-31-0",
        |_, view| {
            asking(view, &[("istio.io/rev", "default")]);
            cart(view).template_revision_before = Some("default".into());
        },
    );
    blocked_by(
        Predicate::RestartPutBack,
        "was taken back",
        |upgrade, view| {
            upgrade.status.started_at = Some(time(ago(600)));
            cart(view).restarted_at = Some(ago(60));
        },
    );
    // By a run before this one.
    let placement = placement_of(|upgrade, view| {
        upgrade.status.started_at = Some(time(ago(600)));
        cart(view).restarted_at = Some(ago(900));
    });
    assert_eq!(placement, restart(TARGET));
}

fn time(at: Timestamp) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at)
}

/// Where it stands on the way back, with the template label that it has now.
fn back(label: &str, before: Option<&str>) -> Placement {
    let (upgrade, mut view) = stale();
    NO_NAMESPACE_LABEL(&mut upgrade.clone(), &mut view);
    *cart(&mut view) = workload("cart", TARGET);
    asking(
        &mut view,
        &[("istio.io/rev", label), ("sidecar.istio.io/inject", "true")],
    );
    cart(&mut view).template_revision_before = before.map(str::to_owned);
    back_from_target(&upgrade, &view)
}

#[test]
fn back_goes_the_label_that_was_there() {
    let source: Record = crate::example::record();
    assert_eq!(source.source_revision, "default");
    assert_eq!(back(TARGET, Some("")), written_for("default", None, None));
    assert_eq!(
        back(TARGET, Some("default")),
        written_for("default", Some("default"), None)
    );
    // Nobody remembers it, or it is of another time: it is not ours.
    assert_eq!(back(TARGET, None), Placement::Blocked(Predicate::PodLabel));
    assert_eq!(
        back(TARGET, Some("1-29-8")),
        Placement::Blocked(Predicate::PodLabel)
    );
}
