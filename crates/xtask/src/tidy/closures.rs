//! A closure that is bound to a name before its use hides a function or a method.

use std::collections::BTreeSet;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Block, Expr, ExprClosure, ExprPath, ImplItemFn, ItemFn, Local, Macro, Pat, PatIdent, Receiver,
    Signature,
};

use super::Finding;
use super::source::{RustFile, Sources};

/// Tests are free: there a closure builds the objects of one test, and its name is read beside it.
pub(super) fn check(sources: &Sources) -> Vec<Finding> {
    sources.rust.iter().flat_map(of_file).collect()
}

fn of_file(file: &RustFile) -> Vec<Finding> {
    let mut functions = Functions::default();
    functions.visit_file(&file.code);
    functions
        .bound
        .iter()
        .filter(|bound| !file.is_test(bound.line))
        .filter_map(|bound| Some(Finding::new(&file.path, bound.line, bound.advice()?)))
        .collect()
}

/// `let name = |..| ..;`
struct Bound {
    name: String,
    line: usize,
    /// It uses a variable of the function around it.
    captures: bool,
    /// How often the function names it.
    uses: usize,
}

impl Bound {
    /// A closure that captures something and is used several times has no simpler form; one that captures nothing
    /// is a function, and one that is used once is only read in the wrong place.
    fn advice(&self) -> Option<String> {
        let Self { name, .. } = self;
        if !self.captures {
            return Some(format!(
                "`{name}` captures nothing: make it a function or a method"
            ));
        }
        (self.uses == 1)
            .then(|| format!("`{name}` is used once: write it there, or make it a method"))
    }
}

/// Collects the bound closures, function by function.
#[derive(Default)]
struct Functions {
    bound: Vec<Bound>,
}

impl Functions {
    fn examine(&mut self, signature: &Signature, body: &Block) {
        let mut bindings = Bindings::default();
        bindings.visit_block(body);
        let names = Names::of(|names| names.visit_block(body));
        for (name, closure) in bindings.found {
            let name_text = name.to_string();
            self.bound.push(Bound {
                line: name.span().start().line,
                captures: captures(closure, signature, body),
                uses: names.iter().filter(|used| **used == name_text).count(),
                name: name_text,
            });
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.examine(&function.sig, &function.block);
    }

    fn visit_impl_item_fn(&mut self, method: &'ast ImplItemFn) {
        self.examine(&method.sig, &method.block);
    }
}

/// Closures that a `let` gives a name.
#[derive(Default)]
struct Bindings<'ast> {
    found: Vec<(&'ast Ident, &'ast ExprClosure)>,
}

impl<'ast> Visit<'ast> for Bindings<'ast> {
    fn visit_local(&mut self, local: &'ast Local) {
        let value = local.init.as_ref().map(|init| &*init.expr);
        if let (Some(name), Some(Expr::Closure(closure))) = (name_of(&local.pat), value) {
            self.found.push((name, closure));
        }
        visit::visit_local(self, local);
    }
}

fn name_of(pattern: &Pat) -> Option<&Ident> {
    match pattern {
        Pat::Ident(name) => Some(&name.ident),
        Pat::Type(typed) => name_of(&typed.pat),
        _ => None,
    }
}

/// Whether `closure` names a variable of the function that it does not bind itself.
fn captures(closure: &ExprClosure, signature: &Signature, body: &Block) -> bool {
    let mut around = Variables::without(closure);
    around.visit_signature(signature);
    around.visit_block(body);
    let mut own = Variables::default();
    own.visit_expr_closure(closure);
    Names::of(|names| names.visit_expr(&closure.body))
        .iter()
        .any(|name| around.found.contains(name) && !own.found.contains(name))
}

/// The variables that patterns bind.
#[derive(Default)]
struct Variables<'a> {
    skipped: Option<&'a ExprClosure>,
    found: BTreeSet<String>,
}

impl<'a> Variables<'a> {
    fn without(closure: &'a ExprClosure) -> Self {
        Self {
            skipped: Some(closure),
            found: BTreeSet::new(),
        }
    }
}

impl<'ast> Visit<'ast> for Variables<'_> {
    fn visit_pat_ident(&mut self, variable: &'ast PatIdent) {
        self.found.insert(variable.ident.to_string());
        visit::visit_pat_ident(self, variable);
    }

    fn visit_receiver(&mut self, _: &'ast Receiver) {
        self.found.insert("self".to_owned());
    }

    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        let is_skipped = self
            .skipped
            .is_some_and(|skipped| std::ptr::eq(skipped, closure));
        if !is_skipped {
            visit::visit_expr_closure(self, closure);
        }
    }
}

/// The names that expressions use, once for each use.
#[derive(Default)]
struct Names {
    found: Vec<String>,
}

impl Names {
    fn of(visit: impl FnOnce(&mut Self)) -> Vec<String> {
        let mut names = Self::default();
        visit(&mut names);
        names.found
    }

    /// The arguments of a macro: every name that is no field or method, also within a format string.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut after_dot = false;
        for token in tokens {
            match &token {
                TokenTree::Ident(name) if !after_dot => self.found.push(name.to_string()),
                TokenTree::Group(group) => self.note_tokens(group.stream()),
                TokenTree::Literal(text) => self.note_format(&text.to_string()),
                _ => {}
            }
            after_dot = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '.');
        }
    }

    fn note_format(&mut self, text: &str) {
        for part in text.split('{').skip(1) {
            let end = part.find(|c: char| !c.is_alphanumeric() && c != '_');
            self.found
                .push(part[..end.unwrap_or(part.len())].to_owned());
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_expr_path(&mut self, path: &'ast ExprPath) {
        if let Some(name) = path.path.get_ident() {
            self.found.push(name.to_string());
        }
        visit::visit_expr_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.note_tokens(invocation.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(body: &str) -> Vec<String> {
        let code = format!("fn f(all: &[u8], limit: u8) {{ {body} }}");
        let found = check(&Sources::of(&[("crates/a/src/lib.rs", &code)]));
        found.into_iter().map(|finding| finding.advice).collect()
    }

    #[test]
    fn a_closure_that_captures_nothing_is_a_function() {
        let found = advice("let small = |x: u8| x < 3; small(1); small(2);");
        assert_eq!(
            found,
            ["`small` captures nothing: make it a function or a method"]
        );
        // Its own variables are no captures.
        assert_eq!(
            advice("let text = |x: u8| format!(\"{x}\"); text(1); text(2);").len(),
            1
        );
    }

    #[test]
    fn a_closure_that_is_used_once_is_written_there() {
        let found = advice("let small = |x: &u8| *x < limit; all.iter().filter(small);");
        assert!(found[0].starts_with("`small` is used once"), "{found:?}");
    }

    #[test]
    fn a_closure_that_captures_and_is_used_twice_is_fine() {
        assert_eq!(
            advice("let small = |x: u8| x < limit; small(1); small(2);"),
            [""; 0]
        );
        assert_eq!(
            advice("let text = || format!(\"{limit}\"); text(); text();"),
            [""; 0]
        );
        assert_eq!(
            advice("let more = move || g(all); more(); vec![more()];"),
            [""; 0]
        );
    }

    #[test]
    fn what_is_no_bound_closure_is_fine() {
        assert_eq!(
            advice("let n = all.iter().filter(|x| **x < 3).count();"),
            [""; 0]
        );
    }

    #[test]
    fn tests_are_free() {
        let code = "#[test]\nfn f() { let small = |x: u8| x < 3; small(1); }";
        assert_eq!(check(&Sources::of(&[("crates/a/src/lib.rs", code)])), []);
    }
}
