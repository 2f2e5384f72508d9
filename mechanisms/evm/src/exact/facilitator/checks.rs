//! What is checked before money moves, in the order the protocol reports it.

use alloy::{rpc::types::TransactionRequest, sol_types::SolCall};
use alloy_primitives::{B256, Bytes, U256};
use x402_core::{
    address::Address as AnyAddress,
    facilitator::FacilitatorError,
    payment::{Payment, Reason, Refusal, Version},
};

use super::{
    ExactFacilitator,
    signature::{Vrs, is_wrapped, unwrapped, wallet_accepts},
};
use crate::{
    address::to_core,
    chain::{Fault, contracts::Eip3009},
    eip3009::{Authorization, Domain, Payload},
    exact::{
        reasons,
        terms::{SCHEME, Terms, domain_of, is_eip3009},
    },
};

/// An authorization must be valid for this much longer: it takes a few blocks to use it.
const SETTLEMENT_MARGIN: u64 = 6;

/// A payment of this scheme on this network, read but not believed.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) version: Version,
    pub(super) terms: Terms,
    pub(super) amount: U256,
    pub(super) name: String,
    pub(super) eip712_version: String,
    pub(super) domain: Domain,
    pub(super) authorization: Authorization,
    pub(super) signature: Bytes,
    /// What was signed: everything in it and its token are in it.
    pub(super) hash: B256,
}

/// Why not to go on.
pub(super) enum Stop {
    /// The payment will not do.
    Refused(Refusal),
    /// We could not find out.
    Fault(FacilitatorError),
}

/// How to try a transfer out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DryRun {
    /// To know whether it would work.
    Call,
    /// To know its gas as well.
    Estimate,
}

/// A payment that would settle.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) input: Bytes,
    /// What the transaction may take; of no meaning after [`DryRun::Call`].
    pub(super) gas: u64,
}

/// Who pays, if the payload says so; for answers only.
pub(super) fn payer(payment: &Payment) -> Option<AnyAddress> {
    Payload::parse(&payment.payload.payload).ok().map(|payload| to_core(payload.authorization.from))
}

pub(super) fn refusal(reason: Reason) -> Refusal {
    Refusal { reason, message: None, payer: None }
}

pub(super) fn because(reason: Reason, message: impl Into<String>) -> Refusal {
    Refusal { reason, message: Some(message.into()), payer: None }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Refused(refusal(reason))
    }
}

impl Asked {
    /// What is wrong with the recipient or the amount, whenever one looks.
    pub(super) fn mismatch(&self) -> Option<Reason> {
        if self.authorization.to != self.terms.pay_to {
            return Some(reasons::RECIPIENT_MISMATCH);
        }
        self.value_mismatch()
    }

    fn value_mismatch(&self) -> Option<Reason> {
        (self.authorization.value != self.amount).then(|| reasons::value_mismatch(self.version))
    }

    /// What is wrong with recipient, time or amount at this time.
    fn unfit(&self, now: u64) -> Option<Reason> {
        let Authorization { to, valid_before, valid_after, .. } = &self.authorization;
        if *to != self.terms.pay_to {
            Some(reasons::RECIPIENT_MISMATCH)
        } else if *valid_before < U256::from(now.saturating_add(SETTLEMENT_MARGIN)) {
            Some(reasons::VALID_BEFORE)
        } else if *valid_after > U256::from(now) {
            Some(reasons::VALID_AFTER)
        } else {
            self.value_mismatch()
        }
    }

    fn transfer_vrs(&self, Vrs { v, r, s }: Vrs) -> Bytes {
        let Authorization { from, to, value, valid_after, valid_before, nonce } = self.authorization;
        Eip3009::transferWithAuthorization_0Call {
            from,
            to,
            value,
            validAfter: valid_after,
            validBefore: valid_before,
            nonce,
            v,
            r,
            s,
        }
        .abi_encode()
        .into()
    }

    fn transfer_bytes(&self, signature: Bytes) -> Bytes {
        let Authorization { from, to, value, valid_after, valid_before, nonce } = self.authorization;
        Eip3009::transferWithAuthorization_1Call {
            from,
            to,
            value,
            validAfter: valid_after,
            validBefore: valid_before,
            nonce,
            signature,
        }
        .abi_encode()
        .into()
    }
}

impl ExactFacilitator {
    /// Everything that needs neither a chain nor the time.
    pub(super) fn read(&self, payment: &Payment) -> Result<Asked, Refusal> {
        let Payment { payload, requirements } = payment;
        if requirements.scheme != SCHEME || payload.accepted.scheme != SCHEME {
            return Err(refusal(reasons::SCHEME));
        }
        let (name, eip712_version) =
            domain_of(&requirements.extra).ok_or_else(|| refusal(reasons::MISSING_DOMAIN))?;
        if requirements.network != self.network || payload.accepted.network != self.network {
            return Err(refusal(reasons::NETWORK_MISMATCH));
        }
        let terms = Terms::of(requirements).map_err(|wrong| because(Reason::INVALID_REQUIREMENTS, wrong))?;
        if !is_eip3009(&requirements.extra) {
            return Err(because(reasons::UNSUPPORTED_PAYLOAD, "only `eip3009` transfers are settled here"));
        }
        let version = payload.version;
        let Payload { signature, authorization } = Payload::parse(&payload.payload)
            .map_err(|expected| because(Reason::INVALID_PAYLOAD, expected))?;
        if !self.assets.allow(terms.token) {
            return Err(because(
                reasons::ASSET_NOT_ALLOWED,
                format!(
                    "this facilitator does not settle the token {} on {}: pay in one it knows, or have its operator \
                     add the token (`allow_token`; EVM_ASSETS for the binary)",
                    terms.token, self.network
                ),
            ));
        }
        let domain = Domain::new(name, eip712_version, terms.chain_id, terms.token);
        Ok(Asked {
            version,
            terms,
            amount: requirements.amount.get(),
            name: name.to_owned(),
            eip712_version: eip712_version.to_owned(),
            hash: domain.signing_hash(&authorization),
            domain,
            authorization,
            signature,
        })
    }

    /// Whether the signature is the payer's, apart from everything else: the transfer it makes, and whether no code of the
    /// payer's is asked about it.
    ///
    /// A key may sign for its account though the account has code (EIP-7702). Where that code does not take the signature,
    /// the token has the last word: some recover the key, and ask no code.
    pub(super) async fn signed(&self, asked: &Asked) -> Result<(Bytes, bool), Stop> {
        let from = asked.authorization.from;
        let code = self.rpc.code(from).await.map_err(|fault| self.stop(&fault))?;
        if code.is_empty() {
            if is_wrapped(&asked.signature) {
                return Err(reasons::FACTORY_NOT_ALLOWED.into());
            }
            let vrs = Vrs::of(&asked.signature, asked.hash, from).ok_or(Stop::from(reasons::SIGNATURE))?;
            return Ok((asked.transfer_vrs(vrs), true));
        }
        let signature = unwrapped(&asked.signature).ok_or(Stop::from(reasons::SIGNATURE))?;
        let accepted = wallet_accepts(&self.rpc, from, asked.hash, &signature, self.settings.max_gas)
            .await
            .map_err(|fault| self.stop(&fault))?;
        if !accepted && let Some(vrs) = Vrs::of(&asked.signature, asked.hash, from) {
            return Ok((asked.transfer_vrs(vrs), true));
        }
        if !accepted {
            return Err(Stop::Refused(because(
                reasons::SIGNATURE,
                format!(
                    "the wallet {from} does not accept the signature (EIP-1271), or its check takes more than {} gas",
                    self.settings.max_gas
                ),
            )));
        }
        Ok((asked.transfer_bytes(signature), false))
    }

    /// Everything else. Calls that don't depend on each other run at once; what is reported does not depend on it.
    pub(super) async fn examine(&self, asked: &Asked, dry_run: DryRun) -> Result<Ready, Stop> {
        let unfit = asked.unfit(self.clock.now());
        let likely = match unfit {
            None => Vrs::of(&asked.signature, asked.hash, asked.authorization.from),
            Some(_) => None,
        };
        let max_plain_gas = self.settings.max_plain_gas.min(self.settings.max_gas);
        let (signed, deployed, tried) = tokio::join!(
            self.signed(asked),
            async {
                if unfit.is_none() { self.token_is_deployed(asked.terms.token).await } else { Ok(true) }
            },
            async {
                match likely {
                    Some(vrs) => {
                        Some(self.try_out(asked, asked.transfer_vrs(vrs), dry_run, max_plain_gas).await)
                    }
                    None => None,
                }
            },
        );
        let (input, plain) = signed?;
        if let Some(reason) = unfit {
            return Err(reason.into());
        }
        if !deployed? {
            return Err(reasons::ASSET_NOT_DEPLOYED.into());
        }
        let mut max_gas = if plain { max_plain_gas } else { self.settings.max_gas };
        let mut input = input;
        // What the token makes of the signature where it recovers the key, and asks no code of the payer's.
        let recovering = match (&tried, likely) {
            (Some(Ok(gas)), Some(vrs)) if *gas <= max_plain_gas => Some(Ok((vrs, *gas))),
            (Some(Err(fault)), Some(_)) if !fault.is_revert() => Some(Err(self.stop(fault))),
            _ => None,
        };
        let tried = match tried {
            Some(tried) if plain => tried,
            _ => self.try_out(asked, input.clone(), dry_run, max_gas).await,
        };
        let tried = match (tried, recovering) {
            (Err(fault), Some(recovering)) if fault.is_revert() && !plain => {
                let (vrs, gas) = recovering?;
                (input, max_gas) = (asked.transfer_vrs(vrs), max_plain_gas);
                Ok(gas)
            }
            (tried, _) => tried,
        };
        match tried {
            Ok(gas) if gas <= max_gas => {
                let reserve = gas / 4 + 20_000;
                Ok(Ready { input, gas: gas.saturating_add(reserve).min(max_gas) })
            }
            Ok(gas) => Err(Stop::Refused(because(
                reasons::SIMULATION_FAILED,
                format!("the transfer takes {gas} gas, above the limit of {max_gas}"),
            ))),
            Err(fault) if fault.is_revert() => Err(self.diagnose(asked).await?.into()),
            Err(fault) => Err(self.stop(&fault)),
        }
    }

    async fn try_out(
        &self,
        asked: &Asked,
        input: Bytes,
        dry_run: DryRun,
        max_gas: u64,
    ) -> Result<u64, Fault> {
        let call = TransactionRequest::default()
            .from(self.shared.account.address)
            .to(asked.terms.token)
            .input(input.into());
        match dry_run {
            DryRun::Call => self.rpc.call(&call.gas_limit(max_gas)).await.map(|_| 0),
            DryRun::Estimate => self.rpc.estimate_gas(&call).await,
        }
    }

    pub(super) fn stop(&self, fault: &Fault) -> Stop {
        Stop::Fault(self.trouble(fault))
    }
}
