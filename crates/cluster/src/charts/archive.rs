//! A chart's archive: proved to be what was asked for, and to be had again without the repository.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use meshlift_istio::version::Version;
use meshlift_model::Chart;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Unpacked; Istio's largest chart is far below.
const LARGEST_UNPACKED: u64 = 64 << 20;
/// Both charts of two versions: what one upgrade and its plan need.
const KEPT: usize = 4;

/// The packed chart of one version (`.tgz`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartArchive {
    /// Chart.
    pub chart: Chart,
    /// Version.
    pub version: Version,
    /// SHA-256 in hexadecimal.
    pub digest: String,
    pub(crate) bytes: Arc<[u8]>,
}

#[derive(Deserialize)]
struct ChartYaml {
    name: String,
    version: String,
}

impl ChartArchive {
    /// The archive, if it holds this chart in this version.
    pub(super) fn read(chart: Chart, version: &Version, bytes: Vec<u8>) -> Result<Self, String> {
        let found = chart_yaml(&bytes)?;
        if found.name != chart.name() || found.version != version.to_string() {
            return Err(format!(
                "it holds another chart or version than {} {version}",
                chart.name()
            ));
        }
        Ok(Self {
            chart,
            version: version.clone(),
            digest: sha256_hex(&bytes),
            bytes: bytes.into(),
        })
    }
}

fn chart_yaml(bytes: &[u8]) -> Result<ChartYaml, String> {
    let unpacked = GzDecoder::new(bytes).take(LARGEST_UNPACKED);
    let mut archive = tar::Archive::new(unpacked);
    let no_archive = |_| "it is no chart archive".to_owned();
    for entry in archive.entries().map_err(no_archive)? {
        let entry = entry.map_err(no_archive)?;
        let path = entry.path().map_err(no_archive)?;
        // One folder below the root; those of subcharts are deeper.
        if path.components().count() == 2 && path.ends_with("Chart.yaml") {
            return serde_yaml_ng::from_reader(entry.take(1 << 20))
                .map_err(|_| "its Chart.yaml cannot be read".to_owned());
        }
    }
    Err("it has no Chart.yaml".to_owned())
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The archives that were used last, each with the repository it is from: the same version may be
/// another build elsewhere.
#[derive(Default)]
pub(super) struct Archives(VecDeque<(String, ChartArchive)>);

impl Archives {
    pub(super) fn get(&self, from: &str, chart: Chart, version: &Version) -> Option<ChartArchive> {
        let mut all = self.0.iter();
        let found = all.find(|(repository, archive)| {
            repository == from && archive.chart == chart && archive.version == *version
        });
        found.map(|(_, archive)| archive.clone())
    }

    pub(super) fn put(&mut self, from: &str, archive: ChartArchive) {
        self.forget(from, archive.chart, &archive.version);
        self.0.push_back((from.to_owned(), archive));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    pub(super) fn forget(&mut self, from: &str, chart: Chart, version: &Version) {
        self.0.retain(|(repository, archive)| {
            repository != from || archive.chart != chart || archive.version != *version
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(name: &str, version: &str) -> Vec<u8> {
        let text = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
        let zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(zip);
        for path in ["x/charts/sub/Chart.yaml", "x/Chart.yaml"] {
            let text = if path.contains("sub") {
                "name: no\nversion: 0\n"
            } else {
                &text
            };
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes())
                .expect("written to memory");
        }
        let zip = tar.into_inner().expect("written to memory");
        zip.finish().expect("written to memory")
    }

    #[test]
    fn only_what_was_asked_for_is_taken() {
        let version: Version = "1.31.0".parse().expect("a version");
        let read = |bytes| ChartArchive::read(Chart::Istiod, &version, bytes);
        let archive = read(packed("istiod", "1.31.0")).expect("the chart");
        assert_eq!(archive.digest.len(), 64);
        for bytes in [packed("base", "1.31.0"), packed("istiod", "1.30.2")] {
            let why = read(bytes).expect_err("another chart");
            assert!(why.contains("than istiod 1.31.0"), "{why}");
        }
        assert_eq!(
            read(b"<html>".to_vec()),
            Err("it is no chart archive".into())
        );
    }

    #[test]
    fn archives_of_another_repository_are_others_and_few_are_kept() {
        let mut kept = Archives::default();
        let version: Version = "1.31.0".parse().expect("a version");
        let archive =
            ChartArchive::read(Chart::Base, &version, packed("base", "1.31.0")).expect("the chart");
        kept.put("a", archive.clone());
        assert_eq!(kept.get("a", Chart::Base, &version), Some(archive.clone()));
        assert_eq!(kept.get("b", Chart::Base, &version), None);
        for other in ["b", "c", "d", "e"] {
            kept.put(other, archive.clone());
        }
        assert_eq!(kept.get("a", Chart::Base, &version), None);
    }
}
