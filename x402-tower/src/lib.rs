//! A tower layer that charges for requests over x402.
