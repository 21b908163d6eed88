//! The contracts of the pipeline: types, traits and limits that every craft is built behind.
//!
//! ```text
//! client ─http─▶ ingest ─queue─▶ log ─storage─▶ series ─query─▶ vectors ─alert─▶ people
//! ```
//!
//! Each arrow is one module here, with the trait an implementation provides and the types that cross it. Read
//! them in the order of the data's way. The same contract in HTTP form stands in `openapi/`, and what an
//! implementation must do, as runnable claims, in the `conformance` crate.
//!
//! Invariants: nothing here opens a file or a socket, reads a clock or starts a thread; nothing here knows an
//! implementation; a [`Batch`] costs no allocation a sample once its buffers are warm.

pub mod limits;

pub mod batch;
pub mod labels;
pub mod matcher;
pub mod selector;
pub mod time;

pub mod alert;
pub mod file;
pub mod http;
pub mod ingest;
pub mod openapi;
pub mod packed;
pub mod query;
pub mod queue;
pub mod storage;

pub use batch::{Batch, BatchError, BatchMark, BatchView, Sample, SeriesRef};
pub use labels::{LabelError, Labels, LabelsView};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use selector::{SelectorError, parse_selector};
pub use time::{TimeRange, TimestampMs};
