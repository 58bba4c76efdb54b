//! A file is read in one sitting, and a function fits on one screen.

use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn};

use super::Finding;
use super::source::{RustFile, Sources};

/// Lines of a file, with its tests.
const LONGEST_FILE: usize = 500;
/// Lines between the braces of a function, with comments and blank lines: what a screen shows.
const LONGEST_FUNCTION: usize = 60;

pub(super) fn check(sources: &Sources) -> Vec<Finding> {
    sources.rust.iter().flat_map(of_file).collect()
}

fn of_file(file: &RustFile) -> Vec<Finding> {
    let mut functions = Functions {
        path: &file.path,
        found: Vec::new(),
    };
    functions.visit_file(&file.code);
    if file.lines > LONGEST_FILE {
        let advice = format!(
            "the file has {} lines; split it, {LONGEST_FILE} is the limit",
            file.lines
        );
        functions.found.push(Finding::new(&file.path, 1, advice));
    }
    functions.found
}

struct Functions<'a> {
    path: &'a str,
    found: Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let braces = body.brace_token.span;
        let lines = braces.close().start().line - braces.open().start().line;
        let inside = lines.saturating_sub(1);
        if inside > LONGEST_FUNCTION {
            let name = &signature.ident;
            let advice = format!(
                "the body of `{name}` has {inside} lines; split it, {LONGEST_FUNCTION} is the limit"
            );
            let line = name.span().start().line;
            self.found.push(Finding::new(self.path, line, advice));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, method: &'ast ImplItemFn) {
        self.measure(&method.sig, &method.block);
        visit::visit_impl_item_fn(self, method);
    }

    fn visit_trait_item_fn(&mut self, method: &'ast TraitItemFn) {
        if let Some(body) = &method.default {
            self.measure(&method.sig, body);
        }
        visit::visit_trait_item_fn(self, method);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize) -> String {
        format!("\nfn long() {{\n{}}}\n", "    step();\n".repeat(lines))
    }

    #[test]
    fn a_function_of_sixty_lines_is_fine_and_one_more_is_too_long() {
        let fine = function_of(LONGEST_FUNCTION);
        assert_eq!(check(&Sources::of(&[("crates/a/src/lib.rs", &fine)])), []);
        let long = function_of(LONGEST_FUNCTION + 1);
        let found = check(&Sources::of(&[("crates/a/src/lib.rs", &long)]));
        assert_eq!(found[0].line, 2);
        assert!(found[0].advice.contains("`long` has 61 lines"));
    }

    #[test]
    fn a_file_of_more_than_five_hundred_lines_is_too_long() {
        let fine = "const A: u8 = 1;\n".repeat(LONGEST_FILE);
        assert_eq!(check(&Sources::of(&[("crates/a/src/lib.rs", &fine)])), []);
        let long = format!("{fine}const B: u8 = 1;\n");
        let found = check(&Sources::of(&[("crates/a/src/lib.rs", &long)]));
        assert!(found[0].advice.contains("501 lines"));
    }
}
