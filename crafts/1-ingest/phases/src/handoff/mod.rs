//! Ways from a request's samples to the log.

pub mod in_request;
pub mod queue_writer;
