//! Gateways that istiod renders and rolls by itself.

use meshlift_api::GatewayOrder;

use super::tags::{in_waves, revisioned, tag};
use super::*;

/// One Gateway that the default revision decides on, one in a namespace of workloads, one that follows a tag.
pub(super) fn edge(mut world: World) -> World {
    world.namespaces.push(namespace("edge", &[]));
    tag(&mut world, "prod", &[]);
    world.add_gateway("edge", "public", None);
    world.add_gateway("edge", "tagged", Some("prod"));
    world.add_gateway("shop", "inner", None);
    world
}

pub(super) fn ordered(name: &'static str, mut world: World, order: GatewayOrder) -> Story {
    in_waves(&mut world);
    edit(&mut world, |object| {
        object.spec.gateways.order = order;
        object.spec.accept_risks = vec!["GATEWAY-OUTAGE".into()];
    });
    story(name, world)
}

fn managed_gateways_last() -> Story {
    ordered(
        "managed_gateways_last",
        edge(revisioned()),
        GatewayOrder::Last,
    )
}

fn managed_gateways_of_the_default() -> Story {
    let world = edge(registered("1.31.0"));
    ordered("managed_gateways_of_the_default", world, GatewayOrder::Last)
}

fn managed_gateways_first() -> Story {
    ordered(
        "managed_gateways_first",
        edge(revisioned()),
        GatewayOrder::First,
    )
}

fn managed_gateways_left_alone() -> Story {
    let world = edge(registered("1.31.0"));
    ordered("managed_gateways_left_alone", world, GatewayOrder::None)
}

fn managed_gateways_go_back() -> Story {
    let world = edge(revisioned());
    let story = ordered("managed_gateways_go_back", world, GatewayOrder::Last);
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "a person asks to go back",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    )
}

fn managed_gateways_go_back_in_the_middle() -> Story {
    let world = edge(registered("1.31.0"));
    let name = "managed_gateways_go_back_in_the_middle";
    let story = ordered(name, world, GatewayOrder::Last);
    with(
        story,
        When::Once(|world| {
            world
                .gateways
                .iter()
                .any(|g| g.moved_to.as_deref() == Some("1-31-0"))
        }),
        "a person asks to go back",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    )
}

fn managed_gateway_does_not_come_up() -> Story {
    let mut world = edge(revisioned());
    edit(&mut world, |object| {
        // Longer than any watch of the simulator lags.
        object.spec.data_plane.restart.timeout = duration(300);
    });
    let story = ordered(
        "managed_gateway_does_not_come_up",
        world,
        GatewayOrder::Last,
    );
    let story = with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 0),
        "the image of the gateway goes away",
        |world| {
            world.app("public-istio").breaks =
                Some("container istio-proxy: ImagePullBackOff".into());
        },
    );
    with(
        story,
        When::Once(|world| {
            let object = world.object.as_ref();
            object.is_some_and(|object| object.status.rollback.is_some())
        }),
        "the image is there again",
        |world| world.app("public-istio").breaks = None,
    )
}

fn managed_gateway_of_git() -> Story {
    let mut world = edge(revisioned());
    world.add_gateway("edge", "by-git", Some(super::tags::OLD));
    world.gateway("by-git").owner = Some("argocd-controller".into());
    let story = ordered("managed_gateway_of_git", world, GatewayOrder::Last);
    with(
        story,
        When::Once(|world| {
            let object = world.object.as_ref();
            object.is_some_and(|object| object.status.message.contains("(Git?)"))
        }),
        "Argo CD applies the label as it was committed",
        |world| world.gateway("by-git").label = Some("1-31-0".into()),
    )
}

pub fn all() -> Vec<Story> {
    vec![
        managed_gateways_last(),
        managed_gateways_of_the_default(),
        managed_gateways_first(),
        managed_gateways_left_alone(),
        managed_gateways_go_back(),
        managed_gateways_go_back_in_the_middle(),
        managed_gateway_does_not_come_up(),
        managed_gateway_of_git(),
    ]
}
