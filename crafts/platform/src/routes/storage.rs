//! Storage over HTTP: `openapi/storage.yaml`.

use super::{Route, json_body, param};
use contracts::{
    Batch, BatchError, BatchView, LabelsView, TimestampMs,
    http::{ApiError, Request, Response},
    limits::{BATCH_SAMPLES_MAX, MATCHERS_MAX, QUERY_SAMPLES_MAX},
    queue::put_payload,
    storage::{Select, Storage, StorageError},
};
use serde_json::json;
use std::{ops::ControlFlow, sync::Arc};

/// One batch in its binary form.
pub const BATCH: &str = "application/vnd.systems-craft.batch";
/// Several: each `length u32 · batch`.
pub const BATCHES: &str = "application/vnd.systems-craft.batches";

/// Samples in one batch of an answer: small enough to be decoded in cache, large enough to share its labels.
const ANSWER_SAMPLES: usize = 1 << 16;
const _: () = assert!(ANSWER_SAMPLES <= BATCH_SAMPLES_MAX);

/// Routes of the storage service.
pub fn routes(storage: &Arc<dyn Storage>) -> Vec<Route> {
    let with = |handle: fn(&dyn Storage, &Request<'_>) -> Result<Response, ApiError>| {
        let storage = storage.clone();
        move |request: &Request<'_>, _: &super::Params<'_>| handle(&*storage, request)
    };
    vec![
        Route::new("storage", "POST", "/write", with(write)),
        Route::new("storage", "POST", "/sync", with(sync)),
        Route::new("storage", "POST", "/query", with(query)),
        Route::new("storage", "POST", "/series", with(series)),
    ]
}

fn write(storage: &dyn Storage, request: &Request<'_>) -> Result<Response, ApiError> {
    let batch = BatchView::parse(request.body).map_err(|e| ApiError::new(400, "bad_batch", e.to_string()))?;
    storage.write(&batch).map_err(|e| refusal(&e))?;
    if param(request, "sync", "true or false")?.unwrap_or(true) {
        storage.sync().map_err(|e| refusal(&e))?;
    }
    Ok(Response::status(204))
}

fn sync(storage: &dyn Storage, _: &Request<'_>) -> Result<Response, ApiError> {
    storage.sync().map(|()| Response::status(204)).map_err(|e| refusal(&e))
}

fn query(storage: &dyn Storage, request: &Request<'_>) -> Result<Response, ApiError> {
    let select = select_of(request)?;
    let (mut batch, mut bytes, mut body) = (Batch::new(), Vec::new(), Vec::new());
    let mut failure = None;
    let mut flush = |batch: &mut Batch| {
        bytes.clear();
        batch.encode_into(&mut bytes);
        put_payload(&bytes, &mut body);
        batch.clear();
    };
    storage
        .select(&select, &mut |labels, timestamps, values| {
            let columns: Vec<_> = timestamps.iter().zip(values).collect();
            for chunk in columns.chunks(ANSWER_SAMPLES) {
                let mut added = add(&mut batch, labels, chunk);
                // Many long labels fill a batch before many samples do.
                if added == Err(BatchError::Full) {
                    flush(&mut batch);
                    added = add(&mut batch, labels, chunk);
                }
                if let Err(e) = added {
                    failure = Some(e);
                    return ControlFlow::Break(());
                }
                if batch.len() >= ANSWER_SAMPLES {
                    flush(&mut batch);
                }
            }
            ControlFlow::Continue(())
        })
        .map_err(|e| refusal(&e))?;
    if let Some(e) = failure {
        return Err(ApiError::new(
            500,
            "storage_failed",
            format!("the storage gave what no batch may hold: {e}"),
        ));
    }
    if !batch.is_empty() {
        flush(&mut batch);
    }
    Ok(Response::body(200, BATCHES, body))
}

fn add(batch: &mut Batch, labels: LabelsView<'_>, points: &[(&i64, &f64)]) -> Result<(), BatchError> {
    let series = batch.series_of(labels)?;
    points.iter().try_for_each(|(at, value)| batch.push(series, TimestampMs(**at), **value))
}

/// A selection within the bounds, whatever the client asked for.
fn select_of(request: &Request<'_>) -> Result<Select, ApiError> {
    let select: Select = json_body(request)?;
    if select.matchers.len() > MATCHERS_MAX {
        let message = format!("{} matchers, the most is {MATCHERS_MAX}", select.matchers.len());
        return Err(ApiError::new(400, "bad_matcher", message));
    }
    Ok(Select { samples_max: select.samples_max.min(QUERY_SAMPLES_MAX), ..select })
}

fn series(storage: &dyn Storage, request: &Request<'_>) -> Result<Response, ApiError> {
    let select = select_of(request)?;
    let series = storage.series(&select).map_err(|e| refusal(&e))?;
    Ok(Response::json(200, &json!({ "series": series })))
}

fn refusal(error: &StorageError) -> ApiError {
    match error {
        StorageError::TooManySamples(_) => ApiError::of(422, "too_many_samples", error),
        StorageError::Failed(_) => ApiError::of(500, "storage_failed", error),
    }
}
