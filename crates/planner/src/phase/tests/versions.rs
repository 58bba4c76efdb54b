//! Versions beside revisions: what is called 1-31-0 is not 1.31.0 for that.

use std::sync::Arc;

use super::*;

fn reported(view: &mut MeshView, build: (u32, u32, u32)) {
    planes(view)[1].live = Seen::Present(LiveCounters {
        build: Some(build),
        ..LiveCounters::default()
    });
}

type Change = fn(&mut MeshView);

const DIGEST: &str = "example.org/pilot@sha256:11";

#[test]
fn an_istiod_of_another_version_is_not_proved() {
    let spoils: [(&str, Spoil); 3] = [
        (
            "runs image example.org/pilot:1.30.2, which is 1.30.2",
            |_, v| {
                planes(v)[1].image = "example.org/pilot:1.30.2".into();
            },
        ),
        ("reports that it is 1.30.2 and not 1.31.0", |_, v| {
            planes(v)[1].image = DIGEST.into();
            reported(v, (1, 30, 2));
        }),
        // A mirror put the old image under the new tag.
        ("reports that it is 1.30.2 and not 1.31.0", |_, v| {
            reported(v, (1, 30, 2));
        }),
    ];
    for (sentence, spoil) in spoils {
        let (on, reason) = (WaitingOn::ControlPlane, "WaitingForControlPlane");
        waits(Phase::Upgrading, on, reason, sentence, spoil);
    }
}

#[test]
fn an_istiod_of_the_target_is_proved_by_what_is_known() {
    let spoils: [Change; 4] = [
        |_| (),
        |v| planes(v)[1].image = "example.org/pilot:1.31.0-distroless".into(),
        |v| {
            planes(v)[1].image = DIGEST.into();
            reported(v, (1, 31, 0));
        },
        // Nobody can tell; the end says so.
        |v| {
            planes(v)[1].image = DIGEST.into();
            planes(v)[1].live = why();
        },
    ];
    for spoil in spoils {
        let mut view = moved();
        spoil(&mut view);
        let next = decide(now(), &upgrade(Phase::Upgrading), &view).next;
        assert_eq!(next, Next::Enter(Phase::HealthChecking));
    }
}

/// The end of an upgrade whose old control plane is gone.
fn end(spoil: impl FnOnce(&mut MeshView)) -> (Next, String) {
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut view = moved();
    retiring(&mut upgrade, &mut view);
    planes(&mut view).remove(0);
    releases(&mut view).retain(|release| release.name != "istiod");
    spoil(&mut view);
    let decision = decide(now(), &upgrade, &view);
    (decision.next, decision.report.message)
}

fn image(view: &mut MeshView, image: &str) {
    for pod in &mut cart(view).pods {
        Arc::make_mut(pod).proxy_image = Some(image.into());
    }
}

#[test]
fn it_is_not_done_with_sidecars_of_another_version() {
    let (next, message) = end(|view| image(view, "example.org/proxyv2:1.30.2"));
    assert_eq!(next, Next::Enter(Phase::Failed));
    assert!(
        message.contains("of another version than 1.31.0: Deployment shop/cart"),
        "{message}"
    );
}

#[test]
fn what_nothing_tells_and_what_is_chosen_is_named_at_the_end() {
    let (next, message) = end(|view| image(view, "example.org/proxyv2:1.31.0"));
    assert_eq!(next, Next::Enter(Phase::Done));
    let plain =
        "the mesh is at 1.31.0; every workload runs its sidecar and the old control plane is gone";
    assert_eq!(message, plain);
    let spoils: [(&str, Change); 4] = [
        (
            "images of some sidecars do not say their version (pods: 1)",
            |v| {
                image(v, "example.org/proxyv2@sha256:22");
            },
        ),
        (
            "name a proxy image of their own keep it (1, see status.blocked)",
            |v| {
                cart(v).own_proxy_image = true;
                image(v, "example.org/proxyv2:1.30.2");
            },
        ),
        ("nor its metrics say its version", |v| {
            planes(v)[0].image = DIGEST.into()
        }),
        (
            "istio-base, which holds the CRDs, is of 1.30.2 and not of 1.31.0",
            |v| {
                releases(v)[0].version = Some(version("1.30.2"));
            },
        ),
    ];
    for (sentence, spoil) in spoils {
        let (next, message) = end(spoil);
        assert_eq!(next, Next::Enter(Phase::Done), "{message}");
        assert!(message.contains(sentence), "{message}");
    }
}

#[test]
fn a_mesh_upgraded_in_place_is_renewed_where_most_of_it_is_old() {
    let in_place = || {
        let mut view = before();
        planes(&mut view)[0] = istiod("default", "1.31.0");
        for release in releases(&mut view) {
            release.version = Some(version("1.31.0"));
        }
        view.environment = surrounded().environment;
        view
    };
    let decide = |view: &MeshView, accepted: &[&str]| {
        let mut upgrade = upgrade(Phase::Detecting);
        upgrade.spec.accept_risks = accepted.iter().map(|code| (*code).to_owned()).collect();
        decide(now(), &upgrade, view)
    };
    let mut old = in_place();
    image(&mut old, "example.org/proxyv2:1.30.2");
    let decision = decide(&old, &[]);
    let Next::Record(record) = &decision.next else {
        panic!("{:?}: {}", decision.next, decision.report.message)
    };
    assert_eq!(record.source_revision, "default");
    assert_eq!(record.target_revision, TARGET);
    assert_eq!(record.source.version, record.target_version);
    let accepted = decide(&old, &["SIDECARS-BEHIND"]);
    assert_eq!(accepted.next, Next::Enter(Phase::Done));
    assert!(accepted.report.message.ends_with("as accepted"));

    // Its revision is taken by itself: nothing can be put beside it.
    let mut same = in_place();
    *planes(&mut same) = vec![istiod(TARGET, "1.31.0")];
    *cart(&mut same) = workload("cart", TARGET);
    image(&mut same, "example.org/proxyv2:1.30.2");
    let decision = decide(&same, &[]);
    assert!(matches!(&decision.next, Next::Wait(w) if w.on == WaitingOn::Environment));

    let mut unknown = in_place();
    image(&mut unknown, "example.org/proxyv2@sha256:22");
    let decision = decide(&unknown, &[]);
    assert_eq!(decision.next, Next::Enter(Phase::Done));
    assert!(decision.report.message.contains("do not say their version"));
}
