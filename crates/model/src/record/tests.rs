//! What is kept of an earlier record, and what is read of an older one.

use super::*;
use crate::example::{TARGET, labels, moved, namespace, record, version};
use crate::view::{Gateway, Seen, Tag};

fn with(namespace: &str, label: &str, base: &str) -> Record {
    let mut record = record();
    record.base.version = version(base);
    record.namespaces.push(RecordedNamespace {
        name: namespace.into(),
        labels: labels(&[("istio.io/rev", label)]),
    });
    record.tags.push(RecordedTag {
        name: "prod".into(),
        revision: label.into(),
    });
    record.gateways.push(RecordedGateway {
        namespace: namespace.into(),
        name: "web".into(),
        label: Some(label.into()),
    });
    record
}

/// Everything that the first run found, moved by this operator to that revision, or not at all.
fn view(earlier: Option<&Record>, moved_to: Option<&str>) -> MeshView {
    let mut view = moved();
    let moved_to = moved_to.map(str::to_owned);
    namespace(&mut view).moved_to.clone_from(&moved_to);
    view.tags_mut().push(Tag {
        name: "prod".into(),
        moved_to: moved_to.clone(),
        ..Tag::default()
    });
    view.gateways = Seen::Present(vec![Gateway {
        namespace: "shop".into(),
        name: "web".into(),
        moved_to,
        ..Gateway::default()
    }]);
    view.record = earlier.cloned().map_or(Seen::Absent, Seen::Present);
    view
}

/// An upgrade that is under way while the operator is upgraded goes on as it began.
#[test]
fn a_record_of_a_release_that_knew_one_strategy_is_read() {
    let written = serde_json::json!({
        "madeAt": "2026-11-02T02:00:00Z",
        "repository": "https://charts.example.org",
        "source": { "name": "istiod", "namespace": "istio-system", "version": "1.30.2", "values": {} },
        "sourceRevision": "default",
        "base": { "name": "istio-base", "namespace": "istio-system", "version": "1.30.2", "values": {} },
        "targetVersion": "1.31.0",
        "targetRevision": "1-31-0",
        "charts": { "base": "ba5e", "istiod": "1d" },
        "targetValues": { "revision": "1-31-0" },
        "baseValues": {},
        "namespaces": [],
        "backup": "meshlift-backup-x",
    });
    let record: Record = serde_json::from_value(written).expect("a record");
    assert_eq!(record.strategy, Strategy::Canary);
    assert_eq!(record.target_release(), "istiod-1-31-0");
    assert!(record.by_helm(), "others could not render it then");
    let last = record.legs().pop().map(|leg| leg.id);
    assert_eq!(last.as_deref(), Some(crate::route::RETIREMENT));
    assert_eq!(record.target_istiod().values, record.target_values);
    assert_eq!(
        (record.with_replicas(), record.leading_back()),
        (None, None)
    );
}

#[test]
fn what_is_moved_is_kept_as_the_first_run_found_it() {
    let first = with("shop", "default", "1.30.2");
    let mut second = with("shop", TARGET, "1.31.0");
    second
        .namespaces
        .extend(with("blog", "default", "1.31.0").namespaces);
    let base = serde_json::json!({ "defaultRevision": TARGET });
    second.base.values = base.as_object().cloned().expect("an object");
    let kept = second.continuing(&view(Some(&first), Some(TARGET)));
    assert_eq!(kept.base, first.base);
    let names: Vec<&str> = kept.namespaces.iter().map(|ns| ns.name.as_str()).collect();
    assert_eq!(names, ["blog", "shop"]);
    assert_eq!(kept.namespaces[1], first.namespaces[0]);
    assert_eq!(kept.tags, first.tags);
    assert_eq!(kept.gateways, first.gateways);
}

#[test]
fn what_went_back_is_found_anew() {
    let first = with("shop", "old", "1.30.2");
    let second = with("shop", "default", "1.31.0");
    let kept = second.clone().continuing(&view(Some(&first), None));
    assert_eq!(kept.namespaces, second.namespaces);
    assert_eq!(kept.tags, second.tags);
    assert_eq!(kept.gateways, second.gateways);
    assert_eq!(kept.base.version, first.base.version, "CRDs stay");
}

#[test]
fn a_minimum_that_an_earlier_run_raised_is_put_back_by_the_next() {
    let first = Record {
        raised_minimum: Some(3),
        ..record()
    };
    let second = Record {
        raised_minimum: None,
        ..record()
    };
    let mut view = view(Some(&first), Some(TARGET));
    assert_eq!(second.clone().continuing(&view).raised_minimum, None);
    let installed = &mut crate::example::releases(&mut view)[2];
    installed.values = first.values_beside_old();
    assert_eq!(second.continuing(&view).raised_minimum, Some(3));
}

#[test]
fn another_course_keeps_nothing() {
    let first = Record {
        target_revision: "1-30-5".into(),
        ..with("shop", "default", "1.30.2")
    };
    let second = with("shop", "default", "1.31.0");
    let moved_elsewhere = view(Some(&first), Some("1-30-5"));
    let expected = Record {
        route: second.legs(),
        ..second.clone()
    };
    assert_eq!(second.continuing(&moved_elsewhere), expected);
}

#[test]
fn without_the_record_of_who_moved_it_nobody_takes_the_target_for_its_past() {
    let second = with("shop", TARGET, "1.31.0");
    let kept = second.continuing(&view(None, Some(TARGET)));
    assert_eq!((kept.namespaces.len(), kept.gateways.len()), (0, 0));
    assert_eq!(kept.tags[0].revision, "default");
}
