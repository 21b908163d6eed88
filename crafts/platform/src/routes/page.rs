//! The live page and what it asks: the files under `dashboard/`, built into the binary, `/api/status`, the journey through
//! the phases that a bench run has written down, and how far a learner is in the course.

use super::{Params, Route};
use contracts::http::{ApiError, Request, Response};
use serde_json::Value;
use std::{fs, path::Path, path::PathBuf, sync::Arc};

/// Largest journey that is read.
const JOURNEY_BYTES_MAX: u64 = 1 << 20;
/// How the name of a file ends that holds one.
const JOURNEY_FILE_END: &str = "-journey.json";

/// Only what we serve ourselves may run, be loaded or be asked.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

macro_rules! assets {
    ($($name:literal = $path:literal as $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("../dashboard/", $path)).as_slice())),*]
    };
}

const INDEX: &[u8] = include_bytes!("../dashboard/index.html");
const ASSETS: &[(&str, &str, &[u8])] = assets![
    "alerts.js" = "alerts.js" as JS,
    "app.js" = "app.js" as JS,
    "boot.js" = "boot.js" as JS,
    "charts.js" = "charts.js" as JS,
    "course.js" = "course.js" as JS,
    "dom.js" = "dom.js" as JS,
    "groups.js" = "groups.js" as JS,
    "journey.js" = "journey.js" as JS,
    "pace.js" = "pace.js" as JS,
    "panels.js" = "panels.js" as JS,
    "pipeline.js" = "pipeline.js" as JS,
    "series.js" = "series.js" as JS,
    "spark.js" = "spark.js" as JS,
    "units.js" = "units.js" as JS,
    "style.css" = "style.css" as CSS,
    "uplot.js" = "vendor/uplot/uplot.js" as JS,
    "uplot.css" = "vendor/uplot/uplot.css" as CSS,
];

/// Makes an answer, anew for each request.
pub type Teller = Arc<dyn Fn() -> Value + Send + Sync>;

/// Routes of the page. `status` makes the answer of `/api/status`; `journeys` is where bench runs wrote theirs; `progress`
/// makes the answer of `/api/progress`, which is null where nobody knows of a course.
pub fn routes(status: Teller, journeys: Option<PathBuf>, progress: Option<Teller>) -> Vec<Route> {
    vec![
        Route::new("page", "GET", "/", |_, _| Ok(guarded("text/html; charset=utf-8", INDEX))),
        Route::new("page", "GET", "/assets/{file}", asset),
        Route::new("page", "GET", "/api/status", move |_, _| Ok(Response::json(200, &status()))),
        Route::new("page", "GET", "/api/journey", move |_, _| {
            Ok(Response::json(200, &journeys.as_deref().map_or_else(Vec::new, read_journeys)))
        }),
        Route::new("page", "GET", "/api/progress", move |_, _| {
            Ok(Response::json(200, &progress.as_deref().map_or(Value::Null, |tell| tell())))
        }),
    ]
}

/// By craft. Read anew each time, since a bench run may have written one meanwhile. What cannot be read is no journey.
fn read_journeys(dir: &Path) -> Vec<Value> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_journey = |path: &PathBuf| path.to_string_lossy().ends_with(JOURNEY_FILE_END);
    let mut found: Vec<Value> = names.filter(is_journey).filter_map(|path| read_journey(&path)).collect();
    found.sort_by_key(|journey| journey["craft"].as_u64());
    found
}

fn read_journey(path: &Path) -> Option<Value> {
    let small = fs::metadata(path).is_ok_and(|m| m.len() <= JOURNEY_BYTES_MAX);
    serde_json::from_slice(&fs::read(path).ok().filter(|_| small)?).ok()
}

fn asset(request: &Request<'_>, params: &Params<'_>) -> Result<Response, ApiError> {
    let found = ASSETS.iter().find(|(name, ..)| *name == params[0]);
    let (_, kind, bytes) = found.ok_or_else(|| ApiError::no_such_path(request.path))?;
    Ok(guarded(kind, bytes))
}

fn guarded(content_type: &'static str, bytes: &'static [u8]) -> Response {
    Response::body(200, content_type, bytes)
        .with("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        .with("X-Content-Type-Options", "nosniff")
        .with("Cache-Control", "no-cache")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Router;
    use contracts::http::Handler;
    use serde_json::json;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn the_journeys_of_a_directory_are_told_by_craft_and_what_is_none_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("craft2-journey.json", r#"{"craft": 2}"#),
            ("craft10-journey.json", r#"{"craft": 10}"#),
            ("craft1-journey.json", r#"{"craft": 1}"#),
            ("craft3-journey.json", "not JSON"),
            ("craft1.json", r#"{"craft": 1}"#),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let crafts =
            |found: Vec<Value>| found.iter().map(|journey| journey["craft"].clone()).collect::<Vec<_>>();
        assert_eq!(crafts(read_journeys(dir.path())), [1, 2, 10]);
        assert!(read_journeys(&dir.path().join("no-such-directory")).is_empty());
    }

    #[test]
    fn progress_is_asked_for_anew_each_time_and_null_where_there_is_no_course() {
        let asked = |progress: Option<Teller>, times: u32| {
            let router = Router::new(routes(Arc::new(|| Value::Null), None, progress));
            let request = Request {
                method: "GET",
                path: "/api/progress",
                query: "",
                headers: &[],
                body: b"",
                peer: None,
            };
            let answers = (0..times).map(|_| router.handle(&request));
            answers
                .map(|answer| String::from_utf8_lossy(answer.body.bytes()).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(asked(None, 1), ["null"]);
        let count = AtomicU32::new(0);
        let tell: Teller = Arc::new(move || json!({"labs": count.fetch_add(1, Ordering::Relaxed)}));
        assert_eq!(asked(Some(tell), 2), [r#"{"labs":0}"#, r#"{"labs":1}"#]);
    }

    /// A file that the page asks for and the binary lacks would only be noticed in a browser.
    #[test]
    fn everything_that_the_page_names_is_built_in() {
        let texts = ASSETS.iter().map(|(.., bytes)| *bytes).chain([INDEX]);
        let text: String = texts.map(String::from_utf8_lossy).collect();
        let named = text.split(['"', '\'']).filter_map(|word| {
            let file = word.strip_prefix("/assets/").or_else(|| word.strip_prefix("./"))?;
            [".js", ".css"].iter().any(|end| file.ends_with(end)).then_some(file)
        });
        let mut count = 0;
        for file in named {
            assert!(ASSETS.iter().any(|(name, ..)| *name == file), "{file} is not built in");
            count += 1;
        }
        assert!(count >= ASSETS.len() / 2, "only {count} files are named: is this test still looking right?");
    }
}
