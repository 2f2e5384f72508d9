//! The server's role: complete an offer, read a payment.

use serde_json::Value;
use x402_core::{
    asset::{Token, TransferMethod},
    network::NetworkPattern,
    payment::{PaymentRequirements, SupportedKind, Version},
    scheme::{Inspection, MalformedPayload, SchemeError, ServerScheme},
};

use super::{
    reasons,
    terms::{NAMESPACE, SCHEME, Terms},
};
use crate::{address::parse_typed_address, eip3009::Payload};

/// Charges `exact` payments on every EVM chain.
pub fn server() -> ExactServer {
    ExactServer(())
}

/// The server's role in `exact`; see [`server()`].
#[derive(Debug, Clone, Copy)]
pub struct ExactServer(());

impl ServerScheme for ExactServer {
    fn scheme(&self) -> &str {
        SCHEME
    }

    fn networks(&self) -> NetworkPattern {
        NetworkPattern::Namespace(NAMESPACE.into())
    }

    fn check(&self, requirements: &PaymentRequirements, token: &Token) -> Result<(), SchemeError> {
        domain(requirements, token).map(drop)
    }

    fn enrich(
        &self,
        requirements: &mut PaymentRequirements,
        token: &Token,
        _kind: &SupportedKind,
    ) -> Result<(), SchemeError> {
        let (name, version) = domain(requirements, token)?;
        requirements.extra.insert("name".into(), name.into());
        requirements.extra.insert("version".into(), version.into());
        Ok(())
    }

    fn inspect(
        &self,
        version: Version,
        payload: &Value,
        requirements: &PaymentRequirements,
    ) -> Result<Inspection, MalformedPayload> {
        let malformed = |expected: &str| MalformedPayload(expected.to_owned());
        let Payload { authorization, signature } = Payload::parse(payload).map_err(malformed)?;
        let terms =
            Terms::of(requirements).map_err(|wrong| malformed(&format!("the requirements: {wrong}")))?;
        let mismatch = if authorization.to != terms.pay_to {
            Some(reasons::RECIPIENT_MISMATCH)
        } else if authorization.value != requirements.amount.get() {
            Some(reasons::value_mismatch(version))
        } else {
            None
        };
        Ok(Inspection { identity: authorization.identity(terms.chain_id, terms.token, &signature), mismatch })
    }
}

/// The name and version of the token's EIP-712 domain, if these requirements can be charged at all.
fn domain<'a>(
    requirements: &PaymentRequirements,
    token: &'a Token,
) -> Result<(&'a str, &'a str), SchemeError> {
    let network = &requirements.network;
    if network.evm_chain_id().is_none() {
        return Err(SchemeError::new(format!("{network} is not an EVM chain like `eip155:8453`")));
    }
    let field = |name: &str, text: &str| {
        parse_typed_address(text)
            .map_err(|what| SchemeError::new(format!("`{name}` {text} on {network} {what}")))
    };
    field("payTo", requirements.pay_to.as_str())?;
    field("asset", requirements.asset.as_str())?;
    let TransferMethod::Eip3009 { name, version } = &token.transfer else {
        return Err(SchemeError::new(format!(
            "{} on {network} has no EIP-3009, and its other transfer methods come later: charge in another token",
            token.symbol
        )));
    };
    if name.is_empty() || version.is_empty() {
        return Err(SchemeError::new(format!(
            "{} on {network} needs the name and version of its EIP-712 domain",
            token.symbol
        )));
    }
    Ok((name, version))
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
