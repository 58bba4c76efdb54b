//! Which call is disturbed, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use kube::core::Status;

use super::site::Site;

/// What the answers say that the API server did not give.
pub const INJECTED: &str = "a fault of the test";
/// The calls of a call site that are disturbed: the first, and one when it has gone well for a while. More of them say nothing
/// more, and a test of many call sites in a row would mostly wait for a backoff that doubles.
const DISTURBED_CALLS: [usize; 2] = [0, 3];

/// What is done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 409: somebody else was first.
    Conflict,
    /// 410: what is read from is known no more.
    Expired,
    /// 429, with the time after which to ask again.
    TooManyRequests,
    /// 500, and nothing was done.
    Error,
    /// 500, and it was done.
    ErrorApplied,
    /// 503.
    Unavailable,
    /// 504, and it was done.
    TimeoutApplied,
    /// No answer at all.
    NoAnswer,
    /// The right answer, late.
    Slow,
    /// The connection is reset, a watch in its middle.
    Reset,
}

impl Fault {
    /// In the order of the rotation: what follows each other is unlike.
    const ALL: [Fault; 10] = [
        Fault::ErrorApplied,
        Fault::Conflict,
        Fault::Reset,
        Fault::Unavailable,
        Fault::NoAnswer,
        Fault::Expired,
        Fault::TimeoutApplied,
        Fault::TooManyRequests,
        Fault::Slow,
        Fault::Error,
    ];

    fn meets(self, site: &Site) -> bool {
        match self {
            Fault::Conflict => site.is_write(),
            Fault::Expired => site.reads_a_version(),
            _ => true,
        }
    }

    /// What the API server answers, if it does.
    pub(super) fn status(self) -> Option<Status> {
        let (code, reason) = match self {
            Fault::Conflict => (409, "Conflict"),
            Fault::Expired => (410, "Expired"),
            Fault::TooManyRequests => (429, "TooManyRequests"),
            Fault::Error | Fault::ErrorApplied => (500, "InternalError"),
            Fault::Unavailable => (503, "ServiceUnavailable"),
            Fault::TimeoutApplied => (504, "Timeout"),
            Fault::NoAnswer | Fault::Slow | Fault::Reset => return None,
        };
        Some(Status::failure(INJECTED, reason).with_code(code))
    }
}

/// Chooses the faults of each call site.
///
/// Which one is its first depends on its name and the seed, so that they are spread over the call sites, and each call site
/// meets every fault in as many seeds as there are faults.
pub(super) struct Rotation {
    seed: usize,
    sites: BTreeMap<Site, Calls>,
}

#[derive(Default)]
struct Calls {
    count: usize,
    faults: Vec<Fault>,
}

impl Rotation {
    pub(super) fn new(seed: usize) -> Self {
        Self {
            seed,
            sites: BTreeMap::new(),
        }
    }

    /// What is done to the next call of `site`.
    pub(super) fn next(&mut self, site: &Site) -> Option<Fault> {
        let calls = self.sites.entry(site.clone()).or_default();
        let number = calls.count;
        calls.count += 1;
        let turn = DISTURBED_CALLS.iter().position(|call| *call == number)?;
        let faults = Fault::ALL.into_iter().filter(|fault| fault.meets(site));
        let faults: Vec<Fault> = faults.collect();
        let first = self.seed.wrapping_add(number_of(site)) % faults.len();
        let fault = faults[(first + turn) % faults.len()];
        calls.faults.push(fault);
        Some(fault)
    }

    pub(super) fn disturbed(&self) -> Disturbed {
        let sites = self.sites.iter();
        let faults = sites.map(|(site, calls)| (site.clone(), calls.faults.clone()));
        Disturbed(faults.collect())
    }
}

/// The same in every run, and unlike that of other sites (FNV-1a; the hash of the standard library promises neither).
fn number_of(site: &Site) -> usize {
    let hash = site
        .to_string()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    // Its low bits alone say little.
    ((hash >> 16) ^ (hash & 0xffff)) as usize
}

/// The faults that each call site met, in their order.
#[derive(Clone, Debug)]
pub struct Disturbed(BTreeMap<Site, Vec<Fault>>);

impl Disturbed {
    /// How many call sites were disturbed.
    pub fn sites(&self) -> usize {
        self.0.values().filter(|faults| !faults.is_empty()).count()
    }

    /// What no call site met, and one of them could have met.
    pub fn unused(&self) -> impl Iterator<Item = Fault> + '_ {
        let used: BTreeSet<Fault> = self.0.values().flatten().copied().collect();
        let unused = Fault::ALL.into_iter().filter(move |f| !used.contains(f));
        unused.filter(|fault| self.0.keys().any(|site| fault.meets(site)))
    }
}

impl Display for Disturbed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let faults: usize = self.0.values().map(Vec::len).sum();
        write!(
            f,
            "{} call sites were disturbed {faults} times:",
            self.sites()
        )?;
        for (site, faults) in &self.0 {
            write!(f, "\n  {site}: {faults:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn site(method: Method, path: &'static str) -> Site {
        Site::of(&method, &path.parse().expect("a path"))
    }

    fn faults_of(site: &Site, seed: usize) -> Vec<Fault> {
        let mut rotation = Rotation::new(seed);
        (0..20).filter_map(|_| rotation.next(site)).collect()
    }

    #[test]
    fn over_the_seeds_every_call_site_meets_each_fault_first() {
        for (site, never) in [
            (
                site(Method::PATCH, "/api/v1/namespaces/a"),
                vec![Fault::Expired],
            ),
            (site(Method::GET, "/api/v1/pods"), vec![Fault::Conflict]),
            (
                site(Method::GET, "/version"),
                vec![Fault::Conflict, Fault::Expired],
            ),
        ] {
            let all = (0..Fault::ALL.len()).map(|seed| faults_of(&site, seed));
            let mut expected = BTreeSet::from(Fault::ALL);
            expected.retain(|fault| !never.contains(fault));
            let first: BTreeSet<Fault> = all.filter_map(|f| f.first().copied()).collect();
            assert_eq!(first, expected, "{site}");
        }
    }

    #[test]
    fn a_seed_always_says_the_same_and_no_fault_comes_twice() {
        let site = site(Method::PATCH, "/apis/apps/v1/namespaces/a/deployments/b");
        let faults = faults_of(&site, 3);
        assert_eq!(faults, faults_of(&site, 3));
        assert_eq!(faults.len(), DISTURBED_CALLS.len());
        assert_eq!(BTreeSet::from_iter(faults.iter()).len(), faults.len());
        assert_ne!(faults, faults_of(&site, 4));
    }

    #[test]
    fn what_was_never_used_is_known() {
        let site = site(Method::PATCH, "/api/v1/namespaces/a");
        let mut rotation = Rotation::new(0);
        let first = rotation.next(&site).expect("the first call is disturbed");
        assert_eq!(rotation.next(&site), None);
        let disturbed = rotation.disturbed();
        assert_eq!(disturbed.sites(), 1);
        let unused: Vec<Fault> = disturbed.unused().collect();
        // A write reads no version.
        assert!(!unused.contains(&first) && !unused.contains(&Fault::Expired));
        assert_eq!(unused.len(), Fault::ALL.len() - 2);
    }
}
