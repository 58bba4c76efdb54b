//! The words and where they count, as data.

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A sentence in a status, an event or the output of the command line.
    Message,
    /// Title, explanation, finding and fix of a check.
    Check,
    /// The help of the command line.
    Help,
    /// The description of a field in a CRD, which `kubectl explain` prints.
    Description,
    /// A page of the documentation.
    Page,
}

/// Words to avoid and what to write.
pub(super) struct Word {
    /// Whole words or phrases, in lower case. `^` stands for the start of a text.
    pub(super) avoid: &'static [&'static str],
    /// What to write, behind "write".
    pub(super) write: &'static str,
    /// Phrases in which the word has another, good meaning.
    pub(super) fine: &'static [&'static str],
    /// The kinds of text that it concerns; empty for all.
    pub(super) only: &'static [Kind],
}

/// A word that is wrong in every text and every phrase.
const fn never(avoid: &'static [&'static str], write: &'static str) -> Word {
    Word {
        avoid,
        write,
        fine: &[],
        only: &[],
    }
}

/// From the table in the style guide. Words with many good meanings (`there`, `goes`, `held`) are listed as the
/// phrases that are wrong.
pub(super) const WORDS: &[Word] = &[
    Word {
        avoid: &["told", "tell", "tells", "telling", "say", "says", "said"],
        write: "\"report\", \"message\" or \"status\", or name the field",
        fine: &["that is to say"],
        only: &[],
    },
    never(
        &["mend", "mends", "mended", "mending"],
        "\"fix\" or \"fixed\"",
    ),
    never(
        &[
            "ill",
            "all is well",
            "all well",
            "is well",
            "are well",
            "ended well",
            "ends well",
        ],
        "\"unhealthy\", \"healthy\" or \"succeeded\"",
    ),
    never(&["anew", "once more"], "\"again\""),
    never(&["for ever"], "\"forever\""),
    never(
        &[", else", "; else", ": else", ". else", "all else"],
        "\"otherwise\", or \"everything else\"",
    ),
    never(
        &[
            "a look",
            "the look",
            "each look",
            "every look",
            "one look",
            "next look",
            "last look",
            "two looks",
            "between looks",
        ],
        "\"observation\", \"snapshot\" or \"pass\"",
    ),
    never(
        &[
            "goes back",
            "go back",
            "going back",
            "went back",
            "gone back",
        ],
        "\"rolls back\"",
    ),
    never(
        &["goes on", "go on", "going on", "went on"],
        "\"continues\"",
    ),
    never(
        &[
            "is gone",
            "are gone",
            "was gone",
            "were gone",
            "or gone",
            "be gone",
        ],
        "\"was removed\" or \"no longer exists\"",
    ),
    never(
        &[
            "is there",
            "are there",
            "not there",
            "still there",
            "was there",
            "were there",
            "there are none",
            "there is none",
        ],
        "\"exists\", or name what is missing",
    ),
    never(
        &[
            "lets it begin",
            "let it begin",
            "lets them begin",
            "lets it go on",
        ],
        "\"approves it\" or \"is approved\"",
    ),
    never(
        &[
            "ask for",
            "asks for",
            "asked for",
            "asking for",
            "asks istiod",
        ],
        "\"requests\", \"selects\" or \"needs\"",
    ),
    Word {
        avoid: &["is no", "are no", "was no", "names no", "be no"],
        write: "\"is not a ...\", or \"is not a valid ...\"",
        fine: &[
            "there is no",
            "there are no",
            "there was no",
            "there be no",
            "is no longer",
            "are no longer",
            "was no longer",
            "be no longer",
            "is no more than",
        ],
        only: &[],
    },
    never(
        &[
            "held back",
            "is held",
            "are held",
            "was held",
            "it holds",
            "and holds",
            "^holds",
            "hold it",
            "holds it",
            "must hold",
            "held by",
            "held :",
        ],
        "what is meant: \"paused\", \"deferred\", \"has the finalizer\" or \"is true\"",
    ),
    never(
        &[
            "the way to",
            "on the way",
            "way over",
            "way back",
            "road",
            "roads",
        ],
        "\"path\" (of versions) or \"rollback\"",
    ),
    never(&["heading", "headings"], "\"direction\""),
    Word {
        avoid: &["course", "courses"],
        write: "\"path\" or \"direction\"",
        fine: &["of course"],
        only: &[],
    },
    never(&["stage", "stages"], "\"wave\""),
    Word {
        avoid: &[
            "waits whether",
            "waits for",
            "waits until",
            "^restarts",
            "^moves",
        ],
        write: "the continuous form: \"waiting for ...\", \"restarting ...\"",
        fine: &[],
        only: &[Kind::Message],
    },
    Word {
        avoid: &[
            "^its",
            "^these",
            "^those",
            "^the same",
            "^whether",
            "^how",
            "^what",
        ],
        write: "what the field is and where it is used: \"Name of the wave. Used in ...\"",
        fine: &[],
        only: &[Kind::Description],
    },
];

/// A part of the source with sentences in string literals.
pub(super) struct Literals {
    /// Folder of the crate; empty for every crate.
    pub(super) package: &'static str,
    /// Top-level module, with all below it; empty for all of the crate.
    pub(super) module: &'static str,
    pub(super) kind: Kind,
}

/// Where string literals are sentences for users.
pub(super) const LITERALS: &[Literals] = &[
    Literals {
        package: "",
        module: "message",
        kind: Kind::Message,
    },
    Literals {
        package: "",
        module: "check",
        kind: Kind::Check,
    },
    Literals {
        package: "crates/cli",
        module: "",
        kind: Kind::Message,
    },
];

/// Doc comments of types with one of these derives are read by users.
pub(super) struct Docs {
    pub(super) package: &'static str,
    pub(super) derives: &'static [&'static str],
    pub(super) kind: Kind,
}

/// Where doc comments become text for users.
pub(super) const DOCS: &[Docs] = &[
    Docs {
        package: "crates/api",
        derives: &["JsonSchema", "CustomResource"],
        kind: Kind::Description,
    },
    Docs {
        package: "crates/cli",
        derives: &["Parser", "Args", "Subcommand", "ValueEnum"],
        kind: Kind::Help,
    },
];
