//! How many replicas the new control plane starts with: as many as the old one runs now.
//!
//! The chart starts one replica, and its autoscaler keeps `autoscaleMin` of them until there is load. While a mesh moves, the
//! load arrives within minutes, and an istiod that is too small delays every pod that starts. So the minimum of the new
//! autoscaler is raised to what the old control plane runs, and put back once everything has moved. A scale request would
//! not do: the autoscaler lowers the number to its minimum as soon as it knows the CPU of the idle pods.

use meshlift_istio::values::{lookup, set};
use meshlift_istio::version::Version;
use serde_json::{Map, Value};

use crate::view::Release;

type Values = Map<String, Value>;

/// Fewest replicas that the autoscaler of istiod keeps.
pub const MINIMUM: &str = "autoscaleMin";
/// Replicas of an istiod without an autoscaler.
pub const COUNT: &str = "replicaCount";

/// What the chart takes for its root, before that.
const PILOT: &str = "pilot";
/// Where the chart has its own defaults.
const DEFAULTS: &str = "_internal_defaults_do_not_set";

/// Defaults of the istiod chart. Source: `istio-discovery/values.yaml`.
const DEFAULT_MINIMUM: u32 = 1;
const DEFAULT_MAXIMUM: u32 = 5;
const DEFAULT_COUNT: u32 = 1;

/// What has to change in the values so that the new control plane starts with enough replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing: they ask for as many.
    AsConfigured,
    /// The minimum of the autoscaler, for as long as both control planes run.
    Minimum(u32),
    /// The number itself, where no autoscaler changes it: the owner of the mesh scaled the old one by hand, and the new one stays so.
    Count(u32),
}

/// How the new control plane starts beside an old one with `running` replicas. `own` are the values of the Mesh, which
/// are meant for the new one: a number there wins over what runs.
pub fn start(values: &Values, own: &Values, running: u32) -> Start {
    if is_autoscaled(values) {
        let most = number(values, "autoscaleMax").unwrap_or(DEFAULT_MAXIMUM);
        let wanted = running.min(most);
        return if wanted > configured(values) {
            Start::Minimum(wanted)
        } else {
            Start::AsConfigured
        };
    }
    if running > configured(values) && effective(own, COUNT).is_none() {
        Start::Count(running)
    } else {
        Start::AsConfigured
    }
}

/// How many replicas an istiod with these values starts with by itself.
pub fn configured(values: &Values) -> u32 {
    if is_autoscaled(values) {
        number(values, MINIMUM).unwrap_or(DEFAULT_MINIMUM)
    } else {
        number(values, COUNT).unwrap_or(DEFAULT_COUNT)
    }
}

/// The minimum that the autoscaler gets for an upgrade in place that asks for so many replicas; none where it has that, or
/// where there is no autoscaler whose minimum could be raised.
pub fn ensured(values: &Values, asked: Option<u32>) -> Option<u32> {
    asked.filter(|asked| is_autoscaled(values) && *asked > configured(values))
}

/// The values with another number of replicas.
pub fn with(mut values: Values, key: &str, replicas: u32) -> Values {
    let path = path(&values, key);
    set(&mut values, &path, replicas);
    values
}

/// The values of the new release with the minimum that its owner set, where they still have the raised one. A release that
/// somebody brought to another version or minimum is theirs.
pub fn put_back(
    release: &Release,
    version: &Version,
    owned: &Values,
    raised: u32,
) -> Option<Values> {
    if !has_minimum(&release.values, raised) || release.version.as_ref() != Some(version) {
        return None;
    }
    let mut values = release.values.clone();
    let path = path(owned, MINIMUM);
    let before = lookup(owned, &path).cloned();
    let at = if path.len() > 1 {
        values.get_mut(PILOT)?.as_object_mut()?
    } else {
        &mut values
    };
    match before {
        Some(before) => at.insert(MINIMUM.to_owned(), before),
        None => at.remove(MINIMUM),
    };
    Some(values)
}

/// Whether the values of a release have the minimum that an upgrade raised.
pub fn has_minimum(values: &Values, raised: u32) -> bool {
    number(values, MINIMUM) == Some(raised)
}

/// Whether the chart renders an autoscaler. Source: `istio-discovery/templates/autoscale.yaml`; of the profiles only
/// `demo` turns it off.
fn is_autoscaled(values: &Values) -> bool {
    let profile = lookup(values, &["profile"]).or_else(|| lookup(values, &["global", "profile"]));
    match effective(values, "autoscaleEnabled") {
        Some(enabled) => enabled != &Value::Bool(false),
        None => profile.and_then(Value::as_str) != Some("demo"),
    }
}

/// The value that the chart takes: what is under `pilot` wins over its root, and its own defaults come last.
/// Source: `istio-discovery/templates/zzy_descope_legacy.yaml`, `zzz_profile.yaml`.
fn effective<'v>(values: &'v Values, key: &str) -> Option<&'v Value> {
    [
        &[PILOT, key][..],
        &[DEFAULTS, PILOT, key],
        &[key],
        &[DEFAULTS, key],
    ]
    .into_iter()
    .find_map(|path| lookup(values, path))
}

/// Where a value is set so that the chart takes it.
pub fn path<'k>(values: &Values, key: &'k str) -> Vec<&'k str> {
    let under_pilot = [&[PILOT, key][..], &[DEFAULTS, PILOT, key]];
    let decides = |path: &[&str]| lookup(values, path).is_some();
    if under_pilot.into_iter().any(decides) {
        vec![PILOT, key]
    } else {
        vec![key]
    }
}

fn number(values: &Values, key: &str) -> Option<u32> {
    match effective(values, key)? {
        Value::Number(number) => number.as_u64()?.try_into().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::example::{release, version};

    fn values(value: Value) -> Values {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn the_new_control_plane_starts_as_large_as_the_old_one_is() {
        let none = Values::new();
        for (what, of, running, expected) in [
            ("the chart's minimum", json!({}), 3, Start::Minimum(3)),
            ("nothing to raise", json!({}), 1, Start::AsConfigured),
            ("scaled to nothing", json!({}), 0, Start::AsConfigured),
            (
                "a minimum that is enough",
                json!({ "autoscaleMin": 3 }),
                3,
                Start::AsConfigured,
            ),
            (
                "a minimum as text",
                json!({ "autoscaleMin": "3" }),
                2,
                Start::AsConfigured,
            ),
            (
                "a minimum under pilot",
                json!({ "pilot": { "autoscaleMin": 2 } }),
                4,
                Start::Minimum(4),
            ),
            (
                "never above the maximum",
                json!({ "autoscaleMax": 3 }),
                9,
                Start::Minimum(3),
            ),
            ("the chart's maximum", json!({}), 9, Start::Minimum(5)),
        ] {
            assert_eq!(start(&values(of), &none, running), expected, "{what}");
        }
    }

    #[test]
    fn without_an_autoscaler_the_number_itself_is_kept() {
        let none = Values::new();
        for (what, of, running, expected) in [
            (
                "by hand",
                json!({ "autoscaleEnabled": false }),
                3,
                Start::Count(3),
            ),
            (
                "by hand, as it says",
                json!({ "autoscaleEnabled": false, "replicaCount": 3 }),
                3,
                Start::AsConfigured,
            ),
            (
                "the profile",
                json!({ "profile": "demo" }),
                2,
                Start::Count(2),
            ),
            (
                "the profile of all charts",
                json!({ "global": { "profile": "demo" } }),
                2,
                Start::Count(2),
            ),
        ] {
            assert_eq!(start(&values(of), &none, running), expected, "{what}");
        }
        let own = values(json!({ "replicaCount": 1 }));
        let carried = values(json!({ "autoscaleEnabled": false, "replicaCount": 1 }));
        assert_eq!(
            start(&carried, &own, 3),
            Start::AsConfigured,
            "the Mesh says so"
        );
    }

    #[test]
    fn a_minimum_is_raised_where_the_chart_reads_it_and_put_back() {
        for (owned, raised) in [
            (json!({ "a": 1 }), json!({ "a": 1, "autoscaleMin": 3 })),
            (json!({ "autoscaleMin": 2 }), json!({ "autoscaleMin": 3 })),
            (
                json!({ "pilot": { "autoscaleMin": 2, "env": {} } }),
                json!({ "pilot": { "autoscaleMin": 3, "env": {} } }),
            ),
        ] {
            let owned = values(owned);
            let raised = values(raised);
            assert_eq!(with(owned.clone(), MINIMUM, 3), raised);
            let mut of = release("istiod-1-31-0", "istiod", "1.31.0");
            of.values = raised.clone();
            let to = version("1.31.0");
            assert_eq!(put_back(&of, &to, &owned, 3), Some(owned.clone()));
            assert_eq!(put_back(&of, &version("1.32.0"), &owned, 3), None);
            of.values = with(raised, MINIMUM, 4);
            assert_eq!(put_back(&of, &to, &owned, 3), None, "somebody else's");
        }
    }

    #[test]
    fn what_else_changed_meanwhile_is_kept() {
        let mut of = release("istiod-1-31-0", "istiod", "1.31.0");
        of.values = values(json!({ "autoscaleMin": 3, "resources": {} }));
        let back = put_back(&of, &version("1.31.0"), &Values::new(), 3);
        assert_eq!(back, Some(values(json!({ "resources": {} }))));
    }
}
