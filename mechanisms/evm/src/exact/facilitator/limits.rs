//! What is refused without a question to the chain: a payment that is not worth its gas costs a stranger nothing, and
//! whoever sends it everything.
//!
//! Asked when a payment is verified, and when its transaction would be made; never about one that was sent for already,
//! whose answer is in the journal whatever the limits are by now.

use x402_core::payment::Refusal;

use super::{
    ExactFacilitator,
    checks::{Asked, because},
};
use crate::exact::reasons;

impl ExactFacilitator {
    /// Why no transaction is made for this payment, whoever signed it.
    pub(super) fn refused_at_once(&self, asked: &Asked) -> Option<Refusal> {
        if let Some(refusal) = self.refused_for_good(asked) {
            return Some(refusal);
        }
        if asked.mismatch().is_some() {
            // That is the reason to tell.
            return None;
        }
        let (token, amount) = (asked.terms.token, asked.amount);
        if asked.authorization.from == asked.terms.pay_to {
            return Some(because(
                reasons::PAYER_IS_RECIPIENT,
                format!(
                    "the payer {} is the recipient as well, so that the payment moves nothing: pay from another account, \
                     or name another one in `payTo`",
                    asked.terms.pay_to
                ),
            ));
        }
        let minimum = self.assets.minimum(token);
        (amount < minimum).then(|| {
            because(
                reasons::AMOUNT_BELOW_MINIMUM,
                format!(
                    "the amount is {amount} atomic units of {token}, and this facilitator settles {minimum} or more on {}: \
                     ask for more, or have its operator set another minimum (`min_amount`; EVM_MIN_AMOUNT_<NETWORK> for \
                     the binary)",
                    self.network
                ),
            )
        })
    }
}
