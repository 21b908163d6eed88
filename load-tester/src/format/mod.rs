//! How samples become a request's body. One file a format, behind one narrow trait.
//!
//! A body is built once a client, then only its timestamps and values are overwritten: formatting a body for each
//! request would make the tester measure itself. So every field that changes has a fixed width, and a body's
//! length never changes.

use serde::Serialize;

use crate::sample::Value;

mod json;

/// The formats that the tester speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FormatName {
    /// `{"timestamp":…,"name":…,"value":…}`, or `{"metrics":[…]}` when a request carries several samples.
    Json,
}

impl FormatName {
    /// The format of that name.
    pub fn format(self) -> &'static dyn Format {
        match self {
            Self::Json => &json::Json,
        }
    }
}

/// A wire format for samples.
pub trait Format: Sync {
    /// Header fields that the format needs, `Content-Type` among them.
    fn headers(&self) -> &'static [(&'static str, &'static str)];

    /// The body that `client` sends again and again, with `batch` samples of the series `name{client="…"}`.
    fn body(&self, name: &str, client: u32, batch: usize) -> Box<dyn Body>;
}

/// A body of fixed length whose samples can be overwritten in place.
pub trait Body: Send {
    /// Overwrites sample number `index` of the batch. Allocates nothing.
    fn set(&mut self, index: usize, timestamp_ms: u64, value: Value);

    /// What to send.
    fn bytes(&self) -> &[u8];
}
