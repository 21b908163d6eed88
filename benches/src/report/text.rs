//! Figures as people read them.

/// What a browser must not take for its own.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `1234567` → `1,234,567`; below a hundred with its first three digits.
pub fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "—".to_owned();
    }
    let text = match value.abs() {
        0.0 => return "0".to_owned(),
        below if below < 0.095 => return format!("{value:.3}"),
        below if below < 9.995 => return format!("{value:.2}"),
        below if below < 99.95 => return format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    let digits = text.trim_start_matches('-').len();
    let mut out = String::new();
    for (place, digit) in text.chars().enumerate() {
        let left = text.len() - place;
        if place > text.len() - digits && left % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// For an axis: `150k`, `2M`.
pub(super) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        big if big >= 1e6 => (value / 1e6, "M"),
        big if big >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// A latency: `840 µs`, `1.25 ms`, `2.1 s`.
pub(crate) fn latency(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{} µs", figure(us)),
        us if us < 1e6 => format!("{} ms", figure(us / 1e3)),
        us => format!("{} s", figure(us / 1e6)),
    }
}

/// Bytes as MB.
pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{} MB", figure(bytes / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_or_their_thousands() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.5, "0.50"),
            (5.234, "5.23"),
            (52.34, "52.3"),
            (523.4, "523"),
            (1234.0, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-1234.0, "-1,234"),
            (f64::NAN, "—"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn latencies_change_their_unit() {
        assert_eq!(latency(840.0), "840 µs");
        assert_eq!(latency(1250.0), "1.25 ms");
        assert_eq!(latency(2_100_000.0), "2.10 s");
        assert_eq!(short(150_000.0), "150k");
        assert_eq!(short(2_500_000.0), "2.5M");
        assert_eq!(short(0.1), "0.1");
    }
}
