//! What a handler can learn of its request's payment.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{claim::Claim, refusal};
use crate::{
    address::Address,
    amount::Amount,
    network::Network,
    payment::{Receipt, Version},
};

/// Adapters put it into the extensions of a request that may pass.
#[derive(Debug, Clone, PartialEq)]
pub enum Access {
    /// It was paid for.
    Paid(PaymentInfo),
    /// A hook let it pass without payment.
    Free,
}

/// A payment, as a handler sees it. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct PaymentInfo(Arc<Details>);

#[derive(Debug, PartialEq)]
struct Details {
    version: Version,
    payer: Address,
    network: Network,
    asset: Address,
    amount: Amount,
    receipt: Option<Receipt>,
}

impl PaymentInfo {
    pub(super) fn new(claim: &Claim, receipt: Option<&Receipt>) -> Self {
        let payment = claim.payment();
        Self(Arc::new(Details {
            version: payment.payload.version,
            payer: claim.payer().clone(),
            network: payment.requirements.network.clone(),
            asset: payment.requirements.asset.clone(),
            amount: payment.requirements.amount,
            receipt: receipt.cloned(),
        }))
    }

    /// The payment, from what a request's extensions hold.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(access: Option<&Access>) -> Result<Self, NotPaid> {
        match access {
            Some(Access::Paid(payment)) => Ok(payment.clone()),
            Some(Access::Free) => Err(NotPaid::GrantedFree),
            None => Err(NotPaid::NoGate),
        }
    }

    /// The protocol's version that was spoken.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Who pays.
    pub fn payer(&self) -> &Address {
        &self.0.payer
    }

    /// The chain.
    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// The token.
    pub fn asset(&self) -> &Address {
        &self.0.asset
    }

    /// How much, in the token's smallest unit.
    pub fn amount(&self) -> Amount {
        self.0.amount
    }

    /// The settlement, where it came before the handler; `None` where it follows.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.0.receipt.as_ref()
    }
}

/// A handler asked for `Paid` and its request was not paid for: the service is put together wrongly, which is answered
/// with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotPaid {
    /// No gate saw the request.
    NoGate,
    /// A hook let the request pass without payment.
    GrantedFree,
}

impl NotPaid {
    /// The answer's status.
    pub fn status(self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    /// The answer. It is logged, too.
    pub fn answer(self) -> Response<Bytes> {
        refusal::not_paid(self)
    }
}

impl fmt::Display for NotPaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoGate => {
                "the handler takes `Paid`, but its route is not charged: put `gate.charge(…)?` on it, or list it in the \
                 table"
            }
            Self::GrantedFree => {
                "the handler takes `Paid`, but a hook let this request pass free: take `Option<Paid>`"
            }
        })
    }
}

impl std::error::Error for NotPaid {}
