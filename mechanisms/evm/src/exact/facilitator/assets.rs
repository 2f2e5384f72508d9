//! Which tokens are settled, and from what amount on: a token's code runs at the expense of whoever sends the transfer.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use x402_core::{
    asset::{TransferMethod, tokens_of},
    network::Network,
};

use crate::address::parse_address;

#[derive(Clone)]
pub(super) struct Assets {
    listed: BTreeSet<Address>,
    any: bool,
    /// What a payment must be at least, in atomic units; of a token that is not here, one.
    minimums: BTreeMap<Address, U256>,
}

/// The least that is paid in a known token, in units of a thousandth: $0.001 in one of dollars.
const LEAST_DECIMALS: u8 = 3;

impl Assets {
    /// The known tokens of the network that have EIP-3009.
    pub(super) fn known(network: &Network) -> Self {
        let eip3009 =
            tokens_of(network).filter(|token| matches!(token.transfer, TransferMethod::Eip3009 { .. }));
        let known = eip3009.filter_map(|token| {
            let least = U256::from(10).pow(U256::from(token.decimals.saturating_sub(LEAST_DECIMALS)));
            Some((parse_address(token.address.as_str())?, least))
        });
        let minimums: BTreeMap<_, _> = known.collect();
        Self { listed: minimums.keys().copied().collect(), any: false, minimums }
    }

    pub(super) fn add(&mut self, token: Address) {
        self.listed.insert(token);
    }

    pub(super) fn set_minimum(&mut self, token: Address, amount: U256) {
        self.minimums.insert(token, amount);
    }

    /// What a payment in this token must be at least: never nothing, which moves nothing.
    pub(super) fn minimum(&self, token: Address) -> U256 {
        self.minimums.get(&token).copied().unwrap_or(U256::ONE).max(U256::ONE)
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
