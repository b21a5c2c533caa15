//! Plots as SVG for embedding. Drawn in marker colours that are then replaced by the page's own, so that a plot follows the
//! reader's light or dark setting and is never drawn twice.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::ReportError;
use crate::figures::{count, figure, time_unit};

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
const HEIGHT: u32 = 330;
const ROW: u32 = 30;
const FONT: u32 = 14;

/// One line of an interval plot.
pub struct Interval {
    /// What the line shows.
    pub label: String,
    /// Lower end, median, upper end.
    pub span: [f64; 3],
    /// Rarer and slower figures of the same thing, the rarest last.
    pub tail: Vec<f64>,
    /// Whether it is ours, which is drawn in another colour than a peer's.
    pub ours: bool,
}

/// How figures are laid out along an axis.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    /// Each decade as wide as the other.
    Log,
}

impl Scale {
    /// Decades, where the largest would leave no room to tell the smallest apart.
    fn fitting(figures: impl Iterator<Item = f64> + Clone) -> Self {
        let (smallest, largest) = (figures.clone().fold(f64::MAX, f64::min), figures.fold(0.0, f64::max));
        if smallest > 0.0 && largest / smallest > 30.0 { Self::Log } else { Self::Linear }
    }

    fn place(self, figure: f64) -> f64 {
        if self == Self::Log { figure.log10() } else { figure }
    }

    /// What stands at a place of the axis; between decades nothing.
    fn label(self, place: f64, unit: &str) -> String {
        let exponent = place.round();
        match self {
            Self::Linear => figure(place),
            Self::Log if (place - exponent).abs() > 1e-6 => String::new(),
            Self::Log if unit == NANOS => round_time(exponent),
            Self::Log if exponent < 0.0 => format!("{:.*}", -exponent as usize, 10f64.powf(exponent)),
            Self::Log => count(10f64.powf(exponent).round() as i64),
        }
    }
}

/// The unit of times, which are told in the unit that fits each.
const NANOS: &str = "ns";

/// Ten to a power, of nanoseconds.
fn round_time(exponent: f64) -> String {
    let nanos = 10f64.powf(exponent);
    let (factor, unit) = time_unit(nanos * 1.001);
    format!("{} {unit}", (nanos * factor * 1e3).round() / 1e3)
}

/// A figure as it stands behind what it is the figure of.
fn told(value: f64, unit: &str) -> String {
    if unit != NANOS {
        return figure(value);
    }
    let (factor, unit) = time_unit(value);
    format!("{} {unit}", figure(value * factor))
}

/// Medians with their intervals, one line each, from zero or the lowest below it, or by decades; what follows a median are its tails, ticks
/// on a thin line. `mark` draws a vertical line to compare with.
pub fn intervals(
    title: &str,
    axis: &str,
    mark: Option<f64>,
    lines: &[Interval],
) -> Result<String, ReportError> {
    let figures = || lines.iter().flat_map(|line| line.span.iter().chain(&line.tail).copied()).chain(mark);
    let scale = Scale::fitting(figures());
    let ends = figures().map(|figure| scale.place(figure));
    let (smallest, largest) = match scale {
        Scale::Linear => (ends.clone().fold(0.0, f64::min), ends.fold(0.0, f64::max)),
        Scale::Log => (ends.clone().fold(f64::MAX, f64::min), ends.fold(f64::MIN, f64::max)),
    };
    let labels: Vec<&str> = lines.iter().map(|line| line.label.as_str()).collect();
    let behind = |line: &Interval| {
        let median = told(line.span[1], axis);
        line.tail.last().map_or(median.clone(), |rarest| format!("{median} … {}", told(*rarest, axis)))
    };
    let left = if scale == Scale::Log { smallest - (largest - smallest) * 0.05 } else { smallest * 1.1 };
    // Room at the right for the figures that stand behind each interval.
    let inside = f64::from(WIDTH - 24 - room_for(&labels));
    let right = lines.iter().map(|line| {
        let text = (behind(line).chars().count() as f64 * 7.0 + 20.0) / inside;
        let end = scale.place(line.tail.iter().copied().fold(line.span[2], f64::max));
        left + (end - left) / (1.0 - text).max(0.2)
    });
    let right = right.fold(largest + (largest - left) * 0.03, f64::max);
    let plot = Plot { title, axis, labels: &labels, scale, left, right };
    plot.draw(|area, rows| {
        if let Some(mark) = mark {
            let mark = scale.place(mark);
            let ends = [(mark, 0.0), (mark, rows as f64)];
            area.draw(&PathElement::new(ends, INK.mix(0.6).stroke_width(1)))?;
        }
        for (row, line) in lines.iter().enumerate() {
            let [low, median, high] = line.span;
            let color = if line.ours { OURS } else { THEIRS };
            let y = middle(rows, row);
            let at = |figure: f64| (scale.place(figure), y);
            if let Some(rarest) = line.tail.last() {
                area.draw(&PathElement::new([at(median), at(*rarest)], color.stroke_width(1)))?;
            }
            for tail in &line.tail {
                let (x, _) = at(*tail);
                area.draw(&PathElement::new([(x, y - 0.2), (x, y + 0.2)], color.stroke_width(2)))?;
            }
            area.draw(&PathElement::new([at(low), at(high)], color.stroke_width(4)))?;
            area.draw(&Circle::new(at(median), 5, color.filled()))?;
            let end = line.tail.iter().copied().fold(high.max(median), f64::max);
            let text = Text::new(behind(line), (10, 0), text_style(HPos::Left));
            area.draw(&(EmptyElement::at(at(end)) + text))?;
        }
        Ok(())
    })
}

/// One line of a plot of figures against sizes: its points from left to right.
pub struct Curve {
    /// Whose it is.
    pub label: String,
    /// Size and figure.
    pub points: Vec<(f64, f64)>,
    /// Whether it is ours.
    pub ours: bool,
}

/// Figures against sizes or counts, both by decades: what costs the same at every size is a level line.
pub fn curves(
    title: &str,
    [across, up]: [&str; 2],
    name: impl Fn(f64) -> String,
    lines: &[Curve],
) -> Result<String, ReportError> {
    drawn(title, |svg| {
        let points = || lines.iter().flat_map(|line| &line.points);
        let low_high = |of: fn(&(f64, f64)) -> f64| {
            let places = points().map(|point| of(point).log10());
            (places.clone().fold(f64::MAX, f64::min), places.fold(f64::MIN, f64::max))
        };
        let ((left, right), (low, high)) = (low_high(|point| point.0), low_high(|point| point.1));
        let mut sizes: Vec<f64> = points().map(|point| point.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(
                left - 0.1..right + (right - left).max(0.3) * 0.38,
                low.floor()..high.ceil().max(low.floor() + 1.0),
            )?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE.stroke_width(1))
            .axis_style(LINE.stroke_width(1))
            .x_labels(0)
            .x_desc(across)
            .y_desc(if up == NANOS { "time" } else { up })
            .y_labels((high.ceil() - low.floor()) as usize + 1)
            .y_label_formatter(&|place| Scale::Log.label(*place, up))
            .label_style(("sans-serif", FONT).into_font().color(&INK))
            .axis_desc_style(("sans-serif", FONT).into_font().color(&INK))
            .draw()?;
        let area = chart.plotting_area();
        for size in sizes {
            let (x, y) = area.map_coordinate(&(size.log10(), low.floor()));
            let style = text_style(HPos::Center);
            root.draw(&Text::new(name(size), (x, y + 12), style))?;
        }
        for line in lines {
            let color = if line.ours { OURS } else { THEIRS };
            let places: Vec<(f64, f64)> =
                line.points.iter().map(|(size, figure)| (size.log10(), figure.log10())).collect();
            area.draw(&PathElement::new(places.clone(), color.stroke_width(2)))?;
            for place in &places {
                area.draw(&Circle::new(*place, 4, color.filled()))?;
            }
        }
        // Names stand at the lines' right ends, from the top one down, none over another.
        let mut ends: Vec<(&Curve, (f64, f64))> =
            lines.iter().filter_map(|line| Some((line, *line.points.last()?))).collect();
        ends.sort_by(|(_, (_, one)), (_, (_, other))| other.total_cmp(one));
        let mut free = i32::MIN;
        for (line, (size, figure)) in ends {
            let (x, y) = area.map_coordinate(&(size.log10(), figure.log10()));
            let y = y.max(free);
            free = y + FONT as i32 + 1;
            let name = format!("{} {}", line.label, told(figure, up));
            root.draw(&Text::new(name, (x + 9, y), text_style(HPos::Left)))?;
        }
        drop(chart);
        root.present()?;
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
    let scale = Scale::Linear;
    let plot = Plot { title, axis, labels: &labels, scale, left: 0.0, right: largest.max(1.0) * 1.05 };
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

/// How wide the names of the rows stand.
fn room_for(labels: &[&str]) -> u32 {
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    (longest as u32 * 7 + 18).min(WIDTH * 3 / 5)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// An area with one named row for each thing shown, and figures from `left` to `right` below.
struct Plot<'a> {
    title: &'a str,
    axis: &'a str,
    labels: &'a [&'a str],
    scale: Scale,
    /// Ends of the axis, as the scale places them.
    left: f64,
    right: f64,
}

struct DrawError(String);

impl<E: std::fmt::Display> From<E> for DrawError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// A plot of that title, ready for a page.
fn drawn(
    title: &str,
    draw: impl FnOnce(&mut String) -> Result<(), DrawError>,
) -> Result<String, ReportError> {
    let mut svg = String::new();
    match draw(&mut svg) {
        Ok(()) => Ok(embeddable(&svg, title)),
        Err(DrawError(reason)) => Err(ReportError::Plot { plot: title.to_owned(), reason }),
    }
}

impl Plot<'_> {
    fn draw(
        &self,
        contents: impl FnOnce(&Area<'_>, usize) -> Result<(), DrawError>,
    ) -> Result<String, ReportError> {
        drawn(self.title, |svg| self.draw_into(svg, contents))
    }

    fn draw_into(
        &self,
        svg: &mut String,
        contents: impl FnOnce(&Area<'_>, usize) -> Result<(), DrawError>,
    ) -> Result<(), DrawError> {
        let rows = self.labels.len();
        let height = ROW * rows as u32 + 60;
        let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(6)
            .margin_right(12)
            .x_label_area_size(44)
            .y_label_area_size(room_for(self.labels))
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
            .x_labels(if self.scale == Scale::Log { (self.right - self.left) as usize + 1 } else { 5 })
            .x_label_formatter(&|place| self.scale.label(*place, self.axis))
            .x_desc(if self.scale == Scale::Log && self.axis == NANOS { "time" } else { self.axis })
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
