//! The contracts in their HTTP form: one OpenAPI 3.1 file a service.
//!
//! A test of the platform holds them against its routes, and against every status that the conformance suite
//! has seen.

/// Name of a service and its file.
pub const FILES: [(&str, &str); 5] = [
    ("ingest", include_str!("../openapi/ingest.yaml")),
    ("queue", include_str!("../openapi/queue.yaml")),
    ("storage", include_str!("../openapi/storage.yaml")),
    ("query", include_str!("../openapi/query.yaml")),
    ("alert", include_str!("../openapi/alert.yaml")),
];
