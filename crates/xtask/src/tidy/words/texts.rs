//! Finds the texts that users read.

use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprMethodCall, Field, ItemEnum, ItemStruct, Lit, LitStr, Macro, Meta, Variant,
};

use super::super::source::{RustFile, Sources, TextFile, mentions};
use super::table::{DOCS, Docs, Kind, LITERALS};

/// A text as words and punctuation.
pub(super) struct Text {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) tokens: Vec<Token>,
}

/// A word in lower case or a punctuation mark, and its line.
pub(super) struct Token {
    pub(super) word: String,
    pub(super) line: usize,
}

/// Stands where code, a placeholder or the end of a paragraph was, so that no phrase reaches across.
const BREAK: &str = "\u{b6}";

pub(super) fn of(sources: &Sources) -> Vec<Text> {
    let pages = sources.markdown.iter().map(of_page);
    let code = sources.rust.iter().flat_map(of_file);
    pages.chain(code).collect()
}

/// Splits `text` whose first line is `line`.
pub(super) fn tokens(text: &str, line: usize) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (index, content) in text.lines().enumerate() {
        let line = line + index;
        if content.trim().is_empty() {
            tokens.push(Token::at(BREAK, line));
        }
        let mut word = String::new();
        for c in without_code(content).chars() {
            // A hyphen joins: "well-known" is not "well".
            if c.is_alphanumeric() || matches!(c, '_' | '-' | '\'') {
                word.extend(c.to_lowercase());
                continue;
            }
            push(&mut tokens, &mut word, line);
            if !c.is_whitespace() {
                tokens.push(Token::at(&c.to_string(), line));
            }
        }
        push(&mut tokens, &mut word, line);
    }
    tokens
}

impl Token {
    fn at(word: &str, line: usize) -> Self {
        Self {
            word: word.to_owned(),
            line,
        }
    }
}

fn push(tokens: &mut Vec<Token>, word: &mut String, line: usize) {
    if !word.is_empty() {
        tokens.push(Token::at(word, line));
        word.clear();
    }
}

/// One line without code spans and placeholders (`{name}`).
fn without_code(line: &str) -> String {
    let mut prose = String::new();
    let mut in_span = false;
    let mut in_braces = false;
    for c in line.chars() {
        match c {
            '`' => in_span = !in_span,
            '{' => in_braces = true,
            '}' => in_braces = false,
            _ if in_span || in_braces => continue,
            _ => {
                prose.push(c);
                continue;
            }
        }
        prose.push_str(BREAK);
    }
    prose
}

fn of_page(page: &TextFile) -> Text {
    let mut prose = String::new();
    let mut in_block = false;
    for line in page.text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        if !in_block && !is_fence {
            prose.push_str(line);
        }
        in_block ^= is_fence;
        prose.push('\n');
    }
    Text {
        path: page.path.clone(),
        kind: Kind::Page,
        tokens: tokens(&prose, 1),
    }
}

fn of_file(file: &RustFile) -> Vec<Text> {
    let place = LITERALS.iter().find(|place| {
        (place.package.is_empty() || place.package == file.package)
            && (place.module.is_empty() || file.is_in(place.module))
    });
    let mut prose = Prose {
        file,
        literals: place.map(|place| place.kind),
        docs: DOCS
            .iter()
            .filter(|docs| docs.package == file.package)
            .collect(),
        described: None,
        found: Vec::new(),
    };
    if place.is_some() || !prose.docs.is_empty() {
        prose.visit_file(&file.code);
    }
    prose.found
}

struct Prose<'a> {
    file: &'a RustFile,
    /// What the string literals of the file are, if they are for users.
    literals: Option<Kind>,
    docs: Vec<&'static Docs>,
    /// What the doc comments of the type at hand are.
    described: Option<Kind>,
    found: Vec<Text>,
}

impl Prose<'_> {
    fn add(&mut self, kind: Kind, tokens: Vec<Token>) {
        let first = tokens.first().map_or(0, |token| token.line);
        if !self.file.is_test(first) {
            self.found.push(Text {
                path: self.file.path.clone(),
                kind,
                tokens,
            });
        }
    }

    fn literal(&mut self, literal: &LitStr) {
        let text = literal.value();
        // A name, a key or a path is not a sentence.
        if let Some(kind) = self.literals
            && text.trim().contains(' ')
        {
            let line = literal.span().start().line;
            let mut tokens = tokens(&text, line);
            // Where a line of a literal ends in the source is not known.
            tokens.iter_mut().for_each(|token| token.line = line);
            self.add(kind, tokens);
        }
    }

    fn docs(&mut self, attributes: &[Attribute]) {
        if let Some(kind) = self.described {
            let tokens = attributes.iter().filter_map(doc_line).flatten().collect();
            self.add(kind, tokens);
        }
    }

    /// The kind of the doc comments of a type with these attributes.
    fn kind_of(&self, attributes: &[Attribute]) -> Option<Kind> {
        let docs = self.docs.iter().find(|docs| {
            docs.derives
                .iter()
                .any(|derive| derives(attributes, derive))
        });
        docs.map(|docs| docs.kind)
    }
}

fn derives(attributes: &[Attribute], name: &str) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("derive"))
        .filter_map(|attribute| attribute.meta.require_list().ok())
        .any(|list| mentions(&list.tokens, name))
}

fn doc_line(attribute: &Attribute) -> Option<Vec<Token>> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    let Expr::Lit(value) = &pair.value else {
        return None;
    };
    let Lit::Str(text) = &value.lit else {
        return None;
    };
    let line = text.span().start().line;
    let text = text.value();
    // A line without text is still the end of a paragraph.
    let text = if text.is_empty() { " " } else { &text };
    pair.path.is_ident("doc").then(|| tokens(text, line))
}

impl<'ast> Visit<'ast> for Prose<'_> {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.described = self.kind_of(&item.attrs);
        self.docs(&item.attrs);
        visit::visit_item_struct(self, item);
        self.described = None;
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.described = self.kind_of(&item.attrs);
        self.docs(&item.attrs);
        visit::visit_item_enum(self, item);
        self.described = None;
    }

    fn visit_field(&mut self, field: &'ast Field) {
        self.docs(&field.attrs);
        visit::visit_field(self, field);
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        self.docs(&variant.attrs);
        visit::visit_variant(self, variant);
    }

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        self.literal(literal);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.literals_of(invocation.tokens.clone());
    }

    /// What `expect` gets is for programmers.
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.visit_expr(&call.receiver);
        if call.method != "expect" {
            call.args
                .iter()
                .for_each(|argument| self.visit_expr(argument));
        }
    }

    /// Attributes are configuration, and doc comments were read above.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

impl Prose<'_> {
    /// The sentences among the arguments of a macro.
    fn literals_of(&mut self, tokens: proc_macro2::TokenStream) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.literals_of(group.stream()),
                proc_macro2::TokenTree::Literal(literal) => {
                    if let Lit::Str(text) = Lit::new(literal) {
                        self.literal(&text);
                    }
                }
                _ => {}
            }
        }
    }
}
