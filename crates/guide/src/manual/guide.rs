//! A text of steps: prose, and commands that a shell takes as they are.

use std::fmt::Write as _;

/// A guide being written. Commands stand four spaces in; nothing else does.
#[derive(Default)]
pub(super) struct Guide {
    text: String,
    steps: usize,
}

impl Guide {
    pub(super) fn heading(&mut self, heading: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(heading);
    }

    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        let numbered = format!("{}. {title}", self.steps);
        self.heading(&numbered);
    }

    pub(super) fn say(&mut self, sentence: &str) {
        self.line(sentence);
    }

    pub(super) fn run(&mut self, command: &str) {
        self.line(&format!("    {command}"));
    }

    /// What to see before going on.
    pub(super) fn good(&mut self, sentence: &str) {
        self.line(&format!("Good: {sentence}"));
    }

    /// How to go back from here.
    pub(super) fn back(&mut self, sentence: &str) {
        self.line(&format!("Back: {sentence}"));
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// A word as a POSIX shell takes it: bare where that is safe, in single quotes where not.
pub(super) fn quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Words as one command.
pub(super) fn command(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_every_word_as_it_is_meant() {
        assert_eq!(quote("istio-injection=enabled"), "istio-injection=enabled");
        assert_eq!(quote("revisionTags={a,b}"), "'revisionTags={a,b}'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("$(reboot)"), "'$(reboot)'");
        assert_eq!(quote(""), "''");
        assert_eq!(command(&["kubectl", "get", "a b"]), "kubectl get 'a b'");
    }
}
