//! The steps as pictures: who waits for whom, in waves from left to right, and when each was worked on.
//!
//! Drawn as SVG in the page's own colours; each state has a sign as well as a colour, and a table says the same in words. Large plans
//! are drawn by wave instead of by step. Long rests, as between a crash and its resumption, are cut out of the time axis.

use std::collections::{BTreeMap, BTreeSet};

use super::super::safe::html;
use super::super::{RunResult, StepResult, StepState, StretchEnd, figures};

/// Steps that are drawn one by one.
const DRAWN_MAX: usize = 80;
/// Steps that have a bar in the picture of times.
const BARS_MAX: usize = 60;
/// Steps that stand in the table.
const ROWS_MAX: usize = 500;
/// A box.
const BOX: (f64, f64) = (208.0, 50.0);
/// Room between boxes: beside, below.
const GAP: (f64, f64) = (52.0, 16.0);
/// The picture of times: room for names, for bars, for words at the right.
const NAMES: f64 = 150.0;
const BARS: f64 = 760.0;
const WORDS: f64 = 100.0;
/// The height of one bar's line.
const LINE: f64 = 28.0;
/// A rest longer than this share of the work is cut out of the axis.
const REST: f64 = 0.25;

/// The whole section.
pub fn section(result: &RunResult) -> String {
    let mut out = String::from("<section aria-labelledby=\"steps\">\n<h2 id=\"steps\">Steps</h2>\n");
    if result.steps.is_empty() {
        out.push_str("<p class=\"soft\">This run has no plan.</p>\n</section>\n");
        return out;
    }
    let plan = if result.steps.len() > DRAWN_MAX { waves(&result.steps) } else { graph(&result.steps) };
    out.push_str(&panel("Plan", "The plan as a graph, in waves from left to right", &plan));
    if result.steps.iter().any(|step| !step.stretches.is_empty()) {
        out.push_str(&panel("Times", "When each step was worked on", &times(&result.steps)));
    }
    out.push_str(&table(&result.steps));
    out.push_str("</section>\n");
    out
}

fn panel(title: &str, label: &str, picture: &str) -> String {
    format!(
        "<div class=\"card panel\"><h3>{title}</h3><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\">{picture}</div></div>\n"
    )
}

fn sign(state: StepState) -> &'static str {
    match state {
        StepState::Done => "✓",
        StepState::Failed => "✕",
        StepState::Vetoed => "⊘",
        StepState::Skipped => "–",
        StepState::Compensated => "↩",
        StepState::Running => "…",
        StepState::Waiting => "○",
    }
}

/// A number for SVG: no more digits than a screen shows.
fn at(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_string)
}

fn graph(steps: &[StepResult]) -> String {
    let columns = arranged(steps);
    let tallest = columns.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let height = tallest * (BOX.1 + GAP.1) - GAP.1 + 8.0;
    let width = columns.len() as f64 * (BOX.0 + GAP.0) - GAP.0 + 8.0;
    let mut place: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (wave, column) in columns.iter().enumerate() {
        let tall = column.len() as f64 * (BOX.1 + GAP.1) - GAP.1;
        for (row, step) in column.iter().enumerate() {
            let x = 4.0 + wave as f64 * (BOX.0 + GAP.0);
            let y = (height - tall) / 2.0 + row as f64 * (BOX.1 + GAP.1);
            place.insert(&step.id, (x, y));
        }
    }
    let mut out = open("dag", width, height, "Plan: which step waits for which");
    for step in steps {
        let Some((x, y)) = place.get(step.id.as_str()) else { continue };
        for need in direct(step, steps) {
            let Some((from_x, from_y)) = place.get(need) else { continue };
            let (x1, y1) = (from_x + BOX.0, from_y + BOX.1 / 2.0);
            let (x2, y2) = (x - 6.0, y + BOX.1 / 2.0);
            let bend = ((x2 - x1) / 2.0).abs().max(20.0);
            out.push_str(&format!(
                "<path class=\"way\" d=\"M{} {}C{} {} {} {} {} {}\"/><path class=\"tip\" d=\"M{} {}l-7 -4v8z\"/>",
                at(x1), at(y1), at(x1 + bend), at(y1), at(x2 - bend), at(y2), at(x2), at(y2), at(x2 + 6.0), at(y2),
            ));
        }
    }
    for step in columns.into_iter().flatten() {
        let (x, y) = place[step.id.as_str()];
        let mut second = step.agent.clone();
        if !step.stretches.is_empty() {
            second.push_str(&format!(" · {}", figures::millis(step.worked_ms())));
        }
        if step.attempts > 1 {
            second.push_str(&format!(" · ×{}", step.attempts));
        }
        out.push_str(&format!(
            "<g class=\"{}\"><title>{}</title><rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"7\"/>\
             <rect class=\"tone\" x=\"{x}\" y=\"{y}\" width=\"5\" height=\"{h}\" rx=\"2.5\"/>\
             <text class=\"name\" x=\"{tx}\" y=\"{ty}\">{}</text><text class=\"small\" x=\"{tx}\" y=\"{sy}\">{}</text>\
             <text class=\"glyph end\" x=\"{gx}\" y=\"{ty}\">{}</text></g>",
            step.state.word(),
            html(&told(step)),
            html(&short(&step.id, 23)),
            html(&short(&second, 32)),
            sign(step.state),
            x = at(x), y = at(y), w = BOX.0, h = BOX.1, tx = at(x + 14.0), ty = at(y + 20.0), sy = at(y + 39.0), gx = at(x + BOX.0 - 10.0),
        ));
    }
    out.push_str("</svg>");
    out
}

/// The steps by wave; within a wave near the middle of what they need, so that few ways cross.
fn arranged(steps: &[StepResult]) -> Vec<Vec<&StepResult>> {
    let last = steps.iter().map(|step| step.wave).max().unwrap_or(0);
    let mut columns: Vec<Vec<&StepResult>> = vec![Vec::new(); last + 1];
    let mut row: BTreeMap<&str, f64> = BTreeMap::new();
    for (wave, column) in columns.iter_mut().enumerate() {
        column.extend(steps.iter().filter(|step| step.wave == wave));
        let middle = |step: &StepResult| {
            let rows: Vec<f64> =
                step.needs.iter().filter_map(|need| row.get(need.as_str())).copied().collect();
            rows.iter().sum::<f64>() / rows.len().max(1) as f64
        };
        column.sort_by(|a, b| middle(a).total_cmp(&middle(b)));
        for (n, step) in column.iter().enumerate() {
            row.insert(&step.id, n as f64 - (column.len() as f64 - 1.0) / 2.0);
        }
    }
    columns
}

/// The needs of a step that no other need of it implies.
fn direct<'a>(step: &'a StepResult, steps: &'a [StepResult]) -> Vec<&'a str> {
    let by_id: BTreeMap<&str, &StepResult> = steps.iter().map(|step| (step.id.as_str(), step)).collect();
    let mut implied: BTreeSet<&str> = BTreeSet::new();
    let mut look: Vec<&str> = Vec::new();
    for need in &step.needs {
        look.extend(
            by_id.get(need.as_str()).into_iter().flat_map(|need| need.needs.iter().map(String::as_str)),
        );
    }
    while let Some(id) = look.pop() {
        if implied.insert(id) {
            look.extend(by_id.get(id).into_iter().flat_map(|step| step.needs.iter().map(String::as_str)));
        }
    }
    step.needs.iter().map(String::as_str).filter(|need| !implied.contains(need)).collect()
}

/// A plan too large to draw: how many steps of each wave stand how.
fn waves(steps: &[StepResult]) -> String {
    let last = steps.iter().map(|step| step.wave).max().unwrap_or(0);
    let mut counts: Vec<BTreeMap<StepState, usize>> = vec![BTreeMap::new(); last + 1];
    for step in steps {
        *counts[step.wave].entry(step.state).or_default() += 1;
    }
    let most = counts.iter().map(|wave| wave.values().sum::<usize>()).max().unwrap_or(1) as f64;
    let shown = counts.len().min(BARS_MAX);
    let mut out = open(
        "dag",
        NAMES + BARS + WORDS,
        shown as f64 * LINE + 8.0,
        "Plan: how many steps of each wave stand how",
    );
    for (n, wave) in counts.iter().take(shown).enumerate() {
        let y = n as f64 * LINE + 4.0;
        let (mut x, mut words) = (NAMES, Vec::new());
        for (state, count) in wave {
            let width = *count as f64 / most * BARS;
            out.push_str(&format!(
                "<rect class=\"tone {}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"16\"/>",
                state.word(),
                at(x),
                at(y + 5.0),
                at(width)
            ));
            x += width;
            words.push(format!("{} {}", figures::count(*count as u64), state.word()));
        }
        out.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" class=\"end\">wave {}</text><text x=\"{}\" y=\"{}\" class=\"small\">{}</text>",
            NAMES - 10.0, at(y + 18.0), n + 1, at(x + 8.0), at(y + 18.0), words.join(", ")
        ));
    }
    out.push_str("</svg>");
    if counts.len() > shown {
        out.push_str(&format!("<p class=\"soft\">and {} further waves</p>", counts.len() - shown));
    }
    out
}

/// Where moments stand on an axis that leaves long rests out.
struct Axis {
    /// Stretches of time that are shown, from and to, with the place where each begins.
    shown: Vec<(u64, u64, f64)>,
    scale: f64,
}

/// Room on the axis for a rest that was cut out.
const BREAK: f64 = 26.0;

impl Axis {
    fn new(steps: &[StepResult]) -> Self {
        let mut spans: Vec<(u64, u64)> =
            steps.iter().flat_map(|step| &step.stretches).map(|one| (one.from_ms, one.to_ms)).collect();
        spans.sort_unstable();
        let mut busy: Vec<(u64, u64)> = Vec::new();
        for (from, to) in spans {
            match busy.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => busy.push((from, to)),
            }
        }
        let work: u64 = busy.iter().map(|(from, to)| to - from).sum();
        let longest = (work as f64 * REST).max(2000.0);
        let mut shown: Vec<(u64, u64)> = Vec::new();
        for (from, to) in busy {
            match shown.last_mut() {
                Some(last) if (from - last.1) as f64 <= longest => last.1 = to,
                _ => shown.push((from, to)),
            }
        }
        let total: u64 = shown.iter().map(|(from, to)| to - from).sum();
        let room = BARS - BREAK * shown.len().saturating_sub(1) as f64;
        let scale = room.max(BARS / 3.0) / total.max(1) as f64;
        let mut x = NAMES;
        let shown = shown
            .into_iter()
            .map(|(from, to)| {
                let begin = x;
                x += (to - from) as f64 * scale + BREAK;
                (from, to, begin)
            })
            .collect();
        Axis { shown, scale }
    }

    fn place(&self, moment: u64) -> f64 {
        let part = self.shown.iter().rev().find(|(from, ..)| *from <= moment).or(self.shown.first());
        part.map_or(NAMES, |(from, to, x)| x + (moment.clamp(*from, *to) - from) as f64 * self.scale)
    }

    /// Round moments for the ticks: about six over the whole.
    fn ticks(&self) -> Vec<u64> {
        const STEPS: [u64; 16] = [
            10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000,
            3_600_000,
        ];
        let total: u64 = self.shown.iter().map(|(from, to, _)| to - from).sum();
        let step = STEPS.into_iter().find(|step| total / step <= 7).unwrap_or(total / 6 + 1);
        let mut ticks = Vec::new();
        for (from, to, _) in &self.shown {
            let first = from.div_ceil(step) * step;
            ticks.extend((first..=*to).step_by(step as usize).take(20));
        }
        ticks
    }
}

fn times(steps: &[StepResult]) -> String {
    let mut begun: Vec<&StepResult> = steps.iter().filter(|step| step.began_ms.is_some()).collect();
    let all = begun.len();
    if all > BARS_MAX {
        begun.sort_by_key(|step| std::cmp::Reverse(step.worked_ms()));
        begun.truncate(BARS_MAX);
    }
    begun.sort_by_key(|step| (step.began_ms, step.wave));
    let axis = Axis::new(steps);
    let bottom = begun.len() as f64 * LINE + 6.0;
    let mut out = open("gantt", NAMES + BARS + WORDS, bottom + 26.0, "Times: when each step was worked on");
    for tick in axis.ticks() {
        let x = at(axis.place(tick));
        out.push_str(&format!(
            "<path class=\"grid\" d=\"M{x} 0V{}\"/><text class=\"small mid\" x=\"{x}\" y=\"{}\">{}</text>",
            at(bottom),
            at(bottom + 18.0),
            if tick == 0 { "0".into() } else { figures::millis(tick).replace(".0 ", " ") }
        ));
    }
    for pair in axis.shown.windows(2) {
        let x = pair[1].2 - BREAK;
        out.push_str(&format!(
            "<g><title>{} of rest</title><rect class=\"rest\" x=\"{}\" y=\"0\" width=\"{}\" height=\"{}\"/>\
             <text class=\"small mid\" x=\"{}\" y=\"{}\">⋯</text></g>",
            figures::millis(pair[1].0 - pair[0].1),
            at(x + 2.0),
            BREAK - 4.0,
            at(bottom),
            at(x + BREAK / 2.0),
            at(bottom / 2.0)
        ));
    }
    for (n, step) in begun.iter().enumerate() {
        let y = n as f64 * LINE;
        out.push_str(&format!(
            "<g><title>{}</title><text class=\"end\" x=\"{}\" y=\"{}\">{}</text>",
            html(&told(step)),
            NAMES - 12.0,
            at(y + 19.0),
            html(&short(&step.id, 19))
        ));
        let mut end = NAMES;
        for one in &step.stretches {
            let (from, to) = (axis.place(one.from_ms), axis.place(one.to_ms));
            let class = match one.end {
                StretchEnd::Done => "done",
                StretchEnd::Failed => "failed",
                StretchEnd::Cut => "cut",
            };
            end = to.max(from + 3.0);
            out.push_str(&format!(
                "<rect class=\"tone {class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"16\" rx=\"3\"/>",
                at(from),
                at(y + 6.0),
                at(end - from)
            ));
        }
        out.push_str(&format!(
            "<text class=\"small\" x=\"{}\" y=\"{}\">{}</text></g>",
            at(end + 7.0),
            at(y + 19.0),
            figures::millis(step.worked_ms())
        ));
    }
    out.push_str("</svg>");
    if all > BARS_MAX {
        out.push_str(&format!(
            "<p class=\"soft\">The {BARS_MAX} longest of {} steps.</p>",
            figures::count(all as u64)
        ));
    }
    let ends: BTreeSet<&str> = begun
        .iter()
        .flat_map(|step| &step.stretches)
        .map(|one| match one.end {
            StretchEnd::Done => "done",
            StretchEnd::Failed => "failed",
            StretchEnd::Cut => "cut",
        })
        .collect();
    if ends.len() > 1 {
        out.push_str("<div class=\"key\">");
        for (class, word) in
            [("done", "done"), ("failed", "attempt that failed"), ("cut", "attempt that was cut off")]
        {
            if ends.contains(class) {
                out.push_str(&format!(
                    "<span><svg class=\"swatch\" viewBox=\"0 0 1 1\" aria-hidden=\"true\"><rect class=\"tone {class}\" width=\"1\" height=\"1\"/></svg>{word}</span>"
                ));
            }
        }
        out.push_str("</div>");
    }
    out
}

fn table(steps: &[StepResult]) -> String {
    let rows: String = steps
        .iter()
        .take(ROWS_MAX)
        .map(|step| {
            let needs = if step.needs.is_empty() { "–".into() } else { step.needs.join(", ") };
            let why = step.why.as_deref().or_else(|| step.stretches.iter().rev().find_map(|one| one.why.as_deref()));
            format!(
                "<tr><td>{}</td><td><span class=\"state {}\">{} {}</span></td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td>{}</td><td>{}</td></tr>\n",
                html(&step.id), step.state.word(), sign(step.state), step.state.word(), html(&step.agent.to_uppercase()),
                step.attempts, figures::millis(step.worked_ms()), html(&short(&needs, 120)), html(why.unwrap_or(""))
            )
        })
        .collect();
    let more = match steps.len().saturating_sub(ROWS_MAX) {
        0 => String::new(),
        more => format!("<p class=\"soft\">and {} more</p>", figures::count(more as u64)),
    };
    format!(
        "<details class=\"quiet\"><summary>The same as a table</summary><div class=\"card panel wide\" tabindex=\"0\"><table><thead><tr>\
         <th>Step</th><th>State</th><th>Agent</th><th class=\"n\">Attempts</th><th class=\"n\">Worked</th><th>Needs</th><th>Why</th>\
         </tr></thead><tbody>\n{rows}</tbody></table>{more}</div></details>\n"
    )
}

fn open(class: &str, width: f64, height: f64, title: &str) -> String {
    let (width, height) = (at(width), at(height));
    format!(
        "<svg class=\"plot {class}\" role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\"><title>{title}</title>"
    )
}

/// A step in one sentence, as it is shown when pointed at.
fn told(step: &StepResult) -> String {
    let mut out = format!("{}: {}", step.id, step.state.word());
    if !step.goal.is_empty() {
        out.push_str(&format!("; {}", step.goal));
    }
    if step.attempts > 1 {
        out.push_str(&format!("; {} attempts", step.attempts));
    }
    if let Some(why) = &step.why {
        out.push_str(&format!("; {why}"));
    }
    out
}

fn short(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.into();
    }
    text.chars().take(letters - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::{result, tests::example};

    #[test]
    fn a_need_that_another_need_implies_is_not_drawn() {
        let result = result(example());
        assert_eq!(direct(&result.steps[3], &result.steps), ["lint", "secure"]);
        let drawn = graph(&result.steps);
        assert_eq!(drawn.matches("class=\"way\"").count(), 4, "two from survey, two to verdict");
    }

    #[test]
    fn a_long_rest_is_cut_out_of_the_axis_and_moments_keep_their_order() {
        let mut parts = example();
        for line in &mut parts.journal[7..] {
            line.at_ms += 86_400_000;
        }
        let result = result(parts);
        let axis = Axis::new(&result.steps);
        assert_eq!(axis.shown.len(), 2, "before and after the night");
        let (before, after) = (axis.place(2500), axis.place(3000 + 86_400_000));
        assert!((after - before - BREAK).abs() < 0.01, "{before} {after}");
        assert!(axis.place(5200 + 86_400_000) <= NAMES + BARS + 0.01);
        assert!(times(&result.steps).contains("24 h 00 min of rest"));
    }

    #[test]
    fn a_plan_of_ten_thousand_steps_is_drawn_by_wave() {
        let mut parts = example();
        parts.planned = (0..10_000)
            .map(|n| crate::report::build::Planned { id: format!("s{n}"), ..Default::default() })
            .collect();
        let section = section(&result(parts));
        assert!(section.contains("10,000 waiting") && section.len() < 300_000, "{}", section.len());
    }
}
