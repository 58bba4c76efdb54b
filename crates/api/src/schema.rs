//! Schema fragments that the derive cannot express.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A duration as Go and Kubernetes write it. A rule and not a pattern, because its refusal says
/// what to write instead.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",
            "message": "is no duration: write hours, minutes and seconds as in 90s, 10m or 1h30m",
        }, {
            // What has more digits than this does not fit the function either, whose error nobody would understand.
            "rule": "!self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') \
                || (self.matches('^(([0-9]{1,11}([.][0-9]+)?ms)|([0-9]{1,8}([.][0-9]+)?s)|([0-9]{1,6}([.][0-9]+)?m)|([0-9]{1,4}([.][0-9]+)?h))+$') \
                && duration(self) <= duration('8760h'))",
            "message": "is too long: write at most 8760h (a year)",
        }],
    })
}

/// The namespace of a mesh's control planes. Changed in the middle of an upgrade, it would name another mesh.
pub(crate) fn control_plane_namespace(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "x-kubernetes-validations": [{
            "rule": "self == oldSelf",
            "message": "cannot be changed: create another Mesh for another control plane",
        }],
    })
}

/// A time of the day.
pub(crate) fn time_of_day(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 5,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",
            "message": "is no time of the day: write hours and minutes as in \"04:00\", in quotes",
        }],
    })
}

/// The name of a wave.
pub(crate) fn wave_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "x-kubernetes-validations": [
            {
                "rule": "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
                "message": "is no name: write small letters, digits and hyphens",
            },
            {
                "rule": "!(self in ['gateways', 'rest'])",
                "message": "is taken: 'gateways' is the wave of the gateways, 'rest' that of all other namespaces",
            },
        ],
    })
}

/// The name of a revision. The Helm release istiod-<revision> may have 53 characters.
pub(crate) fn revision(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 46,
        "x-kubernetes-validations": [
            {
                "rule": "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
                "message": "is not a valid revision: use lower case letters, digits and hyphens, with a letter or digit at both ends",
            },
            {
                "rule": "self != 'default'",
                "message": "cannot be 'default': that is the revision of an installation without one",
            },
        ],
    })
}

/// An Istio version or minor.
pub(crate) fn target_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 64,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[0-9]{1,6}[.][0-9]{1,6}([.][0-9]{1,6})?(-[0-9A-Za-z.-]*[0-9A-Za-z])?$')",
            "message": "is no Istio version: write an exact one (1.31.0), or a minor for its newest patch (\"1.31\", in quotes)",
        }],
    })
}

/// Free-form Helm values.
pub(crate) fn helm_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// The suffix of a vendor's builds; fixed once it is set.
pub(crate) fn flavour(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [
            {
                "rule": "self.matches('^([0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?)?$')",
                "message": "is no flavour: write the suffix of the builds without its hyphen (mspider for 1.30.2-mspider)",
            },
            {
                "rule": "self == oldSelf",
                "message": "cannot be changed: builds of different flavours must not be mixed; make another Mesh",
            },
        ],
    })
}
