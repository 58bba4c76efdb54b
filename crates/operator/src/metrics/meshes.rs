//! Gauges of the mesh list, computed at each scrape from the Mesh objects there are.

use std::sync::Arc;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kube::ResourceExt;
use meshlift_api::conditions::UPGRADE_AVAILABLE;
use meshlift_api::{Mesh, MeshStatus};
use prometheus::{IntGaugeVec, Opts, Registry};

pub(super) struct MeshGauges {
    info: IntGaugeVec,
    upgrade_available: IntGaugeVec,
    proxies: IntGaugeVec,
    supported_until: IntGaugeVec,
}

impl MeshGauges {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            info: gauge(
                "meshlift_mesh_info",
                "1 for each mesh, with what runs and the newest version there is; empty where it is not known.",
                &["mesh", "type", "version", "latest"],
            )?,
            upgrade_available: gauge(
                "meshlift_mesh_upgrade_available",
                "1 if the mesh can be upgraded to a newer version in one step.",
                &["mesh"],
            )?,
            proxies: gauge(
                "meshlift_mesh_proxies",
                "Sidecars of a mesh by whether they run its version.",
                &["mesh", "state"],
            )?,
            supported_until: gauge(
                "meshlift_mesh_supported_until_timestamp_seconds",
                "When upstream's support of the running minor ends (announced or expected).",
                &["mesh"],
            )?,
        })
    }

    /// Sets the gauges of every mesh there is, and of no other.
    pub(super) fn set(&self, meshes: &[Arc<Mesh>]) {
        for gauge in [
            &self.info,
            &self.upgrade_available,
            &self.proxies,
            &self.supported_until,
        ] {
            gauge.reset();
        }
        for mesh in meshes {
            if let Some(status) = &mesh.status {
                self.of(mesh, status);
            }
        }
    }

    fn of(&self, mesh: &Mesh, status: &MeshStatus) {
        let name = mesh.name_any();
        let known = |text: &Option<String>| text.clone().unwrap_or_default();
        let kind = format!("{:?}", mesh.spec.mesh_type);
        self.info
            .with_label_values(&[
                &name,
                &kind,
                &known(&status.version),
                &known(&status.latest),
            ])
            .set(1);
        let mut conditions = status.conditions.iter();
        let available = conditions.any(|c| c.type_ == UPGRADE_AVAILABLE && c.status == "True");
        self.upgrade_available
            .with_label_values(&[&name])
            .set(available.into());
        let proxies = status.data_plane.clone().unwrap_or_default();
        for (state, count) in [
            ("current", proxies.current),
            ("outdated", proxies.outdated),
            ("unknown", proxies.unknown),
        ] {
            self.proxies
                .with_label_values(&[&name, state])
                .set(count.into());
        }
        if let Some(end) = status.supported_until.as_deref().and_then(end_of) {
            self.supported_until.with_label_values(&[&name]).set(end);
        }
    }
}

/// The end of the day that `status.supportedUntil` names.
fn end_of(day: &str) -> Option<i64> {
    let day: Date = day.trim_start_matches('~').parse().ok()?;
    let end = day.checked_add(1.day()).ok()?;
    let end = end.to_zoned(TimeZone::UTC).ok()?;
    Some(end.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn support_ends_with_its_last_day() {
        assert_eq!(end_of("2026-07-01"), Some(1_782_950_400));
        assert_eq!(end_of("~2026-07-01"), Some(1_782_950_400));
        assert_eq!(end_of("soon"), None);
    }
}
