//! Craft 2: the log between ingest and storage.
