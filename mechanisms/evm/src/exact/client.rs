//! The client's role: sign.

use std::fmt;

use alloy::signers::Signer;
use alloy_primitives::{B256, U256};
use serde_json::Value;
use x402_core::{
    network::NetworkPattern,
    payment::{PaymentRequirements, Version},
    scheme::{ClientScheme, SchemeError},
};

use super::terms::{NAMESPACE, SCHEME, Terms, domain_of, is_eip3009};
use crate::{
    clock::Clock,
    eip3009::{Authorization, Domain, Payload},
};

/// How far version 1 dates an authorization back, against clocks that differ.
const V1_LEEWAY: u64 = 600;

/// An authorization is money in the hands of whoever has it: it should not be so for longer than this.
const MAX_TIMEOUT_SECONDS: u64 = 3_600;

/// Pays with `exact` on every EVM chain, from the signer's account.
///
/// ```
/// use alloy::signers::local::PrivateKeySigner;
/// use x402_core::scheme::ClientScheme;
///
/// let client = x402_evm::exact::client(PrivateKeySigner::random());
/// assert_eq!(client.scheme(), "exact");
/// ```
pub fn client<S: Signer + Send + Sync + 'static>(signer: S) -> ExactClient<S> {
    ExactClient { signer, clock: Clock::system(), max_timeout_seconds: MAX_TIMEOUT_SECONDS }
}

/// The client's role in `exact`; see [`client()`].
pub struct ExactClient<S> {
    signer: S,
    clock: Clock,
    max_timeout_seconds: u64,
}

impl<S> ExactClient<S> {
    /// For how many seconds an authorization may be valid: requirements that ask for more (`maxTimeoutSeconds`) are
    /// not paid. 3600 unless set.
    #[must_use]
    pub fn max_timeout_seconds(mut self, seconds: u64) -> Self {
        self.max_timeout_seconds = seconds;
        self
    }
}

impl<S: Signer> fmt::Debug for ExactClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactClient").field("payer", &self.signer.address()).finish_non_exhaustive()
    }
}

impl<S: Signer + Send + Sync + 'static> ClientScheme for ExactClient<S> {
    fn scheme(&self) -> &str {
        SCHEME
    }

    fn networks(&self) -> NetworkPattern {
        NetworkPattern::Namespace(NAMESPACE.into())
    }

    fn accepts(&self, requirements: &PaymentRequirements) -> Result<(), SchemeError> {
        self.read(requirements).map(drop)
    }

    async fn sign(&self, version: Version, requirements: &PaymentRequirements) -> Result<Value, SchemeError> {
        let mut nonce = B256::ZERO;
        getrandom::fill(nonce.as_mut_slice())
            .map_err(|error| SchemeError::new("the system has no random numbers").because(error))?;
        self.sign_with(version, requirements, nonce).await
    }
}

impl<S: Signer + Send + Sync + 'static> ExactClient<S> {
    async fn sign_with(
        &self,
        version: Version,
        requirements: &PaymentRequirements,
        nonce: B256,
    ) -> Result<Value, SchemeError> {
        let (terms, domain) = self.read(requirements)?;
        let now = self.clock.now();
        let valid_after = match version {
            Version::V1 => now.saturating_sub(V1_LEEWAY),
            Version::V2 => 0,
        };
        let authorization = Authorization {
            from: self.signer.address(),
            to: terms.pay_to,
            value: requirements.amount.get(),
            valid_after: U256::from(valid_after),
            valid_before: U256::from(now.saturating_add(requirements.max_timeout_seconds)),
            nonce,
        };
        let signature = self
            .signer
            .sign_hash(&domain.signing_hash(&authorization))
            .await
            .map_err(|error| SchemeError::new("the signer refused to sign the payment").because(error))?;
        // Some signers, as those in hardware, give the larger s, which tokens refuse.
        let signature = signature.normalized_s().as_bytes();
        Ok(Payload { signature: signature.into(), authorization }.to_json())
    }

    fn read(&self, requirements: &PaymentRequirements) -> Result<(Terms, Domain), SchemeError> {
        if requirements.scheme != SCHEME {
            return Err(SchemeError::new(format!("the scheme is `exact`, not `{}`", requirements.scheme)));
        }
        let terms = Terms::of(requirements).map_err(SchemeError::new)?;
        // Such payments move nothing, and facilitators that know what gas costs refuse them.
        if terms.pay_to == self.signer.address() {
            return Err(SchemeError::new("`payTo` is the payer's own account"));
        }
        if requirements.amount.is_zero() {
            return Err(SchemeError::new("`amount` is zero"));
        }
        if !is_eip3009(&requirements.extra) {
            return Err(SchemeError::new(
                "`extra.assetTransferMethod` asks for another method than `eip3009`",
            ));
        }
        let (name, version) = domain_of(&requirements.extra).ok_or_else(|| {
            SchemeError::new("`extra.name` and `extra.version` must be the token's EIP-712 domain")
        })?;
        if requirements.max_timeout_seconds == 0 {
            return Err(SchemeError::new("`maxTimeoutSeconds` must be above zero"));
        }
        let (asked, limit) = (requirements.max_timeout_seconds, self.max_timeout_seconds);
        if asked > limit {
            return Err(SchemeError::new(format!(
                "`maxTimeoutSeconds` is {asked}: this client signs nothing that is valid for more than {limit} seconds \
                 (`ExactClient::max_timeout_seconds` sets the limit)"
            )));
        }
        Ok((terms, Domain::new(name, version, terms.chain_id, terms.token)))
    }
}
#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
