//! From a catalog as people write it to what decisions ask.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use meshlift_api::{
    CatalogMode, IstioRelease, KubernetesVersions, ReleaseCatalogSpec, ReleaseRisk, RiskRule,
};

use super::{CatalogError, EndOfLife, GatewayApiMinimum, Knowledge, MinorRelease};
use crate::risk::{Expression, Risk, Rule};
use crate::version::{KubernetesRange, Minor};

type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// A place in a catalog, for errors.
struct Place(String);

impl Place {
    fn field(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    fn refuse(&self, why: impl Display) -> CatalogError {
        CatalogError {
            field: self.0.clone(),
            why: why.to_string(),
        }
    }

    fn parse<T: FromStr<Err: Display>>(&self, text: &str) -> Result<T> {
        text.parse().map_err(|error| self.refuse(error))
    }

    fn parse_all<T: FromStr<Err: Display>>(&self, texts: &[String]) -> Result<Vec<T>> {
        texts.iter().map(|text| self.parse(text)).collect()
    }
}

/// One catalog laid over another.
pub(super) fn over(base: &ReleaseCatalogSpec, catalog: &ReleaseCatalogSpec) -> ReleaseCatalogSpec {
    if catalog.mode == CatalogMode::Replace {
        return catalog.clone();
    }
    let mut both = base.clone();
    for release in &catalog.releases {
        match both
            .releases
            .iter_mut()
            .find(|known| known.minor == release.minor)
        {
            Some(known) => extend(known, release),
            None => both.releases.push(release.clone()),
        }
    }
    both
}

fn extend(known: &mut IstioRelease, given: &IstioRelease) {
    fn take<T: Clone>(known: &mut Option<T>, given: &Option<T>) {
        if given.is_some() {
            known.clone_from(given);
        }
    }
    // A day that is given is an announced one unless it says otherwise.
    if given.end_of_life.is_some() {
        known.end_of_life_expected = None;
    }
    take(&mut known.released, &given.released);
    take(&mut known.end_of_life, &given.end_of_life);
    take(&mut known.end_of_life_expected, &given.end_of_life_expected);
    take(&mut known.kubernetes, &given.kubernetes);
    take(&mut known.tested, &given.tested);
    take(&mut known.minimum_kubernetes, &given.minimum_kubernetes);
    take(&mut known.minimum_from, &given.minimum_from);
    take(
        &mut known.compatibility_versions,
        &given.compatibility_versions,
    );
    take(&mut known.gateway_api, &given.gateway_api);
    take(&mut known.hub, &given.hub);
    for risk in &given.risks {
        match known.risks.iter_mut().find(|other| other.code == risk.code) {
            Some(other) => other.clone_from(risk),
            None => known.risks.push(risk.clone()),
        }
    }
}

/// Reads a catalog that stands for itself.
pub(super) fn read(catalog: &ReleaseCatalogSpec) -> Result<Knowledge> {
    let mut releases = BTreeMap::new();
    let mut codes = BTreeSet::new();
    for release in &catalog.releases {
        let place = Place(format!("spec.releases[{}]", release.minor));
        let known = minor_release(&place, release)?;
        for risk in &release.risks {
            if !codes.insert(&risk.code) {
                let place = place.field(&format!("risks[{}]", risk.code));
                return Err(place.refuse("another risk has this code: give it one of its own"));
            }
        }
        if releases.insert(known.minor, known).is_some() {
            return Err(place.refuse("is there twice: keep one"));
        }
    }
    Ok(Knowledge {
        releases: Arc::new(releases),
        problem: None,
    })
}

fn minor_release(place: &Place, release: &IstioRelease) -> Result<MinorRelease> {
    let minor: Minor = place.field("minor").parse(&release.minor)?;
    let kubernetes = release.kubernetes.as_ref().ok_or_else(|| {
        place
            .field("kubernetes")
            .refuse("is needed, because this operator knows no such release itself")
    })?;
    let optional = |name: &str, text: &Option<String>| {
        let place = place.field(name);
        text.as_ref().map(|text| place.parse(text)).transpose()
    };
    let end_of_life = optional("endOfLife", &release.end_of_life)?.map(|date| EndOfLife {
        date,
        expected: release.end_of_life_expected.unwrap_or_default(),
    });
    let minimum_from = place.field("minimumFrom");
    let compatibility = place.field("compatibilityVersions");
    let tested = release.tested.as_ref();
    Ok(MinorRelease {
        minor,
        released: optional("released", &release.released)?,
        end_of_life,
        kubernetes: range(&place.field("kubernetes"), kubernetes)?,
        tested: tested
            .map(|t| range(&place.field("tested"), t))
            .transpose()?,
        minimum_kubernetes: {
            let place = place.field("minimumKubernetes");
            let text = release.minimum_kubernetes.as_ref();
            text.map(|text| place.parse(text)).transpose()?
        },
        minimum_from: minimum_from
            .parse_all(release.minimum_from.as_deref().unwrap_or_default())?,
        compatibility_versions: release
            .compatibility_versions
            .as_ref()
            .map(|versions| compatibility.parse_all(versions))
            .transpose()?,
        gateway_api: gateway_api(&place.field("gatewayApi"), release)?,
        hub: release.hub.clone(),
        risks: release
            .risks
            .iter()
            .map(|given| risk(place, minor, given))
            .collect::<Result<_>>()?,
    })
}

fn range(place: &Place, versions: &KubernetesVersions) -> Result<KubernetesRange> {
    let range = KubernetesRange {
        low: place.field("low").parse(&versions.low)?,
        high: place.field("high").parse(&versions.high)?,
    };
    if range.low <= range.high {
        Ok(range)
    } else {
        Err(place.refuse("low is above high: exchange them"))
    }
}

fn gateway_api(place: &Place, release: &IstioRelease) -> Result<Vec<GatewayApiMinimum>> {
    let given = release.gateway_api.as_deref().unwrap_or_default();
    let minimum = |least: &meshlift_api::GatewayApiMinimum| {
        Ok(GatewayApiMinimum {
            crd: least.crd.clone(),
            minimum: place.field("minimum").parse(&least.minimum)?,
        })
    };
    given.iter().map(minimum).collect()
}

fn risk(place: &Place, minor: Minor, given: &ReleaseRisk) -> Result<Risk> {
    let place = place.field(&format!("risks[{}]", given.code));
    let matched = place.field("match");
    Ok(Risk {
        minor,
        code: given.code.clone(),
        title: given.title.clone(),
        message: given.message.clone(),
        fix: given.fix.clone(),
        url: given.url.clone(),
        rule: given
            .rule
            .as_ref()
            .map(|given| rule(&matched, given))
            .transpose()?,
    })
}

fn rule(place: &Place, given: &RiskRule) -> Result<Rule> {
    let expression = |name: &str, text: &Option<String>| {
        let place = place.field(name);
        let compile = |text: &String| Expression::new(text).map_err(|error| place.refuse(error));
        text.as_ref().map(compile).transpose()
    };
    if given.expression.is_some() && given.resources.is_none() {
        return Err(place.field("expression").refuse("needs resources"));
    }
    Ok(Rule {
        flag: given.flag.clone(),
        values: expression("values", &given.values)?,
        resources: given.resources.clone(),
        object: expression("expression", &given.expression)?,
    })
}
