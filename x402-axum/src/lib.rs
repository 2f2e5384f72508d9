//! Charge for axum routes over x402.
