//! Every command that is printed anywhere runs: a person in a hurry pastes it.

use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use super::Cli;

/// A command as it stands in a text, and how exactly.
#[derive(Debug, PartialEq)]
struct Printed {
    words: Vec<String>,
    /// Marked off from the sentence around it: every word belongs to it.
    exact: bool,
}

/// The commands of a text. Inside backticks, in parentheses and on a line of its own a command is exact; in the middle of
/// a sentence nobody can tell where it ends.
fn commands(text: &str) -> Vec<Printed> {
    let known: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, _) in line.match_indices("meshlift ") {
            let before = &line[..at];
            let rest = &line[at + "meshlift ".len()..];
            let (command, after) = cut(rest);
            let words: Vec<String> = command.split_whitespace().map(placeholder).collect();
            let Some(first) = words.first() else { continue };
            if before.ends_with(|c: char| c.is_alphanumeric() || "-_/.".contains(c))
                || !known.contains(first)
            {
                continue;
            }
            let alone = before.trim_end_matches("kubectl ").trim_matches([' ', '$']);
            let exact = alone.is_empty()
                || alone.ends_with(['`', '(', '"'])
                || after.starts_with(['`', ')']);
            found.push(Printed { words, exact });
        }
    }
    found
}

/// The command, up to what cannot be part of it, and what follows.
fn cut(rest: &str) -> (&str, &str) {
    let ends = [
        "`", "\"", ")", ";", ",", ": ", "#", " &&", " > ", "  ", "\\n", ". ", " | ",
    ];
    let end = ends.iter().filter_map(|end| rest.find(end)).min();
    let (command, after) = rest.split_at(end.unwrap_or(rest.len()));
    (command.trim_end_matches('.'), after)
}

/// `[NAME]` stands for a name, `bash|zsh` for one of the two.
fn placeholder(word: &str) -> String {
    let word = word.trim_matches(['[', ']', '\'']);
    word.split('|').next().unwrap_or(word).to_owned()
}

/// What is wrong with a command, if something is.
fn wrong(printed: &Printed) -> Option<String> {
    let line = std::iter::once("meshlift").chain(printed.words.iter().map(String::as_str));
    let error = match Cli::try_parse_from(line) {
        Ok(cli) => {
            let refused = cli.command.validate().err()?;
            return Some(format!("meshlift {}: {refused}", printed.words.join(" ")));
        }
        Err(error) => error,
    };
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion, MissingRequiredArgument};
    let bare = is_bare(&printed.words) && error.kind() == MissingRequiredArgument;
    let prose = !printed.exact && !printed.words.iter().any(|word| word.starts_with('-'));
    // `meshlift approve` alone names the command and is no line to run.
    if matches!(error.kind(), DisplayHelp | DisplayVersion) || bare || prose {
        return None;
    }
    Some(format!(
        "meshlift {}: {}",
        printed.words.join(" "),
        error.kind()
    ))
}

/// Whether it only names a command: `meshlift backup show`.
fn is_bare(words: &[String]) -> bool {
    let mut command = Cli::command();
    words.iter().all(|word| {
        let inner = command.find_subcommand(word).cloned();
        inner.map(|inner| command = inner).is_some()
    })
}

/// Texts that people read: the book, examples, and every message that a golden story shows.
fn texts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = vec![root.join("README.md")];
    for folder in [
        "docs",
        "deploy/examples",
        "charts/meshlift/templates",
        "crates",
    ] {
        for kind in ["md", "yaml", "txt", "snap"] {
            walk(&root.join(folder), kind, &mut found);
        }
    }
    found
}

fn walk(folder: &Path, kind: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, kind, found);
        } else if path.extension().is_some_and(|extension| extension == kind) {
            found.push(path);
        }
    }
}

#[test]
fn what_is_printed_runs() {
    let (mut checked, mut failures) = (0, Vec::new());
    for path in texts() {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for printed in commands(&text) {
            checked += 1;
            let failure = wrong(&printed);
            failures.extend(failure.map(|failure| format!("{}: {failure}", path.display())));
        }
    }
    assert!(checked > 60, "only {checked} commands were found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Messages as the code makes them: what is filled in is any name, and may be one that this place does not know.
#[test]
fn what_the_code_makes_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for of in ["detect", "guide", "model", "operator", "planner"] {
        walk(&root.join(of).join("src"), "rs", &mut files);
    }
    let (mut checked, mut failures) = (0, Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim().starts_with("//"));
        for line in code {
            for printed in commands(&filled_in(line)) {
                checked += 1;
                let failure = wrong(&printed).filter(|why| !why.ends_with(OTHER_VALUE));
                failures.extend(failure.map(|failure| format!("{}: {failure}", path.display())));
            }
        }
    }
    assert!(checked > 10, "only {checked} commands were found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// How clap calls a value that is none of those that a flag takes.
const OTHER_VALUE: &str = "one of the values isn't valid for an argument";

/// A format string with what may be a name and a version for everything that is filled in: `--mesh {mesh}` becomes
/// `--mesh 1.31.0`.
fn filled_in(line: &str) -> String {
    let mut parts = line.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once('}').map_or(part, |(_, rest)| rest);
        text.push_str("1.31.0");
        text.push_str(rest);
    }
    text
}

#[test]
fn the_words_of_checks_and_risks_run() {
    let texts = meshlift_detect::check::CHECKS
        .iter()
        .flat_map(|check| [check.explanation, check.fix]);
    let failures: Vec<String> = texts
        .flat_map(commands)
        .filter_map(|printed| wrong(&printed))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_command_that_does_not_run_is_found() {
    let failing = |text: &str| commands(text).iter().filter_map(wrong).count();
    assert_eq!(failing("run `meshlift manual default --way helm` first"), 1);
    assert_eq!(failing("$ meshlift approve to-1-31"), 1);
    assert_eq!(failing("prints meshlift manual default --way helm"), 1);
    assert_eq!(
        failing("(meshlift rollback to-1-31) or wait; `meshlift plan -f FILE`"),
        0
    );
    assert_eq!(failing("and meshlift plan shows the rest"), 0);
    assert_eq!(failing("run `meshlift plan --ensure-replicas 2`"), 1);
}
