//! Which tokens are settled: a token's code runs at the expense of whoever sends the transfer.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use x402_core::{
    asset::{TransferMethod, tokens_of},
    network::Network,
};

use crate::address::parse_address;

#[derive(Clone)]
pub(super) struct Assets {
    listed: BTreeSet<Address>,
    any: bool,
}

impl Assets {
    /// The known tokens of the network that have EIP-3009.
    pub(super) fn known(network: &Network) -> Self {
        let eip3009 =
            tokens_of(network).filter(|token| matches!(token.transfer, TransferMethod::Eip3009 { .. }));
        let listed = eip3009.filter_map(|token| parse_address(token.address.as_str())).collect();
        Self { listed, any: false }
    }

    pub(super) fn add(&mut self, token: Address) {
        self.listed.insert(token);
    }

    pub(super) fn add_all(&mut self) {
        self.any = true;
    }

    pub(super) fn allow(&self, token: Address) -> bool {
        self.any || self.list(token)
    }

    /// Whether it is known, or was added by name.
    pub(super) fn list(&self, token: Address) -> bool {
        self.listed.contains(&token)
    }
}
