//! Revision tags, and labels and tags that Git owns.

use meshlift_api::{Move, NamespaceSelector, Wave};

use super::*;

pub(super) const OLD: &str = "1-30-2";

/// Istio 1.30.2 by Helm as revision 1-30-2, and the shop bound to it.
pub(super) fn revisioned() -> World {
    let mut world = registered("1.31.0");
    let mut istiod = Istiod::helm(OLD, "istiod-1-30-2", &version("1.30.2"), 2);
    istiod.ready_at = Some(start());
    world.istiods = vec![istiod];
    if let Some(validator) = &mut world.validator {
        validator.service = format!("istiod-{OLD}");
    }
    let base = json!({ "defaultRevision": OLD });
    let istiod = json!({ "revision": OLD, "autoscaleMin": 2 });
    world.helm.releases = vec![
        release("istio-base", "base", "1.30.2", base),
        release("istiod-1-30-2", "istiod", "1.30.2", istiod),
    ];
    world.settle();
    world.now = start() + seconds(4);
    world.settle();
    for name in ["shop", "blog"] {
        world.namespace(name).labels = labels(&[("istio.io/rev", OLD)]);
    }
    for member in world.apps.iter_mut().flat_map(|app| &mut app.pods) {
        member.pod_mut().revision = Some(OLD.into());
    }
    world
}

/// A tag that namespaces follow.
pub(super) fn tag(world: &mut World, name: &str, namespaces: &[&str]) {
    let source = world.istiods[0].plane.revision.clone();
    world.tags.push(Tag {
        name: name.into(),
        revision: source,
        namespace: "istio-system".into(),
        configuration: format!("istio-revision-tag-{name}"),
        uid: format!("uid-{name}"),
        resource_version: "1".into(),
        ..Tag::default()
    });
    for namespace in namespaces {
        world.namespace(namespace).labels = labels(&[("istio.io/rev", name)]);
    }
}

/// The blog goes first.
pub(super) fn in_waves(world: &mut World) {
    edit(world, |object| {
        object.spec.data_plane.waves = vec![Wave {
            name: "canary".into(),
            namespaces: NamespaceSelector {
                names: vec!["blog".into()],
                ..NamespaceSelector::default()
            },
            soak: Some(duration(10)),
            ..Wave::default()
        }];
    });
}

/// Somebody else points a tag.
fn pointed(world: &mut World, name: &str, revision: &str) {
    let serial = world.next_serial();
    let mut tags = world.tags.iter_mut();
    let tag = tags.find(|tag| tag.name == name).expect("the tag");
    tag.revision = revision.into();
    tag.resource_version = serial.to_string();
}

fn waits_for_git(world: &World) -> bool {
    let object = world.object.as_ref();
    object.is_some_and(|object| object.status.message.contains("(Git?)"))
}

fn tag_in_one_wave() -> Story {
    let mut world = registered("1.31.0");
    tag(&mut world, "prod", &["shop"]);
    tag(&mut world, "spare", &[]);
    story("tag_in_one_wave", world)
}

fn tag_over_two_waves() -> Story {
    let mut world = revisioned();
    tag(&mut world, "prod", &["shop", "blog"]);
    in_waves(&mut world);
    story("tag_over_two_waves", world)
}

fn tag_goes_back_between_waves() -> Story {
    let mut world = revisioned();
    tag(&mut world, "prod", &["shop", "blog"]);
    tag(&mut world, "other", &[]);
    in_waves(&mut world);
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    story("tag_goes_back_between_waves", world)
}

fn tag_left_to_labels() -> Story {
    let mut world = revisioned();
    tag(&mut world, "prod", &["shop"]);
    edit(&mut world, |object| {
        object.spec.data_plane.by = Move::Labels;
    });
    story("tag_left_to_labels", world)
}

/// The tag keeps the old control plane: without it, its webhook would refuse every pod. While no tag can be seen,
/// nothing may be removed.
fn tags_unreadable_when_the_old_goes() -> Story {
    let mut story = tag_left_to_labels();
    story.name = "tags_unreadable_when_the_old_goes";
    let kept = |seconds| {
        When::Reached(
            Phase::HealthChecking,
            Some(Step::KeepingOldControlPlane),
            seconds,
        )
    };
    let story = with(story, kept(10), "the list of webhooks fails", |world| {
        let why = "etcdserver: request timed out";
        world.unreadable.insert("tags", why.into());
    });
    with(story, kept(200), "the webhooks are listed again", |world| {
        world.unreadable.clear();
    })
}

fn tag_of_git() -> Story {
    let mut world = registered("1.31.0");
    tag(&mut world, "prod", &["shop"]);
    world.tags[0].owner = Some("kustomize-controller".into());
    let story = story("tag_of_git", world);
    with(
        story,
        When::Once(waits_for_git),
        "Flux applies the tag as it was committed",
        |world| pointed(world, "prod", "1-31-0"),
    )
}

fn label_of_git() -> Story {
    let mut world = registered("1.31.0");
    world.namespace("shop").label_owner = Some("argocd-controller".into());
    let story = story("label_of_git", world);
    with(
        story,
        When::Once(waits_for_git),
        "Argo CD applies the label as it was committed",
        |world| world.namespace("shop").labels = labels(&[("istio.io/rev", "1-31-0")]),
    )
}

fn label_of_git_goes_back() -> Story {
    let mut world = registered("1.31.0");
    world.namespace("shop").label_owner = Some("argocd-controller".into());
    let story = story("label_of_git_goes_back", world);
    let story = with(
        story,
        When::Once(waits_for_git),
        "Argo CD applies the label as it was committed",
        |world| world.namespace("shop").labels = labels(&[("istio.io/rev", "1-31-0")]),
    );
    let story = with(
        story,
        When::Once(|world| marked(world, "cart")),
        "a person asks to go back",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    );
    with(
        story,
        When::Once(|world| {
            let back = world
                .object
                .as_ref()
                .is_some_and(|o| o.status.rollback.is_some());
            back && waits_for_git(world)
        }),
        "Argo CD applies the label as it was before",
        |world| world.namespace("shop").labels = labels(&[("istio-injection", "enabled")]),
    )
}

fn moved_by_others() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.by = Move::None;
    });
    let story = story("moved_by_others", world);
    with(
        story,
        When::Once(waits_for_git),
        "somebody moves both namespaces",
        |world| {
            for name in ["shop", "blog"] {
                world.namespace(name).labels = labels(&[("istio.io/rev", "1-31-0")]);
            }
        },
    )
}

/// A namespace without any sidecar cannot lose one, and is told how to get some.
fn namespace_asks_for_what_is_gone() -> Story {
    let mut story = moved_by_others();
    story.name = "namespace_asks_for_what_is_gone";
    with(
        story,
        When::Once(|world| world.istiods.iter().all(|i| i.plane.revision != "default")),
        "namespace late appears, labelled as before",
        |world| {
            let late = namespace("late", &[("istio-injection", "enabled")]);
            world.namespaces.push(late);
        },
    )
}

fn tag_of_the_old_release() -> Story {
    let mut world = revisioned();
    tag(&mut world, "prod", &["shop", "blog"]);
    world.tags[0].helm_release = Some("istio-system/istiod-1-30-2".into());
    let release = world.helm.find("istiod-1-30-2").expect("the release");
    let values = &mut release.revisions[0].values;
    values.insert("revisionTags".into(), json!(["prod"]));
    story("tag_of_the_old_release", world)
}

/// The tag has a namespace that is left out, so it stays; the label of the other one is Git's.
fn label_of_git_on_a_tag_that_stays() -> Story {
    let mut world = revisioned();
    tag(&mut world, "prod", &["shop", "blog"]);
    world.namespace("shop").label_owner = Some("argocd-controller".into());
    let legacy = [("istio.io/rev", "prod"), ("team", "legacy")];
    world.namespace("blog").labels = labels(&legacy);
    edit(&mut world, |object| {
        object.spec.data_plane.exclude = Some(LabelSelector {
            match_labels: Some(labels(&legacy[1..])),
            ..LabelSelector::default()
        });
    });
    let story = story("label_of_git_on_a_tag_that_stays", world);
    with(
        story,
        When::Once(waits_for_git),
        "Argo CD applies the label as it was committed",
        |world| world.namespace("shop").labels = labels(&[("istio.io/rev", "1-31-0")]),
    )
}

pub fn all() -> Vec<Story> {
    vec![
        tag_in_one_wave(),
        tag_over_two_waves(),
        tag_goes_back_between_waves(),
        tag_left_to_labels(),
        tags_unreadable_when_the_old_goes(),
        tag_of_git(),
        label_of_git(),
        label_of_git_goes_back(),
        moved_by_others(),
        namespace_asks_for_what_is_gone(),
        tag_of_the_old_release(),
        label_of_git_on_a_tag_that_stays(),
    ]
}
