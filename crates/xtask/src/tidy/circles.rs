//! The top-level modules of a crate import each other in one direction. In a circle no module can be read, tested or
//! moved to a crate of its own without all the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

use super::Finding;
use super::source::{RustFile, Sources, line_of};

pub(super) fn check(sources: &Sources) -> Vec<Finding> {
    let packages: BTreeSet<&str> = sources.rust.iter().map(|file| &*file.package).collect();
    packages
        .into_iter()
        .flat_map(|package| Imports::of(package, sources).circles())
        .collect()
}

/// Where a module first names another one.
type Place = (String, usize);

/// Which top-level modules of a crate name which, in code that ships.
struct Imports {
    package: String,
    edges: BTreeMap<String, BTreeMap<String, Place>>,
}

impl Imports {
    fn of(package: &str, sources: &Sources) -> Self {
        let files: Vec<&RustFile> = sources
            .rust
            .iter()
            .filter(|file| file.package == package)
            .collect();
        let names = Names::of(&files);
        let mut imports = Self {
            package: package.to_owned(),
            edges: BTreeMap::new(),
        };
        for file in files {
            if let Some(from) = file.module.first() {
                imports.add(file, from, &names);
            }
        }
        imports
    }

    fn add(&mut self, file: &RustFile, from: &str, names: &Names) {
        for (path, line) in paths_of(file) {
            let Some(to) = names.module_of(&path) else {
                continue;
            };
            if to != from && !file.is_test(line) {
                let edges = self.edges.entry(from.to_owned()).or_default();
                let place = (file.path.clone(), line);
                edges.entry(to.to_owned()).or_insert(place);
            }
        }
    }

    /// One finding for each set of modules that reach each other, with the shortest circle among them.
    fn circles(&self) -> Vec<Finding> {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut found = Vec::new();
        for module in self.edges.keys() {
            if done.contains(&**module) {
                continue;
            }
            let group = self.circle_group(module);
            let shortest = group
                .iter()
                .filter_map(|member| self.shortest(member, member))
                .min_by_key(Vec::len);
            if let Some(circle) = shortest {
                found.push(self.report(&circle, group.len()));
            }
            done.extend(group);
        }
        found
    }

    /// The modules that `module` reaches and that reach it.
    fn circle_group(&self, module: &str) -> BTreeSet<&str> {
        self.edges
            .keys()
            .filter(|other| {
                self.shortest(module, other).is_some() && self.shortest(other, module).is_some()
            })
            .map(String::as_str)
            .collect()
    }

    /// The shortest path over at least one edge, without its start.
    fn shortest<'a>(&'a self, from: &str, to: &str) -> Option<Vec<&'a str>> {
        let mut before: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let mut open = VecDeque::new();
        for next in self.after(from) {
            before.insert(next, None);
            open.push_back(next);
        }
        while let Some(module) = open.pop_front() {
            if module == to {
                return Some(trail(&before, module));
            }
            for next in self.after(module) {
                if !before.contains_key(next) {
                    before.insert(next, Some(module));
                    open.push_back(next);
                }
            }
        }
        None
    }

    fn after(&self, module: &str) -> impl Iterator<Item = &str> {
        let edges = self.edges.get(module).into_iter().flatten();
        edges.map(|(to, _)| to.as_str())
    }

    fn report(&self, circle: &[&str], group: usize) -> Finding {
        let start = circle.last().copied().unwrap_or_default();
        let mut from = start;
        let mut text = start.to_owned();
        let mut first = None;
        for to in circle {
            let place = &self.edges[from][*to];
            text.push_str(&format!(" -> {to} ({}:{})", place.0, place.1));
            first.get_or_insert(place);
            from = to;
        }
        let (path, line) = first.cloned().unwrap_or_default();
        let advice = format!(
            "cut this circle of imports, the shortest among {group} modules of {}: {text}",
            self.package
        );
        Finding::new(&path, line, advice)
    }
}

/// The modules that led to `end`, and `end`.
fn trail<'a>(before: &BTreeMap<&'a str, Option<&'a str>>, end: &'a str) -> Vec<&'a str> {
    let mut trail: Vec<&str> =
        std::iter::successors(Some(end), |at| before.get(at).copied().flatten()).collect();
    trail.reverse();
    trail
}

/// What the names in the root of a crate stand for.
struct Names {
    modules: BTreeSet<String>,
    /// Names that the root re-exports, and the module that each comes from.
    exported: BTreeMap<String, String>,
}

impl Names {
    fn of(files: &[&RustFile]) -> Self {
        let mut names = Self {
            modules: BTreeSet::new(),
            exported: BTreeMap::new(),
        };
        for file in files {
            names.modules.extend(file.module.first().cloned());
        }
        let roots = files.iter().filter(|file| file.module.is_empty());
        for item in roots.flat_map(|root| &root.code.items) {
            if let Item::Use(exported) = item {
                names.export(exported);
            }
        }
        names
    }

    fn export(&mut self, exported: &ItemUse) {
        for import in leaves(&exported.tree) {
            let path = absolute(&[], &import.path);
            if let Some(module) = path.first().filter(|first| self.modules.contains(*first)) {
                self.exported.insert(import.name, module.clone());
            }
        }
    }

    /// The top-level module that an absolute path leads to.
    fn module_of(&self, path: &[String]) -> Option<&str> {
        let first = path.first()?;
        let module = self.modules.get(first).or_else(|| self.exported.get(first));
        module.map(String::as_str)
    }
}

/// Every path of the file that leads through the crate, as an absolute one without `crate`, and its line.
fn paths_of(file: &RustFile) -> Vec<(Vec<String>, usize)> {
    let mut paths = Paths {
        module: file.module.clone(),
        found: Vec::new(),
    };
    paths.visit_file(&file.code);
    paths.found
}

struct Paths {
    module: Vec<String>,
    found: Vec<(Vec<String>, usize)>,
}

impl Paths {
    fn note(&mut self, path: &[String], line: usize) {
        let leads_through_crate = path
            .first()
            .is_some_and(|first| matches!(first.as_str(), "crate" | "super" | "self"));
        if leads_through_crate {
            self.found.push((absolute(&self.module, path), line));
        }
    }

    /// Paths in the arguments of macros, which are only tokens.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if !path.last().is_some_and(String::is_empty) {
                        self.note(&path, line);
                        path.clear();
                        line = ident.span().start().line;
                    }
                    path.retain(|part| !part.is_empty());
                    path.push(ident.to_string());
                }
                // The colons between two names are an empty name until the second one is read.
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    path.push(String::new());
                }
                other => {
                    path.retain(|part| !part.is_empty());
                    self.note(&path, line);
                    path.clear();
                    if let TokenTree::Group(group) = other {
                        self.note_tokens(group.stream());
                    }
                }
            }
        }
        path.retain(|part| !part.is_empty());
        self.note(&path, line);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        let line = line_of(&import.use_token);
        for leaf in leaves(&import.tree) {
            self.note(&leaf.path, line);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.note(&parts, line_of(path));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.note_tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }

    /// `pub(super)` and `pub(in crate::x)` import nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

/// One name that a `use` brings into scope.
struct Leaf {
    path: Vec<String>,
    name: String,
}

fn leaves(tree: &UseTree) -> Vec<Leaf> {
    match tree {
        UseTree::Path(path) => {
            let mut below = leaves(&path.tree);
            for leaf in &mut below {
                leaf.path.insert(0, path.ident.to_string());
            }
            below
        }
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Name(name) => vec![Leaf {
            path: vec![name.ident.to_string()],
            name: name.ident.to_string(),
        }],
        UseTree::Rename(renamed) => vec![Leaf {
            path: vec![renamed.ident.to_string()],
            name: renamed.rename.to_string(),
        }],
        UseTree::Glob(_) => vec![Leaf {
            path: Vec::new(),
            name: "*".to_owned(),
        }],
    }
}

/// `path` as seen from `module`, from the root of the crate and without `crate`.
fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let mut at = module.to_vec();
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "crate" => at.clear(),
            "super" => {
                at.pop();
            }
            "self" => {}
            _ => break,
        }
        rest = after;
    }
    at.extend_from_slice(rest);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "mod a;\nmod b;\nmod c;\npub use b::Thing;\n";

    fn found(a: &str, b: &str) -> Vec<Finding> {
        check(&Sources::of(&[
            ("crates/x/src/lib.rs", ROOT),
            ("crates/x/src/a.rs", a),
            ("crates/x/src/b.rs", b),
            ("crates/x/src/b/deep.rs", ""),
            ("crates/x/src/c.rs", "use crate::a::A;"),
        ]))
    }

    #[test]
    fn two_modules_that_import_each_other_are_a_circle() {
        let found = found("\nuse crate::b::B;", "use super::a::{A, C};");
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .advice
                .ends_with("b -> a (crates/x/src/b.rs:1) -> b (crates/x/src/a.rs:2)")
                || found[0]
                    .advice
                    .ends_with("a -> b (crates/x/src/a.rs:2) -> a (crates/x/src/b.rs:1)"),
            "{}",
            found[0].advice
        );
    }

    #[test]
    fn one_direction_is_fine() {
        assert_eq!(found("use crate::b::B;", "use self::deep::D;"), []);
    }

    #[test]
    fn a_name_that_the_root_exports_leads_to_its_module() {
        assert_eq!(found("use crate::Thing;", "use crate::a::A;").len(), 1);
    }

    #[test]
    fn paths_in_code_and_in_macros_count() {
        let code = "fn f() { crate::b::g() }";
        assert_eq!(found(code, "fn g() { vec![x, crate::a::f()] }").len(), 1);
    }

    #[test]
    fn tests_may_import_anything() {
        let tests = "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n";
        assert_eq!(found("use crate::b::B;", tests), []);
    }

    #[test]
    fn a_visibility_is_no_import() {
        assert_eq!(found("use crate::b::B;", "pub(in crate::a) fn f() {}"), []);
    }
}
