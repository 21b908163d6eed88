//! What every service answers: is it alive, is it ready, how is it doing, what does it serve.

use super::{Params, Route};
use crate::telemetry::Telemetry;
use contracts::{
    http::{ApiError, Request, Response},
    openapi,
};
use serde_json::json;
use std::sync::{Arc, OnceLock, Weak};

/// The format that Prometheus scrapes.
pub const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `Ok` if the service could do its work now, else why not.
pub type Ready = dyn Fn() -> Result<(), String> + Send + Sync;
/// Appends metrics in Prometheus text.
pub type Gauges = dyn Fn(&mut String) + Send + Sync;

/// Routes that every service has. The telemetry comes later, since it looks at the routes itself.
pub(crate) fn routes(
    ready: Arc<Ready>,
    gauges: Arc<Gauges>,
    telemetry: Arc<OnceLock<Weak<Telemetry>>>,
) -> Vec<Route> {
    vec![
        Route::new("common", "GET", "/health", |_, _| Ok(Response::json(200, &json!({"status": "ok"})))),
        Route::new("common", "GET", "/ready", move |_, _| match ready() {
            Ok(()) => Ok(Response::json(200, &json!({"ready": true}))),
            Err(why) => {
                Ok(Response::json(503, &json!({"ready": false, "why": why})).with("Retry-After", "1"))
            }
        }),
        Route::new("common", "GET", "/metrics", move |_, _| {
            let mut text = String::new();
            gauges(&mut text);
            if let Some(telemetry) = telemetry.get().and_then(Weak::upgrade) {
                telemetry.render(&mut text);
            }
            Ok(Response::body(200, EXPOSITION, text.into_bytes()))
        }),
        Route::new("common", "GET", "/openapi", |_, _| {
            let files: Vec<_> =
                openapi::FILES.iter().map(|(name, _)| format!("/openapi/{name}.yaml")).collect();
            Ok(Response::json(200, &json!({ "files": files })))
        }),
        Route::new("common", "GET", "/openapi/{file}", openapi_file),
    ]
}

fn openapi_file(request: &Request<'_>, params: &Params<'_>) -> Result<Response, ApiError> {
    let wanted = params[0].strip_suffix(".yaml").unwrap_or_default();
    let found = openapi::FILES.iter().find(|(name, _)| *name == wanted);
    let (_, text) = found.ok_or_else(|| ApiError::no_such_path(request.path))?;
    Ok(Response::body(200, "application/yaml", text.as_bytes()))
}
