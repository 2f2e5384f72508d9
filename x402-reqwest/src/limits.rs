//! What may be paid.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use reqwest::Url;
use x402_core::{
    address::Address,
    amount::Amount,
    asset,
    network::Network,
    payment::PaymentRequirements,
    price::{Price, PriceError},
    scheme::SchemeError,
    wire::DecodeError,
};

use crate::{
    error::{Error, ErrorKind},
    origin,
};

/// An option of an offer, and why it may not be paid.
#[derive(Debug)]
#[non_exhaustive]
pub struct Declined {
    /// Its place among the options of the offer, from 0.
    pub position: usize,
    /// What was asked; `None` where that cannot be read.
    pub requirements: Option<PaymentRequirements>,
    /// Why it may not be paid.
    pub because: DeclinedBecause,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(PaymentRequirements { network, amount, asset, .. }) = &self.requirements else {
            return write!(f, "option {}: {}", self.position + 1, self.because);
        };
        let money = |amount: Amount| match asset::token_at(network, asset) {
            Some(token) => (format!("${}", amount.in_tokens(token.decimals)), token.symbol.into_owned()),
            None => (format!("{amount} atomic units"), asset.to_string()),
        };
        let (asked, token) = money(*amount);
        write!(f, "it asks {asked} of {token} on {network}")?;
        match &self.because {
            DeclinedBecause::OverCap { cap, .. } => write!(f, ", your cap is {}", money(*cap).0),
            because => write!(f, ": {because}"),
        }
    }
}

/// Why an option may not be paid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeclinedBecause {
    /// Its network is not among [`networks`](crate::Builder::networks).
    #[error("the network is not among those to pay on")]
    Network,
    /// Its token is not among [`assets`](crate::Builder::assets).
    #[error("the token is not among those to pay in")]
    Asset,
    /// Its payee is not among [`pay_to`](crate::Builder::pay_to).
    #[error("the payee {0} is not among those to pay")]
    PayTo(Address),
    /// Its token is no known stablecoin, so nothing says what it is worth.
    #[error("no known stablecoin: give the token a cap of its own with `allow_token`")]
    UnknownToken,
    /// It costs too much.
    #[error("it asks {asked} atomic units, your cap is {cap}")]
    OverCap {
        /// What it costs, in the token's smallest unit.
        asked: Amount,
        /// What it may cost, in the same unit.
        cap: Amount,
    },
    /// The cap in dollars is no exact amount of this token.
    #[error("the cap is no amount of this token: {0}")]
    Cap(PriceError),
    /// No scheme was given for it.
    #[error("no scheme here pays {scheme:?} on this network")]
    NoScheme {
        /// The scheme it wants, at most 40 characters of it.
        scheme: String,
    },
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(DecodeError),
    /// The scheme cannot pay it.
    #[error("the scheme cannot pay it: {0}")]
    Scheme(SchemeError),
}

/// The limits of one client.
pub(crate) struct Limits {
    pub(crate) cap: Price,
    pub(crate) tokens: HashMap<(Network, Address), Amount>,
    pub(crate) networks: Option<HashSet<Network>>,
    pub(crate) assets: Option<HashSet<Address>>,
    pub(crate) pay_to: Option<HashSet<Address>>,
    pub(crate) hosts: Option<HashSet<String>>,
    pub(crate) plain_http: bool,
}

impl Limits {
    /// Whether this option may be paid, as far as it goes without a scheme.
    pub(crate) fn check(&self, option: &PaymentRequirements) -> Result<(), DeclinedBecause> {
        if !allows(&self.networks, &option.network) {
            return Err(DeclinedBecause::Network);
        }
        if !allows(&self.assets, &option.asset) {
            return Err(DeclinedBecause::Asset);
        }
        if !allows(&self.pay_to, &option.pay_to) {
            return Err(DeclinedBecause::PayTo(option.pay_to.clone()));
        }
        let (asked, cap) = (option.amount, self.cap_for(&option.network, &option.asset)?);
        if asked > cap { Err(DeclinedBecause::OverCap { asked, cap }) } else { Ok(()) }
    }

    /// A token's own cap, or the cap in dollars in the token's own decimals.
    fn cap_for(&self, network: &Network, asset: &Address) -> Result<Amount, DeclinedBecause> {
        if let Some(own) = self.tokens.get(&(network.clone(), asset.clone())) {
            return Ok(*own);
        }
        let token = asset::token_at(network, asset).ok_or(DeclinedBecause::UnknownToken)?;
        self.cap.to_amount(token.decimals).map_err(DeclinedBecause::Cap)
    }

    /// Whether the server that answered may be paid for what was asked.
    pub(crate) fn check_origin(&self, asked: &Url, answered: &Url) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::new(ErrorKind::Origin, why));
        let server = origin::place(answered);
        if !origin::same(asked, answered) {
            return refuse(format!(
                "{server} asks to be paid for a request to {}: ask it directly if it is to be paid",
                origin::name(asked)
            ));
        }
        if !self.plain_http && !origin::is_private(answered) {
            return refuse(format!(
                "{server} asks to be paid without TLS, where anyone on the way can name himself as the payee: use https"
            ));
        }
        let host = answered.host_str().unwrap_or_default();
        if self.hosts.as_ref().is_some_and(|hosts| !hosts.contains(host)) {
            return refuse(format!("{server} asks to be paid and is not among the hosts to pay"));
        }
        Ok(())
    }
}

fn allows<T: std::hash::Hash + Eq>(pinned: &Option<HashSet<T>>, found: &T) -> bool {
    pinned.as_ref().is_none_or(|pinned| pinned.contains(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cap: &str) -> Limits {
        Limits {
            cap: cap.parse().unwrap(),
            tokens: HashMap::new(),
            networks: None,
            assets: None,
            pay_to: None,
            hosts: None,
            plain_http: false,
        }
    }

    fn cap(limits: &Limits, network: &str, asset: &str) -> Result<String, String> {
        limits
            .cap_for(&network.parse().unwrap(), &asset.parse().unwrap())
            .map(|amount| amount.to_string())
            .map_err(|because| because.to_string())
    }

    #[test]
    fn a_cap_in_dollars_takes_each_tokens_decimals() {
        let limits = limits("$0.10");
        let usdc = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
        let usdm = "0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7";
        assert_eq!(cap(&limits, "eip155:8453", usdc).as_deref(), Ok("100000"));
        assert_eq!(cap(&limits, "eip155:8453", &usdc.to_lowercase()).as_deref(), Ok("100000"));
        assert_eq!(cap(&limits, "eip155:4326", usdm).as_deref(), Ok("100000000000000000"));
        assert!(
            cap(&limits, "eip155:1", usdc).is_err(),
            "the same address on another chain is another token"
        );
        assert!(cap(&limits, "eip155:8453", usdm).is_err());
    }

    #[test]
    fn a_cap_that_is_no_amount_of_the_token_declines() {
        let usdc = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
        assert!(cap(&limits("$0.0000001"), "eip155:8453", usdc).is_err());
    }
}
