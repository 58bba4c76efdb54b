//! Helm releases: told, and left to Helm.

use meshlift_istio::version::Version;
use meshlift_model::view::{Release, Seen};

use super::super::content::BackedUpRelease;
use super::super::format::Contents;
use super::super::plain::ObjectId;
use super::{Comparison, Filter, Left};

/// Tells of the releases that are not as they were.
pub(super) fn compare(
    result: &mut Comparison,
    backup: &Contents,
    releases: &Seen<Vec<Release>>,
    only: &[Filter],
) {
    for was in &backup.releases {
        let id = ObjectId {
            kind: "HelmRelease".to_owned(),
            group: String::new(),
            namespace: Some(was.namespace.clone()),
            name: was.name.clone(),
        };
        if !only.is_empty() && !only.iter().any(|filter| filter.matches(&id)) {
            continue;
        }
        match difference(was, releases) {
            None => result.same += 1,
            Some(why) if would_downgrade_crds(was, releases) => result.left.push(Left {
                what: format!("Helm release {}/{}", was.namespace, was.name),
                why: format!("{why}: leave it, newer CRDs serve the older istiod, and older ones could drop stored fields"),
                release: None,
            }),
            Some(why) => result.left.push(Left {
                what: format!("Helm release {}/{}", was.namespace, was.name),
                why,
                release: Some(was.clone()),
            }),
        }
    }
}

/// Whether bringing it back would put older CRDs in place of newer ones: no command is printed for that, since
/// somebody in a hurry runs what is printed.
fn would_downgrade_crds(was: &BackedUpRelease, releases: &Seen<Vec<Release>>) -> bool {
    let is = releases
        .present()
        .and_then(|all| Release::find(all, &was.name, &was.namespace));
    let before: Option<Version> = was.version.as_deref().and_then(|v| v.parse().ok());
    was.chart == "base" && is.is_some_and(|is| is.version.is_none() || is.version > before)
}

fn difference(was: &BackedUpRelease, releases: &Seen<Vec<Release>>) -> Option<String> {
    let all = match releases {
        Seen::Unreadable(why) => return Some(format!("it cannot be compared: {why}")),
        Seen::Absent => &[][..],
        Seen::Present(all) => all.as_slice(),
    };
    let version = was
        .version
        .as_deref()
        .unwrap_or("a version that could not be read");
    let Some(is) = Release::find(all, &was.name, &was.namespace) else {
        return Some(format!("it is not there, and was at {version}"));
    };
    let now = is.version.as_ref().map(ToString::to_string);
    match (now == was.version, is.values == was.values) {
        (true, true) => None,
        (true, false) => Some("its values are others than they were".to_owned()),
        (false, _) => Some(format!(
            "it is at {}, and was at {version}",
            now.as_deref().unwrap_or("a version that cannot be read")
        )),
    }
}

#[cfg(test)]
mod tests {
    use meshlift_model::view::{ReleaseState, StorageRef};
    use serde_json::Map;

    use super::*;

    fn now(version: &str) -> Seen<Vec<Release>> {
        Seen::Present(vec![Release {
            name: "istiod".into(),
            namespace: "istio-system".into(),
            chart: "istiod".into(),
            version: version.parse().ok(),
            state: ReleaseState::Deployed,
            values: Map::new(),
            manager: None,
            storage: StorageRef {
                name: "s".into(),
                uid: "u".into(),
                resource_version: "1".into(),
            },
        }])
    }

    #[test]
    fn a_release_is_told_when_it_is_another_one() {
        let mut was = BackedUpRelease {
            name: "istiod".into(),
            namespace: "istio-system".into(),
            chart: "istiod".into(),
            version: Some("1.30.2".into()),
            values: Map::new(),
        };
        let said = |was: &BackedUpRelease, is| difference(was, &is).unwrap_or_default();
        assert_eq!(said(&was, now("1.30.2")), "");
        assert_eq!(
            said(&was, now("1.31.0")),
            "it is at 1.31.0, and was at 1.30.2"
        );
        assert!(said(&was, Seen::Present(Vec::new())).contains("not there, and was at 1.30.2"));
        assert!(said(&was, Seen::Unreadable("no".into())).contains("cannot be compared: no"));
        was.values.insert("a".into(), 1.into());
        assert!(said(&was, now("1.30.2")).contains("values"));
    }

    #[test]
    fn crds_are_never_taken_back() {
        let was = |chart: &str| BackedUpRelease {
            name: "istiod".into(),
            namespace: "istio-system".into(),
            chart: chart.into(),
            version: Some("1.30.2".into()),
            values: Map::new(),
        };
        assert!(would_downgrade_crds(&was("base"), &now("1.31.0")));
        assert!(!would_downgrade_crds(&was("base"), &now("1.29.1")));
        assert!(!would_downgrade_crds(&was("base"), &Seen::Absent));
        assert!(!would_downgrade_crds(&was("istiod"), &now("1.31.0")));
    }
}
