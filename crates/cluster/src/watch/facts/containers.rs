//! Containers of a pod or of a pod template: what they run, and what they ask a node for.

use meshlift_model::view::Requests;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::quantity::{Cpu, Memory};

/// A container; its environment is skipped where nobody asks for it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container<E = IgnoredAny> {
    pub(super) name: String,
    pub(super) image: String,
    restart_policy: String,
    resources: Resources,
    pub(super) env: E,
}

/// Requests, of a container or of a pod as a whole. The API server has filled in those that only the
/// limits told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    requests: Amounts,
}

/// Amounts by resource.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Amounts {
    cpu: Option<Cpu>,
    memory: Option<Memory>,
}

impl Amounts {
    fn requests(self) -> Requests {
        Requests {
            cpu: self.cpu.unwrap_or_default().0,
            memory: self.memory.unwrap_or_default().0,
        }
    }
}

impl<E> Container<E> {
    /// An init container that goes on running: a native sidecar.
    fn is_restartable(&self) -> bool {
        self.restart_policy == "Always"
    }

    fn requests(&self) -> Requests {
        self.resources.requests.requests()
    }
}

/// What a pod asks a node for: all that runs together, at the time when it is most. Requests of the pod as a
/// whole count instead of those of its containers.
/// Source: kubernetes `component-helpers/resource/helpers.go` (`PodRequests`).
pub(super) fn requests<E>(
    containers: &[Container<E>],
    init_containers: &[Container<E>],
    overhead: Amounts,
    whole: &Resources,
) -> Requests {
    let mut sidecars = Requests::default();
    let mut most_at_start = Requests::default();
    for container in init_containers {
        let asked = sum(sidecars, container.requests());
        if container.is_restartable() {
            sidecars = asked;
        }
        most_at_start = larger(most_at_start, asked);
    }
    let running = containers
        .iter()
        .map(Container::requests)
        .fold(sidecars, sum);
    let needed = larger(running, most_at_start);
    let whole = whole.requests;
    let needed = Requests {
        cpu: whole.cpu.map_or(needed.cpu, |cpu| cpu.0),
        memory: whole.memory.map_or(needed.memory, |memory| memory.0),
    };
    sum(needed, overhead.requests())
}

fn sum(a: Requests, b: Requests) -> Requests {
    Requests {
        cpu: a.cpu.saturating_add(b.cpu),
        memory: a.memory.saturating_add(b.memory),
    }
}

fn larger(a: Requests, b: Requests) -> Requests {
    Requests {
        cpu: a.cpu.max(b.cpu),
        memory: a.memory.max(b.memory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container(cpu: &str, restart: Option<&str>) -> Value {
        json!({ "name": "c", "restartPolicy": restart.unwrap_or_default(),
                "resources": { "requests": { "cpu": cpu, "memory": "1Mi", "nvidia.com/gpu": "1" } } })
    }

    fn cpu(containers: Value, init: Value, overhead: Value, whole: Value) -> i64 {
        let read = |value| serde_json::from_value::<Vec<Container>>(value).expect("containers");
        requests(
            &read(containers),
            &read(init),
            serde_json::from_value(overhead).expect("amounts"),
            &serde_json::from_value(whole).expect("resources"),
        )
        .cpu
    }

    #[test]
    fn a_pod_asks_for_what_runs_together_when_it_is_most() {
        let always = Some("Always");
        let (none, nothing) = (json!([]), json!({}));
        let app = || json!([container("100m", None), container("50m", None)]);
        for (what, containers, init, expected) in [
            ("containers are added", app(), none.clone(), 150),
            (
                "a small init container is gone by then",
                app(),
                json!([container("100m", None)]),
                150,
            ),
            (
                "a large one decides",
                app(),
                json!([container("1", None)]),
                1000,
            ),
            (
                "a native sidecar stays",
                app(),
                json!([container("100m", always)]),
                250,
            ),
            (
                "init containers run one by one, beside the sidecars before them",
                app(),
                json!([
                    container("200m", None),
                    container("100m", always),
                    container("300m", None)
                ]),
                400,
            ),
            ("no requests", json!([{ "name": "c" }]), none.clone(), 0),
        ] {
            let found = cpu(containers, init, nothing.clone(), nothing.clone());
            assert_eq!(found, expected, "{what}");
        }
        let overhead = json!({ "cpu": "10m" });
        assert_eq!(cpu(app(), none.clone(), overhead, nothing.clone()), 160);
        let whole = json!({ "requests": { "cpu": "2" } });
        assert_eq!(cpu(app(), none, nothing, whole), 2000);
    }
}
