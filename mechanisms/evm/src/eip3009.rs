//! EIP-3009: a transfer its payer signs and anyone may send, once.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use x402_core::{amount::Amount, scheme::PaymentIdentity};

use crate::address::{parse_address, parse_bytes, parse_word, to_core};

/// Longer signatures than this are refused unread. A passkey wallet's take about 1 KiB.
const MAX_SIGNATURE: usize = 8 * 1024;

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: U256,
    pub(crate) valid_after: U256,
    pub(crate) valid_before: U256,
    pub(crate) nonce: B256,
}

/// The payload of `exact` on EVM chains. No `Debug`: whoever holds it can settle it.
#[derive(Clone)]
pub(crate) struct Payload {
    pub(crate) signature: Bytes,
    pub(crate) authorization: Authorization,
}

#[derive(Serialize, Deserialize)]
struct PayloadJson {
    signature: String,
    authorization: AuthorizationJson,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationJson {
    from: String,
    to: String,
    value: String,
    valid_after: String,
    valid_before: String,
    nonce: String,
}

impl Payload {
    /// Reads a payload. The error says what was expected, and nothing of what was sent.
    pub(crate) fn parse(payload: &Value) -> Result<Self, &'static str> {
        let expected = "expected {signature, authorization{from, to, value, validAfter, validBefore, nonce}}, all strings";
        // serde would take an array of a struct's fields, too.
        let object = payload.is_object() && payload.get("authorization").is_some_and(Value::is_object);
        let json = PayloadJson::deserialize(payload).ok().filter(|_| object);
        let PayloadJson { signature, authorization } = json.ok_or(expected)?;
        let signature = parse_bytes(&signature, MAX_SIGNATURE)
            .ok_or("expected `signature` to be `0x` and hex digits, at most 8 KiB")?;
        let number = |text: &str, error| text.parse::<Amount>().map(Amount::get).map_err(|_| error);
        let authorization = Authorization {
            from: parse_address(&authorization.from)
                .ok_or("expected `authorization.from` to be an address")?,
            to: parse_address(&authorization.to).ok_or("expected `authorization.to` to be an address")?,
            value: number(&authorization.value, "expected `authorization.value` to be a decimal integer")?,
            valid_after: number(
                &authorization.valid_after,
                "expected `authorization.validAfter` to be a decimal integer",
            )?,
            valid_before: number(
                &authorization.valid_before,
                "expected `authorization.validBefore` to be a decimal integer",
            )?,
            nonce: parse_word(&authorization.nonce)
                .ok_or("expected `authorization.nonce` to be `0x` and 64 hex digits")?,
        };
        Ok(Self { signature: signature.into(), authorization })
    }

    pub(crate) fn to_json(&self) -> Value {
        let Self { signature, authorization } = self;
        let json = PayloadJson {
            signature: signature.to_string(),
            authorization: AuthorizationJson {
                from: authorization.from.to_checksum(None),
                to: authorization.to.to_checksum(None),
                value: authorization.value.to_string(),
                valid_after: authorization.valid_after.to_string(),
                valid_before: authorization.valid_before.to_string(),
                nonce: authorization.nonce.to_string(),
            },
        };
        serde_json::to_value(json).expect("a struct of strings serialises")
    }
}

/// A plain account's signature as tokens take it: r, s, and v of 27 or 28. It also comes as 64 bytes, with the parity in the
/// highest bit of s (EIP-2098), or with the parity alone as v. `None`: it is neither.
pub(crate) fn plain_signature(signature: &[u8]) -> Option<[u8; 65]> {
    let (rs, v) = signature.split_at_checked(64)?;
    let mut plain = [0; 65];
    plain[..64].copy_from_slice(rs);
    let parity = match *v {
        [] => {
            plain[32] &= 0x7f;
            rs[32] >> 7
        }
        [parity @ (0 | 1)] => parity,
        [v @ (27 | 28)] => v - 27,
        _ => return None,
    };
    plain[64] = 27 + parity;
    Some(plain)
}

impl Authorization {
    /// A token lets a payer's nonce be used once, so these four are the payment. The fingerprint is that of what was signed,
    /// in whichever form its signature came.
    pub(crate) fn identity(&self, chain_id: u64, token: Address, signature: &Bytes) -> PaymentIdentity {
        let signature = plain_signature(signature).map_or_else(|| signature.clone(), Bytes::from);
        let key = format!("eip155:{chain_id}/{token:#x}/{:#x}/{:#x}", self.from, self.nonce);
        let Self { to, value, valid_after, valid_before, .. } = self;
        PaymentIdentity {
            fingerprint: format!("{key}/{to:#x}/{value}/{valid_after}/{valid_before}/{signature:#x}"),
            key,
            payer: to_core(self.from),
            expires_at: self.valid_before.saturating_to(),
        }
    }
}

#[cfg(any(feature = "client", feature = "facilitator"))]
pub(crate) use signing::Domain;

#[cfg(any(feature = "client", feature = "facilitator"))]
mod signing {
    use alloy::sol_types::{Eip712Domain, SolStruct, eip712_domain};
    use alloy_primitives::{Address, B256};

    use super::Authorization;

    alloy::sol! {
        #[allow(unreachable_pub, missing_docs)]
        struct TransferWithAuthorization {
            address from;
            address to;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 nonce;
        }
    }

    /// What a signature is bound to: one token on one chain.
    #[derive(Debug, Clone)]
    pub(crate) struct Domain(Eip712Domain);

    impl Domain {
        pub(crate) fn new(name: &str, version: &str, chain_id: u64, token: Address) -> Self {
            Self(eip712_domain! {
                name: name.to_owned(),
                version: version.to_owned(),
                chain_id: chain_id,
                verifying_contract: token,
            })
        }

        pub(crate) fn separator(&self) -> B256 {
            self.0.separator()
        }

        /// The EIP-712 hash of an authorization: what is signed.
        pub(crate) fn signing_hash(&self, authorization: &Authorization) -> B256 {
            let Authorization { from, to, value, valid_after, valid_before, nonce } = *authorization;
            let message = TransferWithAuthorization {
                from,
                to,
                value,
                validAfter: valid_after,
                validBefore: valid_before,
                nonce,
            };
            message.eip712_signing_hash(&self.0)
        }
    }
}
