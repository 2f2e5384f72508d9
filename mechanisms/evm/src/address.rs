//! Hex as EVM chains write it: addresses, words, byte strings.

use alloy_primitives::{Address, B256, hex};
use x402_core::address::Address as AnyAddress;

/// `0x` and an even number of hex digits, at most `limit` bytes. Case does not matter.
pub(crate) fn parse_bytes(text: &str, limit: usize) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    if digits.len() > limit * 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    hex::decode(digits).ok()
}

/// `0x` and 40 hex digits. Case does not matter.
pub(crate) fn parse_address(text: &str) -> Option<Address> {
    Address::try_from(parse_bytes(text, 20)?.as_slice()).ok()
}

/// `0x` and 64 hex digits. Case does not matter.
pub(crate) fn parse_word(text: &str) -> Option<B256> {
    B256::try_from(parse_bytes(text, 32)?.as_slice()).ok()
}

/// An address that is not zero and whose case, if mixed, is its EIP-55 checksum: how a person writes one.
pub(crate) fn parse_typed_address(text: &str) -> Result<Address, &'static str> {
    let address = parse_address(text).ok_or("is not `0x` and 40 hex digits")?;
    let digits = &text[2..];
    let mixed = digits.bytes().any(|byte| byte.is_ascii_lowercase())
        && digits.bytes().any(|byte| byte.is_ascii_uppercase());
    if mixed && address.to_checksum(None) != text {
        return Err("has a wrong EIP-55 checksum: a digit is mistyped");
    }
    if address.is_zero() {
        return Err("is the zero address");
    }
    Ok(address)
}

/// The address as the protocol carries it, with its EIP-55 checksum.
pub(crate) fn to_core(address: Address) -> AnyAddress {
    address.to_checksum(None).parse().expect("a checksummed address is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_strict_about_everything_but_case() {
        let lower = "0x209693bc6afc0c5328ba36faf03c514ef312287c";
        let upper = format!("0x{}", lower[2..].to_uppercase());
        assert_eq!(parse_address(lower), parse_address(&upper));
        assert!(parse_address(lower).is_some());
        let (short, long) = (&lower[..40], format!("{lower}00"));
        for bad in [&lower[2..], short, &long, "", "0x", "0X209693bc6afc0c5328ba36faf03c514ef312287c"] {
            assert_eq!(parse_address(bad), None, "{bad}");
        }
        assert_eq!(parse_address("0x0x9693bc6afc0c5328ba36faf03c514ef312287c"), None);
        assert_eq!(parse_bytes("0x", 1), Some(vec![]));
        assert_eq!(parse_bytes("0x123", 2), None);
        assert_eq!(parse_bytes("0x112233", 2), None);
    }

    #[test]
    fn a_mistyped_digit_is_noticed() {
        let right = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
        assert!(parse_typed_address(right).is_ok());
        assert!(parse_typed_address(&right.to_lowercase()).is_ok());
        assert!(parse_typed_address(&right.replace('9', "8")).is_err());
        assert!(parse_typed_address("0x0000000000000000000000000000000000000000").is_err());
    }
}
