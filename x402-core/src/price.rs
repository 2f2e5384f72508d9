//! Prices as people write them, turned into exact amounts.

use std::{fmt, str::FromStr};

use ruint::aliases::U256;

use crate::{
    amount::Amount,
    asset::{self, Token},
    network::Network,
};

/// A price as people write it: `"$0.01"`, `"0.01"` (dollars too) or `"1.50 USDC"`.
///
/// Digits with at most one point between them; no sign, exponent or thousands separator.
/// A price is never rounded: what a token cannot express exactly is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    digits: U256,
    scale: usize,
    /// `None`: dollars, in whatever stablecoin is the network's default.
    symbol: Option<String>,
}

impl Price {
    /// The price in atomic units of a token with this many decimals.
    ///
    /// # Errors
    /// When the price is zero, finer than the token, or beyond 256 bits.
    pub fn to_amount(&self, decimals: u8) -> Result<Amount, PriceError> {
        if self.digits.is_zero() {
            return Err(PriceError::Zero);
        }
        let decimals = usize::from(decimals);
        let ten = U256::from(10);
        let amount = if decimals >= self.scale {
            ten.checked_pow(U256::from(decimals - self.scale)).and_then(|unit| self.digits.checked_mul(unit))
        } else {
            match ten.checked_pow(U256::from(self.scale - decimals)) {
                Some(unit) if (self.digits % unit).is_zero() => Some(self.digits / unit),
                _ => return Err(PriceError::TooFine { price: self.to_string(), decimals }),
            }
        };
        amount.map(Amount::new).ok_or(PriceError::TooLarge)
    }

    /// Whether this is in dollars, and not in a token named by its symbol.
    pub fn is_in_dollars(&self) -> bool {
        self.symbol.is_none()
    }

    /// The token this price is in on a network, and the amount of it.
    ///
    /// # Errors
    /// As [`to_amount`](Self::to_amount), and when no such token is known on the network.
    pub fn resolve(&self, network: &Network) -> Result<(Token, Amount), PriceError> {
        let token = match self.symbol.as_deref() {
            None => asset::default_token(network),
            Some(symbol) => asset::token_by_symbol(network, symbol),
        };
        let token = token.ok_or_else(|| PriceError::UnknownToken {
            symbol: self.symbol.clone().unwrap_or_else(|| "dollar".to_owned()),
            network: network.clone(),
        })?;
        let amount = self.to_amount(token.decimals)?;
        Ok((token, amount))
    }
}

impl FromStr for Price {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let not_a_price = || PriceError::NotAPrice(text.chars().take(40).collect());
        let trimmed = text.trim();
        let (dollar, rest) = match trimmed.strip_prefix('$') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, trimmed),
        };
        let (number, symbol) = match rest.split_once(char::is_whitespace) {
            Some((number, symbol)) => (number, Some(symbol.trim_start())),
            None => (rest, None),
        };
        if symbol.is_some_and(|symbol| {
            dollar || !symbol.starts_with(char::is_alphabetic) || symbol.contains(char::is_whitespace)
        }) {
            return Err(not_a_price());
        }
        let (whole, fraction) = match number.split_once('.') {
            Some((_, "")) => return Err(not_a_price()),
            Some((whole, fraction)) => (whole, fraction),
            None => (number, ""),
        };
        let decimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !decimal(whole) || !decimal(fraction) {
            return Err(not_a_price());
        }
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}");
        if digits.len() > 100 {
            return Err(PriceError::TooLarge);
        }
        Ok(Self {
            digits: U256::from_str_radix(&digits, 10).map_err(|_| PriceError::TooLarge)?,
            scale: fraction.len(),
            symbol: symbol.filter(|symbol| !symbol.eq_ignore_ascii_case("usd")).map(str::to_owned),
        })
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:0>width$}", self.digits.to_string(), width = self.scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.scale);
        if self.symbol.is_none() {
            f.write_str("$")?;
        }
        f.write_str(whole)?;
        if !fraction.is_empty() {
            write!(f, ".{fraction}")?;
        }
        match &self.symbol {
            Some(symbol) => write!(f, " {symbol}"),
            None => Ok(()),
        }
    }
}

/// Why a price cannot be charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PriceError {
    /// The text is no price.
    #[error(
        "`{0}` is not a price: write \"$0.01\", \"0.01\" or \"1.50 USDC\", without sign, exponent or separators"
    )]
    NotAPrice(String),
    /// The price is nothing.
    #[error(
        "a price of zero charges nothing: leave the route without a charge, or grant free access in a hook"
    )]
    Zero,
    /// The token has too few decimals for this price.
    #[error(
        "{price} is finer than a token with {decimals} decimals can express, and prices are never rounded"
    )]
    TooFine {
        /// The price.
        price: String,
        /// The token's decimals.
        decimals: usize,
    },
    /// The price does not fit.
    #[error("the price does not fit into 256 bits of the token's smallest unit")]
    TooLarge,
    /// No token of that symbol is known there.
    #[error("no {symbol} token is known on {network}: name the token and the amount with `TokenAmount`")]
    UnknownToken {
        /// The symbol asked for, or `dollar`.
        symbol: String,
        /// The network.
        network: Network,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{BASE, BASE_SEPOLIA};

    fn amount(text: &str, decimals: u8) -> Result<String, PriceError> {
        text.parse::<Price>().and_then(|price| price.to_amount(decimals)).map(|amount| amount.to_string())
    }

    #[test]
    fn prices_become_exact_amounts() {
        for (text, decimals, expected) in [
            ("$0.01", 6, "10000"),
            ("0.01", 6, "10000"),
            (" $ 2.5 ", 6, "2500000"),
            ("1.50 USDC", 6, "1500000"),
            ("1.5 usd", 6, "1500000"),
            ("0.000001", 6, "1"),
            ("0.0000010", 6, "1"),
            ("0.0000001", 18, "100000000000"),
            ("1", 0, "1"),
            ("1000000", 18, "1000000000000000000000000"),
        ] {
            assert_eq!(amount(text, decimals).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_exact_price_is_refused() {
        for text in [
            "", "$", "1e-7", "$1e-3", "1,0", "$1,000", "-1", "+1", "NaN", "inf", "1abc", "1.50USDC", ".5",
            "5.", "1.2.3", "0x10", "1_000", "$1 USDC", "1 2", "1 USDC x", "١", "1 .5", "USDC 1",
        ] {
            assert!(matches!(amount(text, 6), Err(PriceError::NotAPrice(_))), "{text:?}");
        }
        assert!(matches!(amount("0.0000001", 6), Err(PriceError::TooFine { .. })));
        assert!(matches!(amount("0.5", 0), Err(PriceError::TooFine { .. })));
        assert_eq!(amount("0", 6), Err(PriceError::Zero));
        assert_eq!(amount("$0.000", 6), Err(PriceError::Zero));
        assert_eq!(amount(&U256::MAX.to_string(), 6), Err(PriceError::TooLarge));
        assert_eq!(amount(&"9".repeat(200), 6), Err(PriceError::TooLarge));
    }

    #[test]
    fn a_price_finds_its_token() {
        let (token, amount) = "$0.01".parse::<Price>().unwrap().resolve(&BASE_SEPOLIA).unwrap();
        assert_eq!(token.address.as_str(), "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
        assert_eq!(amount.to_string(), "10000");
        let megaeth = Network::evm(4326);
        let (token, amount) = "0.01".parse::<Price>().unwrap().resolve(&megaeth).unwrap();
        assert_eq!((token.decimals, amount.to_string().as_str()), (18, "10000000000000000"));
        let unknown = "1 DOGE".parse::<Price>().unwrap().resolve(&BASE);
        assert!(matches!(unknown, Err(PriceError::UnknownToken { .. })));
    }

    #[test]
    fn a_price_prints_as_it_is_written() {
        for text in ["$0.01", "1.5 USDC", "$10", "$0.000001"] {
            assert_eq!(text.parse::<Price>().unwrap().to_string(), text);
        }
    }
}
