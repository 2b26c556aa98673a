//! Columns and paragraphs of plain text.

use crate::load::number::one_line;

/// Paragraphs are wrapped at this.
const COLUMNS: usize = 100;
const BETWEEN_COLUMNS: &str = "   ";
const INDENT: &str = "  ";

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// Rows below each other; a row without cells is a blank line, and one with fewer cells than there are columns ends in a text
/// that may be as long as it likes.
pub fn table(sides: &[Side], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..sides.len())
        .map(|at| {
            let complete = rows
                .iter()
                .filter(|row| row.len() == sides.len() || at + 1 < row.len());
            complete
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(sides.iter().zip(&widths))
            .map(|(cell, (side, width))| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            })
            .collect();
        if !cells.is_empty() {
            text.push_str(INDENT);
        }
        text.push_str(cells.join(BETWEEN_COLUMNS).trim_end());
        text.push('\n');
    }
    text
}

/// A title and points, each wrapped; nothing where there is no point.
pub fn bullets(title: &str, points: &[String]) -> String {
    if points.is_empty() {
        return String::new();
    }
    let mut text = format!("{title}\n");
    for point in points {
        let mut line = format!("{INDENT}-");
        for word in one_line(point).split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > COLUMNS
                && !line.trim_start_matches([' ', '-']).is_empty()
            {
                text.push_str(&line);
                text.push('\n');
                line = format!("{INDENT} ");
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_spaces() {
        let row = |cells: &[&str]| {
            cells
                .iter()
                .map(|cell| (*cell).to_owned())
                .collect::<Vec<String>>()
        };
        let rows = [
            row(&["name", "1.5", "ms"]),
            row(&["a longer one", "12.25", ""]),
            row(&[]),
            row(&["open", "and as long as it likes"]),
        ];
        assert_eq!(
            table(&[Side::Left, Side::Right, Side::Left], &rows),
            "  name             1.5   ms\n  a longer one   12.25\n\n  open           and as long as it likes\n"
        );
    }

    #[test]
    fn long_points_are_wrapped() {
        let text = bullets("Title", &["word ".repeat(30), "x".repeat(150)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[1].starts_with("  - word")
                && lines[1].len() <= COLUMNS
                && lines[2].starts_with("    word")
        );
        assert_eq!(lines[3].len(), 4 + 150);
        assert_eq!(bullets("Title", &[]), "");
    }
}
