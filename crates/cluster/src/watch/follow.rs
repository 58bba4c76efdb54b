//! Lists a kind and watches it, without an end.
//!
//! Like the watcher of kube, and different in three things that decide whether what is seen can be trusted: every
//! object is decoded by itself; bookmarks and the regular end of a watch are heard, so that a quiet table can be
//! told from a dead one; and every request has an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::api::{Api, ListParams, WatchParams};
use kube::core::WatchEvent;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use super::guarded::Guarded;
use super::settle::{refusal, words};
use super::sink::Sink;
use super::table::Refusal;

/// The API server ends a watch after so many seconds, and it is begun again: silence is noticed within this and
/// [`LATE`].
const SECONDS: u32 = 60;
const WATCH: Duration = Duration::from_secs(SECONDS as u64);
/// How late the end of a watch may be.
const LATE: Duration = Duration::from_secs(10);
/// A page of a list, and the answer to a watch, must come within this.
const ANSWER: Duration = Duration::from_secs(60);
/// What the API server sends at once when a watch is resumed has come after this.
const REPLAY: Duration = Duration::from_secs(1);
/// A page is what is in memory at once while listing.
const PAGE: u32 = 100;
/// From here on pages are larger: 100,000 pods in pages of 100 take longer than etcd keeps the revision they are of,
/// and the list would begin again without end.
const MANY: usize = 10_000;
const LARGE_PAGE: u32 = 1_000;

/// What is watched of a kind.
#[derive(Clone, Default)]
pub(super) struct Selection {
    pub(super) labels: Option<&'static str>,
    pub(super) fields: Option<String>,
}

/// A kind, and where what is heard of it goes.
pub(super) struct Feed<K, S> {
    pub(super) api: Api<Guarded<K>>,
    pub(super) selection: Selection,
    pub(super) sink: S,
    pub(super) bell: Arc<watch::Sender<u64>>,
}

/// How a watch ended.
enum Ended {
    /// As agreed: it is begun again where it ended.
    Regularly,
    /// What it would go on from is no longer known.
    Expired,
    /// It failed.
    Failed(kube::Error),
    /// Nothing was heard of it.
    Silent,
}

impl<K, S> Feed<K, S>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    S: Sink<K>,
{
    /// Keeps the sink equal to what the API server has. Returns when that does not serve the kind.
    pub(super) async fn until_not_served(&self) {
        let mut pause = Pause::default();
        loop {
            match self.list().await {
                Ok(version) => {
                    pause = Pause::default();
                    self.watch(version).await;
                }
                Err(error) => {
                    let refused = error.as_ref().and_then(refusal);
                    self.lost(error.as_ref(), refused);
                    if refused == Some(Refusal::NotInstalled) {
                        return;
                    }
                    pause.sleep().await;
                }
            }
        }
    }

    /// Lists everything; the resource version that a watch goes on from. An error is none when no answer came.
    async fn list(&self) -> Result<String, Option<kube::Error>> {
        self.take(&Event::Init);
        let mut parameters = ListParams {
            label_selector: self.selection.labels.map(str::to_owned),
            field_selector: self.selection.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut count = 0;
        loop {
            let page = match timeout(ANSWER, self.api.list(&parameters)).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => return Err(Some(error)),
                Err(_) => return Err(None),
            };
            count += page.items.len();
            for object in page.items {
                match object {
                    Guarded::Decoded(object) => self.take(&Event::InitApply(object)),
                    Guarded::Undecoded(object) => self.sink.undecoded(&object, true),
                }
            }
            let token = page.metadata.continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                let version = page.metadata.resource_version.unwrap_or_default();
                self.sink.snapshot(version.parse().unwrap_or_default());
                self.take(&Event::InitDone);
                return Ok(version);
            }
            parameters.continue_token = token;
            if count >= MANY {
                parameters.limit = Some(LARGE_PAGE);
            }
        }
    }

    /// Watches from a resource version on; returns when everything has to be listed again.
    async fn watch(&self, mut version: String) {
        let mut pause = Pause::default();
        loop {
            // What was not seen for so long is read as a whole: replayed, old events would pass for the present.
            if self.sink.is_blind() {
                return;
            }
            let began = Instant::now();
            match self.events(&mut version).await {
                Ended::Regularly => {
                    self.sink.heard();
                    if began.elapsed() > REPLAY {
                        pause = Pause::default();
                        continue;
                    }
                }
                Ended::Expired => return,
                Ended::Failed(error) => self.lost(Some(&error), None),
                Ended::Silent => self.lost(None, None),
            }
            pause.sleep().await;
        }
    }

    /// Takes the events of one watch.
    async fn events(&self, version: &mut String) -> Ended {
        let mut parameters = WatchParams::default().timeout(SECONDS);
        parameters.label_selector = self.selection.labels.map(str::to_owned);
        parameters.field_selector.clone_from(&self.selection.fields);
        let opened = timeout(ANSWER, self.api.watch(&parameters, version)).await;
        let mut events = match opened {
            Ok(Ok(events)) => events.boxed(),
            Ok(Err(error)) => return failed(error),
            Err(_) => return Ended::Silent,
        };
        // The first silence only shows that all that happened meanwhile has come.
        let mut patience = REPLAY;
        loop {
            let event = match timeout(patience, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return failed(error),
                Ok(None) => return Ended::Regularly,
                Err(_) if patience == REPLAY => {
                    patience = WATCH + LATE;
                    self.sink.heard();
                    continue;
                }
                Err(_) => return Ended::Silent,
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    *version = object.resource_version().unwrap_or_default();
                    match object {
                        Guarded::Decoded(object) => self.take(&Event::Apply(object)),
                        Guarded::Undecoded(object) => {
                            self.sink.undecoded(&object, false);
                            self.ring();
                        }
                    }
                }
                WatchEvent::Deleted(object) => {
                    *version = object.resource_version().unwrap_or_default();
                    match object {
                        Guarded::Decoded(object) => self.take(&Event::Delete(object)),
                        Guarded::Undecoded(object) => {
                            self.sink.deleted(&object.metadata);
                            self.ring();
                        }
                    }
                }
                WatchEvent::Bookmark(bookmark) => {
                    version.clone_from(&bookmark.metadata.resource_version);
                }
                WatchEvent::Error(status) => return failed(kube::Error::Api(status)),
            }
            self.sink.heard();
        }
    }

    fn take(&self, event: &Event<K>) {
        if self.sink.take(event) {
            self.ring();
        }
    }

    fn lost(&self, error: Option<&kube::Error>, refused: Option<Refusal>) {
        let why = error.map_or_else(|| "the API server sends nothing".to_owned(), words);
        tracing::warn!(kind = %K::kind(&()), error = why, "watch");
        if self.sink.lost(&why, refused) {
            self.ring();
        }
    }

    /// Wakes those who wait for a change.
    pub(super) fn ring(&self) {
        self.bell
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn failed(error: kube::Error) -> Ended {
    match &error {
        kube::Error::Api(status) if status.code == 410 => Ended::Expired,
        _ => Ended::Failed(error),
    }
}

/// How long until the next try: twice as long each time, up to a bound, and never the same for two watches, which
/// would all come back at once after a restart of the API server.
struct Pause {
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            next: Duration::from_millis(800),
        }
    }
}

impl Pause {
    const LONGEST: Duration = Duration::from_secs(30);

    async fn sleep(&mut self) {
        let nanos = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.subsec_nanos());
        let part = f64::from(nanos % 1_000) / 2_000.0;
        tokio::time::sleep(self.next.mul_f64(0.75 + part)).await;
        self.next = (self.next * 2).min(Self::LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use meshlift_api::MeshUpgrade;
    use meshlift_model::view::Seen;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;
    use crate::watch::Table;

    fn upgrade(name: &str, version: u64, after: &str) -> Value {
        json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
            "metadata": { "name": name, "uid": name, "resourceVersion": version.to_string() },
            "spec": { "targetVersion": "1.31.0", "retire": { "after": after } },
        })
    }

    fn page(items: &[Value], version: u64, next: &str) -> String {
        json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgradeList",
            "metadata": { "resourceVersion": version.to_string(), "continue": next },
            "items": items,
        })
        .to_string()
    }

    fn event(kind: &str, object: &Value) -> String {
        format!("{}\n", json!({ "type": kind, "object": object }))
    }

    type Upgrades = Feed<MeshUpgrade, Arc<Table<MeshUpgrade>>>;
    type Asked = Arc<Mutex<Vec<String>>>;

    /// A feed of an API server that gives these answers in turn, and then none.
    fn feed(answers: Vec<(u16, String)>) -> (Upgrades, Asked) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let log = Arc::clone(&asked);
        let client = Client::new(
            service_fn(move |request: Request<Body>| {
                let uri = request.uri().to_string();
                log.lock().expect("a log").push(uri);
                let answer = answers.lock().expect("answers").next();
                async move {
                    let Some((code, body)) = answer else {
                        return std::future::pending().await;
                    };
                    let answer = Response::builder().status(code);
                    answer.body(Body::from(body.into_bytes()))
                }
            }),
            "default",
        );
        let feed = Feed {
            api: Api::all(client),
            selection: Selection::default(),
            sink: Arc::default(),
            bell: Arc::new(watch::Sender::new(0)),
        };
        (feed, asked)
    }

    /// Runs a feed until everything was asked that its API server answers, and once more.
    async fn run(answers: Vec<(u16, String)>) -> (Arc<Table<MeshUpgrade>>, Vec<String>) {
        let count = answers.len();
        let (feed, asked) = feed(answers);
        let all_asked = async {
            while asked.lock().expect("a log").len() <= count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = feed.until_not_served() => {}
            () = all_asked => {}
            () = tokio::time::sleep(Duration::from_secs(20)) => panic!("it does not go on"),
        }
        let asked = asked.lock().expect("a log").clone();
        (feed.sink, asked)
    }

    fn names(table: &Table<MeshUpgrade>) -> Vec<String> {
        let Seen::Present(all) = table.all() else {
            panic!("unreadable");
        };
        let mut names: Vec<String> = all.iter().map(|upgrade| upgrade.name_any()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn pages_and_events_are_taken_and_a_bad_object_costs_one() {
        let bookmark = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
            "metadata": { "resourceVersion": "40", "creationTimestamp": null },
        });
        let events = [
            event("ADDED", &upgrade("c", 11, "1h")),
            event("MODIFIED", &upgrade("a", 12, "99999999999999999999h")),
            event("DELETED", &upgrade("b", 13, "1h")),
            event("BOOKMARK", &bookmark),
        ];
        let (table, asked) = run(vec![
            (
                200,
                page(&[upgrade("a", 1, "1h"), upgrade("bad", 2, "x")], 10, "more"),
            ),
            (200, page(&[upgrade("b", 3, "1h")], 10, "")),
            (200, events.concat()),
        ])
        .await;
        assert_eq!(names(&table), ["c"]);
        let mut bad: Vec<String> = table
            .all_undecoded()
            .iter()
            .map(|bad| bad.reference())
            .collect();
        bad.sort();
        assert_eq!(bad, ["MeshUpgrade a", "MeshUpgrade bad"]);
        assert!(asked[1].contains("continue=more"), "{asked:?}");
        assert!(
            asked[2].contains("watch=true") && asked[2].contains("resourceVersion=10"),
            "{asked:?}"
        );
        assert!(
            asked[2].contains("timeoutSeconds=60") && asked[2].contains("allowWatchBookmarks=true"),
            "{asked:?}"
        );
        assert!(
            asked[3].contains("resourceVersion=40"),
            "after the bookmark: {asked:?}"
        );
    }

    #[tokio::test]
    async fn a_version_that_is_gone_is_listed_again_and_an_error_is_remembered() {
        let gone = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410,
        });
        let (table, asked) = run(vec![
            (200, page(&[upgrade("a", 1, "1h")], 10, "")),
            (200, event("ERROR", &gone)),
            (200, page(&[upgrade("b", 12, "1h")], 20, "")),
            (500, json!({ "kind": "Status", "status": "Failure", "message": "no", "reason": "x", "code": 500 }).to_string()),
        ])
        .await;
        assert_eq!(names(&table), ["b"]);
        assert!(!asked[2].contains("watch=true"), "{asked:?}");
        assert!(
            asked[4].contains("watch=true") && asked[4].contains("resourceVersion=20"),
            "{asked:?}"
        );
        assert_eq!(table.health().errors, 1);
    }

    #[tokio::test]
    async fn a_kind_that_is_not_served_ends_it() {
        let status = json!({ "kind": "Status", "status": "Failure", "message": "no", "reason": "NotFound", "code": 404 });
        let (feed, _) = feed(vec![(404, status.to_string())]);
        feed.until_not_served().await;
        assert!(matches!(feed.sink.all(), Seen::Unreadable(_)));
    }
}
