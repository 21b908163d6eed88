//! Bars as inline SVG: no script, no network, colours from the page's style sheet.
//!
//! Bars lie on their side, so that a phone has room for their names. Where values span more than two powers of ten the
//! axis is logarithmic, and says so: on a straight one all but the largest would be a line.

use super::text::escape;
use std::fmt::Write;

const WIDTH: f64 = 440.0;
const ROW: f64 = 24.0;
const LEFT: f64 = 78.0;
/// Where the figures stand, right of the bars.
const RIGHT: f64 = 92.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 22.0;
/// Beyond this ratio of the largest to the smallest the axis is logarithmic.
const STRAIGHT_MAX: f64 = 50.0;

/// One bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    /// The lowest and the highest round.
    pub(super) range: Option<(f64, f64)>,
    /// What was expected.
    pub(super) predicted: Option<f64>,
    /// The value as it is written beside the bar.
    pub(super) text: String,
}

/// A chart with its heading; nothing where there are no bars.
pub(super) fn figure(title: &str, bars: &[Bar]) -> String {
    let Some(axis) = Axis::of(bars) else { return String::new() };
    let height = TOP + ROW * bars.len() as f64 + BOTTOM;
    let title = escape(title);
    let key = if bars.iter().any(|bar| bar.predicted.is_some()) {
        "<span class=\"key predicted\">predicted</span>"
    } else {
        ""
    };
    let scale = if axis.log { "<span class=\"key\">logarithmic</span>" } else { "" };
    let mut svg = format!(
        "<figure><figcaption>{title}{key}{scale}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"
    );
    axis.draw(&mut svg, height);
    for (row, bar) in bars.iter().enumerate() {
        draw(&mut svg, bar, &axis, TOP + ROW * row as f64);
    }
    svg.push_str("</svg></figure>\n");
    svg
}

fn draw(svg: &mut String, bar: &Bar, axis: &Axis, y: f64) {
    let middle = y + ROW / 2.0;
    let end = axis.x(bar.value);
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"bar\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
        LEFT - 6.0,
        middle + 4.0,
        escape(&bar.name),
        y + 5.0,
        (end - LEFT).max(1.0),
        ROW - 10.0
    );
    if let Some((low, high)) = bar.range {
        let _ = write!(
            svg,
            "<path class=\"range\" d=\"M{:.1} {middle:.1}H{:.1}M{0:.1} {:.1}v6M{1:.1} {2:.1}v6\"/>",
            axis.x(low),
            axis.x(high),
            middle - 3.0
        );
    }
    if let Some(predicted) = bar.predicted {
        let x = axis.x(predicted);
        let _ = write!(svg, "<path class=\"predicted\" d=\"M{x:.1} {:.1}v{:.1}\"/>", y + 2.0, ROW - 4.0);
    }
    let _ = write!(
        svg,
        "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        WIDTH - RIGHT + 8.0,
        middle + 4.0,
        escape(&bar.text)
    );
}

struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    fn of(bars: &[Bar]) -> Option<Self> {
        let values = || bars.iter().flat_map(Bar::values).filter(|value| value.is_finite());
        let high = values().fold(0.0, f64::max);
        let low = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if bars.is_empty() || high <= 0.0 {
            return None;
        }
        let log = high / low > STRAIGHT_MAX;
        let power = |value: f64| 10_f64.powf(value);
        Some(match log {
            true => Self { low: power(low.log10().floor()), high: power(high.log10().ceil()), log },
            false => Self { low: 0.0, high, log },
        })
    }

    fn x(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            value / self.high
        };
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn draw(&self, svg: &mut String, height: f64) {
        for tick in self.ticks() {
            let x = self.x(tick);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{:.1}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                height - BOTTOM,
                height - 7.0,
                super::text::short(tick)
            );
        }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let powers = (self.high / self.low).log10().round().clamp(1.0, 12.0);
            let ticks =
                (0_u32..=12).map(f64::from).take_while(|n| *n <= powers).map(|n| self.low * 10_f64.powf(n));
            // On a phone there is room for five.
            let every = if powers > 5.0 { 2 } else { 1 };
            return ticks.step_by(every).collect();
        }
        let rough = self.high / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
        let step = steps.into_iter().map(|step| step * power).find(|step| *step >= rough).unwrap_or(rough);
        (0_u32..=5).map(|n| f64::from(n) * step).take_while(|tick| *tick <= self.high * 1.001).collect()
    }
}

impl Bar {
    fn values(&self) -> impl Iterator<Item = f64> + use<> {
        let (low, high) = self.range.unwrap_or((self.value, self.value));
        [Some(self.value), Some(low), Some(high), self.predicted].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(value: f64) -> Bar {
        Bar { name: "n".to_owned(), value, range: None, predicted: None, text: format!("{value}") }
    }

    #[test]
    fn a_chart_of_nothing_is_none() {
        assert_eq!(figure("t", &[]), "");
        assert_eq!(figure("t", &[bar(0.0)]), "");
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let axis = Axis::of(&[bar(10.0), bar(5.0)]).unwrap();
        assert!(!axis.log);
        assert!((axis.x(10.0) - (WIDTH - RIGHT)).abs() < 1e-9);
        assert!(((axis.x(5.0) - LEFT) * 2.0 - (axis.x(10.0) - LEFT)).abs() < 1e-9);
    }

    #[test]
    fn powers_of_ten_are_equally_far_apart_where_values_span_many() {
        let axis = Axis::of(&[bar(1.0), bar(100_000.0)]).unwrap();
        assert!(axis.log);
        let (a, b, c) = (axis.x(10.0), axis.x(100.0), axis.x(1000.0));
        assert!(((b - a) - (c - b)).abs() < 1e-9 && b > a);
        assert!(axis.x(0.0) >= LEFT, "nothing has a place too");
    }

    #[test]
    fn no_figure_holds_what_is_no_number() {
        let odd = Bar { predicted: Some(f64::INFINITY), range: Some((0.0, 7.0)), ..bar(3.0) };
        let svg = figure("a <b>", &[odd, bar(900.0)]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("</svg>"));
    }
}
