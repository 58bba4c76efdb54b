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
        }],
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
