//! The report and the book's tables: the same figures, as one HTML file and as Markdown.
//!
//! Every figure in them comes from a results file. What is the same in both is a `Table`.

mod book;
mod chart;
mod html;
mod table;
pub(crate) mod text;

pub use book::book;
pub use html::html;
pub use text::figure;
