//! A choice between two is `if`.

use syn::visit::{self, Visit};
use syn::{ExprMatch, Lit, Macro, Pat};

use super::Finding;
use super::source::{RustFile, Sources, code_in, line_of};

pub(super) fn check(sources: &Sources) -> Vec<Finding> {
    sources.rust.iter().flat_map(of_file).collect()
}

fn of_file(file: &RustFile) -> Vec<Finding> {
    let mut matches = Matches {
        path: &file.path,
        found: Vec::new(),
    };
    matches.visit_file(&file.code);
    matches.found
}

struct Matches<'a> {
    path: &'a str,
    found: Vec<Finding>,
}

impl<'ast> Visit<'ast> for Matches<'_> {
    fn visit_expr_match(&mut self, choice: &'ast ExprMatch) {
        if is_on_bool(choice) {
            let line = line_of(&choice.match_token);
            let advice = "write `if` instead of a match on a bool";
            self.found.push(Finding::new(self.path, line, advice));
        }
        visit::visit_expr_match(self, choice);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        for statement in code_in(invocation) {
            Visit::visit_stmt(self, &statement);
        }
    }
}

/// An arm that is `true` or `false` by itself gives it away; a tuple of bools is a table and fine.
fn is_on_bool(choice: &ExprMatch) -> bool {
    choice.arms.iter().any(|arm| is_bool(&arm.pat))
}

fn is_bool(pattern: &Pat) -> bool {
    match pattern {
        Pat::Lit(literal) => matches!(literal.lit, Lit::Bool(_)),
        Pat::Guard(guarded) => is_bool(&guarded.pat),
        Pat::Or(either) => either.cases.iter().any(is_bool),
        Pat::Paren(inner) => is_bool(&inner.pat),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(code: &str) -> Vec<usize> {
        let found = check(&Sources::of(&[("crates/a/src/lib.rs", code)]));
        found.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_match_on_a_bool_is_found() {
        let code = "fn f(x: bool) -> u8 {\n    match x {\n        true => 1,\n        false => 2,\n    }\n}";
        assert_eq!(lines(code), [2]);
        assert_eq!(lines("fn f() { match x { true if y => 1, _ => 2 } }"), [1]);
        assert_eq!(
            lines("fn f() { g(vec![match x { false => 1, _ => 2 }]) }"),
            [1]
        );
    }

    #[test]
    fn a_table_of_bools_is_fine() {
        assert_eq!(
            lines("fn f() { match (x, y) { (true, false) => 1, _ => 2 } }"),
            [0; 0]
        );
        assert_eq!(
            lines("fn f() { match x { Some(true) => 1, _ => 2 } }"),
            [0; 0]
        );
    }
}
