//! The suffix of a version: whose build it is, which build, and whether it comes before the release.

use std::cmp::Ordering;

/// A suffix such as `mspider`, `asm.5`, `tetrate-v0` or `rc.0`, taken apart.
///
/// The name must be equal on both sides of an upgrade: builds of two vendors do not work together.
/// The counter may differ; without that rule `1.20.8-asm.5` could never become `1.21.5-asm.10`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flavour {
    /// Words of a pre-release, `rc.0`; empty for a release.
    pre_release: Vec<String>,
    /// Whose builds they are; empty for upstream's.
    pub(super) name: String,
    /// Which build of the same version; builds of upstream have none.
    counter: Vec<u64>,
}

impl Flavour {
    pub(super) fn of(suffix: &str) -> Self {
        let (pre, own): (Vec<&str>, Vec<&str>) = suffix
            .split('-')
            .filter(|part| !part.is_empty())
            .partition(|part| is_pre_release(part));
        let mut name = own.join("-");
        let mut counter = Vec::new();
        // A first word that is a number is a name: without that, 1.31.0-7 would pass for a build of upstream.
        while let Some((rest, word)) = name.rsplit_once(['.', '-'])
            && let Some(number) = build_number(word)
        {
            counter.insert(0, number);
            name = rest.to_owned();
        }
        let words = pre.iter().flat_map(|part| part.split('.'));
        Self {
            pre_release: words.map(str::to_owned).collect(),
            name,
            counter,
        }
    }

    pub(super) fn is_pre_release(&self) -> bool {
        !self.pre_release.is_empty()
    }

    pub(super) fn has_counter(&self) -> bool {
        !self.counter.is_empty()
    }

    /// Which of two builds of the same version is the older one.
    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        let pre = match (self.is_pre_release(), other.is_pre_release()) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => Ordering::Equal,
            (true, true) => by_words(&self.pre_release, &other.pre_release),
        };
        self.name
            .cmp(&other.name)
            .then(pre)
            .then_with(|| self.counter.cmp(&other.counter))
    }
}

/// Whether a part of a suffix says that the release is still to come: `rc.0`, `beta1`, `alpha.7f2c1e`.
fn is_pre_release(part: &str) -> bool {
    let first = part.split('.').next().unwrap_or_default();
    let word = first.trim_end_matches(|c: char| c.is_ascii_digit());
    ["alpha", "beta", "rc"].contains(&word.to_ascii_lowercase().as_str())
}

/// `5`, `v0` and `r3` count builds. Other words with digits in them may be names of products.
fn build_number(word: &str) -> Option<u64> {
    let digits = word.strip_prefix(['v', 'r']).unwrap_or(word);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// As semantic versions order pre-releases: numbers by value and below words.
fn by_words(one: &[String], other: &[String]) -> Ordering {
    let pairs = one.iter().zip(other);
    let first = pairs
        .map(|(a, b)| match (build_number(a), build_number(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => by_trailing_number(a).cmp(&by_trailing_number(b)),
        })
        .find(|order| order.is_ne());
    first.unwrap_or_else(|| one.len().cmp(&other.len()))
}

/// `rc10` is newer than `rc9`.
fn by_trailing_number(word: &str) -> (&str, u64) {
    let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, word[stem.len()..].parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_is_a_name_and_a_counter() {
        for (suffix, name, counter) in [
            ("", "", &[][..]),
            ("mspider", "mspider", &[]),
            ("asm.5", "asm", &[5]),
            ("asm-5", "asm", &[5]),
            ("tetrate-v0", "tetrate", &[0]),
            ("tetrate-fips-v12", "tetrate-fips", &[12]),
            ("fix-20231226", "fix", &[20_231_226]),
            ("debian-12-r3", "debian", &[12, 3]),
            ("7", "7", &[]),
            ("v2", "v2", &[]),
            ("am1", "am1", &[]),
            ("5-asm", "5-asm", &[]),
        ] {
            let flavour = Flavour::of(suffix);
            assert_eq!(flavour.name, name, "{suffix}");
            assert_eq!(flavour.counter, counter, "{suffix}");
            assert!(!flavour.is_pre_release(), "{suffix}");
        }
    }

    #[test]
    fn a_pre_release_is_a_build_of_whoever_releases_it() {
        for (suffix, name) in [
            ("rc.0", ""),
            ("rc1", ""),
            ("beta.2", ""),
            ("alpha.7f2c1e0aa0b1", ""),
            ("mspider-rc.1", "mspider"),
            ("rc.1-mspider", "mspider"),
        ] {
            let flavour = Flavour::of(suffix);
            assert!(flavour.is_pre_release(), "{suffix}");
            assert_eq!(flavour.name, name, "{suffix}");
        }
        assert!(!Flavour::of("rcx").is_pre_release());
    }

    #[test]
    fn builds_of_one_name_are_in_the_order_of_their_counters() {
        for row in [
            &["asm.5", "asm.9", "asm.10", "asm.10.1"][..],
            &["tetrate-v0", "tetrate-v1", "tetrate-v10"],
            &["alpha.1", "beta.0", "rc.0", "rc.1", "rc.10", ""],
            &["rc1", "rc2", "rc10", ""],
            &["mspider-rc.1", "mspider"],
        ] {
            for pair in row.windows(2) {
                let (older, newer) = (Flavour::of(pair[0]), Flavour::of(pair[1]));
                assert_eq!(older.cmp(&newer), Ordering::Less, "{pair:?}");
                assert_eq!(newer.cmp(&older), Ordering::Greater, "{pair:?}");
            }
        }
    }
}
