use meshlift_api::RiskRule;
use serde_json::json;

use super::*;

fn risk(rule: Value) -> Risk {
    let rule: RiskRule = serde_json::from_value(rule).expect("a rule");
    let compile = |text: Option<String>| text.map(|t| Expression::new(&t).expect("CEL"));
    Risk {
        minor: "1.21".parse().expect("a minor"),
        code: "R121-X".into(),
        title: String::new(),
        message: String::new(),
        fix: String::new(),
        url: String::new(),
        rule: Some(Rule {
            flag: rule.flag,
            values: compile(rule.values),
            resources: rule.resources,
            object: compile(rule.expression),
        }),
    }
}

fn asked(risk: &Risk, values: Value) -> Result<bool, ExpressionError> {
    concerns(risk, values.as_object().expect("an object"))
}

#[test]
fn a_risk_without_conditions_always_counts() {
    let always = Risk {
        rule: None,
        ..risk(json!({}))
    };
    assert_eq!(asked(&always, json!({})), Ok(true));
    assert_eq!(matches(&always, &json!({})), Ok(true));
}

#[test]
fn a_choice_that_was_made_is_no_risk() {
    let risk = risk(json!({ "flag": "ENABLE_AUTO_SNI" }));
    for (values, concerned) in [
        (json!({}), true),
        (json!({ "env": { "OTHER": "x" } }), true),
        (json!({ "env": { "ENABLE_AUTO_SNI": "false" } }), false),
        (json!({ "env": { "ENABLE_AUTO_SNI": null } }), true),
        (
            json!({ "pilot": { "env": { "ENABLE_AUTO_SNI": true } } }),
            false,
        ),
        (json!({ "pilot": null }), true),
        (
            json!({ "meshConfig": { "defaultConfig": { "proxyMetadata": { "ENABLE_AUTO_SNI": "1" } } } }),
            false,
        ),
        (json!({ "compatibilityVersion": "1.20" }), false),
        (json!({ "compatibilityVersion": "1.21" }), true),
        (json!({ "compatibilityVersion": "1.9" }), false),
        (json!({ "compatibilityVersion": 1.2 }), true),
    ] {
        assert_eq!(asked(&risk, values.clone()), Ok(concerned), "{values}");
    }
}

#[test]
fn whole_numbers_and_fractions_compare_with_plain_ones() {
    let object = json!({ "a": 3, "b": 2.5, "c": u64::MAX, "d": -1, "e": [true, null] });
    for (expression, holds) in [
        ("object.a < 4", true),
        ("object.a == 3 && object.d == -1", true),
        ("object.b > 2.0", true),
        ("object.c > 1.0e18", true),
        ("object.e[0] && object.e[1] == null", true),
        ("object.a > 3", false),
    ] {
        let risk = risk(
            json!({ "resources": { "version": "v1", "resource": "x", "kind": "X" }, "expression": expression }),
        );
        assert_eq!(matches(&risk, &object), Ok(holds), "{expression}");
    }
}

#[test]
fn what_gives_no_answer_is_told() {
    let told = |expression: &str| {
        asked(&risk(json!({ "values": expression })), json!({ "a": 1 }))
            .expect_err("no answer")
            .to_string()
    };
    assert_eq!(
        told("values.b.c"),
        "\"values.b.c\" fails: No such key: b; guard fields that may be missing with has() or .?field"
    );
    assert_eq!(told("values.a"), "\"values.a\" is neither true nor false");
    let error = Expression::new("values.a = 1")
        .expect_err("no CEL")
        .to_string();
    assert!(
        error.starts_with("\"values.a = 1\" is no CEL: ") && !error.contains('\n'),
        "{error}"
    );
}

/// On the stack of a test, which is that of a worker thread.
#[test]
fn an_expression_that_is_nested_deeply_is_answered_or_refused_and_never_fatal() {
    let nested = |times: usize, open: &str, close: &str| {
        format!("{}1{}", open.repeat(times), close.repeat(times))
    };
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("a[", "]"),
        ("f(", ")"),
        ("size([", "])"),
        ("{1:", "}"),
        ("[1].all(x, ", ")"),
        ("true ? 1 : ", ""),
        ("true ? ", " : 1"),
        ("!", ""),
        ("- ", ""),
        ("1 + ", ""),
        ("true && ", ""),
        ("", ".b"),
        ("", ".?b"),
        ("", ".map(x, x)"),
    ] {
        for times in [8, 16, 32, 90, 400] {
            let text = nested(times, open, close);
            let Ok(expression) = Expression::new(&text) else {
                continue;
            };
            drop(expression.holds("a", &json!({})));
        }
    }
    assert!(Expression::new(&nested(32, "(", ")")).is_ok());
    let error = Expression::new(&nested(400, "(", ")")).expect_err("too large");
    assert!(
        error
            .to_string()
            .ends_with("more than 32 brackets and colons: write it shorter"),
        "{error}"
    );
}
