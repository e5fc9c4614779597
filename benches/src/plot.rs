//! Pictures of results, as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;

/// Colours that are told apart also by those who cannot see red and green; the
/// floor is grey.
const COLOURS: [RGBColor; 7] = [
    RGBColor(120, 120, 120),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

type Failed = Box<dyn std::error::Error>;

/// A line by its name and its points.
pub type Line = (String, Vec<(f64, f64)>);

/// Lines over logarithmic scales.
///
/// # Errors
/// When there is nothing to draw.
pub fn lines(title: &str, x: &str, y: &str, lines: &[Line]) -> Result<String, Failed> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (860, 480)).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || lines.iter().flat_map(|(_, points)| points.iter().copied());
        let (xs, ys) = (points().map(|(x, _)| x), points().map(|(_, y)| y));
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(span(xs)?.log_scale(), span(ys)?.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(x)
            .y_desc(y)
            .light_line_style(WHITE)
            .draw()?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
            chart
                .draw_series(line.point_size(3))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], *colour));
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperLeft);
        labels
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

fn span(values: impl Iterator<Item = f64>) -> Result<std::ops::Range<f64>, Failed> {
    let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    match low < high {
        true => Ok(low * 0.8..high * 1.25),
        false => Err("there is nothing to draw".into()),
    }
}

/// A group of bars for each title, each as long as its value, from zero.
///
/// # Errors
/// When there is nothing to draw.
pub fn bars(unit: &str, groups: &[(String, Vec<(String, f64)>)]) -> Result<String, Failed> {
    const BAR: i32 = 22;
    const TITLE: i32 = 34;
    let rows: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let height = TITLE * groups.len() as i32 + BAR * rows as i32 + 24;
    let mut svg = String::new();
    {
        let backend = SVGBackend::with_string(&mut svg, (860, height as u32));
        let area = backend.into_drawing_area();
        area.fill(&WHITE)?;
        let mut top = 8;
        for (title, bars) in groups {
            text(&area, title, (12, top + 8), 15)?;
            top += TITLE;
            let longest = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
            for (bar, colour) in bars.iter().zip(COLOURS.iter().cycle()) {
                let length = (bar.1 / longest * 400.0) as i32;
                let corners = [(270, top), (270 + length.max(1), top + BAR - 6)];
                area.draw(&Rectangle::new(corners, colour.filled()))?;
                text(&area, &bar.0, (40, top + 2), 13)?;
                let label = format!("{:.1} {unit}", bar.1);
                text(&area, &label, (278 + length, top + 2), 13)?;
                top += BAR;
            }
        }
        area.present()?;
    }
    Ok(svg)
}

fn text(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    text: &str,
    at: (i32, i32),
    size: i32,
) -> Result<(), Failed> {
    let style = ("sans-serif", size).into_text_style(area);
    Ok(area.draw_text(text, &style, at)?)
}
