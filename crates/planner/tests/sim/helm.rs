//! Helm's storage: releases with their revisions.

use jiff::Timestamp;
use meshlift_istio::version::Version;
use meshlift_model::view::{HelmRunner, Release, ReleaseState, StorageRef};
use serde_json::{Map, Value};

/// All releases.
#[derive(Clone, Default)]
pub struct Helm {
    pub releases: Vec<Stored>,
    /// How often this operator changed it.
    pub changed_by_us: u32,
    /// The next operation dies halfway.
    pub dies: bool,
    /// After a crash a process in another pod leads.
    pub fails_over: bool,
}

/// One release.
#[derive(Clone)]
pub struct Stored {
    pub name: String,
    pub namespace: String,
    pub chart: String,
    pub revisions: Vec<Revision>,
}

/// One revision of a release.
#[derive(Clone)]
pub struct Revision {
    pub version: Version,
    pub values: Map<String, Value>,
    pub state: ReleaseState,
    pub serial: u64,
}

impl Helm {
    pub fn find(&mut self, name: &str) -> Option<&mut Stored> {
        self.releases.iter_mut().find(|r| r.name == name)
    }

    /// Begins an operation that somebody, not this operator, carries on.
    pub fn begin_foreign(&mut self, name: &str, since: Timestamp) {
        let release = self.find(name).expect("the release");
        let mut revision = release.revisions.last().expect("a revision").clone();
        revision.serial += 1;
        revision.state = ReleaseState::Pending {
            since,
            by: HelmRunner::Foreign,
        };
        release.revisions.push(revision);
    }

    /// This process is gone: what it began is now of one that was before, or is elsewhere.
    pub fn crashed(&mut self) {
        let by = if self.fails_over {
            HelmRunner::Elsewhere
        } else {
            HelmRunner::Before
        };
        let revisions = self.releases.iter_mut().flat_map(|r| &mut r.revisions);
        for revision in revisions {
            if let ReleaseState::Pending { by: runner, .. } = &mut revision.state
                && *runner == HelmRunner::Here
            {
                *runner = by;
            }
        }
    }

    /// Ends the operation that is pending on a release.
    pub fn end_pending(&mut self, name: &str) {
        let release = self.find(name).expect("the release");
        let revision = release.revisions.last_mut().expect("a revision");
        revision.state = ReleaseState::Deployed;
    }

    /// The releases as an observer lists them: each at its newest revision.
    pub fn list(&self) -> Vec<Release> {
        self.releases.iter().filter_map(Stored::newest).collect()
    }
}

impl Stored {
    pub fn storage(&self) -> Option<StorageRef> {
        let revision = self.revisions.last()?;
        Some(StorageRef {
            name: format!("sh.helm.release.v1.{}.v{}", self.name, self.revisions.len()),
            uid: format!("uid-{}", revision.serial),
            resource_version: revision.serial.to_string(),
        })
    }

    fn newest(&self) -> Option<Release> {
        let revision = self.revisions.last()?;
        Some(Release {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            chart: self.chart.clone(),
            version: Some(revision.version.clone()),
            state: revision.state.clone(),
            values: revision.values.clone(),
            manager: Some("Helm".into()),
            storage: self.storage()?,
        })
    }
}
