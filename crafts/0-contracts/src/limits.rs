//! Every bound of the pipeline, by name, with its unit last.
//!
//! A bound is part of the contract: a client may rely on what stays below it, and what passes it gets the
//! answer named beside it. An implementation may be stricter only where its documentation says so.

/// Largest head of a request: request line and headers. Beyond: 431.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most header lines in a request. Beyond: 431.
pub const HEADERS_MAX: usize = 100;
/// Largest body of a request, after decoding. Beyond: 413.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Deepest nesting of arrays and objects in a JSON body. Beyond: 400.
pub const JSON_DEPTH_MAX: usize = 32;

/// Most labels of one series, its `__name__` included. Beyond: 400.
pub const LABELS_PER_SERIES_MAX: usize = 64;
/// Longest label name. The batch form keeps its length in one byte.
pub const LABEL_NAME_BYTES_MAX: usize = 255;
/// Longest label value, which a metric name is as well.
pub const LABEL_VALUE_BYTES_MAX: usize = 4 << 10;
/// Longest `client_id` of a request.
pub const CLIENT_ID_BYTES_MAX: usize = 128;
/// First timestamp that is accepted: 1970-01-01T00:00:00Z. Before: 400.
pub const TIMESTAMP_MS_MIN: i64 = 0;
/// Last timestamp that is accepted: 9999-12-31T23:59:59.999Z, the end of RFC 3339. After: 400.
pub const TIMESTAMP_MS_MAX: i64 = 253_402_300_799_999;

/// Most samples in one batch. A body that holds more is cut into several by whoever builds them.
pub const BATCH_SAMPLES_MAX: usize = 1 << 20;
/// Largest record of the queue. Beyond: 413. Below [`BODY_BYTES_MAX`], so that the largest still fits a request.
pub const RECORD_BYTES_MAX: usize = 15 << 20;
/// Most records of a packed batch, since a few bytes can stand for very many empty ones. Beyond: 400.
pub const BATCH_RECORDS_MAX: usize = 1 << 20;
/// Most records that one fetch returns, whatever was asked for.
pub const FETCH_RECORDS_MAX: usize = 10_000;
/// Most bytes that one fetch returns, unless its first record alone is larger.
pub const FETCH_BYTES_MAX: usize = 32 << 20;
/// Most consumer groups of a log.
pub const GROUPS_MAX: usize = 1_000;
/// Longest name of a consumer group or of a member.
pub const GROUP_NAME_BYTES_MAX: usize = 128;
/// Most members of a consumer group. Beyond: 429.
pub const GROUP_MEMBERS_MAX: usize = 256;
/// How many of its last batches of a partition an identified producer may send again.
pub const IDENTIFIED_BATCHES_KEPT: usize = 5;
/// Most pairs of an identified producer and a partition that a log remembers; those that were silent longest are forgotten.
pub const IDENTIFIED_PRODUCERS_MAX: usize = 4_096;

/// Longest query text. Beyond: 400.
pub const QUERY_BYTES_MAX: usize = 16 << 10;
/// Most steps of a range query, as Prometheus has it. Beyond: 400.
pub const QUERY_STEPS_MAX: usize = 11_000;
/// Most samples that a query may read. Beyond: 422, and nothing is answered rather than a part.
pub const QUERY_SAMPLES_MAX: usize = 10_000_000;
/// Most matchers of one query, all its selectors together. Beyond: 400.
pub const MATCHERS_MAX: usize = 64;
/// Most selectors of one query. Beyond: 400.
pub const SELECTORS_MAX: usize = 64;
/// Largest compiled regular expression of a matcher. Beyond: 400.
pub const REGEX_BYTES_MAX: usize = 256 << 10;
/// How far an instant looks back for the latest sample of a series: 5 minutes, as in Prometheus.
pub const LOOKBACK_MS: i64 = 300_000;

/// Most alerting rules. Beyond: 422.
pub const RULES_MAX: usize = 10_000;
/// Largest rule as JSON. Beyond: 413.
pub const RULE_BYTES_MAX: usize = 64 << 10;
