//! x402 facilitators: call one, embed one, run one.
