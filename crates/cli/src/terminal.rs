//! What standard output is: how wide, whether it takes colour, whether a person reads it.

use std::io::IsTerminal;

use anyhow::{Context as _, Result};

/// What there is to write on.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Columns; none where nothing is to be wrapped.
    pub width: Option<u16>,
    /// Whether to use colour.
    pub color: bool,
    /// Whether a person reads along: bars and live views.
    pub live: bool,
    /// Whether a person can be asked.
    pub can_ask: bool,
}

/// Below this, wrapping makes columns of single words: long lines read better.
const NARROWEST: u16 = 60;

impl Terminal {
    /// The terminal of this process. Colour follows the flag and `NO_COLOR`.
    pub fn detect(no_color: bool) -> Self {
        let live = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let forbids = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let (_, columns) = console::Term::stdout().size();
        Self {
            width: (std::io::stdout().is_terminal() && columns >= NARROWEST).then_some(columns),
            color: std::io::stdout().is_terminal() && !no_color && !forbids("NO_COLOR") && !dumb,
            live: live && !dumb,
            can_ask: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        }
    }

    /// A file or a pipe.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self {
            width: None,
            color: false,
            live: false,
            can_ask: false,
        }
    }

    /// A terminal of this width, without colour.
    #[cfg(test)]
    pub(crate) fn wide(width: u16) -> Self {
        Self {
            width: Some(width),
            ..Self::plain()
        }
    }

    /// Text in the colour of its meaning.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let style = console::Style::new().force_styling(self.color);
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => style.bold(),
            Tone::Good => style.green(),
            Tone::Warn => style.yellow(),
            Tone::Bad => style.red(),
            Tone::Faint => style.dim(),
        };
        style.apply_to(text).to_string()
    }

    /// A text wrapped to the terminal, each line after `indent` spaces.
    pub fn wrap(&self, indent: usize, text: &str) -> String {
        let margin = " ".repeat(indent);
        let Some(width) = self.width else {
            return text
                .lines()
                .map(|line| format!("{margin}{line}"))
                .collect::<Vec<_>>()
                .join("\n");
        };
        let options = textwrap::Options::new(usize::from(width).min(120))
            .initial_indent(&margin)
            .subsequent_indent(&margin)
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .break_words(false);
        textwrap::fill(text, options)
    }
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// As it should be.
    Good,
    /// To be known.
    Warn,
    /// Wrong.
    Bad,
    /// Of less weight.
    Faint,
}

/// Whether a person says yes.
pub(crate) fn asked(question: &str) -> Result<bool> {
    eprint!("{question}");
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("the answer cannot be read")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
