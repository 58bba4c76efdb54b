//! What others own or say beside Helm: releases of Flux, a default validator that a person pointed, values that name the
//! old Service, sidecars in templates, injection by default.

use meshlift_model::view::{HelmRelease, InjectionRule, Seen};

use super::tags::revisioned;
use super::*;

fn flux(suspended: bool) -> Seen<Vec<HelmRelease>> {
    let of = |name: &str| HelmRelease {
        namespace: "istio-system".into(),
        name: name.into(),
        release: format!("istio-system/{name}"),
        suspended,
    };
    Seen::Present(vec![of("istio-base"), of("istiod")])
}

fn releases_of_flux() -> Story {
    let mut world = registered("1.31.0");
    world.environment.helm_releases = flux(false);
    let story = story("releases_of_flux", world);
    with(
        story,
        When::After(60),
        "a person suspends both HelmReleases",
        |world| world.environment.helm_releases = flux(true),
    )
}

/// `istioctl tag set default` pointed the validator at the running revision, and no values of Helm say so.
fn tagged_default() -> World {
    let mut world = revisioned();
    let base = world.helm.find("istio-base").expect("the release");
    base.revisions[0].values.clear();
    world
}

fn a_validator_pointed_by_hand_stays() -> Story {
    story("a_validator_pointed_by_hand_stays", tagged_default())
}

fn a_validator_pointed_by_hand_goes_back() -> Story {
    let mut world = tagged_default();
    edit(&mut world, |object| {
        object.spec.retire.after = duration(600)
    });
    let story = story("a_validator_pointed_by_hand_goes_back", world);
    with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 10),
        "a person asks for the way back",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    )
}

fn a_value_names_the_old_service() -> Story {
    let mut world = registered("1.31.0");
    let istiod = world.helm.find("istiod").expect("the release");
    let of = json!({
        "global": { "caAddress": "istiod.istio-system.svc:15012" },
        "autoscaleMin": 2,
    });
    istiod.revisions[0].values = object(of);
    let story = story("a_value_names_the_old_service", world);
    with(
        story,
        When::After(60),
        "a person accepts SERVICE-NAMED",
        |world| {
            edit_spec(world, |spec| {
                spec.accept_risks = vec!["SERVICE-NAMED".into()];
            });
        },
    )
}

fn a_sidecar_in_the_template() -> Story {
    let mut world = registered("1.31.0");
    let mut app = App::new(WorkloadKind::Deployment, "shop", "legacy", 1);
    app.sidecar_in_template = Some("default".into());
    add(&mut world, app);
    story("a_sidecar_in_the_template", world)
}

fn injected_by_default() -> Story {
    let mut world = registered("1.31.0");
    world.environment.injectors = Seen::Present(vec![InjectionRule {
        configuration: "istio-sidecar-injector".into(),
        webhook: "auto.sidecar-injector.istio.io".into(),
        revision: Some("default".into()),
        service: Some("istio-system/istiod".into()),
        service_exists: true,
        ..InjectionRule::default()
    }]);
    let story = story("injected_by_default", world);
    with(
        story,
        When::After(60),
        "a person switches injection by default off",
        |world| world.environment.injectors = Seen::Present(Vec::new()),
    )
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        releases_of_flux(),
        a_validator_pointed_by_hand_stays(),
        a_validator_pointed_by_hand_goes_back(),
        a_value_names_the_old_service(),
        a_sidecar_in_the_template(),
        injected_by_default(),
    ]
}
