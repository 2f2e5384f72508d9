//! Charge for actix-web routes over x402.
