use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-03-01T10:12:30Z".parse().expect("a time")
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> serde_json::Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-03-01T10:00:00Z",
    })
}

fn running() -> MeshUpgrade {
    let check = json!({
        "code": "ISTIOD-SINGLE", "severity": "Warning", "result": "Failed",
        "message": "istiod has one replica", "fix": "set autoscaleMin to 2",
    });
    let blocked = json!({
        "ref": "v1 Pod shop/debug", "predicate": "BarePod",
        "message": "has no controller: kubectl -n shop delete pod debug, and make it again",
    });
    let run = json!({
        "from": { "version": "1.29.4" }, "target": { "version": "1.30.2" }, "outcome": "Upgraded",
        "message": "the mesh is at 1.30.2",
        "startedAt": "2026-01-10T10:00:00Z", "finishedAt": "2026-01-10T11:30:00Z",
    });
    let upgrade = json!({
        "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
        "metadata": { "name": "to-1-31", "creationTimestamp": "2026-03-01T10:00:00Z" },
        "spec": { "targetVersion": "1.31" },
        "status": {
            "phase": "Upgrading", "step": "RestartingWorkloads", "progress": "41/60",
            "message": "41/60 workloads on 1-31-0; waiting for Deployment shop/cart",
            "from": { "version": "1.29.4", "revision": "default" },
            "target": { "version": "1.31.0", "revision": "1-31-0" },
            "hops": [{ "version": "1.30.2", "revision": "1-30-2" }, { "version": "1.31.0", "revision": "1-31-0" }],
            "workloads": { "total": 60, "moved": 41, "restarting": 5, "pending": 12, "blocked": 2, "failed": 0 },
            "proxies": { "total": 412, "current": 280, "outdated": 132, "unknown": 0 },
            "checks": [check], "checksPassed": 17, "blocked": [blocked],
            "legs": [
                { "id": "base", "state": "Done", "startedAt": "2026-03-01T10:01:00Z", "finishedAt": "2026-03-01T10:02:00Z" },
                { "id": "control-plane", "state": "Done", "startedAt": "2026-03-01T10:02:00Z", "finishedAt": "2026-03-01T10:03:10Z" },
                { "id": "workloads", "state": "Active", "startedAt": "2026-03-01T10:03:10Z" },
                { "id": "soak", "state": "Pending" },
            ],
            "attempts": { "count": 2, "nextAt": "2026-03-01T10:13:00Z", "lastError": "patching namespace shop: conflict" },
            "conditions": [
                condition("Detected", "True", "ChecksPassed", "1.29.4 to 1.31.0: every check passed"),
                condition("Ready", "False", "Upgrading", "41/60 workloads on 1-31-0"),
            ],
            "record": "upgrade-to-1-31-0b5e", "history": [run],
            "startedAt": "2026-03-01T10:00:30Z", "stepStartedAt": "2026-03-01T10:10:00Z",
        },
    });
    serde_json::from_value(upgrade).expect("a MeshUpgrade")
}

fn new() -> MeshUpgrade {
    let upgrade = json!({
        "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
        "metadata": { "name": "later", "creationTimestamp": "2026-03-01T10:12:00Z" },
        "spec": { "targetVersion": "1.32", "mesh": "other", "mode": "Preflight" },
    });
    serde_json::from_value(upgrade).expect("a MeshUpgrade")
}

#[test]
fn one_screen_says_where_it_is_and_why() {
    insta::assert_snapshot!(upgrade(&Terminal::wide(100), &running(), now()));
}

#[test]
fn one_that_nobody_has_looked_at_says_so() {
    insta::assert_snapshot!(upgrade(&Terminal::plain(), &new(), now()));
}

#[test]
fn the_table_has_the_new_one_too() {
    let all = [running(), new()];
    insta::assert_snapshot!(upgrades(&Terminal::plain(), &all, now()));
}

#[test]
fn the_bar_never_runs_over() {
    assert_eq!(bar(0, 0), format!("[{}]", "-".repeat(BAR)));
    assert_eq!(bar(7, 5), format!("[{}]", "#".repeat(BAR)));
    assert!(bar(1, 2).starts_with("[###############-"));
}
