//! Types, traits and limits that every craft is built behind. Does no IO.
