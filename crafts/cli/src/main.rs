//! The command line: a thin face over the libraries.
fn main() {}
