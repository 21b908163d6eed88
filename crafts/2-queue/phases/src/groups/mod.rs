//! Who reads which partition.

pub mod one_reader;
