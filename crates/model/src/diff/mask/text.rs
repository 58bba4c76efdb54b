//! Secrets in a text, line by line: it need not be YAML.

use std::sync::LazyLock;

use regex::Regex;

use super::{HIDDEN, is_no_secret, looks_secret};

/// A key and its value within a line: `key=value`, `key: value`, `"key":"value"`, each with quotes or without.
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?x) (?P<key> "[\w./-]+" | '[\w./-]+' | [\w./-]+ ) (?P<between> \s*[=:]\s* )
        (?P<value> "(?:[^"\\]|\\.)*" | '(?:[^']|'')*' | (?i:(?:bearer|basic)\s+)? [^\s,;&}\]"'={\[|>] [^\s,;&}\]"']* )"#,
    )
});
/// An option whose value follows it: `--password value`.
static FLAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?x) (?P<key> --?[A-Za-z][\w-]* ) (?P<between> \s+ )
        (?P<value> "(?:[^"\\]|\\.)*" | '[^']*' | [^\s"'{-][^\s"']* )"#,
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// The text without what looks like a secret in it.
pub(super) fn hidden(text: &str) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut shown = Vec::new();
    let mut named_secret = false;
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let rest = lines.get(at..).unwrap_or_default();
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            shown.push(format!("{}{HIDDEN}", " ".repeat(indentation(line))));
            at += key_lines(line, rest);
            continue;
        }
        let Some(pair) = Pair::of(line) else {
            shown.push(within(line));
            continue;
        };
        let secret = looks_secret(pair.key) || (pair.key == "value" && named_secret);
        named_secret = pair.key == "name" && looks_secret(unquoted(pair.value));
        match (secret, pair.form()) {
            (true, Form::Scalar) => {
                let comma = if pair.value.ends_with(',') { "," } else { "" };
                shown.push(format!("{}{HIDDEN}{comma}", pair.head));
                at += deeper(pair.column, rest);
            }
            // On the next line, unless that has a key of its own.
            (true, Form::Below) if is_bare(pair.column, rest) => {
                shown.push(format!("{} {HIDDEN}", pair.head));
                at += deeper(pair.column, rest);
            }
            _ => shown.push(within(line)),
        }
    }
    shown.join("\n")
}

/// A line `  - "key": value`.
struct Pair<'a> {
    /// What stands before the value.
    head: &'a str,
    key: &'a str,
    value: &'a str,
    /// Where the key begins: what belongs to it is further to the right.
    column: usize,
}

/// What the value of a pair is.
enum Form {
    /// Nothing that could be hidden.
    Nothing,
    /// The value itself, or its beginning, or `|` before it.
    Scalar,
    /// It follows on the next lines.
    Below,
    /// A map in braces, or a template.
    Braces,
}

impl<'a> Pair<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let line = line.trim_end();
        let (colon, length) = match line.find(": ") {
            Some(colon) => (colon, 2),
            None => (line.strip_suffix(':')?.len(), 1),
        };
        let (head, value) = line.split_at_checked(colon + length)?;
        let key = head.get(..colon)?.trim_start_matches([' ', '-']);
        let column = colon - key.len();
        let key = key.trim_matches(['"', '\'']);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        (!key.is_empty() && key.chars().all(plain)).then_some(Self {
            head,
            key,
            value: value.trim(),
            column,
        })
    }

    fn form(&self) -> Form {
        match self.value {
            "" => Form::Below,
            value if value.starts_with('{') => Form::Braces,
            value if is_no_secret(unquoted(value)) => Form::Nothing,
            _ => Form::Scalar,
        }
    }
}

/// A value of JSON or YAML without its quotes, and without the comma behind it.
fn unquoted(value: &str) -> &str {
    value.trim_matches(['"', '\'', ','])
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// How many of the next lines belong to the key in this column: those further to the right, and empty ones between.
fn deeper(column: usize, rest: &[&str]) -> usize {
    let belongs = |line: &&&str| line.trim().is_empty() || indentation(line) > column;
    let block = rest.iter().take_while(belongs);
    block
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .last()
        .map_or(0, |(at, _)| at + 1)
}

/// Whether a value stands alone on the next line.
fn is_bare(column: usize, rest: &[&str]) -> bool {
    let next = rest.iter().find(|line| !line.trim().is_empty());
    next.is_some_and(|line| {
        let text = line.trim_start();
        let other = text.starts_with(['-', '{', '[', '#', '?']) || Pair::of(line).is_some();
        indentation(line) > column && !other
    })
}

/// How many of the next lines belong to the private key that begins here.
fn key_lines(first: &str, rest: &[&str]) -> usize {
    if first.contains("-----END") {
        return 0;
    }
    let end = rest.iter().position(|line| line.contains("-----END"));
    end.map_or(rest.len(), |at| at + 1)
}

/// A line without the secrets that stand somewhere in it.
fn within(line: &str) -> String {
    let line = replaced(line, &PAIR);
    without_login(&replaced(&line, &FLAG))
}

fn replaced(line: &str, pattern: &Regex) -> String {
    let mut shown = String::new();
    let (mut copied, mut from) = (0, 0);
    let mut named_secret = false;
    while let Some(found) = pattern.captures_at(line, from) {
        let part = |name| {
            found
                .name(name)
                .map_or((0, 0, ""), |m| (m.start(), m.end(), m.as_str()))
        };
        let ((_, _, key), (_, _, between), (start, end, value)) =
            (part("key"), part("between"), part("value"));
        // In its value may be another one: `url=https://h/?token=x`.
        from = start;
        let bare = unquoted(key);
        // `image: secret:v1` names no secret.
        let is_pair = between != ":" || bare != key;
        let secret = looks_secret(bare) || (bare == "value" && named_secret);
        if bare == "name" {
            named_secret = looks_secret(unquoted(value));
        }
        if is_pair && secret && !is_no_secret(unquoted(value)) {
            let quote = value.get(..1).filter(|quote| ["\"", "'"].contains(quote));
            let quote = quote.unwrap_or_default();
            shown.push_str(line.get(copied..start).unwrap_or_default());
            shown.push_str(&format!("{quote}{HIDDEN}{quote}"));
            (copied, from) = (end, end);
        }
    }
    shown.push_str(line.get(copied..).unwrap_or_default());
    shown
}

/// An address without the login in it.
fn without_login(line: &str) -> String {
    let Some((scheme, rest)) = line.split_once("://") else {
        return line.to_owned();
    };
    let end = rest.find(['/', ' ', '"', '\'', '{']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}{}", without_login(&rest[at..])),
        None => format!("{scheme}://{}", without_login(rest)),
    }
}
