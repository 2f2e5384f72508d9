//! The paying client, through its public API, against servers on real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod foreign;
mod once;
mod pays;
mod refuses;
mod support;
