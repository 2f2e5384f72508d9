//! Accounts and tokens, by their address on some chain.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An account or a token on a chain, in that chain's own notation.
///
/// What an address must look like is its chain's affair and is checked by the chain's scheme; here it is
/// 1 to 128 visible ASCII characters. Two addresses that begin with `0x` are equal whatever the case of their
/// hex digits (EIP-55 writes a checksum into the case).
#[derive(Clone)]
pub struct Address(String);

impl Address {
    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_hex(&self) -> bool {
        self.0.starts_with("0x") || self.0.starts_with("0X")
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || (self.is_hex() && other.is_hex() && self.0.eq_ignore_ascii_case(&other.0))
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let fold = self.is_hex();
        for byte in self.0.bytes() {
            state.write_u8(if fold { byte.to_ascii_lowercase() } else { byte });
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(AddressError) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.0)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A text that is no address on any chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is 1 to 128 visible ASCII characters")]
pub struct AddressError;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn hex_case_makes_no_second_address() {
        assert_eq!(address("0xAbCd"), address("0xabcd"));
        assert_ne!(address("AbCd"), address("abcd"), "base58 is case-sensitive");
        for bad in ["", "with space", "new\nline", "ünicode"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
