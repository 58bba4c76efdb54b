//! What may change or break on the way to a release, and whether it concerns this mesh.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::{fmt, thread};

use cel::objects::Key;
use cel::{Context, Env, Program};
use meshlift_api::RiskResources;
use serde_json::{Map, Value};

use crate::version::Minor;

/// A change of a release that can break something.
#[derive(Clone, Debug, PartialEq)]
pub struct Risk {
    /// The release that brings it.
    pub minor: Minor,
    /// Stable name, by which it is accepted.
    pub code: String,
    /// A few words for a table.
    pub title: String,
    /// What changes, and what that can break.
    pub message: String,
    /// What to do.
    pub fix: String,
    /// Where upstream says so.
    pub url: String,
    /// When it concerns a mesh; always, when there is none.
    pub rule: Option<Rule>,
}

/// When a risk concerns a mesh: every condition that is given must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The environment variable of istiod, or of the proxies, that decides it.
    pub flag: Option<String>,
    /// Asked of the Helm values.
    pub values: Option<Expression>,
    /// The kind that is looked at.
    pub resources: Option<RiskResources>,
    /// Asked of each object of that kind.
    pub object: Option<Expression>,
}

/// A condition in CEL that compiles.
#[derive(Clone)]
pub struct Expression {
    text: String,
    program: Arc<Program>,
}

/// A condition that cannot be compiled, or that gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is no CEL.
    #[error("{text:?} is no CEL: {why}")]
    Malformed {
        /// The condition.
        text: String,
        /// What the compiler says.
        why: String,
    },
    /// Its parser might run out of stack on it.
    #[error("{0:?} has more than {LARGEST} brackets and colons: write it shorter")]
    TooLarge(String),
    /// It failed on what it was asked of.
    #[error("{text:?} fails: {why}; guard fields that may be missing with has() or .?field")]
    Failed {
        /// The condition.
        text: String,
        /// What it failed of.
        why: String,
    },
    /// It did not answer true or false.
    #[error("{0:?} is neither true nor false")]
    NoBool(String),
}

/// How many brackets and colons an expression may have.
const LARGEST: usize = 32;
/// Room for an expression of that size to be parsed.
const STACK: usize = 64 << 20;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Expression {
    /// Compiles it.
    pub fn new(text: &str) -> Result<Self, ExpressionError> {
        // Whatever nests has a bracket or a colon.
        let nesting = text.chars().filter(|c| "([{:".contains(*c)).count();
        if nesting > LARGEST {
            return Err(ExpressionError::TooLarge(text.to_owned()));
        }
        let program = with_room(|| ENVIRONMENT.compile(text).map_err(|e| e.to_string()))
            .unwrap_or_else(|| Err("its parser failed".to_owned()))
            .map_err(|why| ExpressionError::Malformed {
                text: text.to_owned(),
                why: why.replace('\n', " "),
            })?;
        Ok(Self {
            text: text.to_owned(),
            program: Arc::new(program),
        })
    }

    /// Asks it, with `value` under `name`.
    fn holds(&self, name: &str, value: &Value) -> Result<bool, ExpressionError> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.add_variable_from_value(name, to_cel(value));
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(answer)) => Ok(answer),
            Ok(_) => Err(ExpressionError::NoBool(self.text.clone())),
            Err(error) => Err(ExpressionError::Failed {
                text: self.text.clone(),
                why: error.to_string(),
            }),
        }
    }
}

/// The parser recurses without a limit and takes some 100 KiB for each bracket in a build that is not
/// optimized: more than the stack of a worker thread.
fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let room = thread::Builder::new().stack_size(STACK);
        room.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Whole numbers become `int` wherever they fit, so that expressions can write them without a suffix.
fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => number.as_i64().map_or_else(
            || cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            cel::Value::Int,
        ),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let fields: HashMap<Key, cel::Value> = fields
                .iter()
                .map(|(key, value)| (Key::String(Arc::new(key.clone())), to_cel(value)))
                .collect();
            cel::Value::Map(fields.into())
        }
    }
}

/// Whether a risk concerns a mesh whose istiod release has these Helm values, as far as its values
/// alone decide: where the risk names `resources`, objects must match too.
pub fn concerns(risk: &Risk, values: &Map<String, Value>) -> Result<bool, ExpressionError> {
    let Some(rule) = &risk.rule else {
        return Ok(true);
    };
    let values = effective(values);
    if rule
        .flag
        .as_deref()
        .is_some_and(|flag| decided(flag, risk.minor, &values))
    {
        return Ok(false);
    }
    match &rule.values {
        Some(expression) => expression.holds("values", &Value::Object(values)),
        None => Ok(true),
    }
}

/// Whether a risk has something to do with this object, which is of the kind that it names.
pub fn matches(risk: &Risk, object: &Value) -> Result<bool, ExpressionError> {
    match risk.rule.as_ref().and_then(|rule| rule.object.as_ref()) {
        Some(expression) => expression.holds("object", object),
        None => Ok(true),
    }
}

/// `pilot` is an alias: the chart lays it over the root.
/// Source: istio `manifests/charts/istio-control/istio-discovery/templates/zzy_descope_legacy.yaml`.
fn effective(values: &Map<String, Value>) -> Map<String, Value> {
    let mut effective = without_nulls(values);
    if let Some(Value::Object(pilot)) = effective.remove("pilot") {
        crate::values::merge(&mut effective, &pilot);
    }
    effective
}

/// In Helm values, null takes a key away.
fn without_nulls(values: &Map<String, Value>) -> Map<String, Value> {
    let given = values.iter().filter(|(_, value)| !value.is_null());
    given
        .map(|(key, value)| {
            let value = match value {
                Value::Object(fields) => Value::Object(without_nulls(fields)),
                other => other.clone(),
            };
            (key.clone(), value)
        })
        .collect()
}

/// Whether somebody has chosen the behaviour: by the variable itself, of istiod or of the proxies, or
/// by staying with the behaviour of a release before the change.
fn decided(flag: &str, changed_in: Minor, values: &Map<String, Value>) -> bool {
    let at = |pointer: &[&str]| {
        let (first, rest) = pointer.split_first()?;
        rest.iter()
            .try_fold(values.get(*first)?, |at, key| at.get(key))
    };
    let proxies = ["meshConfig", "defaultConfig", "proxyMetadata", flag];
    let kept = at(&["compatibilityVersion"])
        .and_then(Value::as_str)
        .and_then(|version| version.parse::<Minor>().ok());
    at(&["env", flag]).is_some()
        || at(&proxies).is_some()
        || kept.is_some_and(|kept| kept < changed_in)
}

#[cfg(test)]
mod tests;
