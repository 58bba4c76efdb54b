//! Helm's whole part in an upgrade, as the operator's own account: its rights suffice, the fence
//! lets it through, and no right of it is there for nothing.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use meshlift_api::permissions::{Permission, Scope, in_scope};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use serde_json::Value;

use crate::environment::{Environment, ISTIO, OPERATOR, with_cluster};

/// A request of the operator, as the API server wrote it down.
pub(crate) struct Request {
    pub(crate) program: String,
    verb: String,
    group: String,
    resource: String,
    pub(crate) code: u64,
}

impl Request {
    pub(crate) fn shown(&self) -> String {
        format!("{} {}/{}", self.verb, self.group, self.resource)
    }

    /// A server-side apply that makes an object is a patch that needs `create` too.
    fn needs(&self, permission: &Permission, verb: &str) -> bool {
        let created = verb == "create" && self.verb == "patch" && self.code == 201;
        (self.verb == verb || created)
            && self.group == permission.group
            && self.resource == permission.resource
    }
}

#[test]
fn api_helm_does_a_whole_upgrade_with_the_rights_it_has() -> Result<()> {
    with_cluster(async |env| {
        let charts = env.cluster.charts_url_host()?;
        let chart = |action: &str, release: &str, name: &str, version: &str, sets: &[&str]| {
            let fixed = [
                action,
                release,
                name,
                "--repo",
                &charts,
                "--version",
                version,
                "-n",
                ISTIO,
            ];
            let mut arguments: Vec<String> = fixed.map(str::to_owned).into();
            for set in sets {
                arguments.extend(["--set".to_owned(), (*set).to_owned()]);
            }
            arguments
        };
        // What a person installed.
        let custom = ["meshConfig.accessLogFile=/dev/stdout", "autoscaleMin=2"];
        for arguments in [
            chart("install", "istio-base", "base", ISTIO_FROM, &[]),
            chart("install", "istiod", "istiod", ISTIO_FROM, &custom),
        ] {
            env.cluster.helm(&words(&arguments)).await?;
        }
        // What the operator does with it. The values bring in every kind that the charts can render.
        let revision = "revision=1-31-0";
        let all = [
            revision,
            custom[0],
            custom[1],
            "global.networkPolicy.enabled=true",
        ];
        for mut arguments in [
            chart("upgrade", "istio-base", "base", ISTIO_TO, &[]),
            chart("install", "istiod-1-31-0", "istiod", ISTIO_TO, &all),
            chart("upgrade", "istiod-1-31-0", "istiod", ISTIO_TO, &[revision]),
            chart("upgrade", "istiod-1-31-0", "istiod", ISTIO_TO, &all),
            chart(
                "upgrade",
                "istio-base",
                "base",
                ISTIO_TO,
                &["defaultRevision=1-31-0"],
            ),
            vec![
                "uninstall".into(),
                "istiod".into(),
                "-n".into(),
                ISTIO.into(),
            ],
        ] {
            env.helm_as_operator(&words(&arguments)).await?;
            // And once more, as after a crash; an uninstalled release is gone.
            if arguments[0] == "install" {
                arguments.splice(0..1, ["upgrade".to_owned(), "--install".to_owned()]);
            }
            if arguments[0] == "upgrade" {
                env.helm_as_operator(&words(&arguments)).await?;
            }
        }
        let list = env
            .helm_as_operator(&["ls", "-n", ISTIO, "-o", "json"])
            .await?;
        let releases: Vec<Value> = serde_json::from_str(&list)?;
        let names: BTreeSet<&str> = releases.iter().filter_map(|r| r["name"].as_str()).collect();
        assert_eq!(names, BTreeSet::from(["istio-base", "istiod-1-31-0"]));

        let requests = requests(env)?;
        let by_helm: Vec<&Request> = requests.iter().filter(|r| r.program == "Helm").collect();
        ensure!(!by_helm.is_empty(), "the audit log shows nothing of Helm");
        for request in &by_helm {
            ensure!(request.code != 403, "refused: {}", request.shown());
        }
        for (permission, verb) in helm_rights() {
            let needed = by_helm
                .iter()
                .any(|request| request.needs(permission, verb));
            ensure!(needed, "Helm never needs {verb}: {permission:?}");
        }
        Ok(())
    })
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The rights that exist for Helm alone. `escalate` and `bind` are no requests of their own: the
/// API server asks for them inside a write to a role or a binding.
fn helm_rights() -> impl Iterator<Item = (&'static Permission, &'static str)> {
    let scopes = [Scope::Cluster, Scope::ControlPlaneNamespace];
    let helm = scopes
        .into_iter()
        .flat_map(in_scope)
        .filter(|p| p.why.contains("Helm"));
    helm.flat_map(|p| p.verbs.iter().map(move |verb| (p, *verb)))
        .filter(|(_, verb)| !["escalate", "bind"].contains(verb))
        .filter(|(p, verb)| !(reads_webhooks_itself(p, verb) || creates_crds(p, verb)))
}

/// The operator itself lists and watches the injectors.
fn reads_webhooks_itself(permission: &Permission, verb: &str) -> bool {
    permission.group == "admissionregistration.k8s.io" && ["list", "watch"].contains(&verb)
}

/// Both test releases have the same CRDs, so none is new.
fn creates_crds(permission: &Permission, verb: &str) -> bool {
    permission.resource == "customresourcedefinitions" && verb == "create"
}

/// Everything that the operator's account asked of the API server.
pub(crate) fn requests(env: &Environment) -> Result<Vec<Request>> {
    let log = std::fs::read_to_string(env.cluster.audit_log())?;
    let mut requests = Vec::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).context("a broken line in the audit log")?;
        if event["user"]["username"] != OPERATOR || event["objectRef"].is_null() {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let agent = text(&event["userAgent"]);
        requests.push(Request {
            program: agent.split('/').next().unwrap_or_default().to_owned(),
            verb: text(&event["verb"]),
            group: text(&event["objectRef"]["apiGroup"]),
            resource: text(&event["objectRef"]["resource"]),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        });
    }
    Ok(requests)
}
