//! Tables for people: on a terminal, as Markdown, and within `docs/cost.md`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, TableStyle, presets};

use crate::args::Args;
use crate::host;

/// One table, by the name that it has in the page and as a file.
#[derive(Debug)]
pub struct Page {
    pub name: &'static str,
    pub title: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// A picture of the same, if there is one.
    pub picture: Option<String>,
}

impl Page {
    pub fn new(name: &'static str, title: impl Into<String>, header: &[&str]) -> Page {
        Page {
            name,
            title: title.into(),
            header: header.iter().map(|&cell| cell.to_owned()).collect(),
            rows: Vec::new(),
            picture: None,
        }
    }

    /// Prints it; after a full run, also writes it into `docs/cost`.
    ///
    /// # Errors
    /// Those of the files.
    pub fn publish(&self, args: &Args) -> io::Result<()> {
        println!("\n{}\n{}\n", self.title, self.table(presets::NOTHING));
        if args.quick {
            return Ok(());
        }
        let folder = docs().join("cost");
        fs::create_dir_all(&folder)?;
        let mut text = format!("{}\n", self.table(presets::ASCII_MARKDOWN));
        if let Some(picture) = &self.picture {
            let file = format!("{}.svg", self.name);
            fs::write(folder.join(&file), picture)?;
            text += &format!("\n![{}](cost/{file})\n", self.title);
        }
        fs::write(folder.join(format!("{}.md", self.name)), &text)?;
        replace(&docs().join("cost.md"), self.name, &text)?;
        replace(&docs().join("cost.md"), "measured on", &host::describe())
    }

    fn table(&self, style: TableStyle) -> Table {
        let mut table = Table::new();
        table.load_style(style);
        table.set_header(&self.header);
        let bold = style == presets::ASCII_MARKDOWN;
        for row in &self.rows {
            let plain = |cell: &String| cell.trim_matches('*').to_owned();
            let cells = row
                .iter()
                .map(|cell| if bold { cell.clone() } else { plain(cell) });
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Puts `text` between the marks of `name` in a page.
fn replace(page: &Path, name: &str, text: &str) -> io::Result<()> {
    let before = fs::read_to_string(page)?;
    let after = replaced(&before, name, text).ok_or_else(|| {
        io::Error::other(format!("{} has no marks for {name}", page.display()))
    })?;
    fs::write(page, after)
}

fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let mark = format!("<!-- {name} -->\n");
    let begin = page.find(&mark)? + mark.len();
    let end = begin + page[begin..].find(&format!("<!-- end of {name} -->"))?;
    Some(format!("{}{text}{}", &page[..begin], &page[end..]))
}

/// A row that is the title of those below.
pub fn heading(title: &str, columns: usize) -> Vec<String> {
    let mut row = vec![String::new(); columns];
    row[0] = format!("**{title}**");
    row
}

/// Whether a goal is reached.
pub fn goal(met: bool, goal: &str) -> String {
    format!("{goal}: {}", if met { "met" } else { "missed" })
}

/// Nanoseconds, as short as they can be told apart.
pub fn nanoseconds(value: f64) -> String {
    match value.abs() {
        10_000_000.0.. => format!("{:.1} ms", value / 1e6),
        10_000.0.. => format!("{:.1} µs", value / 1e3),
        100.0.. => format!("{value:.0} ns"),
        _ => format!("{value:.1} ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_last_one() {
        let page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        let new = "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n";
        assert_eq!(replaced(page, "x", "new\n").as_deref(), Some(new));
        assert_eq!(replaced(page, "y", "new\n"), None);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(nanoseconds(1.26), "1.3 ns");
        assert_eq!(nanoseconds(250.4), "250 ns");
        assert_eq!(nanoseconds(12_340.0), "12.3 µs");
        assert_eq!(nanoseconds(45_600_000.0), "45.6 ms");
    }
}
