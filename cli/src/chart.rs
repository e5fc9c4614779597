//! The comparison as a picture: a panel for each scenario, a bar for each server.

use std::fmt::Write;

use crate::compare::{Contestant, summary};
use crate::verdict::{Row, Verdict};

const WIDTH: usize = 860;
const LEFT: usize = 210;
const BAR: usize = 300;
const LINE: usize = 22;
const TITLE: usize = 34;
const MARGIN: usize = 16;

/// Colours that are told apart also by those who cannot see red and green.
const PASSED: &str = "#0072b2";
const FAILED: &str = "#d55e00";
const SKIPPED: &str = "#999999";

pub(crate) fn draw(contestants: &[Contestant]) -> String {
    let scenarios = contestants
        .first()
        .map_or(0, |contestant| contestant.rows.len());
    let panel = TITLE + LINE * contestants.len();
    let height = 2 * MARGIN + panel * scenarios + LINE;
    let mut svg = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13" role="img">"#
    );
    let _ = writeln!(svg, "<title>What clients lose when servers stop</title>");
    let _ = writeln!(
        svg,
        r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##
    );
    for scenario in 0..scenarios {
        let rows: Vec<(&str, &Row)> = contestants
            .iter()
            .filter_map(|c| Some((c.name.as_str(), c.rows.get(scenario)?)))
            .collect();
        draw_panel(&mut svg, MARGIN + panel * scenario, &rows);
    }
    let foot = height - MARGIN;
    let _ = writeln!(
        svg,
        r##"<text x="{MARGIN}" y="{foot}" fill="#555555">Bars: messages and connections lost and clients hung, on a logarithmic scale; then the longest stop.</text>"##
    );
    svg += "</svg>\n";
    svg
}

fn draw_panel(svg: &mut String, top: usize, rows: &[(&str, &Row)]) {
    let name = rows.first().map_or("", |(_, row)| row.scenario);
    let baseline = top + TITLE - 12;
    let _ = writeln!(
        svg,
        r#"<text x="{MARGIN}" y="{baseline}" font-weight="bold">{}</text>"#,
        escape(name)
    );
    let most = rows.iter().map(|(_, row)| harm(row)).max().unwrap_or(0);
    for (line, (server, row)) in rows.iter().enumerate() {
        let y = top + TITLE + LINE * line;
        let text_y = y + 13;
        let colour = match row.verdict {
            Verdict::Passed => PASSED,
            Verdict::Failed => FAILED,
            Verdict::Skipped => SKIPPED,
        };
        let length = length(harm(row), most);
        let text_x = LEFT + length + 8;
        let label_x = LEFT - 10;
        let _ = writeln!(
            svg,
            r#"<text x="{label_x}" y="{text_y}" text-anchor="end">{}</text>"#,
            escape(server)
        );
        let _ = writeln!(
            svg,
            r#"<rect x="{LEFT}" y="{}" width="{length}" height="14" fill="{colour}"/>"#,
            y + 2
        );
        let _ = writeln!(
            svg,
            r#"<text x="{text_x}" y="{text_y}" fill="{colour}">{}</text>"#,
            escape(&summary(row))
        );
    }
}

fn harm(row: &Row) -> usize {
    row.messages_lost + row.connections_lost + row.hung
}

/// Logarithmic: one is to be seen beside thousands. Nothing is a thin line.
fn length(harm: usize, most: usize) -> usize {
    let log = |n: usize| ((n + 1) as f64).ln();
    match most {
        0 => 3,
        _ => 3 + (log(harm) / log(most) * BAR as f64) as usize,
    }
}

fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    escaped.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_line_and_the_worst_fills_the_panel() {
        assert_eq!(length(0, 0), 3);
        assert_eq!(length(0, 100), 3);
        assert_eq!(length(100, 100), 3 + BAR);
        assert!(length(1, 1000) > 20);
    }

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
