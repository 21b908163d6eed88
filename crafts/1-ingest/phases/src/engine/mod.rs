//! Slot: connections → requests, before there was a reactor per core.

pub mod blocking;

pub mod sequential;

pub mod thread_per_connection;

pub mod keep_alive;

pub mod thread_pool;

pub mod event_loop;
