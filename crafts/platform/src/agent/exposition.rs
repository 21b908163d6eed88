//! Prometheus's text format, version 0.0.4: `name{label="value"} 1.5 1700000000000`.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>. Comments, `HELP` and `TYPE` are passed over.

use super::Collected;
use contracts::TimestampMs;

/// Why a page could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ExpositionError {
    /// Counted from 1.
    pub line: usize,
    /// What was expected.
    pub why: &'static str,
}

/// All samples of a page, in order.
///
/// # Errors
/// The first line that is no sample and no comment: a page is taken whole or not at all.
pub fn parse(text: &str) -> Result<Vec<Collected>, ExpositionError> {
    let mut samples = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        samples.push(parse_line(line).map_err(|why| ExpositionError { line: index + 1, why })?);
    }
    Ok(samples)
}

fn parse_line(line: &str) -> Result<Collected, &'static str> {
    let (name, rest) = line.split_at(name_length(line));
    if name.is_empty() {
        return Err("expected a metric name");
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => parse_labels(inner)?,
        None => (Vec::new(), rest),
    };
    let mut fields = rest.split([' ', '\t']).filter(|f| !f.is_empty());
    let value = fields.next().and_then(parse_value).ok_or("expected a value")?;
    let timestamp =
        fields.next().map(|text| text.parse().map(TimestampMs).map_err(|_| "expected whole milliseconds"));
    if fields.next().is_some() {
        return Err("expected nothing behind the timestamp");
    }
    Ok(Collected { name: name.to_owned(), labels, value, timestamp: timestamp.transpose()? })
}

type Parsed<'t> = (Vec<(String, String)>, &'t str);

/// `a="b",c="d"}` and what follows it; a comma behind the last is allowed.
fn parse_labels(mut rest: &str) -> Result<Parsed<'_>, &'static str> {
    let mut labels = Vec::new();
    let space = [' ', '\t'];
    loop {
        rest = rest.trim_start_matches(space);
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((labels, behind));
        }
        let (name, behind) = rest.split_at(name_length(rest));
        let behind =
            behind.trim_start_matches(space).strip_prefix('=').ok_or("expected '=' behind a label's name")?;
        let quoted =
            behind.trim_start_matches(space).strip_prefix('"').ok_or("expected a label's value in quotes")?;
        let (value, behind) = parse_quoted(quoted)?;
        labels.push((name.to_owned(), value));
        rest = behind.trim_start_matches(space);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return Err("expected ',' or '}' behind a label"),
        }
    }
}

/// Up to the closing quote; the escapes are `\\`, `\"` and `\n`.
fn parse_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                // The reference parser lets an unknown escape stand as it is.
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("a label's value is not closed")
}

/// Go's `ParseFloat`: decimal, `NaN`, and infinities with any sign and case.
fn parse_value(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        _ => contracts::query::parse_value(text),
    }
}

fn name_length(text: &str) -> usize {
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_:".contains(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> Result<(String, f64, Option<i64>), &'static str> {
        parse_line(line).map(|s| {
            let labels: Vec<_> = s.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            (format!("{} {}", s.name, labels.join("|")), s.value, s.timestamp.map(|t| t.0))
        })
    }

    #[test]
    fn the_forms_of_the_specification() {
        let page = "# HELP a_total Help with \\n in it.\n# TYPE a_total counter\na_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\n\
                    b{path=\"C:\\\\DIR\\\\F.TXT\",error=\"Cannot:\\n\\\"F\\\"\"} 1.458255915e9\nc 12.47\nd{x=\"y\",} +Inf -3982045\n";
        let samples = parse(page).unwrap();
        assert_eq!(samples.len(), 4);
        assert_eq!(samples[1].labels[1].1, "Cannot:\n\"F\"");
        assert_eq!(samples[3].timestamp, Some(TimestampMs(-3_982_045)));
        assert_eq!(one("a 0x1"), Err("expected a value"));
        assert_eq!(one("a\t{ b = \"c\" , }\t1"), Ok(("a b=c".to_owned(), 1.0, None)));
        assert!(one("a nan").unwrap().1.is_nan());
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(parse("a 1\n{} 2\n"), Err(ExpositionError { line: 2, why: "expected a metric name" }));
        for bad in [
            "a",
            "a x",
            "a{b} 1",
            "a{b=c} 1",
            "a{b=\"c} 1",
            "a{b=\"c\" d=\"e\"} 1",
            "a 1 2 3",
            "a 1 1.5",
            "é 1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-z_:][a-z0-9_:]{0,6}", label in "\\PC{0,8}", bits: u64, at: i64) {
            let value = f64::from_bits(bits);
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let line = format!("{name}{{l=\"{escaped}\"}} {} {at}", contracts::query::format_value(value));
            let sample = parse(&line).unwrap().remove(0);
            prop_assert_eq!((sample.name, &sample.labels[0].1, sample.timestamp), (name, &label, Some(TimestampMs(at))));
            prop_assert!(sample.value == value || (sample.value.is_nan() && value.is_nan()));
        }

        #[test]
        fn never_panics(text in "[a{}=\",\\\\n 1e+é\n#]{0,40}") {
            let _ = parse(&text);
        }
    }
}
