//! The conformance suites: what every implementation of a contract must do.
