//! The phases of craft 1.
