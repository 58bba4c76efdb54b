//! Objects for programs, and standard output.

use std::io::{ErrorKind, Write};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Output;

/// An object in the form that was asked for, with a newline at its end.
pub(crate) fn encode<T: Serialize>(form: Output, object: &T) -> Result<String> {
    let text = match form {
        Output::Json => serde_json::to_string_pretty(object).map(|text| text + "\n")?,
        Output::Yaml => serde_yaml_ng::to_string(object)?,
    };
    Ok(text)
}

/// A list as kubectl prints one.
pub(crate) fn list<T: Serialize>(objects: &[T]) -> Result<Value> {
    let items = serde_json::to_value(objects).context("the objects cannot be written as JSON")?;
    Ok(json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
}

/// Prints to standard output. Who wants only the first lines closes it early: that is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    tell(text).map(|_| ())
}

/// Prints to standard output; whether anyone still reads it.
pub(crate) fn tell(text: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_what_kubectl_would_give_them() {
        let list = list(&["a"]).expect("it is JSON");
        assert_eq!(list["kind"], "List");
        let text = encode(Output::Json, &list).expect("it is JSON");
        assert!(text.ends_with("}\n"), "{text}");
        let back: Value = serde_json::from_str(&text).expect("it reads back");
        assert_eq!(back, list);
        let text = encode(Output::Yaml, &list).expect("it is YAML");
        assert!(text.contains("items:\n- a\n"), "{text}");
    }
}
