//! What a lab's own crate links: its named tests, its counters, and its way into the pipeline.
