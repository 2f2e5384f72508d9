//! Requirements as this scheme reads them.

use alloy_primitives::Address;
use x402_core::payment::{JsonMap, PaymentRequirements};

use crate::address::parse_address;

/// The scheme's name.
pub(super) const SCHEME: &str = "exact";
/// The kind of chain.
pub(super) const NAMESPACE: &str = "eip155";

/// Where a payment goes: the token, and who is paid in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) chain_id: u64,
    pub(super) token: Address,
    pub(super) pay_to: Address,
}

impl Terms {
    /// The error says which field is wrong.
    pub(super) fn of(requirements: &PaymentRequirements) -> Result<Self, &'static str> {
        let address = |text: &str| parse_address(text).filter(|address| !address.is_zero());
        let terms = Self {
            chain_id: requirements
                .network
                .evm_chain_id()
                .ok_or("`network` is not an EVM chain like `eip155:8453`")?,
            token: address(requirements.asset.as_str()).ok_or("`asset` is not an EVM address")?,
            pay_to: address(requirements.pay_to.as_str()).ok_or("`payTo` is not an EVM address")?,
        };
        // A token's own account is nobody's: what is sent there is lost, and known stablecoins take no such transfer.
        if terms.pay_to == terms.token {
            return Err("`payTo` is the token itself: name the account that is to be paid");
        }
        Ok(terms)
    }
}

/// The token's EIP-712 name and version.
pub(super) fn domain_of(extra: &JsonMap) -> Option<(&str, &str)> {
    let text = |key: &str| extra.get(key)?.as_str().filter(|text| !text.is_empty());
    Some((text("name")?, text("version")?))
}

/// Whether the transfer method is EIP-3009, which it is unless another one is named.
pub(super) fn is_eip3009(extra: &JsonMap) -> bool {
    match extra.get("assetTransferMethod") {
        None | Some(serde_json::Value::Null) => true,
        Some(method) => method == "eip3009",
    }
}
