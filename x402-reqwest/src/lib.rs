//! A reqwest middleware that pays x402 servers.
