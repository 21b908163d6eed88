//! HTTP/1.1 without sockets, clocks and threads (RFC 9110, RFC 9112): bytes in, answers out.
//!
//! [`Connection`] is what an engine of any kind drives. It is strict where guessing would let a request be smuggled past a
//! proxy, and lenient nowhere else than the RFCs ask for it.
//!
//! ```text
//! bytes ──▶ head ──▶ body ──▶ coding ──▶ Worker::call ──▶ answer ──▶ output ──▶ bytes
//!           lines    length   gzip                        status,    in order,
//!                    chunks   snappy                      headers    held by tickets
//! ```
//!
//! Invariants: the answer to some bytes does not depend on the pieces they arrive in; no byte of a request is looked at
//! more than a fixed number of times; memory follows what has arrived, never what was announced.

mod connection;

mod head;

mod scan;

mod body;

mod coding;

mod answer;

mod output;

mod owed;

mod date;

pub use connection::{Connection, Scratch, Settings};
