//! The x402 payment protocol and the gate that charges for HTTP requests.
