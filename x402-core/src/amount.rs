//! Exact amounts: 256-bit integers in a token's smallest unit.

use std::{fmt, str::FromStr};

use ruint::aliases::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount in a token's smallest (atomic) unit: 10000 is $0.01 of a 6-decimal token.
///
/// On the wire it is a decimal string: ASCII digits, no sign, no leading zeros, below 2^256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(U256);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);

    /// Wraps a 256-bit integer.
    pub const fn new(value: U256) -> Self {
        Self(value)
    }

    /// The integer inside.
    pub const fn get(self) -> U256 {
        self.0
    }

    /// The amount in whole tokens of this many decimals, as people write it: 10000 of 6 decimals is `0.01`. Exact.
    pub fn in_tokens(self, decimals: u8) -> String {
        let decimals = usize::from(decimals);
        let digits = format!("{:0>width$}", self.0.to_string(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        }
    }

    /// Whether this is nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<u64> for Amount {
    fn from(value: u64) -> Self {
        Self(U256::from(value))
    }
}

impl From<U256> for Amount {
    fn from(value: U256) -> Self {
        Self(value)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let canonical = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        if !canonical {
            return Err(AmountError::NotDecimal);
        }
        U256::from_str_radix(text, 10).map(Self).map_err(|_| AmountError::TooLarge)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({})", self.0)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Why a text is not an [`Amount`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// Something other than canonical decimal digits.
    #[error("an amount is a string of decimal digits without sign, point or leading zeros, like \"10000\"")]
    NotDecimal,
    /// 2^256 or more.
    #[error("the amount does not fit into 256 bits")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_in_tokens_without_rounding() {
        for (amount, decimals, expected) in [
            (0, 6, "0"),
            (1, 6, "0.000001"),
            (10_000, 6, "0.01"),
            (1_500_000, 6, "1.5"),
            (12_000_000, 6, "12"),
            (7, 0, "7"),
            (7, 18, "0.000000000000000007"),
        ] {
            assert_eq!(Amount::from(amount).in_tokens(decimals), expected);
        }
    }

    #[test]
    fn only_canonical_decimals_are_amounts() {
        let max = U256::MAX.to_string();
        for good in ["0", "1", "10000", max.as_str()] {
            assert_eq!(good.parse::<Amount>().unwrap().to_string(), good);
        }
        for bad in ["", "-1", "+1", "1.0", "1e3", "0x10", "01", "00", "1_000", " 1", "1 ", "١"] {
            assert_eq!(bad.parse::<Amount>(), Err(AmountError::NotDecimal), "{bad:?}");
        }
        let over = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert_eq!(over.parse::<Amount>(), Err(AmountError::TooLarge));
        assert!(serde_json::from_str::<Amount>("10000").is_err(), "a JSON number is not an amount");
    }
}
