//! The report and the book's tables: the same figures, as one HTML file, as Markdown, and the first of them for a
//! terminal.
//!
//! Every figure in them comes from a results file. What is the same in all is a `Table`.

pub(crate) mod book;
mod chart;
pub(crate) mod html;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod text;

pub use book::book;
pub use html::html;
pub use terminal::terminal;
pub use text::figure;
pub(crate) use text::latency;
