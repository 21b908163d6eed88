//! The engine of a query service, or of anything that speaks Prometheus's API.

use super::{Client, form};
use contracts::{
    Labels, TimeRange, TimestampMs,
    http::percent_encode,
    query::{InstantSample, QueryEngine, QueryError, QueryValue, SeriesPoints, Steps, parse_value},
    storage::StorageError,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// An engine behind `/api/v1`.
pub struct RemoteQuery {
    client: Client,
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar((f64, String)),
    String((f64, String)),
    Vector(Vec<VectorRow>),
    Matrix(Vec<MatrixRow>),
}

#[derive(Deserialize)]
struct VectorRow {
    metric: Labels,
    value: (f64, String),
}

#[derive(Deserialize)]
struct MatrixRow {
    metric: Labels,
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Points {
    series: Vec<PointsRow>,
}

#[derive(Deserialize)]
struct PointsRow {
    labels: Labels,
    points: Vec<(i64, String)>,
}

impl RemoteQuery {
    /// The engine of the service at the client's base URL. It need not be there yet.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// By POST, since a long query does not fit the head of a request.
    fn ask<T: DeserializeOwned>(&self, path: &str, params: &[(&str, &str)]) -> Result<T, QueryError> {
        let answer = self.client.post_form(path, params).map_err(failed)?;
        answer.json::<Envelope<T>, _>(failed).map(|e| e.data)
    }

    /// Where there is only GET.
    fn get<T: DeserializeOwned>(&self, path: &str, params: &[(&str, &str)]) -> Result<T, QueryError> {
        let answer = self.client.get(&format!("{path}?{}", form(params))).map_err(failed)?;
        if matches!(answer.status, 414 | 431) {
            return Err(QueryError::TooLarge(format!(
                "the service takes no query of this length: {}",
                answer.message()
            )));
        }
        answer.json(failed)
    }
}

/// Parameters of what asks about series rather than samples.
fn selected<'p>(selectors: &[&'p str], start: &'p str, end: &'p str) -> Vec<(&'static str, &'p str)> {
    let matches = selectors.iter().map(|s| ("match[]", *s));
    matches.chain([("start", start), ("end", end)]).collect()
}

impl QueryEngine for RemoteQuery {
    fn instant(&self, query: &str, at: TimestampMs) -> Result<QueryValue, QueryError> {
        match self.ask("/api/v1/query", &[("query", query), ("time", &seconds(at))])? {
            Data::Scalar((_, text)) => Ok(QueryValue::Scalar(value(&text)?)),
            Data::String((_, text)) => Ok(QueryValue::String(text)),
            Data::Vector(rows) => {
                let row = |VectorRow { metric, value: (at, text) }| {
                    Ok(InstantSample {
                        labels: metric,
                        timestamp: TimestampMs(millis(at)),
                        value: value(&text)?,
                    })
                };
                Ok(QueryValue::Vector(rows.into_iter().map(row).collect::<Result<_, QueryError>>()?))
            }
            Data::Matrix(rows) => Ok(QueryValue::Matrix(matrix(rows)?)),
        }
    }

    fn range(&self, query: &str, steps: Steps) -> Result<Vec<SeriesPoints>, QueryError> {
        let TimeRange { start, end } = steps.range();
        let step = seconds(TimestampMs(steps.step_ms()));
        let params = [("query", query), ("start", &seconds(start)), ("end", &seconds(end)), ("step", &step)];
        match self.ask("/api/v1/query_range", &params)? {
            Data::Matrix(rows) => matrix(rows),
            _ => Err(failed("a range query was not answered by a matrix".to_owned())),
        }
    }

    fn points(&self, selector: &str, range: TimeRange) -> Result<Vec<SeriesPoints>, QueryError> {
        let (start, end) = (range.start.0.to_string(), range.end.0.to_string());
        let found: Points = self.get("/query", &[("name", selector), ("start", &start), ("end", &end)])?;
        let series = found.series.into_iter().map(|PointsRow { labels, points }| {
            let values = points.iter().map(|(_, text)| value(text)).collect::<Result<_, _>>()?;
            Ok(SeriesPoints { labels, timestamps: points.iter().map(|(at, _)| *at).collect(), values })
        });
        series.collect()
    }

    fn series(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<Labels>, QueryError> {
        // Over HTTP at least one selector is needed; this one is true of every series.
        let every: &[&str] = &["{__name__=~\".+\"}"];
        let (start, end) = (seconds(range.start), seconds(range.end));
        let selectors = if selectors.is_empty() { every } else { selectors };
        self.ask("/api/v1/series", &selected(selectors, &start, &end))
    }

    fn label_names(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<String>, QueryError> {
        let (start, end) = (seconds(range.start), seconds(range.end));
        self.ask("/api/v1/labels", &selected(selectors, &start, &end))
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[&str],
        range: TimeRange,
    ) -> Result<Vec<String>, QueryError> {
        let (start, end) = (seconds(range.start), seconds(range.end));
        let path = format!("/api/v1/label/{}/values", percent_encode(name));
        self.get::<Envelope<_>>(&path, &selected(selectors, &start, &end)).map(|e| e.data)
    }
}

fn matrix(rows: Vec<MatrixRow>) -> Result<Vec<SeriesPoints>, QueryError> {
    let series = rows.into_iter().map(|MatrixRow { metric, values }| {
        let timestamps = values.iter().map(|(at, _)| millis(*at)).collect();
        let values = values.iter().map(|(_, text)| value(text)).collect::<Result<_, _>>()?;
        Ok(SeriesPoints { labels: metric, timestamps, values })
    });
    series.collect()
}

fn value(text: &str) -> Result<f64, QueryError> {
    parse_value(text).ok_or_else(|| failed(format!("{} is no value", Value::from(text))))
}

/// Exact: a millisecond of any acceptable time is well within the 53 bits of a double's mantissa.
#[allow(clippy::cast_possible_truncation)]
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn seconds(at: TimestampMs) -> String {
    let sign = if at.0 < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", at.0.unsigned_abs() / 1000, at.0.unsigned_abs() % 1000)
}

fn failed(why: String) -> QueryError {
    QueryError::Storage(StorageError::Failed(why))
}
