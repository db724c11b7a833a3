//! The plot: queries per second by number of ads, one line per implementation, both axes logarithmic.

use std::fmt::Write as _;

use crate::report::{Report, short};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = ["#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#57606a"];

/// Decades that a set of positive values spans.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values.fold(0.0, f64::max).log10().ceil();
    (low, high.max(low + 1.0))
}

/// A line per implementation of one measure.
pub(crate) fn svg(report: &Report, measure: &str, title: &str) -> String {
    let cells: Vec<_> = report.cells.iter().filter(|cell| cell.measure == measure).collect();
    let (x_low, x_high) = decades(cells.iter().map(|cell| cell.ads as f64));
    let (y_low, y_high) = decades(cells.iter().map(|cell| cell.value));
    let x = |ads: f64| LEFT + (ads.log10() - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| {
        HEIGHT - BOTTOM - (value.log10() - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"15\" fill=\"#1f2328\">{title}</text>\n"
    );
    let mut rule =
        |from: (f64, f64), to: (f64, f64), label: (f64, f64), anchor: &str, text: &str| {
            writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#d0d7de\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#57606a\">{text}</text>",
                from.0, from.1, to.0, to.1, label.0, label.1
            )
            .unwrap();
        };
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for decade in y_low as i32..=y_high as i32 {
        let value = 10_f64.powi(decade);
        let at = y(value);
        rule((LEFT, at), (right, at), (LEFT - 8.0, at + 4.0), "end", &short(value));
    }
    for decade in x_low as i32..=x_high as i32 {
        let value = 10_f64.powi(decade);
        let at = x(value);
        rule((at, TOP), (at, bottom), (at, bottom + 18.0), "middle", &short(value));
    }
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#57606a\">ads</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 12.0
    )
    .unwrap();
    let mut labels: Vec<f64> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for cell in &cells {
        if !names.contains(&cell.name.as_str()) {
            names.push(&cell.name);
        }
    }
    for (name, colour) in names.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<_> = cells
            .iter()
            .filter(|cell| cell.name == *name)
            .map(|cell| (x(cell.ads as f64), y(cell.value), cell.value))
            .collect();
        let line: Vec<_> = points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        )
        .unwrap();
        for (x, y, value) in &points {
            let tip = short(*value);
            writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\">\
                 <title>{name}: {tip}/s</title></circle>"
            )
            .unwrap();
        }
        if let Some((x, y, value)) = points.last() {
            let mut label = y + 4.0;
            while labels.iter().any(|other| (other - label).abs() < 14.0) {
                label += 14.0;
            }
            labels.push(label);
            let (x, text) = (x + 10.0, short(*value));
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{label:.1}\" fill=\"{colour}\">{name} {text}/s</text>"
            )
            .unwrap();
        }
    }
    svg + "</svg>\n"
}
