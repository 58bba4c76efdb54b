//! What the running control plane has that its Helm release does not know: `kubectl edit` and `kubectl set env` change
//! no values, so a control plane that is made of the values would not have it. Only the places that a person edits are
//! compared, and only their names are kept: values may be secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use meshlift_model::view::{Drift, Release, Seen};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::cached::Cached;
use super::releases::Releases;
use super::seen;
use crate::Error;

/// As long as everything else that a detection looks up.
const AGE: Duration = Duration::from_secs(30);
/// No ConfigMap of a mesh has more settings that are not in its release.
const MOST: usize = 20;

pub(super) struct DriftLook {
    client: Client,
    compared: Cached<(String, String), Vec<Drift>>,
}

impl DriftLook {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            compared: Cached::new(AGE),
        }
    }

    pub(super) fn forget(&self) {
        self.compared.forget_all();
    }

    /// All releases of chart istiod, compared with what runs.
    pub(super) async fn look(&self, releases: &Releases, known: &[Release]) -> Seen<Vec<Drift>> {
        let mut all = Vec::new();
        for release in known {
            if release.chart != "istiod" {
                continue;
            }
            let storage = &release.storage;
            let key = (storage.uid.clone(), storage.resource_version.clone());
            let look = self.compare(releases, release);
            match seen(self.compared.get(&key, look).await) {
                Seen::Present(found) => all.extend(found),
                Seen::Absent => {}
                Seen::Unreadable(why) => return Seen::Unreadable(why),
            }
        }
        Seen::Present(all)
    }

    async fn compare(&self, releases: &Releases, of: &Release) -> Result<Vec<Drift>, Error> {
        let (namespace, full) = (&of.namespace, format!("{}/{}", of.namespace, of.name));
        let manifest = releases.manifest(namespace, &of.storage.name).await?;
        let mut all = Vec::new();
        for document in documents(&manifest) {
            let named = |what: String| Drift {
                release: full.clone(),
                object: format!("{} {namespace}/{}", document.kind, document.metadata.name),
                what,
            };
            let found = match document.kind.as_str() {
                "ConfigMap" => {
                    let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
                    let live = api.get_opt(&document.metadata.name).await;
                    let live = live.map_err(Error::kube("reading a ConfigMap of istiod"))?;
                    live.map(|live| settings(&document.data, &live.data.unwrap_or_default()))
                }
                "Deployment" => {
                    let kind = ApiResource::erase::<Deployment>(&());
                    let client = self.client.clone();
                    let api = Api::<DynamicObject>::namespaced_with(client, namespace, &kind);
                    let live = api.get_opt(&document.metadata.name).await;
                    let live = live.map_err(Error::kube("reading the Deployment of istiod"))?;
                    let live = live.and_then(|live| live.data.get("spec").cloned());
                    live.map(|live| containers(&document.spec, &live))
                }
                _ => None,
            };
            all.extend(found.into_iter().flatten().take(MOST).map(named));
        }
        Ok(all)
    }
}

/// An object as a chart renders it, as far as it is compared.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    kind: String,
    metadata: Named,
    data: BTreeMap<String, Value>,
    spec: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

/// The objects of a manifest; what is no object is passed over.
fn documents(manifest: &str) -> Vec<Document> {
    serde_yaml_ng::Deserializer::from_str(manifest)
        .filter_map(|document| Document::deserialize(document).ok())
        // Helm leaves empty documents where a template renders nothing.
        .filter(|document| !document.kind.is_empty())
        .collect()
}

/// Paths of settings in a ConfigMap that differ: `mesh.accessLogFile`. Those that hold YAML are compared as such.
fn settings(released: &BTreeMap<String, Value>, live: &BTreeMap<String, String>) -> Vec<String> {
    let mut differ = Vec::new();
    for (key, live) in live {
        let released = released
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if released.trim() == live.trim() {
            continue;
        }
        let read = |text: &str| serde_yaml_ng::from_str::<Map<String, Value>>(text).ok();
        match (read(released), read(live)) {
            (Some(released), Some(live)) => paths(key, &released, &live, &mut differ),
            _ => differ.push(key.clone()),
        }
    }
    differ
}

fn paths(
    at: &str,
    released: &Map<String, Value>,
    live: &Map<String, Value>,
    into: &mut Vec<String>,
) {
    let mut keys: Vec<&String> = released.keys().chain(live.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = format!("{at}.{key}");
        match (released.get(key), live.get(key)) {
            (Some(Value::Object(released)), Some(Value::Object(live))) => {
                paths(&path, released, live, into);
            }
            (released, live) if released != live => into.push(path),
            _ => {}
        }
    }
}

/// What differs in the containers of a Deployment: image, arguments and environment.
fn containers(released: &Value, live: &Value) -> Vec<String> {
    let all = |spec: &Value| {
        let containers = spec.pointer("/template/spec/containers");
        containers
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let name = |container: &Value| text(container, "name");
    let released = all(released);
    let mut differ = Vec::new();
    for live in all(live) {
        let Some(released) = released.iter().find(|of| name(of) == name(&live)) else {
            differ.push(format!("container {}", name(&live)));
            continue;
        };
        for field in ["image", "args"] {
            if released.get(field) != live.get(field) {
                differ.push(field.to_owned());
            }
        }
        let (released, live) = (environment(released), environment(&live));
        let changed = live
            .iter()
            .filter(|(key, value)| released.get(*key) != Some(*value));
        let gone = released.keys().filter(|key| !live.contains_key(*key));
        let names = changed.map(|(key, _)| key).chain(gone);
        differ.extend(names.map(|name| format!("environment variable {name}")));
    }
    differ
}

/// Variables with a plain value; where one comes from elsewhere, the API server fills in defaults.
fn environment(container: &Value) -> BTreeMap<String, Option<String>> {
    let all = container.get("env").and_then(Value::as_array);
    let variable = |of: &Value| {
        let value = of.get("valueFrom").is_none().then(|| text(of, "value"));
        (text(of, "name"), value)
    };
    all.into_iter().flatten().map(variable).collect()
}

fn text(of: &Value, key: &str) -> String {
    let text = of.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MANIFEST: &str = "---
# Source: istiod/templates/configmap.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: istio}
data:
  meshNetworks: |-
    networks: {}
  mesh: |-
    accessLogFile: /dev/stdout
    defaultConfig:
      discoveryAddress: istiod.istio-system.svc:15012
---
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod}
spec:
  template:
    spec:
      containers:
      - name: discovery
        image: pilot:1.30.2
        env:
        - name: REVISION
          value: default
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
";

    #[test]
    fn a_setting_that_the_release_does_not_know_is_found_by_its_path() {
        let [map, _] = &documents(MANIFEST)[..] else {
            panic!("two objects")
        };
        let networks = "networks: {}".to_owned();
        let live = |mesh: &str| {
            let mesh = ("mesh".to_owned(), mesh.to_owned());
            settings(
                &map.data,
                &[("meshNetworks".to_owned(), networks.clone()), mesh].into(),
            )
        };
        let discovery = "defaultConfig: {discoveryAddress: 'istiod.istio-system.svc:15012'}";
        assert!(
            live(&format!("{discovery}\naccessLogFile: /dev/stdout\n")).is_empty(),
            "order is nothing"
        );
        let strict = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}";
        assert_eq!(
            live(&format!("{discovery}\n{strict}\n")),
            ["mesh.accessLogFile", "mesh.outboundTrafficPolicy"]
        );
        assert_eq!(live("- no map"), ["mesh"]);
    }

    #[test]
    fn a_variable_that_was_set_by_hand_is_found_by_its_name() {
        let documents = documents(MANIFEST);
        let [_, deployment] = &documents[..] else {
            panic!("two objects")
        };
        let mut live = deployment.spec.clone();
        live["template"]["spec"]["containers"][0]["env"][1]["valueFrom"]["fieldRef"]["apiVersion"] =
            json!("v1");
        assert!(
            containers(&deployment.spec, &live).is_empty(),
            "defaults are nothing"
        );
        let container = &mut live["template"]["spec"]["containers"][0];
        container["image"] = json!("pilot:1.30.2-fix");
        container["env"] = json!([{ "name": "REVISION", "value": "default" }, { "name": "PILOT_X", "value": "1" }]);
        assert_eq!(
            containers(&deployment.spec, &live),
            [
                "image",
                "environment variable PILOT_X",
                "environment variable POD_NAME"
            ]
        );
    }
}
