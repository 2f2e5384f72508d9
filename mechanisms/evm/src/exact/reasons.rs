//! The protocol's codes for `exact` payments with EIP-3009, and some of our own.

use x402_core::payment::Reason;

/// The scheme is not `exact`.
pub const SCHEME: Reason = Reason::from_static("invalid_exact_evm_scheme");
/// The requirements lack the token's EIP-712 name or version.
pub const MISSING_DOMAIN: Reason = Reason::from_static("invalid_exact_evm_missing_eip712_domain");
/// The payment is for another network.
pub const NETWORK_MISMATCH: Reason = Reason::from_static("invalid_exact_evm_network_mismatch");
/// The payload is for another transfer method.
pub const UNSUPPORTED_PAYLOAD: Reason = Reason::from_static("unsupported_payload_type");
/// The facilitator does not settle this token; a code of this project, not of the protocol.
pub const ASSET_NOT_ALLOWED: Reason = Reason::from_static("asset_not_allowed");
/// The amount is zero, or less than the facilitator settles; a code of this project, not of the protocol.
pub const AMOUNT_BELOW_MINIMUM: Reason = Reason::from_static("invalid_exact_evm_amount_below_minimum");
/// The payer is the recipient, so that the payment moves nothing; a code of this project, not of the protocol.
pub const PAYER_IS_RECIPIENT: Reason = Reason::from_static("invalid_exact_evm_payer_is_recipient");
/// The wallet is not deployed (EIP-6492), and its factory is none we call.
pub const FACTORY_NOT_ALLOWED: Reason = Reason::from_static("eip6492_factory_not_allowed");
/// Not the payer's signature.
pub const SIGNATURE: Reason = Reason::from_static("invalid_exact_evm_signature");
/// The payment goes to another account.
pub const RECIPIENT_MISMATCH: Reason = Reason::from_static("invalid_exact_evm_recipient_mismatch");
/// The authorization has run out, or is about to.
pub const VALID_BEFORE: Reason = Reason::from_static("invalid_exact_evm_payload_authorization_valid_before");
/// The authorization is not valid yet.
pub const VALID_AFTER: Reason = Reason::from_static("invalid_exact_evm_payload_authorization_valid_after");
/// The payment is of another amount (protocol version 2).
pub const VALUE_MISMATCH: Reason =
    Reason::from_static("invalid_exact_evm_payload_authorization_value_mismatch");
/// The payment is of another amount (protocol version 1).
pub const VALUE_MISMATCH_V1: Reason = Reason::from_static("invalid_exact_evm_authorization_value");
/// There is no contract at the token's address.
pub const ASSET_NOT_DEPLOYED: Reason = Reason::from_static("asset_not_deployed_contract");
/// The token has no EIP-3009.
pub const EIP3009_NOT_SUPPORTED: Reason = Reason::from_static("invalid_exact_evm_eip3009_not_supported");
/// The authorization was used or cancelled.
pub const NONCE_ALREADY_USED: Reason = Reason::from_static("invalid_exact_evm_nonce_already_used");
/// The token's EIP-712 name is another one.
pub const TOKEN_NAME_MISMATCH: Reason = Reason::from_static("invalid_exact_evm_token_name_mismatch");
/// The token's EIP-712 version is another one.
pub const TOKEN_VERSION_MISMATCH: Reason = Reason::from_static("invalid_exact_evm_token_version_mismatch");
/// The payer has too little of the token.
pub const INSUFFICIENT_BALANCE: Reason = Reason::from_static("invalid_exact_evm_insufficient_balance");
/// The transfer would fail.
pub const SIMULATION_FAILED: Reason = Reason::from_static("invalid_exact_evm_transaction_simulation_failed");
/// The transfer failed on chain.
pub const TRANSACTION_FAILED: Reason = Reason::from_static("invalid_exact_evm_transaction_failed");
/// The transaction went through, but the token did not report the transfer.
pub const TRANSFER_EVENT_MISMATCH: Reason = Reason::from_static("invalid_exact_evm_transfer_event_mismatch");

/// The current name of a code: the published specification has older names for some.
pub fn current(reason: Reason) -> Reason {
    match reason.as_str() {
        "insufficient_funds" => INSUFFICIENT_BALANCE,
        "invalid_exact_evm_payload_signature" => SIGNATURE,
        "invalid_exact_evm_payload_recipient_mismatch" => RECIPIENT_MISMATCH,
        _ => reason,
    }
}

/// The code for another amount, which the versions name differently.
#[cfg(any(feature = "server", feature = "facilitator"))]
pub(super) fn value_mismatch(version: x402_core::payment::Version) -> Reason {
    match version {
        x402_core::payment::Version::V1 => VALUE_MISMATCH_V1,
        x402_core::payment::Version::V2 => VALUE_MISMATCH,
    }
}
