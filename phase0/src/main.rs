//! The whole pipeline, naive on purpose.
fn main() {}
