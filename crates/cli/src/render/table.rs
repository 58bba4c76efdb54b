//! Tables as kubectl prints them: headings, columns, no lines. Long texts wrap to the terminal.

use comfy_table::{
    Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, presets,
};

use crate::terminal::{Terminal, Tone};

/// One cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in the colour of its meaning.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    /// A cell for what may be unknown.
    pub(crate) fn maybe(text: Option<impl Into<String>>) -> Self {
        text.map_or_else(
            || Self::toned(Tone::Faint, "-"),
            |text| Self::from(text.into()),
        )
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// As wide as its widest cell.
    Fixed(&'static str),
    /// Numbers: aligned to the right.
    Number(&'static str),
    /// Sentences: takes what is left, and wraps.
    Text(&'static str),
}

/// The table as text, with a newline at its end.
pub(crate) fn table(
    terminal: &Terminal,
    columns: &[Column],
    rows: impl IntoIterator<Item = Vec<Cell>>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty();
    if terminal.color {
        table.enforce_styling();
    }
    match terminal.width {
        Some(width) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.set_header(columns.iter().map(|column| {
        let (Column::Fixed(title) | Column::Number(title) | Column::Text(title)) = column;
        comfy_table::Cell::new(title).add_attribute(Attribute::Bold)
    }));
    for row in rows {
        table.add_row(row.into_iter().map(drawn));
    }
    for (index, kind) in columns.iter().enumerate() {
        let Some(column) = table.column_mut(index) else {
            continue;
        };
        column.set_padding((0, 3));
        match kind {
            Column::Fixed(_) => {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            Column::Number(_) => {
                column.set_constraint(ColumnConstraint::ContentWidth);
                column.set_cell_alignment(CellAlignment::Right);
            }
            Column::Text(_) => {}
        }
    }
    table.trim_fmt() + "\n"
}

fn drawn(cell: Cell) -> comfy_table::Cell {
    let drawn = comfy_table::Cell::new(cell.text);
    match cell.tone {
        Tone::Plain => drawn,
        Tone::Strong => drawn.add_attribute(Attribute::Bold),
        Tone::Good => drawn.fg(Color::Green),
        Tone::Warn => drawn.fg(Color::Yellow),
        Tone::Bad => drawn.fg(Color::Red),
        Tone::Faint => drawn.add_attribute(Attribute::Dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(terminal: &Terminal) -> String {
        let columns = [
            Column::Fixed("CODE"),
            Column::Number("OBJECTS"),
            Column::Text("MESSAGE"),
        ];
        let message = "the Kubernetes of cluster east is 1.29, and Istio 1.31 needs 1.31 or newer";
        let rows = [
            vec!["K8S-RANGE".into(), "1".into(), message.into()],
            vec!["CNI".into(), "1203".into(), Cell::maybe(None::<String>)],
        ];
        table(terminal, &columns, rows)
    }

    #[test]
    fn sentences_wrap_in_their_own_column() {
        insta::assert_snapshot!(sample(&Terminal::wide(60)));
    }

    #[test]
    fn a_pipe_gets_one_line_for_each_row() {
        insta::assert_snapshot!(sample(&Terminal::plain()));
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let mut terminal = Terminal::wide(60);
        assert!(!sample(&terminal).contains('\u{1b}'));
        terminal.color = true;
        assert!(sample(&terminal).contains('\u{1b}'));
    }
}
