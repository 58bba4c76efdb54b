//! What users read is written in the words of the Kubernetes and Istio documentation.
//!
//! The table and the places are data in `words/table.rs`; the texts are found by `words/texts.rs`.

mod table;
mod texts;

use std::collections::HashMap;
use std::ops::Range;

use self::table::{WORDS, Word};
use self::texts::Text;
use super::Finding;
use super::source::Sources;

pub(super) fn check(sources: &Sources) -> Vec<Finding> {
    let phrases = Phrases::of(WORDS);
    texts::of(sources)
        .iter()
        .flat_map(|text| phrases.check(text))
        .collect()
}

/// A phrase that begins with this is meant at the start of a text only.
const START: char = '^';

/// One phrase of an entry of the table.
struct Phrase {
    entry: &'static Word,
    /// Whether it is one in which the word has a good meaning.
    is_fine: bool,
    text: &'static str,
    words: Vec<String>,
}

/// All phrases by their first word, so that a text is walked over once and not once for each phrase.
struct Phrases {
    by_first_word: HashMap<String, Vec<Phrase>>,
}

impl Phrases {
    fn of(table: &'static [Word]) -> Self {
        let mut phrases = Self {
            by_first_word: HashMap::new(),
        };
        for entry in table {
            entry
                .avoid
                .iter()
                .for_each(|text| phrases.add(entry, text, false));
            entry
                .fine
                .iter()
                .for_each(|text| phrases.add(entry, text, true));
        }
        phrases
    }

    fn add(&mut self, entry: &'static Word, text: &'static str, is_fine: bool) {
        let tokens = texts::tokens(text.trim_start_matches(START), 0);
        let words: Vec<String> = tokens.into_iter().map(|token| token.word).collect();
        let same_start = self.by_first_word.entry(words[0].clone()).or_default();
        same_start.push(Phrase {
            entry,
            is_fine,
            text,
            words,
        });
    }

    fn check(&self, text: &Text) -> Vec<Finding> {
        let (fine, bad): (Vec<Hit<'_>>, Vec<Hit<'_>>) = self
            .hits(text)
            .into_iter()
            .partition(|hit| hit.phrase.is_fine);
        bad.iter()
            .filter(|hit| !fine.iter().any(|fine| fine.excuses(hit)))
            .map(|hit| hit.finding(text))
            .collect()
    }

    fn hits(&self, text: &Text) -> Vec<Hit<'_>> {
        let mut hits = Vec::new();
        for (at, token) in text.tokens.iter().enumerate() {
            let same_start = self.by_first_word.get(&token.word);
            for phrase in same_start.into_iter().flatten() {
                if phrase.stands_at(at, text) {
                    let place = at..at + phrase.words.len();
                    hits.push(Hit { phrase, place });
                }
            }
        }
        hits
    }
}

impl Phrase {
    fn stands_at(&self, at: usize, text: &Text) -> bool {
        let only = self.entry.only;
        let concerns = only.is_empty() || only.contains(&text.kind);
        let in_place = at == 0 || !self.text.starts_with(START);
        let here = text.tokens[at..].iter().map(|token| &token.word);
        concerns
            && in_place
            && text.tokens.len() - at >= self.words.len()
            && here.zip(&self.words).all(|(found, wanted)| found == wanted)
    }
}

/// A phrase and the tokens of a text that it was found in.
struct Hit<'a> {
    phrase: &'a Phrase,
    place: Range<usize>,
}

impl Hit<'_> {
    /// Whether this is the phrase that gives the word of `bad` its good meaning.
    fn excuses(&self, bad: &Hit<'_>) -> bool {
        std::ptr::eq(self.phrase.entry, bad.phrase.entry)
            && self.place.start <= bad.place.start
            && bad.place.end <= self.place.end
    }

    fn finding(&self, text: &Text) -> Finding {
        let line = text.tokens[self.place.start].line;
        let phrase = self.phrase.text.trim_start_matches(START);
        let advice = format!("\"{phrase}\": write {}", self.phrase.entry.write);
        Finding::new(&text.path, line, advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(path: &str, text: &str) -> Vec<String> {
        let found = check(&Sources::of(&[(path, text)]));
        found
            .into_iter()
            .map(|found| format!("{}: {}", found.line, found.advice))
            .collect()
    }

    #[test]
    fn a_forbidden_word_is_found_whole_and_in_any_case() {
        let found = advice(
            "docs/a.md",
            "# Title\n\nThis was Mended.\nAmended is fine.\n",
        );
        assert_eq!(found, ["3: \"mended\": write \"fix\" or \"fixed\""]);
    }

    #[test]
    fn a_phrase_is_found_over_the_end_of_a_line() {
        assert_eq!(advice("README.md", "The webhook is\ngone.").len(), 1);
        assert_eq!(advice("README.md", "What it is\n\ngone").len(), 0);
    }

    #[test]
    fn a_phrase_with_a_good_meaning_is_fine() {
        assert_eq!(
            advice("README.md", "There is no limit, and it is no longer used."),
            [""; 0]
        );
        assert_eq!(advice("README.md", "It is no version.").len(), 1);
    }

    #[test]
    fn code_is_not_prose() {
        let page = "Run `mended`:\n\n```\nmended\n```\n";
        assert_eq!(advice("README.md", page), [""; 0]);
    }

    #[test]
    fn sentences_in_messages_are_prose_and_other_strings_are_not() {
        let path = "crates/planner/src/message/back.rs";
        let code = "fn f() {\n    format!(\"{told} was mended\");\n    g(\"mended\");\n    h().expect(\"was mended\");\n}";
        assert_eq!(advice(path, code).len(), 1);
        assert_eq!(advice("crates/planner/src/lint.rs", code), [""; 0]);
    }

    #[test]
    fn waits_for_is_wrong_in_a_message_and_fine_in_an_explanation() {
        let code = "fn f() { g(\"restarts the pods and waits for them\") }";
        let message = advice("crates/planner/src/message.rs", code);
        assert_eq!(message.len(), 2, "{message:?}");
        assert_eq!(advice("crates/detect/src/check/a.rs", code), [""; 0]);
    }

    #[test]
    fn descriptions_of_api_fields_are_prose() {
        let code = "/// Was mended.\n#[derive(JsonSchema)]\nstruct A {\n    /// Its name.\n    a: u8,\n}\n/// Was mended.\nstruct B;\n";
        let found = advice("crates/api/src/x.rs", code);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
