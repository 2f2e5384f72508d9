//! What servers and clients agree on beyond the payment itself, each in a file of its own.

pub mod payment_identifier;
