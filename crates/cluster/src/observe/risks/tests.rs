use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::client::Body;
use meshlift_api::{IstioRelease, ReleaseCatalogSpec};
use meshlift_istio::knowledge::Knowledge;
use serde_json::json;

use super::*;

/// A server that has nine Services in two pages, no Things, and refuses Leases; and what it was asked.
fn server() -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let target = request.uri().to_string();
        log.lock().expect("no panic").push(target.clone());
        let (code, body) = answer(&target);
        let body = Body::from(body.to_string().into_bytes());
        async move { Response::builder().status(code).body(body) }
    });
    (Client::new(service, "default"), asked)
}

fn answer(target: &str) -> (u16, Value) {
    let service = |n: u32| {
        let kind = if n.is_multiple_of(2) {
            "ClusterIP"
        } else {
            "ExternalName"
        };
        json!({ "metadata": { "name": format!("s{n}"), "namespace": "shop" }, "spec": { "type": kind } })
    };
    let list = |from: u32, to: u32, next: &str| {
        let items: Vec<Value> = (from..to).map(service).collect();
        json!({ "metadata": { "continue": next }, "items": items })
    };
    let status = |code: u16| {
        let body = json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no" });
        (code, body)
    };
    let version = |v: &str| json!({ "groupVersion": format!("a.io/{v}"), "version": v });
    match target.split('?').next().unwrap_or_default() {
        "/api/v1/services" if target.contains("continue=more") => (200, list(10, 21, "")),
        "/api/v1/services" => (200, list(0, 10, "more")),
        "/apis" => {
            let group = |name: &str, versions: Value| json!({ "name": name, "versions": versions });
            let a = group("a.io", json!([version("v2"), version("v1")]));
            let b = group("b.io", json!([version("v1")]));
            (200, json!({ "groups": [a, b] }))
        }
        "/apis/a.io/v1/things" => (200, list(1, 2, "")),
        "/apis/b.io/v1/leases" | "/apis/b.io/v2/leases" | "/apis/d.io/v1/things" => status(403),
        "/apis/b.io/v1/broken" => status(500),
        _ => status(404),
    }
}

async fn look(risks: Value) -> (Matches, Vec<String>) {
    let (client, asked) = server();
    let knowledge = knowledge(risks);
    let all: Vec<&Risk> = knowledge.releases().flat_map(|r| &r.risks).collect();
    let looks = Risks::new(client);
    let first = looks.look(&all, &Map::new()).await;
    let requests = asked.lock().expect("no panic").len();
    assert_eq!(
        looks.look(&all, &Map::new()).await,
        first,
        "kept for a while"
    );
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked.len(), requests, "{asked:?}");
    match first {
        Seen::Present(matches) => (matches, asked),
        other => panic!("{other:?}"),
    }
}

fn knowledge(risks: Value) -> Knowledge {
    let release = json!({
        "minor": "1.31", "kubernetes": { "low": "1.32", "high": "1.37" }, "risks": risks,
    });
    let release: IstioRelease = serde_json::from_value(release).expect("a release");
    Knowledge::with(&ReleaseCatalogSpec {
        mode: meshlift_api::CatalogMode::Replace,
        releases: vec![release],
    })
    .expect("a catalog")
}

fn risk(code: &str, rule: Value) -> Value {
    json!({ "code": code, "title": "t", "message": "m", "fix": "f", "url": "u", "match": rule })
}

fn kind(group: &str, version: Option<&str>, resource: &str) -> Value {
    json!({ "group": group, "version": version, "resource": resource, "kind": "Thing" })
}

#[tokio::test]
async fn a_kind_is_listed_once_and_the_first_names_are_kept() {
    let services = kind("", Some("v1"), "services");
    let external = "object.spec.type == 'ExternalName'";
    let tenth = "object.metadata.name == 's20'";
    let none = "object.spec.type == 'LoadBalancer'";
    let fails = "object.spec.nothing == 1";
    let (matches, asked) = look(json!([
        risk(
            "EXTERNAL",
            json!({ "resources": services, "expression": external })
        ),
        risk(
            "LAST",
            json!({ "resources": services, "expression": tenth })
        ),
        risk("NONE", json!({ "resources": services, "expression": none })),
        risk(
            "FAILS",
            json!({ "resources": services, "expression": fails })
        ),
    ]))
    .await;
    assert_eq!(asked.len(), 2, "two pages, each asked for once: {asked:?}");
    let external = &matches["EXTERNAL"];
    assert_eq!(external.total, 10);
    let names = ["s1", "s3", "s5", "s7", "s9"].map(|name| format!("Thing shop/{name}"));
    assert_eq!(external.objects, names);
    assert_eq!(matches["LAST"].objects, ["Thing shop/s20"]);
    assert!(!matches.contains_key("NONE"));
    let why = matches["FAILS"].unreadable.as_deref().expect("a reason");
    assert!(
        why.starts_with("Thing shop/s0: ") && why.contains("No such key"),
        "{why}"
    );
}

#[tokio::test]
async fn what_is_not_installed_matches_nothing_and_what_is_refused_is_told() {
    let (matches, asked) = look(json!([
        risk(
            "ANY-VERSION",
            json!({ "resources": kind("a.io", None, "things") })
        ),
        risk(
            "ABSENT",
            json!({ "resources": kind("a.io", Some("v3"), "things") })
        ),
        risk(
            "NO-GROUP",
            json!({ "resources": kind("c.io", None, "things") })
        ),
        risk(
            "FORBIDDEN-GROUP",
            json!({ "resources": kind("d.io", Some("v1"), "things") })
        ),
        risk(
            "FORBIDDEN-VERSION",
            json!({ "resources": kind("b.io", Some("v2"), "leases") })
        ),
        risk(
            "FORBIDDEN",
            json!({ "resources": kind("b.io", Some("v1"), "leases") })
        ),
        risk(
            "BROKEN",
            json!({ "resources": kind("b.io", Some("v1"), "broken") })
        ),
    ]))
    .await;
    assert_eq!(matches["ANY-VERSION"].total, 1);
    assert!(
        asked.iter().any(|a| a.starts_with("/apis/a.io/v2/things")),
        "{asked:?}"
    );
    assert!(!matches.contains_key("ABSENT") && !matches.contains_key("NO-GROUP"));
    assert_eq!(matches.len(), 3, "{matches:?}");
    let why = |code: &str| matches[code].unreadable.clone().unwrap_or_default();
    assert!(
        why("FORBIDDEN").contains("may not list leases.b.io"),
        "{}",
        why("FORBIDDEN")
    );
    assert!(
        why("BROKEN").starts_with("listing broken.b.io: "),
        "{}",
        why("BROKEN")
    );
}

#[tokio::test]
async fn conditions_on_values_alone_ask_nothing_of_the_server() {
    let services = kind("", Some("v1"), "services");
    let (matches, asked) = look(json!([
        risk("FLAG", json!({ "flag": "ENABLE_X" })),
        risk("NOT-SET", json!({ "values": "has(values.x)" })),
        risk(
            "NOT-SET-EITHER",
            json!({ "values": "has(values.x)", "resources": services })
        ),
        risk("FAILS", json!({ "values": "values.x == 1" })),
    ]))
    .await;
    assert_eq!(asked, [""; 0]);
    assert_eq!(matches["FLAG"], RiskMatch::default());
    assert!(matches["FAILS"].unreadable.is_some());
    assert_eq!(matches.len(), 2);
}
