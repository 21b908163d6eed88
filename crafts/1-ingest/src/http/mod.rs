//! HTTP/1.1 without sockets, clocks and threads (RFC 9110, RFC 9112): bytes in, answers out.
//!
//! [`Connection`] is what an engine of any kind drives. It is strict where guessing would let a request be smuggled past a
//! proxy, and lenient nowhere else than the RFCs ask for it.

mod connection;

pub use connection::{Connection, Scratch, Settings};
