//! What nodes say about a transaction that they do not take. There is no code for any of it.

/// For a transaction that they have already.
pub(super) fn say_known(words: &str) -> bool {
    words.starts_with("known transaction")
        || ["already known", "alreadyknown", "already imported", "already in", "already exists"]
            .iter()
            .any(|known| words.contains(known))
}

/// For a nonce that is not the next.
pub(super) fn say_taken(words: &str) -> bool {
    ["nonce too low", "nonce is too low", "replacement transaction underpriced", "replacement underpriced"]
        .iter()
        .any(|taken| words.contains(taken))
}

/// With which they reject a transaction as it is, so that they cannot have taken it. Whatever is not here, like
/// "internal error", may have been said after the transaction was passed on.
pub(super) fn say_refused(words: &str) -> bool {
    const REFUSALS: [&str; 15] = [
        "insufficient funds",
        "underpriced",
        "intrinsic gas too low",
        "max fee per gas less than block base fee",
        "fee cap less than block base fee",
        "max priority fee per gas higher than max fee per gas",
        "exceeds the configured cap",
        "exceeds block gas limit",
        "gas required exceeds",
        "invalid sender",
        "invalid signature",
        "invalid chain id",
        "invalid chainid",
        "invalid transaction v, r, s values",
        "oversized data",
    ];
    say_taken(words) || REFUSALS.iter().any(|refusal| words.contains(refusal))
}
