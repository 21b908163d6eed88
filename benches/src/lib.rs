//! Benchmarks, their results, and the comparisons with real peers.
