use super::*;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

#[derive(Debug, PartialEq)]
struct Version(String);

impl Fact<ConfigMap> for Version {
    fn of(object: &ConfigMap) -> Option<Self> {
        object.metadata.resource_version.clone().map(Version)
    }
}

fn object(name: &str, version: &str) -> ConfigMap {
    let metadata = ObjectMeta {
        name: Some(name.into()),
        resource_version: Some(version.into()),
        ..ObjectMeta::default()
    };
    ConfigMap {
        metadata,
        ..ConfigMap::default()
    }
}

#[test]
fn nothing_is_absent_before_everything_was_listed() {
    let table = Table::<Version>::default();
    assert!(matches!(table.get(None, "a"), Seen::Unreadable(_)));
    table.take::<ConfigMap>(&Event::Init);
    table.take(&Event::InitApply(object("a", "5")));
    assert!(matches!(table.get(None, "a"), Seen::Unreadable(_)));
    table.take::<ConfigMap>(&Event::InitDone);
    assert_eq!(
        table.get(None, "a"),
        Seen::Present(Arc::new(Version("5".into())))
    );
    assert_eq!(table.get(None, "b"), Seen::Absent);
}

#[test]
fn an_event_older_than_our_own_write_is_passed_over() {
    let table = Table::<Version>::default();
    table.take::<ConfigMap>(&Event::Init);
    table.take::<ConfigMap>(&Event::InitDone);
    table.wrote(object("a", "10"));
    assert!(!table.take(&Event::Apply(object("a", "9"))));
    assert_eq!(
        table.get(None, "a"),
        Seen::Present(Arc::new(Version("10".into())))
    );
    assert!(table.take(&Event::Apply(object("a", "11"))));
}

#[test]
fn what_was_deleted_while_we_wrote_to_it_does_not_come_back() {
    let table = Table::<Version>::default();
    table.take::<ConfigMap>(&Event::Init);
    table.take(&Event::InitApply(object("a", "5")));
    table.take::<ConfigMap>(&Event::InitDone);
    table.take(&Event::Delete(object("a", "7")));
    table.wrote(object("a", "6"));
    assert_eq!(table.get(None, "a"), Seen::Absent);
    table.wrote(object("a", "8"));
    assert_eq!(
        table.get(None, "a"),
        Seen::Present(Arc::new(Version("8".into())))
    );
}

#[test]
fn a_new_list_forgets_what_went_meanwhile() {
    let table = Table::<Version>::default();
    table.take::<ConfigMap>(&Event::Init);
    table.take(&Event::InitApply(object("a", "1")));
    table.take::<ConfigMap>(&Event::InitDone);
    table.take::<ConfigMap>(&Event::Init);
    table.take(&Event::InitApply(object("b", "2")));
    table.take::<ConfigMap>(&Event::InitDone);
    assert_eq!(table.get(None, "a"), Seen::Absent);
}

#[test]
fn a_kind_that_is_not_installed_is_empty_only_for_who_asks_for_it() {
    let table = Table::<Version>::default();
    assert_eq!(table.standing(), Standing::Listing(None));
    assert!(table.lost("404".into(), Some(Refusal::NotInstalled)));
    assert_eq!(table.standing(), Standing::NotInstalled);
    assert!(matches!(table.get(None, "a"), Seen::Unreadable(_)));
    table.empty_if_not_installed();
    assert_eq!(table.get(None, "a"), Seen::Absent);
}

#[test]
fn a_kind_whose_crd_goes_is_empty_and_that_is_news_once() {
    let table = Table::<Version>::default();
    assert!(table.none());
    assert!(!table.none());
    table.take::<ConfigMap>(&Event::Init);
    table.take(&Event::InitApply(object("a", "5")));
    table.take::<ConfigMap>(&Event::InitDone);
    assert!(table.none());
    assert_eq!(table.get(None, "a"), Seen::Absent);
}

#[test]
fn what_may_not_be_listed_is_never_empty() {
    let table = Table::<Version>::default();
    table.lost("may not list".into(), Some(Refusal::Forbidden));
    assert_eq!(table.standing(), Standing::Forbidden("may not list".into()));
    table.empty_if_not_installed();
    assert!(matches!(table.get(None, "a"), Seen::Unreadable(_)));
    table.lost("connection reset".into(), None);
    assert_eq!(
        table.standing(),
        Standing::Listing(Some("connection reset".into()))
    );
}

impl<F> Table<F> {
    /// As if so much time had passed since the watch was last heard.
    fn silent_for(&self, time: Duration) {
        let mut inner = self.write();
        inner.heard = inner.heard.and_then(|at| at.checked_sub(time));
    }
}

fn listed(objects: &[(&str, &str)]) -> Table<Version> {
    let table = Table::<Version>::default();
    list(&table, objects, 0);
    table
}

fn list(table: &Table<Version>, objects: &[(&str, &str)], snapshot: u64) {
    table.take::<ConfigMap>(&Event::Init);
    for (name, version) in objects {
        table.take(&Event::InitApply(object(name, version)));
    }
    table.snapshot(snapshot);
    table.take::<ConfigMap>(&Event::InitDone);
}

#[test]
fn a_silent_watch_makes_its_table_unreadable_until_it_is_heard() {
    let table = listed(&[("a", "5")]);
    table.silent_for(SILENT - Duration::from_secs(2));
    assert!(matches!(table.get(None, "a"), Seen::Present(_)));
    table.silent_for(Duration::from_secs(4));
    let why = "nothing was heard from its watch for more than 90 s";
    assert_eq!(table.get(None, "a"), Seen::Unreadable(why.into()));
    assert_eq!(table.all(), Seen::Unreadable(why.into()));
    assert_eq!(table.fold(0, |n, _| n + 1), Seen::Unreadable(why.into()));
    assert_eq!(table.health().blind.as_deref(), Some(why));
    table.heard();
    assert!(matches!(table.all(), Seen::Present(all) if all.len() == 1));
}

#[test]
fn a_watch_that_was_lost_has_little_time_to_come_back() {
    let table = listed(&[("a", "5")]);
    table.lost("connection refused".into(), None);
    assert!(table.blind().is_none(), "an API server that restarts");
    table.silent_for(LOST + Duration::from_secs(1));
    let why = "its watch was lost: connection refused";
    assert_eq!(table.get(None, "b"), Seen::Unreadable(why.into()));
    // Once it is back, what it said last counts for nothing.
    table.heard();
    table.silent_for(LOST + Duration::from_secs(1));
    assert_eq!(table.get(None, "b"), Seen::Absent);
    assert_eq!(table.health().errors, 1);
}

#[test]
fn a_kind_that_is_not_served_is_never_stale() {
    let table = listed(&[("a", "5")]);
    table.silent_for(SILENT * 2);
    table.none();
    assert_eq!(table.get(None, "a"), Seen::Absent);
    assert_eq!(table.health().silence, None);
}

#[test]
fn a_list_does_not_undo_what_we_wrote_while_it_was_taken() {
    let table = listed(&[("a", "5"), ("b", "6")]);
    table.take::<ConfigMap>(&Event::Init);
    table.take(&Event::InitApply(object("a", "5")));
    table.take(&Event::InitApply(object("b", "6")));
    table.wrote(object("a", "11"));
    table.wrote(object("new", "12"));
    table.wrote(object("deleted", "8"));
    table.snapshot(10);
    table.take::<ConfigMap>(&Event::InitDone);
    let version = |name| table.get(None, name);
    assert_eq!(version("a"), Seen::Present(Arc::new(Version("11".into()))));
    assert_eq!(
        version("new"),
        Seen::Present(Arc::new(Version("12".into())))
    );
    assert_eq!(version("deleted"), Seen::Absent, "the list is newer");
    // The next list began after that write: what it does not have is gone.
    list(&table, &[("b", "6")], 20);
    assert_eq!((version("a"), version("new")), (Seen::Absent, Seen::Absent));
}

#[test]
fn an_object_that_cannot_be_decoded_is_unreadable_and_the_others_are_not() {
    let bad = |version: &str| {
        Arc::new(Undecoded {
            kind: "ConfigMap".into(),
            metadata: object("bad", version).metadata,
            why: "data: invalid type".into(),
            mesh: None,
            status: serde_json::Value::Null,
        })
    };
    let table = listed(&[("bad", "4"), ("good", "5")]);
    table.undecoded(&bad("6"), false);
    let unreadable = Seen::Unreadable("data: invalid type".into());
    assert_eq!(table.get(None, "bad"), unreadable);
    assert!(matches!(table.all(), Seen::Present(all) if all.len() == 1));
    assert_eq!(table.all_undecoded(), [bad("6")]);
    // Mended, and spoiled again before a list.
    assert!(table.take(&Event::Apply(object("bad", "7"))));
    assert!(table.all_undecoded().is_empty());
    table.take::<ConfigMap>(&Event::Init);
    table.undecoded(&bad("8"), true);
    assert!(
        table.all_undecoded().is_empty(),
        "the list is not whole yet"
    );
    table.take::<ConfigMap>(&Event::InitDone);
    assert_eq!(table.get(None, "bad"), unreadable);
    table.gone(None, "bad");
    assert_eq!(table.get(None, "bad"), Seen::Absent);
}
