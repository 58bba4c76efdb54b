use std::sync::Arc;

use insta::assert_snapshot;
use meshlift_api::Phase;
use meshlift_model::diff::{diff, summary};
use meshlift_model::example::{
    before, labels, namespace, now, pod, record, upgrade, version, workload,
};
use meshlift_model::record::RecordedBudget;
use meshlift_model::view::{BudgetRule, Seen, Tag, UpdateStrategy, WorkloadKind};

use super::*;

/// A control plane as a chart renders it, with the noise that rendering has.
fn istiod(suffix: &str, revision: &str, version: &str, extra: &str) -> String {
    format!(
        "---
# Source: istiod/templates/service.yaml
apiVersion: v1
kind: Service
metadata:
  name: istiod{suffix}
  namespace: istio-system
  labels: {{ istio.io/rev: {revision}, release: istiod{suffix}, helm.sh/chart: istiod-{version} }}
---
# Source: istiod/templates/nothing.yaml
---
apiVersion: apps/v1
kind: Deployment
metadata:
  namespace: istio-system
  name: istiod{suffix}
spec:
  template:
    spec:
      containers:
      - image: example.org/pilot:{version}
        env:
        - name: REVISION
          value: {revision}
        - name: LICENSE_TOKEN
          value: s3cret-{version}
{extra}"
    )
}

const ROLE: &str = "---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: istiod-clusterrole-1-31-0-istio-system
";

fn compared(comparison: &Comparison) -> ReleaseDiff {
    let old = istiod("", "default", "1.30.2", "");
    let new = istiod("-1-31-0", "1-31-0", "1.31.0", ROLE);
    let in_place = istiod("", "default", "1.31.0", "");
    let (old, new) = match comparison.change {
        ReleaseChange::Install => (old.as_str(), new.as_str()),
        ReleaseChange::InPlace => (old.as_str(), in_place.as_str()),
        ReleaseChange::Retire => (old.as_str(), ""),
        ReleaseChange::Base
        | ReleaseChange::DefaultRevision
        | ReleaseChange::RaiseMinimum
        | ReleaseChange::RestoreMinimum => (crd("1.30.2"), crd("1.31.0")),
    };
    compare(comparison, old, new).expect("manifests")
}

fn crd(version: &str) -> &'static str {
    match version {
        "1.30.2" => {
            "kind: CustomResourceDefinition\napiVersion: apiextensions.k8s.io/v1\nmetadata: { name: gateways }\nspec: { scope: Namespaced }\n"
        }
        _ => {
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: gateways\nspec: { scope: Namespaced, group: x }\n"
        }
    }
}

/// A mesh with a bit of everything that a plan has to say something about.
fn mesh() -> (Upgrade, MeshView) {
    let upgrade = upgrade(Phase::Detecting);
    let mut view = before();
    namespace(&mut view).label_owner = Some("argocd".into());
    let mut db = workload("db", "default");
    db.key.kind = WorkloadKind::StatefulSet;
    let mut busy = workload("busy", "default");
    busy.settled = false;
    let mut pinned = workload("pinned", "default");
    pinned.strategy = UpdateStrategy::OnDelete;
    view.workloads = Seen::Present(vec![workload("cart", "default"), db, busy, pinned]);
    view.loose_pods = vec![Arc::new(pod("lonely", "default"))];
    view.diffs = Seen::Present(comparisons(&record()).iter().map(compared).collect());
    (upgrade, view)
}

fn planned_for(upgrade: &Upgrade, view: &MeshView, hops: &[Version]) -> Plan {
    plan(&PlanInputs {
        now: now(),
        upgrade,
        view,
        record: &record(),
        hops,
    })
    .expect("a plan")
}

#[test]
fn a_plan_tells_everything_in_its_order() {
    let (upgrade, view) = mesh();
    let plan = planned_for(&upgrade, &view, &[version("1.31.0")]);
    assert_snapshot!("plan_full", plan.render(DiffStyle::Full));
    assert_eq!(plan.stored(), plan.render(DiffStyle::Full));
}

#[test]
fn later_hops_are_told_by_their_versions() {
    let (upgrade, mut view) = mesh();
    view.diffs = Seen::Unreadable("the chart repository is away".into());
    let plan = planned_for(&upgrade, &view, &["1.31.0", "1.32.0"].map(version));
    assert_snapshot!("plan_two_hops", plan.render(DiffStyle::Full));
}

#[test]
fn what_keeps_the_new_control_plane_available_is_told() {
    let (upgrade, mut view) = mesh();
    view.diffs = Seen::Absent;
    let record = Record {
        raised_minimum: Some(3),
        budget: Some(RecordedBudget {
            name: "by-hand".into(),
            rule: BudgetRule::default(),
        }),
        ..record()
    };
    let plan = plan(&PlanInputs {
        now: now(),
        upgrade: &upgrade,
        view: &view,
        record: &record,
        hops: &[version("1.31.0")],
    });
    let text = plan.expect("a plan").render(DiffStyle::None);
    for line in [
        "istio-system/istiod-1-31-0: upgrade of chart istiod: autoscaleMin as the values of its owner have it",
        "istiod-1-31-0 starts with 3 replicas, as the old one runs now: autoscaleMin is 3 while both run",
        "PodDisruptionBudget istio-system/by-hand is only for the old control plane: a copy of it is made for the new one",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let all = comparisons(&record);
    let changes: Vec<ReleaseChange> = all.iter().map(|compared| compared.change).collect();
    assert_eq!(
        changes,
        [
            ReleaseChange::Base,
            ReleaseChange::Install,
            ReleaseChange::DefaultRevision,
            ReleaseChange::RestoreMinimum,
            ReleaseChange::Retire,
        ]
    );
    let minimum = |side: &Manifest| match side {
        Manifest::Rendered(target) => target.values.get("autoscaleMin").cloned(),
        _ => None,
    };
    assert_eq!(minimum(&all[1].new), Some(3.into()));
    assert_eq!(minimum(&all[3].old), Some(3.into()));
    assert_eq!(minimum(&all[3].new), None);
}

#[test]
fn status_gets_counts_and_not_lists() {
    let (upgrade, view) = mesh();
    let summary = planned_for(&upgrade, &view, &[version("1.31.0")]).summary();
    assert_eq!(
        (summary.namespaces, summary.restarts, summary.blocked),
        (1, 3, 2)
    );
    let told: Vec<String> = summary
        .releases
        .iter()
        .map(|r| {
            format!(
                "{} {:?} {:?}->{:?}: {}",
                r.release, r.action, r.from, r.to, r.changes
            )
        })
        .collect();
    assert_snapshot!(
        "plan_summary",
        format!("{}\n{}", told.join("\n"), summary.estimate)
    );
}

#[test]
fn in_place_the_release_is_upgraded_and_nothing_is_removed() {
    let (mut upgrade, mut view) = mesh();
    upgrade.spec.strategy = Strategy::InPlace;
    let workloads = match &mut view.workloads {
        Seen::Present(workloads) => workloads,
        _ => panic!("no workloads"),
    };
    for pod in workloads.iter_mut().flat_map(|workload| &mut workload.pods) {
        Arc::make_mut(pod).proxy_image = Some("example.org/proxyv2:1.30.2".into());
    }
    let record = Record {
        strategy: Strategy::InPlace,
        target_revision: "default".into(),
        ..record()
    };
    view.diffs = Seen::Present(comparisons(&record).iter().map(compared).collect());
    let plan = plan(&PlanInputs {
        now: now(),
        upgrade: &upgrade,
        view: &view,
        record: &record,
        hops: &[version("1.31.0")],
    })
    .expect("a plan");
    assert_snapshot!("plan_in_place", plan.render(DiffStyle::Summary));
}

#[test]
fn what_is_done_already_is_not_planned_again() {
    let (upgrade, _) = mesh();
    let mut view = meshlift_model::example::moved();
    view.validator = Seen::Absent;
    let plan = planned_for(&upgrade, &view, &[version("1.31.0")]);
    let steps: Vec<ReleaseChange> = plan.releases.iter().map(|step| step.change).collect();
    assert_eq!(steps, [ReleaseChange::Retire]);
    assert!(plan.namespaces.is_empty() && plan.restarts.is_empty());
}

#[test]
fn a_tag_moves_and_one_that_may_not_keeps_the_old_control_plane() {
    let (mut upgrade, mut view) = mesh();
    *view.tags_mut() = vec![Tag {
        name: "prod".into(),
        revision: "default".into(),
        ..Tag::default()
    }];
    namespace(&mut view).labels = labels(&[("istio.io/rev", "prod")]);
    let plan = planned_for(&upgrade, &view, &[version("1.31.0")]);
    assert!(plan.namespaces.is_empty());
    assert_eq!(plan.tags, ["prod"]);
    assert!(
        plan.render(DiffStyle::None)
            .contains("once all their namespaces may move: prod")
    );
    upgrade.spec.data_plane.by = meshlift_api::Move::Labels;
    let plan = planned_for(&upgrade, &view, &[version("1.31.0")]);
    assert!(plan.tags.is_empty());
    assert_eq!(plan.old_used_by[0], "revision tag prod");
}

#[test]
fn waves_are_told_with_what_happens_between_them() {
    let (mut upgrade, mut view) = mesh();
    let wave = |name: &str, soak: u64| meshlift_api::Wave {
        name: name.into(),
        soak: Some(std::time::Duration::from_secs(soak).into()),
        ..meshlift_api::Wave::default()
    };
    upgrade.spec.data_plane.waves = vec![wave("canary", 600), wave("prod", 0)];
    upgrade.spec.data_plane.waves[1].approval = meshlift_api::Approval::Required;
    let mut ingress = workload("ingress", "default");
    ingress.injected_gateway = true;
    let mut waypoint = workload("waypoint", "default");
    waypoint.managed_gateway = true;
    let mut api = workload("api", "default");
    api.key.namespace = "blog".into();
    let Seen::Present(workloads) = &mut view.workloads else {
        panic!("no workloads");
    };
    workloads.extend([ingress, waypoint, api]);
    if let Seen::Present(namespaces) = &mut view.namespaces {
        let blog = Namespace {
            name: "blog".into(),
            ..namespaces[0].clone()
        };
        namespaces.push(blog);
    }
    let recorded = |name: &str, of: &[&str]| meshlift_model::record::RecordedWave {
        name: name.into(),
        namespaces: of.iter().map(|ns| (*ns).to_owned()).collect(),
    };
    let mut record = record();
    record.waves = vec![
        recorded("canary", &["shop"]),
        recorded("prod", &["blog"]),
        recorded("rest", &[]),
        recorded("gateways", &[]),
    ];
    let inputs = PlanInputs {
        now: now(),
        upgrade: &upgrade,
        view: &view,
        record: &record,
        hops: &[],
    };
    let text = plan(&inputs).expect("a plan").render(DiffStyle::None);
    let from = text.find("Namespaces that change").expect("namespaces");
    let to = text.find("Not moved").expect("what is not moved");
    let time = text.find("Time").expect("the time");
    assert_snapshot!(
        "plan_waves",
        format!("{}{}", &text[from..to], &text[time..])
    );
    let mut given = upgrade.clone();
    given.spec.approvals = vec!["prod".into()];
    let inputs = PlanInputs {
        upgrade: &given,
        ..inputs
    };
    let approved = plan(&inputs).expect("a plan");
    assert_eq!(approved.waves[1].approval, PlannedApproval::Given);
}

#[test]
fn a_plan_without_sight_is_none() {
    let (upgrade, mut view) = mesh();
    view.workloads = Seen::Unreadable("no answer".into());
    let refused = plan(&PlanInputs {
        now: now(),
        upgrade: &upgrade,
        view: &view,
        record: &record(),
        hops: &[],
    });
    assert!(refused.is_err_and(|why| why.contains("could be seen")));
}

#[test]
fn the_way_a_manifest_is_written_does_not_count() {
    let shuffled = "# Source: x\n---\n\n---\nkind: B\napiVersion: v1\nmetadata: {name: b}\n---\nmetadata:\n  name: a\nkind: A\napiVersion: v1\nlist: [1, 2]\n";
    let tidy = "apiVersion: v1\nkind: A\nlist:\n- 1\n- 2\nmetadata:\n  name: a\n---\napiVersion: v1\nkind: B\nmetadata:\n  name: b\n";
    assert_eq!(diff(shuffled, tidy, None), Ok(Vec::new()));
    assert_eq!(diff("", "", None), Ok(Vec::new()));
}

#[test]
fn objects_come_change_and_go() {
    let object = |name: &str, rest: &str| {
        format!("---\napiVersion: v1\nkind: K\nmetadata:\n  name: {name}\n{rest}")
    };
    let old = object("stays", "") + &object("changes", "x: 1\n") + &object("goes", "");
    let new = object("changes", "x: 2\n") + &object("comes", "") + &object("stays", "");
    let diffs = diff(&old, &new, None).expect("manifests");
    assert_eq!(summary(&diffs).to_string(), "1 added, 1 changed, 1 removed");
    let told: Vec<String> = diffs
        .iter()
        .map(|d| format!("{:?} {}", d.change, d.id))
        .collect();
    assert_eq!(
        told,
        [
            "Added v1 K comes",
            "Changed v1 K changes",
            "Removed v1 K goes"
        ]
    );
}

#[test]
fn a_secret_that_changes_is_told_and_not_shown() {
    let secret = |value: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  a: {value}\n")
    };
    let diffs = diff(&secret("b25l"), &secret("dHdv"), None).expect("manifests");
    assert_eq!(diffs.len(), 1);
    assert_eq!(diffs[0].text, "only hidden values change\n");
}

#[test]
fn rubbish_is_refused_without_quoting_it() {
    let error = diff("apiVersion: v1\n---\nx: [s3cret", "", None).expect_err("rubbish");
    assert_eq!(
        error.to_string(),
        "the old manifest is no YAML that Kubernetes takes (document 1)"
    );
    let error = diff("", "kind: K\nmetadata: {}", None).expect_err("no name");
    assert!(error.to_string().contains("the new manifest"), "{error}");
}

#[test]
fn a_plan_too_long_for_a_secret_leaves_out_the_lines_of_crds_first() {
    let (upgrade, mut view) = mesh();
    if let Seen::Present(diffs) = &mut view.diffs {
        diffs[0].objects[0].text = "+ a very long line\n".repeat(50_000);
    }
    let plan = planned_for(&upgrade, &view, &[version("1.31.0")]);
    let stored = plan.stored();
    assert!(stored.len() < 20_000, "{}", stored.len());
    assert!(stored.contains("49998 changed lines, too many to be kept here"));
    assert!(
        stored.contains("+        image: example.org/pilot:1.31.0"),
        "{stored}"
    );
}

#[test]
fn a_plan_says_when_it_may_begin() {
    let (mut upgrade, view) = mesh();
    let window = |start: &str| meshlift_api::Window {
        days: vec![meshlift_api::Day::Sat],
        start: start.into(),
        end: "04:00".into(),
        time_zone: "Europe/Berlin".into(),
    };
    upgrade.spec.windows = vec![window("22:00")];
    let plan = planned_for(&upgrade, &view, &[version("1.31.0")]);
    let begins = plan.begins.as_ref().expect("a window");
    assert_eq!(begins.at.to_string(), "2026-11-07T21:00:00Z");
    let text = plan.render(DiffStyle::None);
    let said = "Begins: not before its next maintenance window, Sat 2026-11-07 22:00 Europe/Berlin (2026-11-07 21:00:00 UTC).";
    assert!(text.contains(said), "{text}");
    // It is Monday, 03:00 in Berlin.
    upgrade.spec.windows[0].days = vec![meshlift_api::Day::Sun];
    assert_eq!(planned_for(&upgrade, &view, &[]).begins, None);
}
