use serde_json::{Value, json};

use super::*;

fn spec(value: Value) -> Spec {
    serde_json::from_value(value).expect("a spec")
}

fn status(value: Value) -> Status {
    serde_json::from_value(value).expect("a status")
}

#[test]
fn every_kind_says_in_its_own_way_how_it_replaces_pods() {
    use UpdateStrategy::{InPlace, OnDelete, Partition, Recreate, Rolling};
    use WorkloadKind as K;
    for (kind, update, expected) in [
        (K::Deployment, json!({}), Rolling),
        (K::ReplicaSet, json!({}), Rolling),
        (K::StatefulSet, json!({ "type": "OnDelete" }), OnDelete),
        (
            K::StatefulSet,
            json!({ "rollingUpdate": { "partition": 2 } }),
            Partition(2),
        ),
        (
            K::StatefulSet,
            json!({ "rollingUpdate": { "partition": 0 } }),
            Rolling,
        ),
        (K::DaemonSet, json!({ "type": "OnDelete" }), OnDelete),
        (K::CloneSet, json!({}), Rolling),
        (K::CloneSet, json!({ "type": "ReCreate" }), Rolling),
        (K::CloneSet, json!({ "type": "InPlaceIfPossible" }), InPlace),
        (
            K::CloneSet,
            json!({ "type": "ReCreate", "partition": "20%" }),
            Partition(20),
        ),
        (K::CloneSet, json!({ "partition": 1 }), Partition(1)),
        (
            K::AdvancedStatefulSet,
            json!({ "rollingUpdate": { "podUpdatePolicy": "InPlaceIfPossible" } }),
            InPlace,
        ),
        (
            K::AdvancedStatefulSet,
            json!({ "rollingUpdate": { "podUpdatePolicy": "ReCreate", "partition": 1 } }),
            Partition(1),
        ),
        (
            K::AdvancedDaemonSet,
            json!({ "rollingUpdate": { "rollingUpdateType": "Standard" } }),
            Rolling,
        ),
        (
            K::AdvancedDaemonSet,
            json!({ "rollingUpdate": { "rollingUpdateType": "InPlaceIfPossible" } }),
            InPlace,
        ),
        (
            K::AdvancedDaemonSet,
            json!({ "type": "OnDelete" }),
            OnDelete,
        ),
    ] {
        let found = strategy(kind, &spec(json!({ "updateStrategy": update })));
        assert_eq!(found, expected, "{kind} {update}");
    }
    let recreate = spec(json!({ "strategy": { "type": "Recreate" } }));
    assert_eq!(strategy(K::Deployment, &recreate), Recreate);
    let canary = spec(json!({ "strategy": { "canary": { "steps": [{ "pause": {} }] } } }));
    assert_eq!(strategy(K::Rollout, &canary), Rolling);
}

#[test]
fn a_pause_is_one_wherever_it_is_written() {
    for (value, expected) in [
        (json!({}), false),
        (json!({ "paused": true }), true),
        (json!({ "updateStrategy": { "paused": true } }), true),
        (
            json!({ "updateStrategy": { "rollingUpdate": { "paused": true } } }),
            true,
        ),
    ] {
        assert_eq!(paused(&spec(value.clone())), expected, "{value}");
    }
}

#[test]
fn a_rollout_is_settled_after_its_steps_and_its_restart() {
    let asked = spec(json!({ "replicas": 2, "restartAt": "2026-11-02T02:00:00Z" }));
    let state = |phase: &str, restarted: Value| {
        status(json!({
            "observedGeneration": "3", "phase": phase, "updatedReplicas": 2, "readyReplicas": 2,
            "availableReplicas": 2, "restartedAt": restarted,
        }))
    };
    for (phase, restarted, expected) in [
        ("Healthy", json!("2026-11-02T02:00:00Z"), true),
        ("Healthy", json!(null), false),
        ("Healthy", json!("2026-11-01T00:00:00Z"), false),
        ("Paused", json!("2026-11-02T02:00:00Z"), false),
        ("Progressing", json!("2026-11-02T02:00:00Z"), false),
    ] {
        let state = state(phase, restarted.clone());
        assert_eq!(
            rolled_out(WorkloadKind::Rollout, &asked, &state),
            expected,
            "{phase} {restarted}"
        );
        assert!(whole(WorkloadKind::Rollout, &asked, &state));
        assert_eq!(state.observed_generation, 3);
    }
    let of_old = status(json!({ "observedGeneration": "5d8f6c" }));
    assert_eq!(of_old.observed_generation, i64::MAX, "a hash says nothing");
}

#[test]
fn whole_is_every_pod_ready_of_whatever_template() {
    let two = spec(json!({ "replicas": 2 }));
    let old_template = json!({ "replicas": 2, "updatedReplicas": 0, "readyReplicas": 2, "availableReplicas": 2,
        "desiredNumberScheduled": 2, "numberAvailable": 2, "currentRevision": "a", "updateRevision": "b" });
    for kind in WorkloadKind::ALL {
        let rolls = kind != WorkloadKind::ReplicaSet;
        let state = status(old_template.clone());
        assert!(whole(kind, &two, &state), "{kind}");
        assert_eq!(rolled_out(kind, &two, &state), !rolls, "{kind}");
        let one_away = status(json!({ "readyReplicas": 1, "availableReplicas": 1,
            "desiredNumberScheduled": 2, "numberAvailable": 1 }));
        assert!(!whole(kind, &two, &one_away), "{kind}");
    }
}

#[test]
fn an_istiod_serves_without_what_its_deployment_may_be_short_of() {
    let enough = |replicas: u32, unavailable: serde_json::Value| {
        let strategy =
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": unavailable } });
        let spec = json!({ "replicas": replicas, "strategy": strategy });
        let spec: Spec = serde_json::from_value(spec).expect("a spec");
        spec.enough()
    };
    assert_eq!(enough(1, json!("25%")), 1);
    assert_eq!(enough(2, json!("25%")), 2);
    assert_eq!(enough(5, json!("25%")), 4);
    assert_eq!(enough(5, json!(2)), 3);
    let recreated: Spec = serde_json::from_value(json!({ "replicas": 2 })).expect("a spec");
    assert_eq!(recreated.enough(), 2);
}

#[test]
fn a_rollout_has_pods_of_two_templates() {
    let is_rolling = |kind, status: serde_json::Value| {
        let status: Status = serde_json::from_value(status).expect("a status");
        let spec: Spec = serde_json::from_value(json!({ "replicas": 3 })).expect("a spec");
        replicas(kind, &spec, &status).rolling
    };
    let deployment = |all: u32, updated: u32| {
        let status = json!({ "replicas": all, "updatedReplicas": updated });
        is_rolling(WorkloadKind::Deployment, status)
    };
    assert!(deployment(4, 1));
    assert!(!deployment(3, 3), "some of which crash");
    assert!(!deployment(1, 1), "and is scaled");
    let set = |current: &str, updated: u32| {
        let status = json!({ "currentRevision": current, "updateRevision": "b", "updatedReplicas": updated });
        is_rolling(WorkloadKind::StatefulSet, status)
    };
    assert!(set("a", 1) && !set("a", 3) && !set("b", 0));
    let daemon = |updated: u32| {
        let status = json!({ "desiredNumberScheduled": 3, "updatedNumberScheduled": updated });
        is_rolling(WorkloadKind::DaemonSet, status)
    };
    assert!(daemon(2) && !daemon(3));
    assert!(!is_rolling(
        WorkloadKind::ReplicaSet,
        json!({ "replicas": 3 })
    ));
}
