//! Charge for poem routes over x402.
