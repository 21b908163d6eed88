//! Line charts as inline SVG: no script, no network, colours from the page's style sheet.
//!
//! The drawing is 400 units wide and scales with the page, so that its letters stay legible on a phone.

use std::fmt::Write;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;

/// A phone shows no more points, and a soak run has a hundred thousand seconds.
const POINTS_MAX: usize = 400;

/// One line of a chart.
pub(super) struct Line {
    pub name: &'static str,
    /// The class that gives it its colour: `a`, `b` or `c`.
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

pub(super) struct Chart<'a> {
    pub title: &'static str,
    pub x_label: &'static str,
    pub lines: Vec<Line>,
    /// `(place, text)` on the x axis; evenly spaced numbers where there are none.
    pub x_ticks: Vec<(f64, String)>,
    pub y_text: &'a dyn Fn(f64) -> String,
}

impl Chart<'_> {
    /// The chart with its heading and legend.
    pub(super) fn figure(&self) -> String {
        let mut html = format!("<figure><figcaption>{}", self.title);
        for line in &self.lines {
            let _ = write!(html, " <span class=\"key {}\">{}</span>", line.class, line.name);
        }
        html.push_str("</figcaption>");
        html.push_str(&self.svg());
        html.push_str("</figure>\n");
        html
    }

    fn svg(&self) -> String {
        let scale = Scale::of(&self.lines);
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", self.title);
        self.y_axis(&mut svg, &scale);
        self.x_axis(&mut svg, &scale);
        for line in &self.lines {
            draw(&mut svg, line, &scale);
        }
        svg.push_str("</svg>");
        svg
    }

    fn y_axis(&self, svg: &mut String, scale: &Scale) {
        for step in (0_u32..).take_while(|step| f64::from(*step) * scale.y_step <= scale.y_max * 1.001) {
            let value = f64::from(step) * scale.y_step;
            let y = scale.y(value);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 5.0,
                y + 3.5,
                (self.y_text)(value)
            );
        }
    }

    fn x_axis(&self, svg: &mut String, scale: &Scale) {
        let even = || {
            let step = nice_above((scale.x_max - scale.x_min) / 6.0, &WHOLE_STEPS).max(1.0);
            let first = (scale.x_min / step).ceil();
            let ticks = (0..8).map(move |n| (first + f64::from(n)) * step);
            ticks.filter(|x| *x <= scale.x_max).map(|x| (x, format!("{x}"))).collect()
        };
        let ticks: Vec<(f64, String)> = if self.x_ticks.is_empty() { even() } else { self.x_ticks.clone() };
        for (x, text) in ticks.iter().filter(|(x, _)| (scale.x_min..=scale.x_max).contains(x)) {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                scale.x(*x),
                HEIGHT - BOTTOM + 13.0
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"label\">{}</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 4.0,
            self.x_label
        );
    }
}

fn draw(svg: &mut String, line: &Line, scale: &Scale) {
    let points = thinned(&line.points);
    if let [(x, y)] = points[..] {
        let _ = write!(
            svg,
            "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
            line.class,
            scale.x(x),
            scale.y(y)
        );
        return;
    }
    let mut path = String::new();
    for (place, (x, y)) in points.iter().enumerate() {
        let letter = if place == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{:.1} {:.1}", scale.x(*x), scale.y(*y));
    }
    let _ = write!(svg, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
}

/// Of each bundle of neighbours the highest: what is left out is never a peak.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let bundle = points.len().div_ceil(POINTS_MAX).max(1);
    let highest = |bundle: &[(f64, f64)]| bundle.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(bundle).filter_map(highest).collect()
}

struct Scale {
    x_min: f64,
    x_max: f64,
    y_max: f64,
    y_step: f64,
}

impl Scale {
    fn of(lines: &[Line]) -> Self {
        let points = || lines.iter().flat_map(|line| &line.points);
        let x_min = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let x_max = points().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
        let y_max = points().map(|point| point.1).fold(0.0, f64::max);
        let (x_min, x_max) = match () {
            () if !x_min.is_finite() => (0.0, 1.0),
            () if x_max - x_min < 1e-9 => (x_min - 0.5, x_max + 0.5),
            () => (x_min, x_max),
        };
        let y_step = nice_above(y_max / 5.0, &STEPS);
        Self { x_min, x_max, y_max: (y_max / y_step - 1e-9).ceil().max(1.0) * y_step, y_step }
    }

    fn x(&self, x: f64) -> f64 {
        LEFT + (x - self.x_min) / (self.x_max - self.x_min) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - y / self.y_max * (HEIGHT - TOP - BOTTOM)
    }
}

/// Steps that people count in, within a power of ten.
const STEPS: [f64; 5] = [1.0, 2.0, 2.5, 5.0, 10.0];

/// The same for what has no halves.
const WHOLE_STEPS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

/// The next of `steps` times a power of ten that is not below `value`.
fn nice_above(value: f64, steps: &[f64]) -> f64 {
    if value.is_nan() || value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let step = steps.iter().find(|step| *step * power >= value * (1.0 - 1e-9));
    step.unwrap_or(&10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_never_below() {
        for (value, nice) in [(0.0, 1.0), (1.0, 1.0), (1.2, 2.0), (2.2, 2.5), (2.6, 5.0), (700.0, 1000.0)] {
            assert!((nice_above(value, &STEPS) - nice).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn thinning_keeps_the_peaks() {
        let points: Vec<(f64, f64)> =
            (0..10_000).map(|n| (f64::from(n), if n == 7777 { 99.0 } else { 1.0 })).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS_MAX);
        assert!(thin.contains(&(7777.0, 99.0)));
    }

    #[test]
    fn a_chart_of_nothing_is_still_a_chart() {
        let chart = Chart {
            title: "t",
            x_label: "x",
            lines: vec![Line { name: "n", class: "a", points: Vec::new() }],
            x_ticks: Vec::new(),
            y_text: &|y| format!("{y}"),
        };
        let figure = chart.figure();
        assert!(figure.contains("</svg>") && !figure.contains("NaN") && !figure.contains("inf"));
    }
}
