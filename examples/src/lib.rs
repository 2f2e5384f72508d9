//! Runnable examples of x402 services and clients.
