//! Istio and Kubernetes versions: flavours, revision names, and the way from one to another.

mod flavour;
mod kubernetes;
mod minor;
mod path;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use kubernetes::{KubernetesRange, KubernetesVersion};
pub use minor::Minor;
pub use path::{StepRule, path};

use self::flavour::Flavour;

/// An Istio version: numeric core and flavour. A vendor suffix (`1.30.2-mspider`) is a flavour,
/// not a pre-release as semver would have it; `alpha`, `beta` and `rc` are pre-releases all the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
    /// Suffix without the hyphen; empty for upstream builds.
    pub flavour: String,
}

/// A version that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Istio version: write an exact one (1.31.0) or a minor (1.31)")]
pub struct VersionError(pub String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        match TargetVersion::from_str(text)? {
            TargetVersion::Exact(version) => Ok(version),
            TargetVersion::Minor { .. } => Err(VersionError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.flavour.is_empty() {
            write!(f, "-{}", self.flavour)?;
        }
        Ok(())
    }
}

impl Version {
    /// The version in an image tag, without the variant of the image (`-distroless`, `-debug`).
    pub fn from_image_tag(tag: &str) -> Option<Self> {
        let tag = tag
            .strip_suffix("-distroless")
            .or(tag.strip_suffix("-debug"))
            .unwrap_or(tag);
        tag.parse().ok()
    }

    /// The version in the name of an image; none for one by digest alone, or with a tag of somebody's own.
    pub fn from_image(image: &str) -> Option<Self> {
        let (_, name) = image.rsplit_once('/').unwrap_or(("", image));
        let name = name.split('@').next()?;
        Self::from_image_tag(name.split_once(':')?.1)
    }

    /// The revision this version is installed under: dots become hyphens, as the Istio docs do.
    pub fn revision(&self) -> String {
        self.to_string().replace('.', "-").to_lowercase()
    }

    /// `1.31`.
    pub fn minor_name(&self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Whether two versions are builds of the same vendor: the name of their suffix is equal, and a
    /// counter behind it (`asm.5`, `tetrate-v0`) may differ.
    pub fn is_same_flavour(&self, other: &Self) -> bool {
        self.flavour_name() == other.flavour_name()
    }

    /// Whether two parts of a mesh, a control plane and its sidecar, are of one version. Vendors give their images
    /// suffixes of their own: where those cannot be compared, the numbers are.
    pub fn is_same_build(&self, other: &Self) -> bool {
        if self.is_same_flavour(other) {
            self == other
        } else {
            self.numbers() == other.numbers()
        }
    }

    /// Whether it is of a flavour as `spec.flavour` of a Mesh names it, with or without a counter.
    pub fn is_of_flavour(&self, flavour: &str) -> bool {
        self.flavour_name() == Flavour::of(flavour).name
    }

    /// Name of its flavour, without a counter; empty for builds of upstream, pre-releases among them.
    pub fn flavour_name(&self) -> String {
        Flavour::of(&self.flavour).name
    }

    /// Whether it was built before the release: `1.31.0-rc.0`.
    pub fn is_pre_release(&self) -> bool {
        Flavour::of(&self.flavour).is_pre_release()
    }

    /// Major, minor and patch.
    pub fn numbers(&self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_build = || Flavour::of(&self.flavour).cmp(&Flavour::of(&other.flavour));
        self.numbers()
            .cmp(&other.numbers())
            .then_with(by_build)
            // Equal only where the text is: `asm.5` and `asm-5` name two charts.
            .then_with(|| self.flavour.cmp(&other.flavour))
    }
}

/// What `spec.targetVersion` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetVersion {
    /// This version.
    Exact(Version),
    /// The newest patch of a minor.
    Minor {
        /// Major.
        major: u32,
        /// Minor.
        minor: u32,
        /// Flavour.
        flavour: String,
    },
}

impl FromStr for TargetVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let refuse = || VersionError(text.to_owned());
        let (core, flavour) = text.split_once('-').unwrap_or((text, ""));
        if text.ends_with('-') {
            return Err(refuse());
        }
        let numbers: Vec<u32> = core
            .split('.')
            .map(|part| plain_number(part).ok_or_else(refuse))
            .collect::<Result<_, _>>()?;
        let flavour = flavour.to_owned();
        match numbers[..] {
            [major, minor, patch] => Ok(Self::Exact(Version {
                major,
                minor,
                patch,
                flavour,
            })),
            [major, minor] => Ok(Self::Minor {
                major,
                minor,
                flavour,
            }),
            _ => Err(refuse()),
        }
    }
}

fn plain_number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Why a version cannot be the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not readable.
    #[error(transparent)]
    Malformed(#[from] VersionError),
    /// Not in the chart repository.
    #[error("{target} is not in the chart repository: ask for one that is ({known})")]
    Unknown {
        /// What was asked for.
        target: String,
        /// What there is.
        known: String,
    },
    /// Lower than what runs.
    #[error(
        "{to} is lower than {from}, which runs: a downgrade is refused; ask for {from} or a newer version"
    )]
    Downgrade {
        /// Running.
        from: Version,
        /// Asked for.
        to: Version,
    },
    /// No chain of steps leads there.
    #[error(
        "no way from {from} to {to}: the chart repository has not {missing}; add it to the repository, or ask for a target that is nearer"
    )]
    NoWay {
        /// Running.
        from: Version,
        /// Asked for.
        to: Version,
        /// What the repository would have to hold.
        missing: String,
    },
    /// Another major.
    #[error("{to} is another major than {from}, which runs: this operator knows no way there")]
    OtherMajor {
        /// Running.
        from: Version,
        /// Asked for.
        to: Version,
    },
    /// Another flavour.
    #[error(
        "{to} and {from}, which runs, are builds of different flavours and must not be mixed: ask for a version {wanted}"
    )]
    Flavour {
        /// Running.
        from: Version,
        /// Asked for.
        to: Version,
        /// What to ask for instead.
        wanted: String,
    },
}

/// Resolves what was asked for against what the repository has.
pub fn resolve(asked: &str, catalog: &[Version]) -> Result<Version, TargetError> {
    let found = match asked.parse::<TargetVersion>()? {
        TargetVersion::Exact(version) => catalog.contains(&version).then_some(version),
        TargetVersion::Minor {
            major,
            minor,
            flavour,
        } => catalog
            .iter()
            .filter(|v| (v.major, v.minor) == (major, minor) && is_asked_for(v, &flavour))
            .max()
            .cloned(),
    };
    found.ok_or_else(|| TargetError::Unknown {
        target: asked.to_owned(),
        known: newest(catalog),
    })
}

/// Whether a version is a release of the flavour that a minor was asked for with. One that was asked for with
/// its counter is that build and no other.
fn is_asked_for(version: &Version, flavour: &str) -> bool {
    let asked = Flavour::of(flavour);
    if asked.is_pre_release() || asked.has_counter() {
        version.flavour == flavour
    } else {
        version.is_of_flavour(flavour) && !version.is_pre_release()
    }
}

/// Never down, and never to another flavour or major.
fn check_direction(from: &Version, to: &Version) -> Result<(), TargetError> {
    let (from_, to_) = (from.clone(), to.clone());
    if !from.is_same_flavour(to) {
        let flavour = Flavour::of(&from.flavour);
        let wanted = match (flavour.name.as_str(), flavour.has_counter()) {
            ("", _) => "without a suffix".to_owned(),
            (_, true) => format!("whose suffix is -{} up to its last numbers", from.flavour),
            (_, false) => format!("that ends in -{}", from.flavour),
        };
        return Err(TargetError::Flavour {
            from: from_,
            to: to_,
            wanted,
        });
    }
    if to < from {
        return Err(TargetError::Downgrade {
            from: from_,
            to: to_,
        });
    }
    if to.major != from.major {
        return Err(TargetError::OtherMajor {
            from: from_,
            to: to_,
        });
    }
    Ok(())
}

/// The newest patch of the newest minors, for a message.
fn newest(catalog: &[Version]) -> String {
    let mut sorted: Vec<&Version> = catalog.iter().collect();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup_by(|a, b| Minor::of(a) == Minor::of(b) && a.is_same_flavour(b));
    match sorted.len() {
        0 => "no version".to_owned(),
        n => {
            let first: Vec<String> = sorted.iter().take(5).map(ToString::to_string).collect();
            let more = if n > 5 { " and older ones" } else { "" };
            format!("{}{more}", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().expect("a version")
    }

    #[test]
    fn a_vendor_suffix_is_a_flavour_and_an_image_variant_is_none() {
        assert_eq!(v("1.30.2-mspider").flavour, "mspider");
        assert_eq!(
            Version::from_image_tag("1.30.2-distroless"),
            Some(v("1.30.2"))
        );
        assert_eq!(
            Version::from_image_tag("1.30.2-mspider-distroless"),
            Some(v("1.30.2-mspider"))
        );
        assert_eq!(Version::from_image_tag("latest"), None);
        for (image, version) in [
            ("reg.corp:5000/istio/pilot:1.30.2", Some("1.30.2")),
            ("reg.corp/pilot:1.30.2@sha256:11", Some("1.30.2")),
            ("pilot:1.30.2-mspider-debug", Some("1.30.2-mspider")),
            ("reg.corp:5000/istio/pilot", None),
            ("reg.corp:5000/istio/pilot@sha256:11", None),
            ("reg.corp/pilot:ours", None),
        ] {
            assert_eq!(Version::from_image(image), version.map(v), "{image}");
        }
    }

    #[test]
    fn rubbish_is_no_version() {
        for text in [
            "",
            "1",
            "1.",
            "1.31.",
            "1.31.0-",
            "v1.31.0",
            "1.31.0.1",
            "1.x",
            "+1.2",
            "1.-2",
            "99999999999.1",
        ] {
            assert!(
                text.parse::<TargetVersion>().is_err(),
                "{text:?} was accepted"
            );
        }
    }

    #[test]
    fn a_minor_resolves_to_its_newest_patch_of_the_same_flavour() {
        let catalog = ["1.31.0", "1.31.10", "1.31.9", "1.31.11-mspider", "1.30.2"].map(v);
        assert_eq!(resolve("1.31", &catalog), Ok(v("1.31.10")));
        assert_eq!(resolve("1.31-mspider", &catalog), Ok(v("1.31.11-mspider")));
        assert_eq!(resolve("1.31.0", &catalog), Ok(v("1.31.0")));
        let error = resolve("1.99", &catalog).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "1.99 is not in the chart repository: ask for one that is (1.31.11-mspider, 1.31.10, 1.30.2)"
        );
    }

    #[test]
    fn a_minor_of_a_flavour_with_a_counter_is_its_newest_build() {
        let catalog = [
            "1.21.5",
            "1.21.5-asm.9",
            "1.21.5-asm.10",
            "1.21.4-asm.30",
            "1.21.6-asm-rc.1",
            "1.21.6-rc.0",
        ]
        .map(v);
        assert_eq!(resolve("1.21-asm", &catalog), Ok(v("1.21.5-asm.10")));
        assert_eq!(resolve("1.21-asm.9", &catalog), Ok(v("1.21.5-asm.9")));
        assert_eq!(resolve("1.21", &catalog), Ok(v("1.21.5")));
        assert!(resolve("1.21-asm.11", &catalog).is_err());
        assert!(resolve("1.21-beta", &catalog).is_err());
    }

    #[test]
    fn never_down_and_never_to_another_flavour() {
        for (from, to) in [
            ("1.30.2", "1.31.0"),
            ("1.30.2", "1.30.5"),
            ("1.20.8-asm.5", "1.21.5-asm.10"),
            ("1.20.8-asm.5", "1.20.8-asm.10"),
            ("1.20.3-tetrate-v0", "1.20.3-tetrate-v1"),
            ("1.17.8-fix-20231226", "1.18.7-fix-20240101"),
            ("1.31.0-rc.0", "1.31.0"),
            ("1.31.0-beta.1", "1.31.0-rc.0"),
            ("1.30.2-mspider", "1.31.0-mspider"),
        ] {
            assert_eq!(check_direction(&v(from), &v(to)), Ok(()), "{from} to {to}");
        }
        for (from, to) in [
            ("1.20.8-asm.10", "1.20.8-asm.5"),
            ("1.31.0", "1.31.0-rc.0"),
            ("1.20.3-tetrate-v1", "1.20.3-tetrate-v0"),
        ] {
            let refused = check_direction(&v(from), &v(to));
            let down = matches!(refused, Err(TargetError::Downgrade { .. }));
            assert!(down, "{from} to {to}: {refused:?}");
        }
        for (from, to) in [
            ("1.17.8-fix-20231226", "1.18.7"),
            ("1.20.8-asm.5", "1.21.5-tetrate-v0"),
            ("1.20.8-tetrate-v0", "1.21.5-tetrate-fips-v0"),
            ("1.31.0-mspider-rc.1", "1.31.0"),
            ("1.31.0", "1.31.0-7"),
            ("1.31.0-7", "1.31.1-8"),
        ] {
            let refused = check_direction(&v(from), &v(to));
            let mixed = matches!(refused, Err(TargetError::Flavour { .. }));
            assert!(mixed, "{from} to {to}: {refused:?}");
        }
        let refused = check_direction(&v("1.20.8-asm.5"), &v("1.21.0")).expect_err("another");
        assert!(
            refused
                .to_string()
                .contains("-asm.5 up to its last numbers"),
            "{refused}"
        );
        assert!(matches!(
            check_direction(&v("1.31.0"), &v("1.30.9")),
            Err(TargetError::Downgrade { .. })
        ));
        assert!(matches!(
            check_direction(&v("1.31.1"), &v("1.31.0")),
            Err(TargetError::Downgrade { .. })
        ));
        assert!(matches!(
            check_direction(&v("1.30.2-x"), &v("1.31.0")),
            Err(TargetError::Flavour { .. })
        ));
    }

    #[test]
    fn a_revision_has_no_dots() {
        assert_eq!(v("1.31.0").revision(), "1-31-0");
    }
}
