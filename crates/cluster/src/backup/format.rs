//! A backup as bytes: packed page by page, and unpacked with the proof that it is whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::content::{BackedUpCrd, BackedUpNamespace, BackedUpRelease, End, Entry, Header};
use super::{CHUNK, FORMAT};
use crate::{Error, Result};

/// Nobody's mesh is near this size unpacked; a file that claims to be is a trap.
const LARGEST: u64 = 4 << 30;
/// One entry is one object, which etcd takes up to 1.5 MiB of, or a Helm release, which lies compressed in a Secret of up to
/// 1 MiB. A line is read into memory as a whole, so that a file of one endless line must end somewhere.
const LONGEST_LINE: u64 = 64 << 20;

/// What lies beside the first chunk: what the backup is, and how to prove that it is whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Of what, by whom and when.
    #[serde(flatten)]
    pub header: Header,
    /// How many there are, by version and kind.
    pub counts: BTreeMap<String, u64>,
    /// Bytes before compression.
    pub plain_bytes: u64,
    /// Bytes of all chunks.
    pub bytes: u64,
    /// SHA-256 of all chunks in their order, in hexadecimal.
    pub sha256: String,
    /// The chunks.
    pub chunks: Vec<ChunkSum>,
}

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChunkSum {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

pub(super) fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Packs entries; what is ready can be taken away meanwhile.
pub(super) struct Packer {
    header: Header,
    zip: GzEncoder<Vec<u8>>,
    whole: Sha256,
    counts: BTreeMap<String, u64>,
    entries: u64,
    plain_bytes: u64,
    chunks: Vec<ChunkSum>,
}

impl Packer {
    pub(super) fn new(header: Header) -> Result<Self> {
        let mut packer = Self {
            header: header.clone(),
            zip: GzEncoder::new(Vec::new(), Compression::default()),
            whole: Sha256::new(),
            counts: BTreeMap::new(),
            entries: 0,
            plain_bytes: 0,
            chunks: Vec::new(),
        };
        packer.line(&Entry::Header(header))?;
        Ok(packer)
    }

    pub(super) fn add(&mut self, entry: &Entry) -> Result<()> {
        *self.counts.entry(entry.kind()).or_default() += 1;
        self.line(entry)
    }

    fn line(&mut self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry)
            .map_err(|error| Error::Unreadable(format!("packing the backup: {error}")))?;
        line.push(b'\n');
        if line.len() as u64 > LONGEST_LINE {
            return Err(Error::Unreadable(format!(
                "packing the backup: an entry of kind {} is larger than {} MiB, more than a backup is read with",
                entry.kind(),
                LONGEST_LINE >> 20
            )));
        }
        self.plain_bytes += line.len() as u64;
        self.entries += 1;
        self.zip.write_all(&line).map_err(packing)
    }

    /// The next chunk, if enough is packed for a full one.
    pub(super) fn full_chunk(&mut self) -> Option<Vec<u8>> {
        if self.zip.get_ref().len() < CHUNK {
            return None;
        }
        let rest = self.zip.get_mut().split_off(CHUNK);
        let chunk = std::mem::replace(self.zip.get_mut(), rest);
        self.count(&chunk);
        Some(chunk)
    }

    fn count(&mut self, chunk: &[u8]) {
        self.whole.update(chunk);
        self.chunks.push(ChunkSum {
            bytes: chunk.len() as u64,
            sha256: sum(chunk),
        });
    }

    /// The chunks that are left, and the index of all.
    pub(super) fn finish(mut self) -> Result<(Vec<Vec<u8>>, Index)> {
        let entries = self.entries;
        self.line(&Entry::End(End { entries }))?;
        self.zip.try_finish().map_err(packing)?;
        let rest = std::mem::take(self.zip.get_mut());
        let chunks: Vec<Vec<u8>> = rest.chunks(CHUNK).map(<[u8]>::to_vec).collect();
        for chunk in &chunks {
            self.count(chunk);
        }
        let index = Index {
            header: self.header,
            counts: self.counts,
            plain_bytes: self.plain_bytes,
            bytes: self.chunks.iter().map(|chunk| chunk.bytes).sum(),
            sha256: hex(&self.whole.finalize()),
            chunks: self.chunks,
        };
        Ok((chunks, index))
    }
}

fn packing(error: std::io::Error) -> Error {
    Error::Unreadable(format!("packing the backup: {error}"))
}

/// All that a backup holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// Of what, by whom and when.
    pub header: Header,
    /// CRDs by their versions.
    pub crds: Vec<BackedUpCrd>,
    /// Helm releases.
    pub releases: Vec<BackedUpRelease>,
    /// Labels of namespaces.
    pub namespaces: Vec<BackedUpNamespace>,
    /// Objects.
    pub objects: Vec<Value>,
    /// How many there are, by version and kind.
    pub counts: BTreeMap<String, u64>,
}

/// Unpacks a backup. Errors say what is wrong with it, and never what is in it.
pub fn read(packed: impl Read) -> Result<Contents> {
    let mut lines = BufReader::new(GzDecoder::new(packed).take(LARGEST));
    let mut contents = None;
    let (mut number, mut line) = (0_u64, Vec::new());
    loop {
        line.clear();
        let length = (&mut lines)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| wrong(&format!("it cannot be unpacked ({error})")))?;
        if length as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            return Err(wrong(&format!(
                "line {} is longer than {} MiB, which no entry is",
                number + 1,
                LONGEST_LINE >> 20
            )));
        }
        if length == 0 {
            return Err(wrong("its end is missing"));
        }
        // The parser's own words could quote what is in it.
        let entry = serde_json::from_slice(&line)
            .map_err(|_| wrong(&format!("line {} is no entry of a backup", number + 1)))?;
        match (entry, &mut contents) {
            (Entry::Header(header), None) => contents = Some(begun(header)?),
            (Entry::End(end), Some(_)) if end.entries == number => break,
            (Entry::End(_), Some(_)) => return Err(wrong("lines of it are missing")),
            (entry, Some(contents)) => contents.add(entry, number)?,
            (_, None) => return Err(wrong("it does not begin with a header")),
        }
        number += 1;
    }
    contents.ok_or_else(|| wrong("it is empty"))
}

fn begun(header: Header) -> Result<Contents> {
    if header.format > FORMAT {
        let format = header.format;
        return Err(wrong(&format!(
            "its format {format} is newer than this program, which reads up to {FORMAT}: use Meshlift {} or newer",
            header.meshlift
        )));
    }
    Ok(Contents {
        header,
        crds: Vec::new(),
        releases: Vec::new(),
        namespaces: Vec::new(),
        objects: Vec::new(),
        counts: BTreeMap::new(),
    })
}

fn wrong(why: &str) -> Error {
    Error::Unreadable(format!("this is no whole backup: {why}"))
}

impl Contents {
    fn add(&mut self, entry: Entry, number: u64) -> Result<()> {
        let kind = entry.kind();
        match entry {
            Entry::Crd(crd) => self.crds.push(crd),
            Entry::Release(release) => self.releases.push(release),
            Entry::Namespace(namespace) => self.namespaces.push(namespace),
            Entry::Object(object) => self.objects.push(object),
            Entry::Header(_) | Entry::End(_) => {
                return Err(wrong(&format!("line {} is out of place", number + 1)));
            }
        }
        *self.counts.entry(kind).or_default() += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn header() -> Header {
        Header {
            format: FORMAT,
            name: "b".into(),
            mesh: "default".into(),
            upgrade: None,
            from: None,
            to: None,
            taken_at: jiff::Timestamp::UNIX_EPOCH,
            meshlift: "0.1.0".into(),
        }
    }

    /// Text that does not compress well, always the same.
    fn noise(seed: u64, length: usize) -> String {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(b' ' + u8::try_from(state % 90).unwrap_or_default())
            })
            .collect()
    }

    fn object(name: u64, size: usize) -> Entry {
        Entry::Object(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "namespace": "shop", "name": name.to_string() },
            "spec": { "noise": noise(name, size) },
        }))
    }

    fn packed(objects: u64, size: usize) -> (Vec<Vec<u8>>, Index) {
        let mut packer = Packer::new(header()).expect("packs");
        let mut chunks = Vec::new();
        for name in 0..objects {
            packer.add(&object(name, size)).expect("packs");
            chunks.extend(packer.full_chunk());
        }
        let (rest, index) = packer.finish().expect("packs");
        chunks.extend(rest);
        (chunks, index)
    }

    #[test]
    fn what_is_packed_comes_back_in_chunks_that_fit() {
        let (chunks, index) = packed(40, 100 << 10);
        assert!(chunks.len() >= 3, "{}", chunks.len());
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK));
        assert_eq!(chunks.len(), index.chunks.len());
        for (chunk, told) in chunks.iter().zip(&index.chunks) {
            assert_eq!(told.sha256, sum(chunk));
            assert_eq!(told.bytes, chunk.len() as u64);
        }
        let stream = chunks.concat();
        assert_eq!(index.sha256, sum(&stream));
        assert_eq!(index.bytes, stream.len() as u64);
        assert!(index.plain_bytes > 40 * (100 << 10));
        let contents = read(stream.as_slice()).expect("it is whole");
        assert_eq!(contents.header, header());
        assert_eq!(contents.objects.len(), 40);
        assert_eq!(contents.counts, index.counts);
        assert_eq!(index.counts["networking.istio.io/v1 VirtualService"], 40);
        assert_eq!(
            Entry::Object(contents.objects[7].clone()),
            object(7, 100 << 10)
        );
    }

    #[test]
    fn what_is_not_whole_is_told_without_its_content() {
        let (chunks, _) = packed(3, 100);
        let stream = chunks.concat();
        let said = |bytes: &[u8]| read(bytes).expect_err("it is not whole").to_string();
        let cut = said(&stream[..stream.len() - 20]);
        assert!(cut.contains("no whole backup"), "{cut}");
        assert!(said(b"hello").contains("cannot be unpacked"));
        let zipped = |lines: &str| {
            let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
            zip.write_all(lines.as_bytes()).expect("zips");
            zip.finish().expect("zips")
        };
        let line = |entry: &Entry| serde_json::to_string(entry).expect("JSON") + "\n";
        let head = line(&Entry::Header(header()));
        let end = |entries| line(&Entry::End(End { entries }));
        assert!(read(zipped(&(head.clone() + &end(1))).as_slice()).is_ok());
        assert!(said(&zipped(&head)).contains("its end is missing"));
        assert!(said(&zipped(&(head.clone() + &end(7)))).contains("lines of it are missing"));
        assert!(said(&zipped(&end(0))).contains("does not begin with a header"));
        let rubbish = said(&zipped(&(head.clone() + "{\"password\":\"hunter2\"}\n")));
        assert!(rubbish.contains("line 2 is no entry"), "{rubbish}");
        assert!(!rubbish.contains("hunter2"), "{rubbish}");
        let endless = head + &"x".repeat(65 << 20) + "\n";
        let endless = said(&zipped(&endless));
        assert!(
            endless.contains("line 2 is longer than 64 MiB"),
            "{endless}"
        );
        let newer = Header {
            format: FORMAT + 1,
            meshlift: "9.9.9".into(),
            ..header()
        };
        let newer = said(&zipped(&(line(&Entry::Header(newer)) + &end(1))));
        assert!(newer.contains("use Meshlift 9.9.9 or newer"), "{newer}");
    }
}
