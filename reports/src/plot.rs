//! Plots as SVG for embedding. Drawn in marker colours that are then replaced by the page's own, so that a plot follows the
//! reader's light or dark setting and is never drawn twice.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::ReportError;
use crate::figures::figure;

const INK: RGBColor = RGBColor(1, 2, 3);
const LINE: RGBColor = RGBColor(1, 2, 4);
const OURS: RGBColor = RGBColor(1, 2, 5);
const THEIRS: RGBColor = RGBColor(1, 2, 6);
const GOOD: RGBColor = RGBColor(1, 2, 7);
const BAD: RGBColor = RGBColor(1, 2, 8);
const DOUBT: RGBColor = RGBColor(1, 2, 9);

const PAINT: [(&str, &str); 7] = [
    ("#010203", "currentColor"),
    ("#010204", "var(--line)"),
    ("#010205", "var(--ours)"),
    ("#010206", "var(--theirs)"),
    ("#010207", "var(--good)"),
    ("#010208", "var(--bad)"),
    ("#010209", "var(--doubt)"),
];

/// Narrow enough that letters can be read when a phone shrinks the plot.
const WIDTH: u32 = 540;
const ROW: u32 = 30;
const FONT: u32 = 14;

/// One line of an interval plot.
pub struct Interval {
    /// What the line shows.
    pub label: String,
    /// Lower end, median, upper end.
    pub span: [f64; 3],
    /// Whether it is ours, which is drawn in another colour than a peer's.
    pub ours: bool,
}

/// Medians with their intervals, one line each, from zero or the lowest below it; `mark` draws a vertical line to compare with.
pub fn intervals(
    title: &str,
    axis: &str,
    mark: Option<f64>,
    lines: &[Interval],
) -> Result<String, ReportError> {
    let largest = lines.iter().map(|line| line.span[2]).chain(mark).fold(0.0, f64::max);
    let smallest = lines.iter().map(|line| line.span[0]).fold(0.0, f64::min);
    let labels: Vec<&str> = lines.iter().map(|line| line.label.as_str()).collect();
    // Room at the right for the figure that stands behind each interval.
    let plot = Plot {
        title,
        axis,
        labels: &labels,
        left: smallest * 1.1,
        right: largest + (largest - smallest) * 0.22,
    };
    plot.draw(|area, rows| {
        if let Some(mark) = mark {
            let ends = [(mark, 0.0), (mark, rows as f64)];
            area.draw(&PathElement::new(ends, INK.mix(0.6).stroke_width(1)))?;
        }
        for (row, line) in lines.iter().enumerate() {
            let [low, median, high] = line.span;
            let color = if line.ours { OURS } else { THEIRS };
            let at = |x: f64| (x, middle(rows, row));
            area.draw(&PathElement::new([at(low), at(high)], color.stroke_width(4)))?;
            area.draw(&Circle::new(at(median), 5, color.filled()))?;
            let behind = EmptyElement::at(at(high.max(median)));
            area.draw(&(behind + Text::new(figure(median), (10, 0), text_style(HPos::Left))))?;
        }
        Ok(())
    })
}

/// One bar: how many passed, failed, and said nothing.
pub struct Bar {
    /// What the bar shows.
    pub label: String,
    /// Good, bad, neither.
    pub parts: [u64; 3],
}

/// Bars stacked of good, bad and doubtful parts.
pub fn stacked(title: &str, axis: &str, bars: &[Bar]) -> Result<String, ReportError> {
    let largest = bars.iter().map(|bar| bar.parts.iter().sum::<u64>()).max().unwrap_or(0) as f64;
    let labels: Vec<&str> = bars.iter().map(|bar| bar.label.as_str()).collect();
    let plot = Plot { title, axis, labels: &labels, left: 0.0, right: largest.max(1.0) * 1.05 };
    plot.draw(|area, rows| {
        for (row, bar) in bars.iter().enumerate() {
            let y = middle(rows, row);
            let mut from = 0.0;
            for (part, color) in bar.parts.iter().zip([GOOD, BAD, DOUBT]) {
                let to = from + *part as f64;
                if to > from {
                    area.draw(&Rectangle::new([(from, y - 0.33), (to, y + 0.33)], color.filled()))?;
                }
                from = to;
            }
        }
        Ok(())
    })
}

/// Rows are shown from the top in the order in which they are given; the axis counts from below.
fn middle(rows: usize, row: usize) -> f64 {
    (rows - row) as f64 - 0.5
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// An area with one named row for each thing shown, and figures from `left` to `right` below.
struct Plot<'a> {
    title: &'a str,
    axis: &'a str,
    labels: &'a [&'a str],
    left: f64,
    right: f64,
}

struct DrawError(String);

impl<E: std::fmt::Display> From<E> for DrawError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Plot<'_> {
    fn draw(
        &self,
        contents: impl FnOnce(&Area<'_>, usize) -> Result<(), DrawError>,
    ) -> Result<String, ReportError> {
        let mut svg = String::new();
        match self.draw_into(&mut svg, contents) {
            Ok(()) => Ok(embeddable(&svg, self.title)),
            Err(DrawError(reason)) => Err(ReportError::Plot { plot: self.title.to_owned(), reason }),
        }
    }

    fn draw_into(
        &self,
        svg: &mut String,
        contents: impl FnOnce(&Area<'_>, usize) -> Result<(), DrawError>,
    ) -> Result<(), DrawError> {
        let rows = self.labels.len();
        let height = ROW * rows as u32 + 60;
        let longest = self.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let names = (longest as u32 * 7 + 18).min(WIDTH * 3 / 5);
        let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(6)
            .margin_right(12)
            .x_label_area_size(44)
            .y_label_area_size(names)
            .build_cartesian_2d(
                self.left..self.right.max(self.left + f64::MIN_POSITIVE),
                0.0..rows.max(1) as f64,
            )?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE.stroke_width(1))
            .axis_style(LINE.stroke_width(1))
            .x_labels(5)
            .x_label_formatter(&|value| figure(*value))
            .x_desc(self.axis)
            .label_style(("sans-serif", FONT).into_font().color(&INK))
            .axis_desc_style(("sans-serif", FONT).into_font().color(&INK))
            .draw()?;
        let area = chart.plotting_area();
        for (row, name) in self.labels.iter().enumerate() {
            let (x, y) = area.map_coordinate(&(self.left, middle(rows, row)));
            root.draw(&Text::new(*name, (x - 8, y), text_style(HPos::Right)))?;
        }
        contents(area, rows)?;
        drop(chart);
        root.present()?;
        Ok(())
    }
}

fn text_style(side: HPos) -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(&INK).pos(Pos::new(side, VPos::Center))
}

/// The page's colours for the markers, a title for those who cannot see it, and no fixed size.
fn embeddable(svg: &str, title: &str) -> String {
    let body = svg.find("<svg").map_or(svg, |at| &svg[at..]);
    let mut out = body.trim_end().to_owned();
    for (marker, paint) in PAINT {
        out = out.replace(marker, paint);
    }
    if let Some(end) = out.find('>') {
        out.insert_str(end + 1, &format!("\n<title>{}</title>", crate::page::escape(title)));
    }
    out.replacen("<svg ", "<svg class=\"plot\" role=\"img\" ", 1)
}
